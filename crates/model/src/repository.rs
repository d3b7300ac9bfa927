//! The `BackupRepository` custom resource (`velero.io/v1`): one deduplicating repository per
//! namespace and location.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    GoDuration,
    serde_null::{is_default, null_as_default},
};

/// A repository of volume data.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "BackupRepository",
    plural = "backuprepositories",
    namespaced,
    status = "BackupRepositoryStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Repository Type","type":"string","jsonPath":".spec.repositoryType"}"#,
    crates(kube_core = "kube_core")
)]
#[serde(rename_all = "camelCase")]
pub struct BackupRepositorySpec {
    /// The namespace whose volumes it holds.
    pub volume_namespace: String,
    /// The storage location.
    pub backup_storage_location: String,
    /// `kopia` or `restic`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub repository_type: String,
    /// The repository as restic names it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restic_identifier: String,
    /// How often it is maintained.
    pub maintenance_frequency: GoDuration,
    /// Settings of the repository.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub repository_config: BTreeMap<String, String>,
}

/// Whether a repository can be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackupRepositoryPhase {
    /// Not yet looked at.
    #[default]
    New,
    /// It can be used.
    Ready,
    /// It cannot; `message` tells why.
    NotReady,
}

/// What is known of a repository.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupRepositoryStatus {
    /// Whether it can be used.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub phase: BackupRepositoryPhase,
    /// Why it cannot be used.
    #[serde(default, skip_serializing_if = "is_default")]
    pub message: String,
    /// When it was last maintained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_maintenance_time: Option<Time>,
    /// The last runs, three at most.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub recent_maintenance: Vec<MaintenanceRun>,
}

/// One run of the maintenance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MaintenanceRun {
    /// `Succeeded` or `Failed`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub result: String,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_timestamp: Option<Time>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub message: String,
}
