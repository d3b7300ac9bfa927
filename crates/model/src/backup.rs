//! The `Backup` custom resource (`velero.io/v1`).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    GoDuration,
    hooks::{BackupHooks, HookStatus},
    serde_null::{is_default, null_as_default},
};

/// What to back up, where to and for how long. Field by field as Velero's `BackupSpec`; an empty
/// list and an absent one mean the same, an absent boolean means "the server's default".
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "Backup",
    namespaced,
    status = "BackupStatus",
    derive = "Default",
    derive = "PartialEq",
    crates(kube_core = "kube_core")
)]
#[serde(rename_all = "camelCase")]
pub struct BackupSpec {
    /// Labels for backups that a schedule makes from this template.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub metadata: TemplateMetadata,
    /// Namespaces or globs; empty or `*`: all.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub included_namespaces: Vec<String>,
    /// Namespaces or globs to leave out.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub excluded_namespaces: Vec<String>,
    /// Old filter: kinds to include; empty or `*`: all.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub included_resources: Vec<String>,
    /// Old filter: kinds to leave out.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub excluded_resources: Vec<String>,
    /// Scoped filter: cluster-scoped kinds to include.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub included_cluster_scoped_resources: Vec<String>,
    /// Scoped filter: cluster-scoped kinds to leave out.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub excluded_cluster_scoped_resources: Vec<String>,
    /// Scoped filter: namespaced kinds to include.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub included_namespace_scoped_resources: Vec<String>,
    /// Scoped filter: namespaced kinds to leave out.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub excluded_namespace_scoped_resources: Vec<String>,
    /// Only objects that match; excludes `orLabelSelectors`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Only objects that match any of these.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub or_label_selectors: Vec<LabelSelector>,
    /// Whether volumes are snapshotted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_volumes: Option<bool>,
    /// How long the backup is kept; zero: the server's default.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub ttl: GoDuration,
    /// The label that groups claims for one group snapshot.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub volume_group_snapshot_label_key: String,
    /// Old filter: cluster-scoped kinds: all, none, or only what included items refer to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_cluster_resources: Option<bool>,
    /// Commands in pods.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub hooks: BackupHooks,
    /// The storage location's name; empty: the default one.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub storage_location: String,
    /// Snapshot locations, one per provider.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub volume_snapshot_locations: Vec<String>,
    /// Old name of `defaultVolumesToFsBackup`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_volumes_to_restic: Option<bool>,
    /// Copy pod volumes by file unless they opt out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_volumes_to_fs_backup: Option<bool>,
    /// Kind → comma-separated `namespace/name` to back up first, in order.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub ordered_resources: BTreeMap<String, String>,
    /// How long to wait for a CSI snapshot handle.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub csi_snapshot_timeout: GoDuration,
    /// How long asynchronous item operations may take.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub item_operation_timeout: GoDuration,
    /// A ConfigMap with volume policies and include/exclude policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_policy: Option<TypedLocalReference>,
    /// Copy CSI snapshots to the object store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_move_data: Option<bool>,
    /// Which data mover; empty: the built-in one.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub datamover: String,
    /// Settings of the uploader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploader_config: Option<BackupUploaderConfig>,
}

/// Metadata that a schedule's template carries over to its backups.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMetadata {
    /// Labels for the backup.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub labels: BTreeMap<String, String>,
}

/// A reference to an object of the same namespace, by kind and name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TypedLocalReference {
    /// The API group; absent: core.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_group: Option<String>,
    /// The kind, for example `configmap`.
    pub kind: String,
    /// The object's name.
    pub name: String,
}

/// Settings of the uploader for a backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupUploaderConfig {
    /// Files read at once; zero: the uploader's choice.
    #[serde(default, skip_serializing_if = "is_default")]
    pub parallel_files_upload: i64,
}

/// Where a backup is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BackupPhase {
    /// Created, not yet looked at; an absent phase means the same.
    #[default]
    New,
    /// Waiting for its turn.
    Queued,
    /// Next to run.
    ReadyToStart,
    /// The spec is wrong; `validationErrors` tells why. Final.
    FailedValidation,
    /// Being written.
    InProgress,
    /// Objects are written, asynchronous operations go on.
    WaitingForPluginOperations,
    /// As before, with errors so far.
    WaitingForPluginOperationsPartiallyFailed,
    /// Operations are done, the last files are being written.
    Finalizing,
    /// As before, with errors so far.
    FinalizingPartiallyFailed,
    /// All there. Final.
    Completed,
    /// There, with errors. Final.
    PartiallyFailed,
    /// Not there. Final.
    Failed,
    /// Being deleted.
    Deleting,
    /// A phase that this version does not know.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

impl BackupPhase {
    /// Whether nothing more will happen to the backup by itself.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::FailedValidation | Self::Completed | Self::PartiallyFailed | Self::Failed
        )
    }

    /// Whether a backup in this phase is in the bucket and can be restored.
    #[must_use]
    pub const fn is_restorable(self) -> bool {
        matches!(self, Self::Completed | Self::PartiallyFailed)
    }
}

/// What became of a backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    /// Major version of the format: 1.
    #[serde(default, skip_serializing_if = "is_default")]
    pub version: i64,
    /// Version of the format: `1.1.0`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub format_version: String,
    /// When it may be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration: Option<Time>,
    /// Where it is in its life.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub phase: BackupPhase,
    /// Its place in the queue, from 1; 0: not queued.
    #[serde(default, skip_serializing_if = "is_default")]
    pub queue_position: i64,
    /// What is wrong with the spec.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub validation_errors: Vec<String>,
    /// When work on it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// Native snapshots that were tried.
    #[serde(default, skip_serializing_if = "is_default")]
    pub volume_snapshots_attempted: i64,
    /// Native snapshots that worked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub volume_snapshots_completed: i64,
    /// CSI snapshots that were tried.
    #[serde(default, skip_serializing_if = "is_default")]
    pub csi_volume_snapshots_attempted: i64,
    /// CSI snapshots that worked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub csi_volume_snapshots_completed: i64,
    /// Asynchronous operations that were started.
    #[serde(default, skip_serializing_if = "is_default")]
    pub backup_item_operations_attempted: i64,
    /// Asynchronous operations that worked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub backup_item_operations_completed: i64,
    /// Asynchronous operations that failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub backup_item_operations_failed: i64,
    /// Why it is `Failed`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failure_reason: String,
    /// Warnings in its log.
    #[serde(default, skip_serializing_if = "is_default")]
    pub warnings: i64,
    /// Errors in its log.
    #[serde(default, skip_serializing_if = "is_default")]
    pub errors: i64,
    /// Items found and written so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<BackupProgress>,
    /// Hooks that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_status: Option<HookStatus>,
}

/// How far a backup is, in items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupProgress {
    /// Items found so far (an estimate while listing goes on).
    #[serde(default, skip_serializing_if = "is_default")]
    pub total_items: i64,
    /// Items written.
    #[serde(default, skip_serializing_if = "is_default")]
    pub items_backed_up: i64,
}
