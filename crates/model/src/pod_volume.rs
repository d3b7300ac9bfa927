//! `PodVolumeBackup` and `PodVolumeRestore` (`velero.io/v1`): file copies of pods' volumes.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::ObjectReference, apimachinery::pkg::apis::meta::v1::Time};
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    data_movement::{DataPathPhase, MoveProgress},
    serde_null::{is_default, null_as_default},
};

/// Which volume of which pod to copy and where to.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "PodVolumeBackup",
    namespaced,
    status = "PodVolumeBackupStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Status","type":"string","description":"How far it is","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Started","type":"date","description":"How long ago it was started","jsonPath":".status.startTimestamp"}"#,
    printcolumn = r#"{"name":"Bytes Done","type":"integer","description":"Bytes moved","jsonPath":".status.progress.bytesDone"}"#,
    printcolumn = r#"{"name":"Total Bytes","type":"integer","description":"Bytes to move","jsonPath":".status.progress.totalBytes"}"#,
    printcolumn = r#"{"name":"Incremental Bytes","type":"integer","description":"Bytes that are new","priority":10,"jsonPath":".status.incrementalBytes"}"#,
    printcolumn = r#"{"name":"Storage Location","type":"string","description":"Where the data is","jsonPath":".spec.backupStorageLocation"}"#,
    printcolumn = r#"{"name":"Age","type":"date","description":"How long ago this PodVolumeBackup was created","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Node","type":"string","description":"The node that works on it","jsonPath":".status.node"}"#,
    printcolumn = r#"{"name":"Uploader","type":"string","description":"What moves the data","jsonPath":".spec.uploaderType"}"#,
    crates(kube_core = "kube_core")
)]
#[serde(rename_all = "camelCase")]
pub struct PodVolumeBackupSpec {
    /// The node that the pod runs on.
    pub node: String,
    /// The pod.
    pub pod: ObjectReference,
    /// The volume's name in the pod.
    pub volume: String,
    /// The storage location.
    pub backup_storage_location: String,
    /// The repository.
    pub repo_identifier: String,
    /// Which uploader wrote it: `kopia`, `restic`, or ours.
    #[serde(default, skip_serializing_if = "is_default")]
    pub uploader_type: String,
    /// Tags of the snapshot.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub tags: BTreeMap<String, String>,
    /// Settings of the uploader.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub uploader_settings: BTreeMap<String, String>,
    /// Set to stop it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cancel: bool,
}

/// What became of a volume's copy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodVolumeBackupStatus {
    /// Where it is in its life.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub phase: DataPathPhase,
    /// The folder that was read.
    #[serde(default, skip_serializing_if = "is_default")]
    pub path: String,
    /// The snapshot in the repository.
    #[serde(default, rename = "snapshotID", skip_serializing_if = "is_default")]
    pub snapshot_id: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub message: String,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<MoveProgress>,
    /// Bytes new since the last copy.
    #[serde(default, skip_serializing_if = "is_default")]
    pub incremental_bytes: i64,
    /// When a node took it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_timestamp: Option<Time>,
}

/// Which snapshot to write into which volume of which pod.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "PodVolumeRestore",
    namespaced,
    status = "PodVolumeRestoreStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Status","type":"string","description":"How far it is","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Started","type":"date","description":"How long ago it was started","jsonPath":".status.startTimestamp"}"#,
    printcolumn = r#"{"name":"Bytes Done","type":"integer","description":"Bytes moved","jsonPath":".status.progress.bytesDone"}"#,
    printcolumn = r#"{"name":"Total Bytes","type":"integer","description":"Bytes to move","jsonPath":".status.progress.totalBytes"}"#,
    printcolumn = r#"{"name":"Storage Location","type":"string","description":"Where the data is","jsonPath":".spec.backupStorageLocation"}"#,
    printcolumn = r#"{"name":"Age","type":"date","description":"How long ago this PodVolumeRestore was created","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Node","type":"string","description":"The node that works on it","jsonPath":".status.node"}"#,
    printcolumn = r#"{"name":"Uploader Type","type":"string","description":"What moves the data","jsonPath":".spec.uploaderType"}"#,
    crates(kube_core = "kube_core")
)]
#[serde(rename_all = "camelCase")]
pub struct PodVolumeRestoreSpec {
    /// The pod.
    pub pod: ObjectReference,
    /// The volume's name in the pod.
    pub volume: String,
    /// The storage location.
    pub backup_storage_location: String,
    /// The repository.
    pub repo_identifier: String,
    /// Which uploader wrote it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub uploader_type: String,
    /// The snapshot in the repository.
    #[serde(rename = "snapshotID")]
    pub snapshot_id: String,
    /// The namespace at backup time.
    pub source_namespace: String,
    /// Settings of the uploader.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub uploader_settings: BTreeMap<String, String>,
    /// Set to stop it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cancel: bool,
    /// Bytes in the snapshot.
    #[serde(default, skip_serializing_if = "is_default")]
    pub snapshot_size: i64,
}

/// What became of a volume's restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodVolumeRestoreStatus {
    /// Where it is in its life.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub phase: DataPathPhase,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub message: String,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<MoveProgress>,
    /// When a node took it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_timestamp: Option<Time>,
    /// The node that does it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node: String,
}
