//! `<backup>-volumeinfo.json.gz`: what became of each volume, read by `velero backup describe`.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::{Deserialize, Serialize};

use crate::serde_null::{is_default, null_as_default};

/// One volume of a backup. Only what concerns the objects themselves is typed here; the details of
/// snapshots and file copies are kept as they were read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupVolumeInfo {
    /// The claim.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pvc_name: String,
    /// The claim's namespace.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pvc_namespace: String,
    /// The persistent volume.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pv_name: String,
    /// `NativeSnapshot`, `PodVolumeBackup` or `CSISnapshot`; empty when skipped.
    #[serde(default, skip_serializing_if = "is_default")]
    pub backup_method: String,
    /// Whether the snapshot went to the object store.
    #[serde(default)]
    pub snapshot_data_moved: bool,
    /// Whether the snapshot stays in the cluster too.
    #[serde(default)]
    pub preserve_local_snapshot: bool,
    /// Whether the volume's data was left out.
    #[serde(default)]
    pub skipped: bool,
    /// Why it was left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub skipped_reason: String,
    /// When the snapshot was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// `succeeded` or `failed`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub result: String,
    /// The persistent volume's policy and labels, to put back on a dynamically provisioned one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pv_info: Option<PvInfo>,
    /// Everything else, untouched.
    #[serde(flatten)]
    pub details: serde_json::Map<String, serde_json::Value>,
}

/// What a re-provisioned persistent volume gets back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PvInfo {
    /// `Delete` or `Retain`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reclaim_policy: String,
    /// Its labels.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
}
