//! What happens when an object that is to be restored is already in the cluster.

use refloat_model::{GroupResource, labels};
use serde_json::{Map, Value, json};

use crate::{
    json as path, merge_patch,
    restore_item::{ExistingPolicy, RestoreContext, rewrite, strip},
};

/// What to do about an object that is there already.
#[derive(Clone, Debug, PartialEq)]
pub enum Existing {
    /// An earlier try of this same restore created it: counts as created.
    Ours,
    /// It equals the one in the backup: counts as skipped. Under the policy `update` the labels of
    /// the restore are patched in.
    Same {
        /// A merge patch with the labels, if the policy asks for it.
        labels: Option<Value>,
    },
    /// A service account gets what it lacks; a merge patch. Counts as updated.
    MergeServiceAccount(Value),
    /// The policy is `update`; a merge patch. Counts as updated. If the server refuses it: a
    /// warning, and `labels` is tried, whose failure is an error.
    Patch {
        /// Makes it what the backup has.
        patch: Value,
        /// Sets only the labels of the restore.
        labels: Value,
        /// The policy is `recreate`, and the kind may be: if the server refuses the patch for its
        /// contents, the object is deleted and created again instead.
        recreate: bool,
    },
    /// The policy is `recreate` and it is being deleted, perhaps by an earlier try of this restore: wait
    /// until it is gone and create it.
    AwaitDeletion,
    /// It stays as it is: a warning with this text.
    Conflict {
        /// As Velero words it.
        warning: String,
    },
}

/// Compares what was to be created (`desired`, from [`crate::restore_item::prepare`]) with what is
/// there (`live`). What the cluster assigns by itself (status, addresses, ports nobody chose, field
/// managers) and the labels of restores do not count as differences; `null` and absence are equal.
#[must_use]
pub fn decide_existing(
    ctx: &RestoreContext,
    resource: &GroupResource,
    desired: &Value,
    live: &Value,
) -> Existing {
    let recreate = ctx.recreates(resource);
    if recreate && path::get(live, &["metadata", "deletionTimestamp"]).is_some_and(|time| !time.is_null()) {
        return Existing::AwaitDeletion;
    }
    if is_ours(ctx, live) {
        return Existing::Ours;
    }
    if resource.is("serviceaccounts", "") {
        return match merge_service_account(desired, live) {
            Some(patch) => Existing::MergeServiceAccount(patch),
            None => same(ctx),
        };
    }
    let live = normalised(ctx, resource, desired, live);
    if merge_patch::diff(&unlabelled(&live), &unlabelled(desired)).is_none() {
        return same(ctx);
    }
    match (ctx.existing, merge_patch::diff(&live, desired)) {
        (policy, Some(patch)) if policy.changes() => Existing::Patch {
            patch,
            labels: label_patch(ctx),
            recreate,
        },
        _ => Existing::Conflict {
            warning: warning(ctx, desired),
        },
    }
}

/// Kinds that are never deleted to be created again, whatever the policy: with them goes what hangs on
/// them (a volume's data, a namespace's objects, a definition's custom resources).
const NEVER_RECREATED: [(&str, &str); 8] = [
    ("namespaces", ""),
    ("nodes", ""),
    ("persistentvolumeclaims", ""),
    ("persistentvolumes", ""),
    ("customresourcedefinitions", "apiextensions.k8s.io"),
    ("volumesnapshots", "snapshot.storage.k8s.io"),
    ("volumesnapshotcontents", "snapshot.storage.k8s.io"),
    ("volumegroupsnapshotcontents", "groupsnapshot.storage.k8s.io"),
];

/// Whether objects of a kind may be deleted and created again under the policy `recreate`.
#[must_use]
pub fn may_be_recreated(resource: &GroupResource) -> bool {
    !NEVER_RECREATED
        .iter()
        .any(|(name, group)| resource.is(name, group))
}

/// The object in the cluster and the one that was to be created, both as they are compared by
/// [`decide_existing`]: without what the cluster assigns and without labels of restores.
#[must_use]
pub fn compared(
    ctx: &RestoreContext,
    resource: &GroupResource,
    desired: &Value,
    live: &Value,
) -> (Value, Value) {
    (
        unlabelled(&normalised(ctx, resource, desired, live)),
        unlabelled(desired),
    )
}

/// Whether the object bears this restore's label and is no older than the restore.
fn is_ours(ctx: &RestoreContext, live: &Value) -> bool {
    let own = path::object(live, &["metadata", "labels"]);
    let label = own
        .and_then(|own| own.get(labels::RESTORE_NAME))
        .and_then(Value::as_str);
    if label != Some(ctx.restore_label()) {
        return false;
    }
    let Some(not_before) = ctx.not_before else {
        return true;
    };
    let created = path::text(live, &["metadata", "creationTimestamp"]);
    let created = created.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    created.is_some_and(|created| created >= not_before)
}

fn same(ctx: &RestoreContext) -> Existing {
    Existing::Same {
        labels: ctx.existing.changes().then(|| label_patch(ctx)),
    }
}

fn label_patch(ctx: &RestoreContext) -> Value {
    json!({"metadata": {"labels": {
        labels::BACKUP_NAME: ctx.backup_label(),
        labels::RESTORE_NAME: ctx.restore_label(),
    }}})
}

/// The live object without what a restore would strip from it.
fn normalised(ctx: &RestoreContext, resource: &GroupResource, desired: &Value, live: &Value) -> Value {
    let mut live = live.clone();
    let stripped = strip(&mut live);
    rewrite(ctx, resource, &mut live, stripped.managed_fields.as_ref());
    // A claim that asks for no certain volume has been given one by now.
    if resource.is("persistentvolumeclaims", "") && path::get(desired, &["spec", "volumeName"]).is_none() {
        path::remove(&mut live, &["spec"], "volumeName");
    }
    live
}

/// The object without the labels of restores, and without empty maps of labels and annotations.
fn unlabelled(object: &Value) -> Value {
    let mut object = object.clone();
    for label in [labels::BACKUP_NAME, labels::RESTORE_NAME] {
        path::remove(&mut object, &["metadata", "labels"], label);
    }
    for key in ["labels", "annotations"] {
        if path::object(&object, &["metadata", key]).is_some_and(Map::is_empty) {
            path::remove(&mut object, &["metadata"], key);
        }
    }
    object
}

/// Adds, never replaces: secrets, pull secrets, labels and annotations that the account lacks.
fn merge_service_account(desired: &Value, live: &Value) -> Option<Value> {
    let mut patch = Map::new();
    for key in ["secrets", "imagePullSecrets"] {
        let have = path::list(live, &[key]);
        let name = |item: &Value| path::text(item, &["name"]).map(str::to_owned);
        let lacking = path::list(desired, &[key]).iter().filter(|item| {
            let wanted = name(item);
            wanted.is_some() && !have.iter().any(|item| name(item) == wanted)
        });
        let lacking: Vec<Value> = lacking.cloned().collect();
        if !lacking.is_empty() {
            let all = have.iter().cloned().chain(lacking).collect();
            patch.insert(key.to_owned(), Value::Array(all));
        }
    }
    let mut metadata = Map::new();
    for key in ["labels", "annotations"] {
        let have = path::object(live, &["metadata", key]);
        let of_restore = |name: &str| matches!(name, labels::BACKUP_NAME | labels::RESTORE_NAME);
        let lacking = path::object(desired, &["metadata", key])
            .into_iter()
            .flatten()
            .filter(|(name, value)| {
                value.is_string() && !of_restore(name) && !have.is_some_and(|have| have.contains_key(*name))
            });
        let lacking: Map<String, Value> = lacking
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !lacking.is_empty() {
            metadata.insert(key.to_owned(), Value::Object(lacking));
        }
    }
    if !metadata.is_empty() {
        patch.insert("metadata".to_owned(), Value::Object(metadata));
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Velero's wording, which differs by whether the policy is spelled out.
fn warning(ctx: &RestoreContext, desired: &Value) -> String {
    let kind = path::text(desired, &["kind"]).unwrap_or_default();
    let name = path::text(desired, &["metadata", "name"]).unwrap_or_default();
    let what = match ctx.existing {
        ExistingPolicy::Unset => format!("{kind}:{name}"),
        _ => format!("{kind} {name:?}"),
    };
    format!(
        "could not restore, {what} already exists. Warning: the in-cluster version is different than the \
         backed-up version"
    )
}

#[cfg(test)]
mod tests;
