//! The `DownloadRequest` custom resource (`velero.io/v1`): how the CLI gets at files of the bucket.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::serde_null::{is_default, null_as_default};

/// Asks for a URL.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "DownloadRequest",
    namespaced,
    status = "DownloadRequestStatus",
    derive = "PartialEq",
    crates(kube_core = "kube_core")
)]
#[serde(rename_all = "camelCase")]
pub struct DownloadRequestSpec {
    /// The file that is wanted.
    pub target: DownloadTarget,
}

/// A file of a backup or restore.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DownloadTarget {
    /// Which file.
    pub kind: DownloadTargetKind,
    /// The backup's or restore's name.
    pub name: String,
}

/// Which file of a backup or restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(
    missing_docs,
    reason = "the names are Velero's and say it; layout.rs maps them to keys"
)]
pub enum DownloadTargetKind {
    BackupLog,
    BackupContents,
    BackupVolumeSnapshots,
    BackupItemOperations,
    BackupResourceList,
    BackupResults,
    BackupVolumeInfos,
    #[serde(rename = "CSIBackupVolumeSnapshots")]
    CsiBackupVolumeSnapshots,
    #[serde(rename = "CSIBackupVolumeSnapshotContents")]
    CsiBackupVolumeSnapshotContents,
    RestoreLog,
    RestoreResults,
    RestoreResourceList,
    RestoreItemOperations,
    RestoreVolumeInfo,
}

impl DownloadTargetKind {
    /// Whether the target is a file of a restore, not of a backup.
    #[must_use]
    pub const fn is_restore(self) -> bool {
        matches!(
            self,
            Self::RestoreLog
                | Self::RestoreResults
                | Self::RestoreResourceList
                | Self::RestoreItemOperations
                | Self::RestoreVolumeInfo
        )
    }
}

/// Whether the URL is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DownloadRequestPhase {
    /// Not yet looked at.
    #[default]
    New,
    /// The URL is there.
    Processed,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DownloadRequestStatus {
    /// Whether the URL is there.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub phase: DownloadRequestPhase,
    /// Where to GET the file; carries its own authorisation, so it is a secret until it expires.
    #[serde(default, rename = "downloadURL", skip_serializing_if = "is_default")]
    pub download_url: String,
    /// When the URL stops working.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Time>,
}
