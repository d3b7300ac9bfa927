//! Storage classes by another name: the ConfigMap labelled `velero.io/change-storage-class`.

use std::collections::BTreeMap;

use refloat_model::GroupResource;
use serde_json::Value;

use crate::json;

/// Whether objects of a kind name storage classes that the map changes.
pub(super) fn applies_to(resource: &GroupResource) -> bool {
    matches!(
        (resource.group.as_str(), resource.resource.as_str()),
        ("", "persistentvolumeclaims" | "persistentvolumes") | ("apps", "statefulsets")
    )
}

/// Changes the classes of a claim, a volume, or a stateful set's claim templates. Hands out the new
/// ones, which must exist.
pub(super) fn change(
    map: &BTreeMap<String, String>,
    resource: &GroupResource,
    object: &mut Value,
) -> Vec<String> {
    let mut changed = Vec::new();
    if resource.is("statefulsets", "apps") {
        let templates = json::list_mut(object, &["spec", "volumeClaimTemplates"]);
        for template in templates.into_iter().flatten() {
            changed.extend(change_one(map, template));
        }
    } else {
        changed.extend(change_one(map, object));
    }
    changed.sort();
    changed.dedup();
    changed
}

fn change_one(map: &BTreeMap<String, String>, object: &mut Value) -> Option<String> {
    let class = json::get_mut(object, &["spec", "storageClassName"])?;
    let new = map.get(class.as_str().filter(|name| !name.is_empty())?)?;
    *class = new.as_str().into();
    Some(new.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_volumes_and_templates_change_their_class() {
        let map = [("fast".to_owned(), "standard".to_owned())].into();
        let act = |kind: &str, mut object: Value| {
            let kind = GroupResource::parse(kind);
            assert!(applies_to(&kind));
            let changed = change(&map, &kind, &mut object);
            (object, changed)
        };
        for kind in ["persistentvolumeclaims", "persistentvolumes"] {
            let (object, changed) = act(kind, json!({"spec": {"storageClassName": "fast"}}));
            assert_eq!(object, json!({"spec": {"storageClassName": "standard"}}));
            assert_eq!(changed, ["standard"]);
            for other in [
                json!({"spec": {"storageClassName": "slow"}}),
                json!({"spec": {}}),
                json!(3),
            ] {
                assert_eq!(act(kind, other.clone()), (other, vec![]));
            }
        }
        let set = json!({"spec": {"volumeClaimTemplates": [
            {"spec": {"storageClassName": "fast"}}, 7, {"spec": {"storageClassName": ""}},
            {"spec": {"storageClassName": "fast"}}]}});
        let (set, changed) = act("statefulsets.apps", set);
        assert_eq!(
            set["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"],
            "standard"
        );
        assert_eq!(
            set["spec"]["volumeClaimTemplates"][2]["spec"]["storageClassName"],
            ""
        );
        assert_eq!(changed, ["standard"]);
        assert!(!applies_to(&GroupResource::parse("pods")));
    }
}
