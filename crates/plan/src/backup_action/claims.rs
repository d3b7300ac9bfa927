//! Which pods and claims belong to a claim that is backed up: those that mount it, and those of its
//! volume group. A label selector may pass them over, and without them a volume that several pods
//! share would be backed up with some of its pods only.

use refloat_model::{GroupResource, ObjectName};
use serde_json::Value;

use super::{RelatedItem, bound_volume};
use crate::json;

/// A claim that is bound to a volume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BoundClaim {
    /// Its namespace and name.
    pub name: ObjectName,
    /// Its volume group, the value of the label that the backup's spec names; empty: none.
    pub group: String,
}

/// The claim that an object is, if it is bound. `group_label` is the key of the label that names a
/// claim's volume group.
#[must_use]
pub fn bound_claim(object: &Value, group_label: &str) -> Option<BoundClaim> {
    bound_volume(object)?;
    let metadata = |key| json::text(object, &["metadata", key]).unwrap_or_default();
    let group = match group_label {
        "" => None,
        key => json::text(object, &["metadata", "labels", key]),
    };
    Some(BoundClaim {
        name: ObjectName::new(metadata("namespace"), metadata("name")),
        group: group.unwrap_or_default().to_owned(),
    })
}

/// The names of the claims that a running pod mounts; of one that does not run, none.
#[must_use]
pub fn mounted_claims(pod: &Value) -> Vec<&str> {
    let scheduled = json::text(pod, &["spec", "nodeName"]).is_some_and(|node| !node.is_empty());
    let running = json::text(pod, &["status", "phase"]) == Some("Running");
    let going = json::text(pod, &["metadata", "deletionTimestamp"]).is_some();
    if !scheduled || !running || going {
        return Vec::new();
    }
    json::list(pod, &["spec", "volumes"])
        .iter()
        .filter_map(|volume| json::text(volume, &["persistentVolumeClaim", "claimName"]))
        .collect()
}

/// A pod as what a claim refers to.
#[must_use]
pub fn pod(namespace: &str, name: &str) -> RelatedItem {
    item("pods", namespace, name)
}

/// A claim as what another one of its group refers to.
#[must_use]
pub fn claim(namespace: &str, name: &str) -> RelatedItem {
    item("persistentvolumeclaims", namespace, name)
}

fn item(kind: &str, namespace: &str, name: &str) -> RelatedItem {
    RelatedItem {
        resource: GroupResource::new(kind, ""),
        name: ObjectName::new(namespace, name),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_bound_claims_count_and_know_their_group() {
        let mut object = json!({
            "metadata": {"name": "c", "namespace": "n", "labels": {"group": "g1", "velero.io/volume-group": "g2"}},
            "spec": {"volumeName": "v"}, "status": {"phase": "Bound"}
        });
        let found = bound_claim(&object, "velero.io/volume-group").unwrap();
        assert_eq!(
            (found.name.to_string().as_str(), found.group.as_str()),
            ("n/c", "g2")
        );
        assert_eq!(bound_claim(&object, "group").unwrap().group, "g1");
        assert_eq!(bound_claim(&object, "other").unwrap().group, "");
        assert_eq!(bound_claim(&object, "").unwrap().group, "");
        object["status"]["phase"] = "Pending".into();
        assert_eq!(bound_claim(&object, "group"), None);
    }

    #[test]
    fn only_running_pods_mount() {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "n"},
            "spec": {"nodeName": "node", "volumes": [
                {"persistentVolumeClaim": {"claimName": "a"}}, {"emptyDir": {}},
                {"persistentVolumeClaim": {"claimName": "b"}}]},
            "status": {"phase": "Running"}
        });
        assert_eq!(mounted_claims(&pod), ["a", "b"]);
        for (pointer, value) in [
            ("/spec/nodeName", json!("")),
            ("/status/phase", json!("Pending")),
            ("/status/phase", json!("Succeeded")),
        ] {
            let mut other = pod.clone();
            *other.pointer_mut(pointer).unwrap() = value;
            assert!(mounted_claims(&other).is_empty(), "{pointer}");
        }
        let mut going = pod;
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert!(mounted_claims(&going).is_empty());
    }
}
