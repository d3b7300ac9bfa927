//! Images by another name: the ConfigMap labelled `velero.io/change-image-name`. Each of its values is
//! `old,new`, parts of an image's name.

use std::collections::BTreeMap;

use refloat_model::GroupResource;
use serde_json::Value;

use crate::json;

/// Where the pod's spec of a kind is, if the map changes its images.
pub(super) fn pod_spec(resource: &GroupResource) -> Option<&'static [&'static str]> {
    match (resource.group.as_str(), resource.resource.as_str()) {
        ("", "pods") => Some(&["spec"]),
        ("batch", "cronjobs") => Some(&["spec", "jobTemplate", "spec", "template", "spec"]),
        ("", "replicationcontrollers")
        | ("apps", "deployments" | "statefulsets" | "daemonsets" | "replicasets")
        | ("batch", "jobs") => Some(&["spec", "template", "spec"]),
        _ => None,
    }
}

/// Changes the images of containers and init containers. Of several values that apply to an image the
/// first by its key does; Velero takes any of them.
pub(super) fn change(map: &BTreeMap<String, String>, pod_spec: &[&str], object: &mut Value) {
    for list in ["containers", "initContainers"] {
        let path: Vec<&str> = pod_spec.iter().copied().chain([list]).collect();
        for container in json::list_mut(object, &path).into_iter().flatten() {
            if let Some(image) = json::get_mut(container, &["image"])
                && let Some(new) = image.as_str().and_then(|old| changed(map, old))
            {
                *image = new.into();
            }
        }
    }
}

fn changed(map: &BTreeMap<String, String>, image: &str) -> Option<String> {
    map.values().find_map(|row| {
        let (old, new) = row.split_once(',')?;
        let old = old.trim();
        let applies = !old.is_empty() && !new.is_empty() && image.contains(old);
        applies.then(|| image.replace(old, new.trim()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_of_names_change_wherever_pods_are_described() {
        let rows = [
            ("a", "1.1.1.1:5000 , 2.2.2.2:3000"),
            ("b", "no comma"),
            ("c", "abc:test,"),
            ("d", ",x"),
            ("e", "2.2.2.2:3000,never"),
        ];
        let map: BTreeMap<String, String> = rows.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let containers = json!({
            "containers": [{"image": "1.1.1.1:5000/abc:test"}, {"image": "abc:test"}, {}, 7, {"image": 1}],
            "initContainers": [{"image": "1.1.1.1:5000/init"}]
        });
        for (kind, pointer) in [
            ("pods", "/spec"),
            ("deployments.apps", "/spec/template/spec"),
            ("cronjobs.batch", "/spec/jobTemplate/spec/template/spec"),
        ] {
            let path = pod_spec(&GroupResource::parse(kind)).unwrap();
            let mut object = path
                .iter()
                .rev()
                .fold(containers.clone(), |inner, key| json!({ *key: inner }));
            change(&map, path, &mut object);
            let spec = object.pointer(pointer).unwrap();
            assert_eq!(spec["containers"][0]["image"], "2.2.2.2:3000/abc:test");
            assert_eq!(spec["containers"][1]["image"], "abc:test");
            assert_eq!(spec["containers"][4]["image"], 1);
            assert_eq!(spec["initContainers"][0]["image"], "2.2.2.2:3000/init");
        }
        assert_eq!(pod_spec(&GroupResource::parse("deployments.example.io")), None);
    }
}
