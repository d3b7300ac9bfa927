//! The `Restore` custom resource (`velero.io/v1`).

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    GoDuration,
    backup::TypedLocalReference,
    hooks::{HookStatus, RestoreHooks},
    serde_null::{is_default, null_as_default},
};

/// What to restore, from which backup and how. Field by field as Velero's `RestoreSpec`; exactly
/// one of `backupName` and `scheduleName` is set.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "Restore",
    namespaced,
    status = "RestoreStatus",
    derive = "Default",
    derive = "PartialEq",
    crates(kube_core = "kube_core")
)]
#[serde(rename_all = "camelCase")]
pub struct RestoreSpec {
    /// The backup to restore from.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub backup_name: String,
    /// The schedule whose latest successful backup to restore from.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub schedule_name: String,
    /// Namespaces as in the backup; empty or `*`: all.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub included_namespaces: Vec<String>,
    /// Namespaces to leave out.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub excluded_namespaces: Vec<String>,
    /// Kinds to include; empty or `*`: all.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub included_resources: Vec<String>,
    /// Kinds to leave out.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub excluded_resources: Vec<String>,
    /// Namespace in the backup → namespace in the cluster.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub namespace_mapping: BTreeMap<String, String>,
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
    /// Whether volumes are restored from snapshots.
    #[serde(default, rename = "restorePVs", skip_serializing_if = "Option::is_none")]
    pub restore_pvs: Option<bool>,
    /// For which kinds the status is restored too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_status: Option<RestoreStatusSpec>,
    /// Keep the node ports of services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preserve_node_ports: Option<bool>,
    /// Cluster-scoped kinds: all, none, or (absent) all if all namespaces are restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include_cluster_resources: Option<bool>,
    /// Commands and init containers in restored pods.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub hooks: RestoreHooks,
    /// `none` (or empty): leave what exists; `update`: patch it.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    #[schemars(extend("nullable" = true))]
    pub existing_resource_policy: String,
    /// How long asynchronous item operations may take.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub item_operation_timeout: GoDuration,
    /// A ConfigMap with rules that change objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_modifier: Option<TypedLocalReference>,
    /// A ConfigMap with rules for volumes, and for what is included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_policy: Option<TypedLocalReference>,
    /// Settings of the uploader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uploader_config: Option<RestoreUploaderConfig>,
}

/// Kinds whose status is restored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreStatusSpec {
    /// Kinds to include; `*`: all.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub included_resources: Vec<String>,
    /// Kinds to leave out.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub excluded_resources: Vec<String>,
}

/// Settings of the uploader for a restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreUploaderConfig {
    /// Leave holes where the file has zeros.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_sparse_files: Option<bool>,
    /// Files written at once.
    #[serde(default, skip_serializing_if = "is_default")]
    pub parallel_files_download: i64,
}

/// Where a restore is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestorePhase {
    /// Created, not yet looked at; an absent phase means the same.
    #[default]
    New,
    /// The spec is wrong; `validationErrors` tells why. Final.
    FailedValidation,
    /// Objects are being created.
    InProgress,
    /// Objects are there, asynchronous operations go on.
    WaitingForPluginOperations,
    /// As before, with errors so far.
    WaitingForPluginOperationsPartiallyFailed,
    /// Hooks and volumes are being finished.
    Finalizing,
    /// As before, with errors so far.
    FinalizingPartiallyFailed,
    /// All done. Final.
    Completed,
    /// Done, with errors. Final.
    PartiallyFailed,
    /// Not done. Final.
    Failed,
    /// A phase that this version does not know.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

impl RestorePhase {
    /// Whether nothing more will happen to the restore by itself.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::FailedValidation | Self::Completed | Self::PartiallyFailed | Self::Failed
        )
    }
}

/// What became of a restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreStatus {
    /// Where it is in its life.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub phase: RestorePhase,
    /// What is wrong with the spec.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub validation_errors: Vec<String>,
    /// Warnings in its results.
    #[serde(default, skip_serializing_if = "is_default")]
    pub warnings: i64,
    /// Errors in its results.
    #[serde(default, skip_serializing_if = "is_default")]
    pub errors: i64,
    /// Why it is `Failed`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failure_reason: String,
    /// When work on it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
    /// Items in the plan and done so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<RestoreProgress>,
    /// Asynchronous operations that were started.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restore_item_operations_attempted: i64,
    /// Asynchronous operations that worked.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restore_item_operations_completed: i64,
    /// Asynchronous operations that failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restore_item_operations_failed: i64,
    /// Hooks that ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hook_status: Option<HookStatus>,
}

/// How far a restore is, in items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreProgress {
    /// Items that the restore will try.
    #[serde(default, skip_serializing_if = "is_default")]
    pub total_items: i64,
    /// Items done.
    #[serde(default, skip_serializing_if = "is_default")]
    pub items_restored: i64,
}
