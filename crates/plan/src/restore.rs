//! What a restore brings back and in which order: classes of kinds that follow one another, the
//! objects of one class side by side.

pub mod objects;
mod order;
mod selection;

use refloat_model::{GroupResource, RestoreSpec, resource::ApiResource};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{PlanError, api_conversion::moved, priorities::Priorities};
use selection::Selection;

/// Kinds that are never restored; to include one of them by name is an error in the spec. The list
/// is Velero's.
pub const NOT_RESTORABLE: [&str; 9] = [
    "nodes",
    "events",
    "events.events.k8s.io",
    "backups.velero.io",
    "restores.velero.io",
    "resticrepositories.velero.io",
    "csinodes.storage.k8s.io",
    "volumeattachments.storage.k8s.io",
    "backuprepositories.velero.io",
];

/// Requests to a running server: brought back without their status they would be carried out again,
/// a delete request among them. Velero restores most of them; we leave them out.
const REQUESTS: [&str; 7] = [
    "datadownloads.velero.io",
    "datauploads.velero.io",
    "deletebackuprequests.velero.io",
    "downloadrequests.velero.io",
    "podvolumerestores.velero.io",
    "restoreplans.refloat.io",
    "serverstatusrequests.velero.io",
];

/// What a backup has of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InventoryKind {
    /// The kind.
    pub resource: GroupResource,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// How many there are.
    pub count: u64,
}

/// Everything that is decided before objects are created. Immutable. A plan holds for one state of
/// the cluster's kinds: after definitions were restored, plan again.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestorePlan {
    /// One after the other; each is done before the next one starts.
    pub classes: Vec<RestoreClass>,
    /// Kinds of the backup that are left out.
    pub left_out: Vec<LeftOutKind>,
    /// What deserves a look: one line each.
    pub warnings: Vec<String>,
    /// Whether cluster-scoped objects are restored.
    pub cluster_scoped: ClusterScope,
    #[serde(skip)]
    selection: Selection,
}

/// Kinds whose objects may be created side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreClass {
    /// The kinds, sorted.
    pub resources: Vec<ResourceStep>,
    /// Definitions of kinds: wait until they are established, then ask the cluster again what it
    /// serves and plan again.
    pub wait_established: bool,
}

/// One kind to restore.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStep {
    /// The kind.
    #[serde(serialize_with = "displayed")]
    pub group_resource: GroupResource,
    /// Whether its objects in the backup are in namespaces.
    pub namespaced: bool,
    /// As the cluster serves it; absent: it does not, and its objects are skipped with a warning.
    #[serde(serialize_with = "api", skip_serializing_if = "Option::is_none")]
    pub api: Option<ApiResource>,
    /// Only objects that restored ones refer to ([`RestorePlan::allows_related`]), none by itself.
    pub related_only: bool,
    /// Objects in the backup, selected or not.
    pub count: u64,
}

/// A kind that is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftOutKind {
    /// The kind.
    #[serde(serialize_with = "displayed")]
    pub group_resource: GroupResource,
    /// Why.
    pub reason: LeftOutReason,
}

/// Why a kind is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LeftOutReason {
    /// It is never restored.
    NotRestorable,
    /// The spec's lists of kinds.
    Kinds,
    /// It is cluster-scoped and the spec excludes that.
    ClusterScoped,
}

/// Whether cluster-scoped objects are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ClusterScope {
    /// All.
    All,
    /// Only those that restored objects refer to: `includeClusterResources` is absent and not all
    /// namespaces are restored.
    Related,
    /// None.
    None,
}

/// Plans a restore of what a backup has (`inventory`) into what a cluster serves (`target`).
///
/// # Errors
/// A spec that means nothing: selectors or patterns that cannot be read.
pub fn plan_restore(
    spec: &RestoreSpec,
    priorities: &Priorities,
    target: &[ApiResource],
    inventory: &[InventoryKind],
) -> Result<RestorePlan, PlanError> {
    let selection = Selection::new(spec, target, inventory)?;
    let mut steps = Vec::new();
    let mut left_out = Vec::new();
    for kind in inventory {
        match selection.kind(kind) {
            Ok(related_only) => steps.push(ResourceStep {
                api: served(target, &kind.resource).cloned(),
                group_resource: kind.resource.clone(),
                namespaced: kind.namespaced,
                related_only,
                count: kind.count,
            }),
            Err(reason) => left_out.push(LeftOutKind {
                group_resource: kind.resource.clone(),
                reason,
            }),
        }
    }
    left_out.sort_by(|a, b| a.group_resource.cmp(&b.group_resource));
    Ok(RestorePlan {
        classes: order::classes(steps, priorities, target),
        left_out,
        warnings: selection.warnings(),
        cluster_scoped: selection.cluster_scope(),
        selection,
    })
}

impl RestorePlan {
    /// Whether an object is restored for its own sake. `namespace` is the one in the backup, empty
    /// for cluster-scoped objects; its kind must be in a class. For the kind `namespaces`, `name` is
    /// looked at too.
    #[must_use]
    pub fn selects(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
        labels: Option<&Map<String, Value>>,
    ) -> bool {
        self.selection.item(resource, namespace, name, labels)
    }

    /// Whether an object is restored because a restored one refers to it. Labels do not count.
    #[must_use]
    pub fn allows_related(&self, resource: &GroupResource, namespace: &str) -> bool {
        self.selection.related(resource, namespace)
    }

    /// Whether a namespace of the backup is selected.
    #[must_use]
    pub fn selects_namespace(&self, namespace: &str) -> bool {
        self.selection.namespace(namespace)
    }

    /// Whether objects have to be looked for that others refer to, because the filters might leave
    /// them out: a label selector, or cluster-scoped kinds that come only with what refers to them.
    #[must_use]
    pub fn needs_related(&self) -> bool {
        self.selection.needs_related()
    }

    /// SHA-256 of the plan as JSON, hexadecimal: equal plans, equal digests.
    #[must_use]
    pub fn digest(&self) -> String {
        let json = serde_json::to_vec(self).expect("a plan has string keys only");
        Sha256::digest(&json)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// A kind as the target serves it, perhaps in another group.
fn served<'a>(target: &'a [ApiResource], kind: &GroupResource) -> Option<&'a ApiResource> {
    let find = |kind: &GroupResource| target.iter().find(|api| api.group_resource == *kind);
    find(kind).or_else(|| find(&moved(kind)?))
}

/// Whether a kind is never restored.
#[must_use]
pub fn is_never_restored(resource: &GroupResource) -> bool {
    let name = resource.to_string();
    NOT_RESTORABLE.contains(&name.as_str()) || REQUESTS.contains(&name.as_str())
}

fn displayed<S: Serializer>(resource: &GroupResource, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(resource)
}

fn api<S: Serializer>(api: &Option<ApiResource>, serializer: S) -> Result<S::Ok, S::Error> {
    match api {
        Some(api) => serializer.collect_str(&api.gvk()),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests;
