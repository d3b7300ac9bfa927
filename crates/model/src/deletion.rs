//! The `DeleteBackupRequest` custom resource (`velero.io/v1`).

use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Backup,
    labels::{BACKUP_NAME, BACKUP_UID, label_value},
    serde_null::{is_default, null_as_default},
};

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

impl DeleteBackupRequest {
    /// A request for this backup, in its namespace, marked as Velero marks its own. The server makes
    /// the name.
    #[must_use]
    pub fn for_backup(backup: &Backup) -> Self {
        let name = backup.metadata.name.clone().unwrap_or_default();
        let uid = backup.metadata.uid.clone().unwrap_or_default();
        let mut request = Self::default();
        request.metadata.generate_name = Some(format!("{name}-"));
        request.metadata.namespace.clone_from(&backup.metadata.namespace);
        request.metadata.labels = Some(
            [
                (BACKUP_NAME.to_owned(), label_value(&name)),
                (BACKUP_UID.to_owned(), uid),
            ]
            .into(),
        );
        request.spec.backup_name = name;
        request
    }
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
