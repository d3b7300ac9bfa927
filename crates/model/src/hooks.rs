//! Hooks in the specs of backups and restores: commands run in pods before and after.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    GoDuration,
    serde_null::{is_default, null_as_default},
};

/// What happens to the item when a hook fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HookErrorMode {
    /// Go on as though it had worked; the failure is still counted.
    Continue,
    /// The pod is not backed up, or the remaining hooks of the restore do not run.
    Fail,
}

/// All hooks of a backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupHooks {
    /// Hook sets, each with its own selection of pods.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub resources: Vec<BackupResourceHookSpec>,
}

/// One set of backup hooks and the pods that it applies to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupResourceHookSpec {
    /// A name for logs.
    pub name: String,
    /// Empty: all namespaces.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub included_namespaces: Vec<String>,
    /// Namespaces that the set does not apply to.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub excluded_namespaces: Vec<String>,
    /// Empty: all kinds (only pods can run hooks).
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub included_resources: Vec<String>,
    /// Kinds that the set does not apply to.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub excluded_resources: Vec<String>,
    /// Only pods that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// Run before the pod is backed up.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub pre: Vec<BackupResourceHook>,
    /// Run after the pod and its volumes are backed up.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub post: Vec<BackupResourceHook>,
}

/// One backup hook.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupResourceHook {
    /// The command to run.
    pub exec: ExecHook,
}

/// A command in a container of the pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecHook {
    /// Empty: the pod's first container.
    #[serde(default, skip_serializing_if = "is_default")]
    pub container: String,
    /// The argument vector.
    #[serde(default, deserialize_with = "null_as_default")]
    pub command: Vec<String>,
    /// Absent: a failure is an error of the backup, and the pod is backed up all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<HookErrorMode>,
    /// Zero: 30 s.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeout: GoDuration,
}

/// All hooks of a restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreHooks {
    /// Hook sets, each with its own selection of pods.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub resources: Vec<RestoreResourceHookSpec>,
}

/// One set of restore hooks and the pods that it applies to; namespaces are those after mapping.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreResourceHookSpec {
    /// A name for logs.
    pub name: String,
    /// Empty: all namespaces.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub included_namespaces: Vec<String>,
    /// Namespaces that the set does not apply to.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub excluded_namespaces: Vec<String>,
    /// Empty: all kinds (only pods can run hooks).
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub included_resources: Vec<String>,
    /// Kinds that the set does not apply to.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub excluded_resources: Vec<String>,
    /// Only pods that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<LabelSelector>,
    /// The hooks, in order.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub post_hooks: Vec<RestoreResourceHook>,
}

/// One restore hook: exactly one of the two is set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreResourceHook {
    /// A command once the container runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecRestoreHook>,
    /// Init containers put in front of the pod's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<InitRestoreHook>,
}

/// A command in a container of the restored pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExecRestoreHook {
    /// Empty: the pod's first container.
    #[serde(default, skip_serializing_if = "is_default")]
    pub container: String,
    /// The argument vector.
    #[serde(default, deserialize_with = "null_as_default")]
    pub command: Vec<String>,
    /// Absent: `Continue`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_error: Option<HookErrorMode>,
    /// How long the command may run; zero: 30 s.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exec_timeout: GoDuration,
    /// How long to wait for the container; zero: for ever.
    #[serde(default, skip_serializing_if = "is_default")]
    pub wait_timeout: GoDuration,
    /// Wait for readiness instead of for the container to run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_for_ready: Option<bool>,
}

/// Init containers to add to the restored pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InitRestoreHook {
    /// Container objects, kept as they are.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    #[schemars(schema_with = "raw_objects")]
    pub init_containers: Vec<Value>,
    /// Read and without effect, as in Velero: the kubelet runs init containers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub timeout: GoDuration,
}

/// A list of objects whose fields the API server must keep although no schema lists them.
fn raw_objects(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "items": { "type": "object", "x-kubernetes-preserve-unknown-fields": true }
    })
}

/// How many hooks ran and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookStatus {
    /// Hooks that were started.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hooks_attempted: i64,
    /// Hooks that failed or timed out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hooks_failed: i64,
}
