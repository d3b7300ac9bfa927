//! What is changed in an object before it is stored, and which other objects it refers to.
//!
//! Only pods, claims, service accounts and definitions are looked at, as by Velero's built-in actions;
//! all other objects are stored as the bytes that the API server sent.

pub mod claims;
mod rbac;

use refloat_model::{GroupResource, ObjectName, labels};
use serde_json::Value;

use crate::json;
pub use claims::{BoundClaim, bound_claim};
pub use rbac::RbacIndex;

/// Label on a claim: the CSI snapshot that it was restored from.
const VOLUME_SNAPSHOT: &str = "velero.io/volume-snapshot-name";

/// An object that another one refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelatedItem {
    /// Its kind.
    pub resource: GroupResource,
    /// Its namespace and name.
    pub name: ObjectName,
}

/// What [`act`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActionOutcome {
    /// Objects that belong into the backup as well, if [`crate::backup::BackupPlan::related_allowed`]
    /// lets them.
    pub related: Vec<RelatedItem>,
    /// Whether the object was changed; if not, its bytes can be stored as they were.
    pub changed: bool,
    /// Whether the related objects come along even where the filters or their label exclude them.
    pub must_include_additional: bool,
    /// Whether the object is left out after all, and with it what it refers to.
    pub skip: bool,
}

/// Whether objects of a kind have to be parsed for [`act`].
#[must_use]
pub fn needs_parsing(resource: &GroupResource) -> bool {
    match resource.group.as_str() {
        "" => matches!(
            resource.resource.as_str(),
            "pods" | "persistentvolumeclaims" | "serviceaccounts"
        ),
        "apiextensions.k8s.io" => resource.resource == "customresourcedefinitions",
        _ => false,
    }
}

/// Changes an object to its stored form and finds what it refers to. `rbac` knows the cluster role
/// bindings of the cluster.
#[must_use]
pub fn act(
    backup_name: &str,
    rbac: &RbacIndex,
    resource: &GroupResource,
    object: &mut Value,
) -> ActionOutcome {
    let mut outcome = ActionOutcome::default();
    if !needs_parsing(resource) {
        return outcome;
    }
    let annotations = ["metadata", "annotations"];
    let has = |key| json::object(object, &annotations).is_some_and(|all| all.contains_key(key));
    if has(labels::SKIP_FROM_BACKUP) {
        outcome.skip = true;
        return outcome;
    }
    match resource.resource.as_str() {
        "pods" => outcome.related = pod_related(object),
        "serviceaccounts" => outcome.related = rbac.related(object),
        "persistentvolumeclaims" => claim(backup_name, object, &mut outcome),
        _ => {}
    }
    let asked = json::object(object, &annotations)
        .and_then(|annotations| annotations.get(labels::MUST_INCLUDE_ADDITIONAL))
        .map(|value| value == "true");
    if let Some(asked) = asked {
        // A message to the server, not a part of the object.
        outcome.must_include_additional = asked;
        outcome.changed |= json::remove(object, &annotations, labels::MUST_INCLUDE_ADDITIONAL);
    }
    outcome
}

/// A pod's priority class and claims.
pub(crate) fn pod_related(pod: &Value) -> Vec<RelatedItem> {
    let mut related = Vec::new();
    if let Some(class) = json::text(pod, &["spec", "priorityClassName"]).filter(|name| !name.is_empty()) {
        related.push(RelatedItem {
            resource: GroupResource::new("priorityclasses", "scheduling.k8s.io"),
            name: ObjectName::new("", class),
        });
    }
    let namespace = json::text(pod, &["metadata", "namespace"]).unwrap_or_default();
    for volume in json::list(pod, &["spec", "volumes"]) {
        let claim = json::text(volume, &["persistentVolumeClaim", "claimName"]);
        if let Some(claim) = claim.filter(|name| !name.is_empty()) {
            related.push(RelatedItem {
                resource: GroupResource::new("persistentvolumeclaims", ""),
                name: ObjectName::new(namespace, claim),
            });
        }
    }
    related
}

/// The volume that a claim is bound to.
pub(crate) fn bound_volume(claim: &Value) -> Option<RelatedItem> {
    let bound = json::text(claim, &["status", "phase"]) == Some("Bound");
    let volume = json::text(claim, &["spec", "volumeName"]).filter(|name| bound && !name.is_empty())?;
    Some(RelatedItem {
        resource: GroupResource::new("persistentvolumes", ""),
        name: ObjectName::new("", volume),
    })
}

/// A bound claim is stored without what only counted when it was provisioned, and without the
/// labels of an earlier restore.
fn claim(backup_name: &str, object: &mut Value, outcome: &mut ActionOutcome) {
    let Some(volume) = bound_volume(object) else {
        return;
    };
    outcome.related.push(volume);
    let mut changed = false;
    for key in ["dataSource", "dataSourceRef"] {
        changed |= json::remove(object, &["spec"], key);
    }
    if json::text(object, &["spec", "storageClassName"]) != Some("") {
        changed |= json::remove(object, &["spec"], "selector");
    }
    if let Some(selected) = json::object_mut(object, &["spec", "selector", "matchLabels"]) {
        let before = selected.len();
        selected.retain(|key, _| !key.starts_with("velero.io/"));
        changed |= selected.len() != before;
    }
    if let Some(own) = json::object_mut(object, &["metadata", "labels"]) {
        let before = own.len();
        own.retain(|key, value| match key.as_str() {
            labels::RESTORE_NAME | labels::MUST_INCLUDE_ADDITIONAL | VOLUME_SNAPSHOT => false,
            labels::BACKUP_NAME => value == backup_name,
            _ => true,
        });
        changed |= own.len() != before;
    }
    outcome.changed |= changed;
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn act_on(kind: &str, object: &mut Value) -> ActionOutcome {
        act("b1", &RbacIndex::default(), &GroupResource::parse(kind), object)
    }

    fn names(outcome: &ActionOutcome) -> Vec<String> {
        outcome
            .related
            .iter()
            .map(|item| format!("{} {}", item.resource, item.name))
            .collect()
    }

    #[test]
    fn a_pod_brings_its_claims_and_priority_class() {
        let mut pod = json!({
            "metadata": {"namespace": "n", "name": "p"},
            "spec": {"priorityClassName": "high", "volumes": [
                {"name": "a", "persistentVolumeClaim": {"claimName": "data"}},
                {"name": "b", "emptyDir": {}}, 7, {"persistentVolumeClaim": {"claimName": ""}}
            ]}
        });
        let before = pod.clone();
        let outcome = act_on("pods", &mut pod);
        assert_eq!(
            names(&outcome),
            [
                "priorityclasses.scheduling.k8s.io high",
                "persistentvolumeclaims n/data"
            ]
        );
        assert!(!outcome.changed && !outcome.must_include_additional);
        assert_eq!(pod, before);
    }

    #[test]
    fn the_annotation_for_the_server_is_obeyed_and_dropped() {
        let mut pod = json!({"metadata": {"annotations": {
            "backup.velero.io/must-include-additional-items": "true", "a": "b"}}});
        let outcome = act_on("pods", &mut pod);
        assert!(outcome.changed && outcome.must_include_additional);
        assert_eq!(pod, json!({"metadata": {"annotations": {"a": "b"}}}));
    }

    #[test]
    fn an_object_that_says_so_is_skipped_with_all_that_it_refers_to() {
        for kind in [
            "pods",
            "persistentvolumeclaims",
            "serviceaccounts",
            "customresourcedefinitions.apiextensions.k8s.io",
        ] {
            let mut object = json!({"metadata": {"namespace": "n", "annotations": {
                labels::SKIP_FROM_BACKUP: "", labels::MUST_INCLUDE_ADDITIONAL: "true"}},
                "spec": {"volumes": [{"persistentVolumeClaim": {"claimName": "data"}}]}});
            let outcome = act_on(kind, &mut object);
            assert!(
                outcome.skip && outcome.related.is_empty() && !outcome.must_include_additional,
                "{kind}"
            );
        }
    }

    #[test]
    fn a_bound_claim_loses_what_only_counted_once() {
        let mut claim = json!({
            "metadata": {"name": "c", "namespace": "n", "labels": {
                "app": "db", "velero.io/restore-name": "r", "velero.io/backup-name": "older",
                "velero.io/volume-snapshot-name": "s"}},
            "spec": {"volumeName": "pv1", "storageClassName": "fast", "selector": {"matchLabels": {"a": "b"}},
                "dataSource": {"kind": "VolumeSnapshot"}, "dataSourceRef": {"kind": "VolumeSnapshot"}},
            "status": {"phase": "Bound"}
        });
        let outcome = act_on("persistentvolumeclaims", &mut claim);
        assert_eq!(names(&outcome), ["persistentvolumes pv1"]);
        assert!(outcome.changed);
        assert_eq!(
            claim,
            json!({
                "metadata": {"name": "c", "namespace": "n", "labels": {"app": "db"}},
                "spec": {"volumeName": "pv1", "storageClassName": "fast"},
                "status": {"phase": "Bound"}
            })
        );
    }

    #[test]
    fn an_unbound_claim_and_a_static_one_keep_their_selector() {
        let mut pending = json!({"spec": {"selector": {}, "dataSource": {}}, "status": {"phase": "Pending"}});
        let before = pending.clone();
        assert_eq!(
            act_on("persistentvolumeclaims", &mut pending),
            ActionOutcome::default()
        );
        assert_eq!(pending, before);
        let mut fixed = json!({
            "metadata": {"labels": {"velero.io/backup-name": "b1"}},
            "spec": {"volumeName": "v", "storageClassName": "",
                "selector": {"matchLabels": {"velero.io/x": "y", "a": "b"}}},
            "status": {"phase": "Bound"}
        });
        assert!(act_on("persistentvolumeclaims", &mut fixed).changed);
        assert_eq!(fixed["spec"]["selector"], json!({"matchLabels": {"a": "b"}}));
        assert_eq!(
            fixed["metadata"]["labels"],
            json!({"velero.io/backup-name": "b1"})
        );
    }

    #[test]
    fn other_kinds_and_other_groups_are_left_alone() {
        assert!(!needs_parsing(&GroupResource::parse("configmaps")));
        assert!(!needs_parsing(&GroupResource::parse("pods.metrics.k8s.io")));
        let mut value = json!({"metadata": {"annotations": {labels::MUST_INCLUDE_ADDITIONAL: "true"}}});
        assert_eq!(act_on("configmaps", &mut value), ActionOutcome::default());
    }
}
