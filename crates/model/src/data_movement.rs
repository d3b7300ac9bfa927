//! `DataUpload` and `DataDownload` (`velero.io/v2alpha1`): snapshots moved to and from the bucket.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    GoDuration,
    serde_null::{is_default, null_as_default},
};

/// Where a data movement is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names are Velero's and say it")]
pub enum DataPathPhase {
    #[default]
    New,
    Accepted,
    Prepared,
    InProgress,
    Canceling,
    Canceled,
    Completed,
    Failed,
}

/// How far a data movement is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MoveProgress {
    /// Bytes to move.
    #[serde(default, skip_serializing_if = "is_default")]
    pub total_bytes: i64,
    /// Bytes moved.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bytes_done: i64,
}

/// Which snapshot to upload and where to.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v2alpha1",
    kind = "DataUpload",
    namespaced,
    status = "DataUploadStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Status","type":"string","description":"How far it is","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Started","type":"date","description":"How long ago it was started","jsonPath":".status.startTimestamp"}"#,
    printcolumn = r#"{"name":"Bytes Done","type":"integer","description":"Bytes moved","jsonPath":".status.progress.bytesDone"}"#,
    printcolumn = r#"{"name":"Total Bytes","type":"integer","description":"Bytes to move","jsonPath":".status.progress.totalBytes"}"#,
    printcolumn = r#"{"name":"Incremental Bytes","type":"integer","description":"Bytes that are new","priority":10,"jsonPath":".status.incrementalBytes"}"#,
    printcolumn = r#"{"name":"Storage Location","type":"string","description":"Where the data is","jsonPath":".spec.backupStorageLocation"}"#,
    printcolumn = r#"{"name":"Age","type":"date","description":"How long ago this DataUpload was created","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Node","type":"string","description":"The node that works on it","jsonPath":".status.node"}"#,
    crates(kube_core = "kube_core")
)]
#[serde(rename_all = "camelCase")]
pub struct DataUploadSpec {
    /// `CSI`.
    pub snapshot_type: String,
    /// The snapshot, for type `CSI`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csi_snapshot: Option<CsiSnapshotSpec>,
    /// The claim.
    #[serde(rename = "sourcePVC")]
    pub source_pvc: String,
    /// Which data mover; empty: the built-in one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub datamover: String,
    /// The storage location.
    pub backup_storage_location: String,
    /// The claim's namespace.
    pub source_namespace: String,
    /// Settings of the data mover.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub data_mover_config: BTreeMap<String, String>,
    /// Set to stop it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cancel: bool,
    /// How long it may take.
    pub operation_timeout: GoDuration,
}

/// A CSI snapshot to upload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CsiSnapshotSpec {
    /// The VolumeSnapshot.
    pub volume_snapshot: String,
    /// The claim's storage class.
    pub storage_class: String,
    /// The snapshot class.
    #[serde(default, skip_serializing_if = "is_default")]
    pub snapshot_class: String,
    /// The CSI driver.
    #[serde(default, skip_serializing_if = "is_default")]
    pub driver: String,
}

/// What became of an upload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataUploadStatus {
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
    /// What the mover reports of itself.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub data_mover_result: BTreeMap<String, String>,
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
    /// The node that does it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node: String,
    /// The node's operating system.
    #[serde(default, rename = "nodeOS", skip_serializing_if = "is_default")]
    pub node_os: String,
    /// Bytes new since the last upload.
    #[serde(default, skip_serializing_if = "is_default")]
    pub incremental_bytes: i64,
    /// The node that accepted it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub accepted_by_node: String,
    /// When a node took it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_timestamp: Option<Time>,
}

/// Which upload to write into which claim.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v2alpha1",
    kind = "DataDownload",
    namespaced,
    status = "DataDownloadStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Status","type":"string","description":"How far it is","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Started","type":"date","description":"How long ago it was started","jsonPath":".status.startTimestamp"}"#,
    printcolumn = r#"{"name":"Bytes Done","type":"integer","description":"Bytes moved","jsonPath":".status.progress.bytesDone"}"#,
    printcolumn = r#"{"name":"Total Bytes","type":"integer","description":"Bytes to move","jsonPath":".status.progress.totalBytes"}"#,
    printcolumn = r#"{"name":"Storage Location","type":"string","description":"Where the data is","jsonPath":".spec.backupStorageLocation"}"#,
    printcolumn = r#"{"name":"Age","type":"date","description":"How long ago this DataDownload was created","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Node","type":"string","description":"The node that works on it","jsonPath":".status.node"}"#,
    crates(kube_core = "kube_core")
)]
#[serde(rename_all = "camelCase")]
pub struct DataDownloadSpec {
    /// The claim to write into.
    pub target_volume: TargetVolume,
    /// The storage location.
    pub backup_storage_location: String,
    /// Which data mover; empty: the built-in one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub datamover: String,
    /// The snapshot in the repository.
    #[serde(rename = "snapshotID")]
    pub snapshot_id: String,
    /// The claim's namespace at backup time.
    pub source_namespace: String,
    /// Settings of the data mover.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub data_mover_config: BTreeMap<String, String>,
    /// Set to stop it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cancel: bool,
    /// How long it may take.
    pub operation_timeout: GoDuration,
    /// The node's operating system.
    #[serde(default, rename = "nodeOS", skip_serializing_if = "is_default")]
    pub node_os: String,
    /// Bytes in the snapshot.
    #[serde(default, skip_serializing_if = "is_default")]
    pub snapshot_size: i64,
}

/// The claim that a download fills.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TargetVolume {
    /// The claim.
    pub pvc: String,
    /// The volume.
    pub pv: String,
    /// The claim's namespace.
    pub namespace: String,
}

/// What became of a download.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataDownloadStatus {
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
    /// The node that does it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node: String,
    /// The node that accepted it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub accepted_by_node: String,
    /// When a node took it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_timestamp: Option<Time>,
}
