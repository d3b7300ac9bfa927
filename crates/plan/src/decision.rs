//! What a restore would do with an object, as data: made by the same functions that the restore
//! itself decides by ([`decide_existing`], [`crate::restore_item::prepare`]), so that a plan and a restore cannot disagree.

use std::collections::HashSet;

use refloat_model::{
    GroupResource, ObjectName, RestoreSpec,
    restore_plan::{FieldChange, PlanAction, PlanHead, PlanObject},
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    diff,
    existing::{Existing, compared, decide_existing},
    json as path,
    restore::NOT_RESTORABLE,
    restore_item::RestoreContext,
};

/// The longest reason that is kept; webhooks may answer with pages.
const LONGEST_REASON: usize = 1024;

/// What would become of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What a restore would do.
    pub action: PlanAction,
    /// Whether the server was asked.
    pub checked: bool,
    /// For machines: why.
    pub code: &'static str,
    /// For people: why.
    pub reason: String,
    /// What differs, with all values: from the cluster's object to the backup's.
    pub difference: Option<Value>,
    /// The same for people. What secrets hold is not told.
    pub fields: Vec<FieldChange>,
}

impl Decision {
    fn plain(action: PlanAction, checked: bool, code: &'static str, reason: String) -> Self {
        let mut reason = reason;
        if reason.len() > LONGEST_REASON {
            let end = (0..=LONGEST_REASON)
                .rev()
                .find(|end| reason.is_char_boundary(*end));
            reason.truncate(end.unwrap_or(0));
            reason.push('…');
        }
        Self {
            action,
            checked,
            code,
            reason,
            difference: None,
            fields: Vec::new(),
        }
    }

    /// It would be created; the server has checked it.
    #[must_use]
    pub fn create() -> Self {
        Self::plain(PlanAction::Create, true, "", String::new())
    }

    /// It would be created, as far as can be told: the server cannot check it yet.
    #[must_use]
    pub fn create_unchecked(code: &'static str, reason: impl Into<String>) -> Self {
        Self::plain(PlanAction::Create, false, code, reason.into())
    }

    /// It is there and stays as it is.
    #[must_use]
    pub fn same() -> Self {
        Self::plain(PlanAction::Same, true, "", String::new())
    }

    /// It cannot be restored.
    #[must_use]
    pub fn blocked(code: &'static str, reason: impl Into<String>) -> Self {
        Self::plain(PlanAction::Blocked, true, code, reason.into())
    }

    /// A rule of restores leaves it out.
    #[must_use]
    pub fn skip(reason: impl Into<String>) -> Self {
        Self::plain(PlanAction::Skip, true, "", reason.into())
    }

    /// It was to be patched, and the server refuses to change a field: it is deleted and created again, as
    /// the policy `recreate` says.
    #[must_use]
    pub fn recreated(self, reason: impl Into<String>) -> Self {
        let reason = Self::plain(PlanAction::Patch, true, "Recreate", reason.into()).reason;
        Self {
            code: "Recreate",
            reason,
            ..self
        }
    }

    /// It was to be patched, and the server refuses the patch: it is left.
    #[must_use]
    pub fn unpatchable(self, reason: impl Into<String>) -> Self {
        let reason = Self::plain(PlanAction::Conflict, true, "PatchRefused", reason.into()).reason;
        Self {
            action: PlanAction::Conflict,
            code: "PatchRefused",
            reason,
            ..self
        }
    }
}

/// What would become of an object that is in the cluster already. `desired` comes from
/// [`crate::restore_item::prepare`].
#[must_use]
pub fn of_existing(
    ctx: &RestoreContext,
    resource: &GroupResource,
    desired: &Value,
    live: &Value,
) -> Decision {
    let with = |action, code, reason: String| {
        let (from, to) = compared(ctx, resource, desired, live);
        different(resource, &from, &to, Decision::plain(action, true, code, reason))
    };
    match decide_existing(ctx, resource, desired, live) {
        Existing::Ours => Decision::create(),
        Existing::Same { .. } => Decision::same(),
        Existing::AwaitDeletion => Decision::create_unchecked(
            "AwaitDeletion",
            "it is being deleted, and is created again when it is gone",
        ),
        Existing::Patch { .. } => with(PlanAction::Patch, "", String::new()),
        Existing::Conflict { .. } => with(
            PlanAction::Conflict,
            "",
            "it is there and different; --existing-resource-policy update would patch it".into(),
        ),
        Existing::MergeServiceAccount(patch) => {
            let mut patched = live.clone();
            json_patch::merge(&mut patched, &patch);
            let decision = Decision::plain(PlanAction::Patch, true, "", String::new());
            different(resource, live, &patched, decision)
        }
    }
}

/// Tells in what the cluster's object differs from the backup's.
fn different(resource: &GroupResource, from: &Value, to: &Value, decision: Decision) -> Decision {
    let mut fields = diff::compare(from, to);
    let difference = serde_json::to_value(&fields).expect("a difference has string keys only");
    diff::conceal(resource, &mut fields);
    Decision {
        difference: Some(difference),
        fields,
        ..decision
    }
}

/// What the execution of a plan may do about an object that is there, by what [`decide_existing`]
/// says now.
#[must_use]
pub fn action_of(existing: &Existing) -> PlanAction {
    match existing {
        Existing::Ours | Existing::AwaitDeletion => PlanAction::Create,
        Existing::Same { .. } => PlanAction::Same,
        Existing::Patch { .. } | Existing::MergeServiceAccount(_) => PlanAction::Patch,
        Existing::Conflict { .. } => PlanAction::Conflict,
    }
}

/// The storage class that a claim waits for in vain: it names one that is neither in the cluster nor in the
/// backup (`classes`), and no volume of that class is (`classes` holds those of volumes too), and it is not bound to a
/// certain volume.
#[must_use]
pub fn missing_storage_class(
    resource: &GroupResource,
    desired: &Value,
    classes: &HashSet<String>,
) -> Option<String> {
    if !resource.is("persistentvolumeclaims", "") || path::text(desired, &["spec", "volumeName"]).is_some() {
        return None;
    }
    let class = path::text(desired, &["spec", "storageClassName"])?;
    (!class.is_empty() && !classes.contains(class)).then(|| class.to_owned())
}

/// An object's line. `i` is its place among the backup's objects of its kind.
#[must_use]
pub fn line(
    head: &PlanHead,
    resource: &GroupResource,
    i: u64,
    name: &ObjectName,
    decision: Decision,
) -> PlanObject {
    PlanObject {
        resource: resource.to_string(),
        i,
        namespace: name.namespace.to_string(),
        name: name.name.clone(),
        action: decision.action,
        checked: decision.checked,
        code: decision.code.to_owned(),
        reason: decision.reason,
        difference: decision
            .difference
            .map(|difference| {
                // A short secret could be guessed from a plain hash.
                let salt = if resource.is("secrets", "") {
                    head.salt.as_str()
                } else {
                    ""
                };
                hex(Sha256::new()
                    .chain_update(salt)
                    .chain_update(canonical(&difference)))
            })
            .unwrap_or_default(),
        fields: decision.fields,
    }
}

/// A value as text with its keys in order.
fn canonical(value: &Value) -> String {
    let mut value = value.clone();
    value.sort_all_objects();
    value.to_string()
}

/// Hashes a plan while its lines come: equal decisions about the same backup, spec and cluster have
/// equal hashes. Reasons and fields are for people and do not count.
#[derive(Clone, Debug)]
pub struct PlanHash(Sha256);

impl PlanHash {
    /// Begins with the facts that hold for all objects.
    #[must_use]
    pub fn new(head: &PlanHead) -> Self {
        let mut hash = Self(Sha256::new());
        for part in [&head.backup, &head.contents, &head.spec, &head.cluster] {
            hash.add(part);
        }
        hash
    }

    /// Takes in an object's line.
    pub fn object(&mut self, object: &PlanObject) {
        let place = object.i.to_string();
        let checked = if object.checked { "1" } else { "0" };
        for part in [
            object.resource.as_str(),
            &place,
            &object.namespace,
            &object.name,
            object.action.word(),
            checked,
            &object.code,
            &object.difference,
        ] {
            self.add(part);
        }
    }

    fn add(&mut self, part: &str) {
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
    }

    /// The hash in hexadecimal.
    #[must_use]
    pub fn finish(self) -> String {
        hex(self.0)
    }
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether two lines decide the same about the same object.
#[must_use]
pub fn agrees(a: &PlanObject, b: &PlanObject) -> bool {
    let facts = |one: &PlanObject| {
        (
            one.resource.clone(),
            one.i,
            one.namespace.clone(),
            one.name.clone(),
            one.action,
            one.checked,
            one.code.clone(),
            one.difference.clone(),
        )
    };
    facts(a) == facts(b)
}

/// SHA-256 of what counts of a restore's spec: what a server fills in by itself does not.
#[must_use]
pub fn spec_digest(spec: &RestoreSpec, objects: &[String]) -> String {
    let mut spec = spec.clone();
    spec.schedule_name.clear();
    spec.item_operation_timeout = Default::default();
    spec.excluded_resources
        .retain(|kind| !NOT_RESTORABLE.contains(&kind.as_str()));
    if spec.included_namespaces.iter().any(|name| name == "*") && spec.included_namespaces.len() == 1 {
        spec.included_namespaces.clear();
    }
    let value = serde_json::json!({ "spec": spec, "objects": objects });
    hex(Sha256::new().chain_update(canonical(&value)))
}

#[cfg(test)]
mod tests;
