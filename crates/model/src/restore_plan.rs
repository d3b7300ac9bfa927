//! The `RestorePlan` custom resource (`refloat.io/v1alpha1`): what a restore would do, found out
//! before it does it; and the file in the bucket that says so for every object.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    RestoreSpec,
    serde_null::{is_default, null_as_default},
};

/// The first line's `format` in the file of a plan.
pub const FORMAT: &str = "refloat.io/restore-plan";
/// The first line's `version`; a reader takes no other.
pub const VERSION: u64 = 1;

/// What to plan.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "refloat.io",
    version = "v1alpha1",
    kind = "RestorePlan",
    namespaced,
    status = "RestorePlanStatus",
    derive = "Default",
    derive = "PartialEq",
    crates(kube_core = "kube_core"),
    printcolumn = r#"{"name":"Backup","type":"string","jsonPath":".spec.restore.backupName"}"#,
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Create","type":"integer","jsonPath":".status.totals.create"}"#,
    printcolumn = r#"{"name":"Patch","type":"integer","jsonPath":".status.totals.patch"}"#,
    printcolumn = r#"{"name":"Conflict","type":"integer","jsonPath":".status.totals.conflict"}"#,
    printcolumn = r#"{"name":"Blocked","type":"integer","jsonPath":".status.totals.blocked"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct RestorePlanSpec {
    /// The restore that is planned. `backupName` must be set.
    pub restore: RestoreSpec,
    /// Only these objects, as `resource[.group]/[namespace/]name`; empty: all that the restore selects.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub objects: Vec<String>,
}

/// Where a plan is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestorePlanPhase {
    /// Created, not yet worked on; an absent phase means the same.
    #[default]
    New,
    /// The cluster is being asked.
    InProgress,
    /// It is there and may be applied. Final.
    Ready,
    /// It could not be made; `failureReason` tells why. Final.
    Failed,
    /// A phase that this version does not know.
    #[serde(other)]
    #[schemars(skip)]
    Unknown,
}

impl RestorePlanPhase {
    /// Whether nothing more will happen to the plan by itself.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Ready | Self::Failed)
    }
}

/// What was found out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestorePlanStatus {
    /// Where it is in its life.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub phase: RestorePlanPhase,
    /// SHA-256 over all decisions, in hexadecimal.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hash: String,
    /// How many objects there are of each action.
    #[serde(default, skip_serializing_if = "is_default")]
    pub totals: PlanTotals,
    /// The key in the bucket of the file with every object.
    #[serde(default, skip_serializing_if = "is_default")]
    pub listing: String,
    /// The first objects that would not be restored, one line each.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub attention: Vec<String>,
    /// Why it could not be made.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failure_reason: String,
    /// When work on it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_timestamp: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_timestamp: Option<Time>,
}

/// How many objects there are of each action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct PlanTotals {
    /// To be created.
    pub create: i64,
    /// There already, and the same.
    pub same: i64,
    /// There already, and to be changed.
    pub patch: i64,
    /// There already, different, and to be left.
    pub conflict: i64,
    /// Not possible.
    pub blocked: i64,
    /// Left out by a rule of restores.
    pub skip: i64,
}

impl PlanTotals {
    /// Counts one more.
    pub fn count(&mut self, action: PlanAction) {
        let counter = match action {
            PlanAction::Create => &mut self.create,
            PlanAction::Same => &mut self.same,
            PlanAction::Patch => &mut self.patch,
            PlanAction::Conflict => &mut self.conflict,
            PlanAction::Blocked => &mut self.blocked,
            PlanAction::Skip => &mut self.skip,
        };
        *counter += 1;
    }

    /// All objects.
    #[must_use]
    pub fn all(&self) -> i64 {
        self.create + self.same + self.patch + self.conflict + self.blocked + self.skip
    }
}

/// What a restore would do with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PlanAction {
    /// Create it.
    Create,
    /// Nothing: it is there and the same.
    Same,
    /// Change it to what the backup has.
    Patch,
    /// Leave it: it is there and different.
    Conflict,
    /// Nothing: it cannot be restored.
    Blocked,
    /// Leave it out, by a rule of restores.
    Skip,
}

impl PlanAction {
    /// Its name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Same => "same",
            Self::Patch => "patch",
            Self::Conflict => "conflict",
            Self::Blocked => "blocked",
            Self::Skip => "skip",
        }
    }
}

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Where: `spec.template.spec.containers[web].image`.
    pub path: String,
    /// The first side's value; absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// The second side's value; absent: it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// The first line of a plan's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanHead {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u64,
    /// The backup.
    pub backup: String,
    /// SHA-256 of the backup's tarball, or the backup's UID where that is not known.
    pub contents: String,
    /// SHA-256 of what counts of the restore's spec.
    pub spec: String,
    /// The UID of the cluster's namespace `kube-system`; empty: it may not be read.
    pub cluster: String,
    /// Random; the differences of secrets are hashed with it.
    pub salt: String,
}

/// An object's line in a plan's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanObject {
    /// `resource[.group]`.
    pub resource: String,
    /// Its place among the backup's objects of its kind, from 0.
    pub i: u64,
    /// Its namespace in the cluster; absent: cluster-scoped.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What a restore would do.
    pub action: PlanAction,
    /// Whether the server was asked; it cannot be while the namespace or the definition is still to
    /// be made.
    pub checked: bool,
    /// For machines: why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// For people: why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// SHA-256 of the difference between the cluster's object and the backup's.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub difference: String,
    /// The same for people: from the cluster's to the backup's. What secrets hold is not told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
}

impl PlanObject {
    /// `resource namespace/name`.
    #[must_use]
    pub fn title(&self) -> String {
        if self.namespace.is_empty() {
            format!("{} {}", self.resource, self.name)
        } else {
            format!("{} {}/{}", self.resource, self.namespace, self.name)
        }
    }
}

/// The last line of a plan's file; without it the file is cut.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanEnd {
    /// SHA-256 over all decisions, in hexadecimal.
    pub hash: String,
    /// How many objects there are of each action.
    pub totals: PlanTotals,
}

/// A line of a plan's file.
#[derive(Clone, Debug, PartialEq)]
pub enum PlanLine {
    /// The first.
    Head(PlanHead),
    /// An object.
    Object(Box<PlanObject>),
    /// The last.
    End(PlanEnd),
}

impl PlanLine {
    /// Reads a line.
    ///
    /// # Errors
    /// A text that says that it is none.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        // Told apart by their first field, which is written first.
        let wrong = |error: serde_json::Error| error.to_string();
        if text.starts_with(br#"{"resource""#) {
            serde_json::from_slice(text).map(Self::Object).map_err(wrong)
        } else if text.starts_with(br#"{"format""#) {
            serde_json::from_slice(text).map(Self::Head).map_err(wrong)
        } else {
            serde_json::from_slice(text).map(Self::End).map_err(wrong)
        }
    }
}
