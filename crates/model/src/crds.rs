//! The custom resource definitions that a cluster needs, as `refloat install` applies them.
//!
//! Velero's own definitions have no status subresource, so its clients write the status through
//! the main resource; ours are the same in that. Lists and maps are nullable because Go clients
//! write `null` for them.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube_core::CustomResourceExt;
use serde_json::Value;

use crate::{
    backup, data_movement, deletion, download, location, pod_volume, repository, restore, restore_plan,
    schedule, server_status,
};

/// All definitions of Velero, by name.
///
/// # Errors
/// None in practice: the definitions are made at compile time, and a test makes each of them.
pub fn all() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    let mut crds = vec![
        backup::Backup::crd(),
        repository::BackupRepository::crd(),
        location::BackupStorageLocation::crd(),
        data_movement::DataDownload::crd(),
        data_movement::DataUpload::crd(),
        deletion::DeleteBackupRequest::crd(),
        download::DownloadRequest::crd(),
        pod_volume::PodVolumeBackup::crd(),
        pod_volume::PodVolumeRestore::crd(),
        restore::Restore::crd(),
        schedule::Schedule::crd(),
        server_status::ServerStatusRequest::crd(),
        location::VolumeSnapshotLocation::crd(),
    ];
    crds.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    crds.into_iter().map(as_velero_has_it).collect()
}

/// Definitions of our own group, by name. A server works without them: one that takes the place of
/// Velero's by its image alone finds them missing, and what they are for is not offered then.
///
/// # Errors
/// As [`all`].
pub fn own() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    [restore_plan::RestorePlan::crd()]
        .into_iter()
        .map(as_velero_has_it)
        .collect()
}

/// Removes the status subresource and lets lists, maps and the status be null.
fn as_velero_has_it(crd: CustomResourceDefinition) -> Result<CustomResourceDefinition, serde_json::Error> {
    let mut value = serde_json::to_value(crd)?;
    value["metadata"]["labels"] = serde_json::json!({ "component": "velero" });
    if let Some(versions) = value["spec"]["versions"].as_array_mut() {
        for version in versions {
            if let Some(version) = version.as_object_mut() {
                version.remove("subresources");
            }
            let schema = &mut version["schema"]["openAPIV3Schema"];
            let description = schema["properties"]["spec"]["description"].clone();
            if let Some(schema) = schema.as_object_mut() {
                schema.remove("required");
                schema.insert("description".into(), description);
            }
            lenient(&mut schema["properties"]["spec"]);
            lenient(&mut schema["properties"]["status"]);
        }
    }
    serde_json::from_value(value)
}

fn lenient(schema: &mut Value) {
    let Some(map) = schema.as_object_mut() else { return };
    let list = map.get("type").is_some_and(|kind| kind == "array");
    if list || map.contains_key("additionalProperties") {
        map.insert("nullable".into(), Value::Bool(true));
    }
    one_value(map);
    for value in map.values_mut() {
        match value {
            Value::Object(_) => lenient(value),
            Value::Array(items) => items.iter_mut().for_each(lenient),
            _ => {}
        }
    }
}

/// References and label selectors are replaced as a whole by server-side apply, and a secret's name
/// may be left out, as in the definitions of Kubernetes' own types.
fn one_value(map: &mut serde_json::Map<String, Value>) {
    let Some(properties) = map.get("properties").and_then(Value::as_object) else {
        return;
    };
    let has = |names: &[&str]| names.iter().all(|name| properties.contains_key(*name));
    let secret = has(&["key", "name", "optional"]);
    let reference = has(&["apiGroup", "kind", "name"]) || has(&["apiVersion", "fieldPath", "kind", "uid"]);
    if secret || reference || has(&["matchExpressions", "matchLabels"]) {
        map.insert("x-kubernetes-map-type".into(), "atomic".into());
    }
    if secret {
        map.insert("required".into(), serde_json::json!(["key"]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_thirteen_and_none_has_a_status_subresource() {
        let crds = all().unwrap();
        assert_eq!(crds.len(), 13);
        for crd in &crds {
            assert!(
                crd.spec
                    .versions
                    .iter()
                    .all(|version| version.subresources.is_none())
            );
            assert!(crd.spec.versions.iter().all(|version| version.schema.is_some()));
        }
        let names: Vec<_> = crds
            .iter()
            .filter_map(|crd| crd.metadata.name.as_deref())
            .collect();
        assert!(names.contains(&"backuprepositories.velero.io"), "{names:?}");
    }
}
