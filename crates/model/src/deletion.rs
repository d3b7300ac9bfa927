//! The `DeleteBackupRequest` custom resource (`velero.io/v1`).

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::serde_null::{is_default, null_as_default};

/// Asks for a backup to be deleted, files and all.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "DeleteBackupRequest",
    namespaced,
    status = "DeleteBackupRequestStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"BackupName","type":"string","description":"The name of the backup to be deleted","jsonPath":".spec.backupName"}"#,
    printcolumn = r#"{"name":"Status","type":"string","description":"The status of the deletion request","jsonPath":".status.phase"}"#,
    crates(kube_core = "kube_core")
)]
#[serde(rename_all = "camelCase")]
pub struct DeleteBackupRequestSpec {
    /// The backup to delete.
    pub backup_name: String,
}

/// Where a deletion is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeleteBackupRequestPhase {
    /// Not yet looked at.
    #[default]
    New,
    /// Going on.
    InProgress,
    /// Over; `errors` tells whether it worked.
    Processed,
}

/// What became of a deletion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeleteBackupRequestStatus {
    /// Where it is.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub phase: DeleteBackupRequestPhase,
    /// What went wrong; empty: nothing.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub errors: Vec<String>,
}
