//! The `Schedule` custom resource (`velero.io/v1`): backups made by the clock.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BackupSpec,
    serde_null::{is_default, null_as_default},
};

/// When to make a backup and of what.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "Schedule",
    namespaced,
    status = "ScheduleStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Status","type":"string","description":"Status of the schedule","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Schedule","type":"string","description":"A Cron expression defining when to run the Backup","jsonPath":".spec.schedule"}"#,
    printcolumn = r#"{"name":"LastBackup","type":"date","description":"The last time a Backup was run for this schedule","jsonPath":".status.lastBackup"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Paused","type":"boolean","jsonPath":".spec.paused"}"#,
    crates(kube_core = "kube_core")
)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleSpec {
    /// The backups' spec.
    pub template: BackupSpec,
    /// Five cron fields, `@every 6h`, or `CRON_TZ=… ` in front.
    pub schedule: String,
    /// Whether backups are owned by the schedule and go with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub use_owner_references_in_backup: Option<bool>,
    /// No runs while set.
    #[serde(default, skip_serializing_if = "is_default")]
    pub paused: bool,
    /// Do not run at once when made or unpaused although a run is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_immediately: Option<bool>,
}

/// Whether a schedule is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SchedulePhase {
    /// Created, not yet looked at.
    #[default]
    New,
    /// In force.
    Enabled,
    /// The spec is wrong.
    FailedValidation,
}

/// What became of a schedule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleStatus {
    /// Whether it is in force.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub phase: SchedulePhase,
    /// When it last made a backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup: Option<Time>,
    /// When a run was last left out on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_skipped: Option<Time>,
    /// What is wrong with the spec.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub validation_errors: Vec<String>,
}
