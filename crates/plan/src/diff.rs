//! What differs between two states of an object, by meaning: what the API server, the scheduler and
//! the controllers make by themselves does not count.
//!
//! The rules are in [`normalise`]; [`compare`] then looks for equal fields in equal places. Lists whose
//! elements have a name are compared by that name and not by place.

mod list;

pub use refloat_model::restore_plan::FieldChange;
use refloat_model::{GroupResource, ObjectName, labels, resource::ApiResource};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::{
    PlanError,
    filter::{KindFilter, NamespaceFilter},
    json as path,
    restore::is_never_restored,
};

/// Kinds that follow from others and change by themselves all the time.
const NOT_COMPARED: [&str; 3] = [
    "endpoints",
    "endpointslices.discovery.k8s.io",
    "leases.coordination.k8s.io",
];

/// Metadata that belongs to one life of an object.
pub(crate) const SERVER_MADE: [&str; 8] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Annotations that controllers and tools keep for themselves.
pub(crate) const NOISE_ANNOTATIONS: [&str; 10] = [
    "control-plane.alpha.kubernetes.io/leader",
    "deployment.kubernetes.io/revision",
    "endpoints.kubernetes.io/last-change-trigger-time",
    "kubectl.kubernetes.io/last-applied-configuration",
    "kubernetes.io/service-account.uid",
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/selected-node",
    "volume.kubernetes.io/storage-provisioner",
];

/// Which objects are compared.
#[derive(Clone, Debug)]
pub struct Scope {
    namespaces: NamespaceFilter,
    kinds: KindFilter,
}

/// The lists of a [`Scope`] as a user writes them; empty: everything.
#[derive(Clone, Debug, Default)]
pub struct ScopeLists {
    /// Namespaces to compare; globs are allowed.
    pub included_namespaces: Vec<String>,
    /// Namespaces to leave out.
    pub excluded_namespaces: Vec<String>,
    /// Kinds to compare.
    pub included_resources: Vec<String>,
    /// Kinds to leave out.
    pub excluded_resources: Vec<String>,
}

impl Scope {
    /// Compiles the lists. `known` is what names of kinds are looked up in.
    ///
    /// # Errors
    /// [`PlanError::Pattern`] for a pattern that cannot be read.
    pub fn new(lists: &ScopeLists, known: &[ApiResource]) -> Result<Self, PlanError> {
        let fields = ["included resources", "excluded resources"];
        Ok(Self {
            namespaces: NamespaceFilter::new(&lists.included_namespaces, &lists.excluded_namespaces)?,
            kinds: KindFilter::new(
                fields,
                &lists.included_resources,
                &lists.excluded_resources,
                known,
            )?,
        })
    }

    /// Whether objects of a kind are compared at all. A kind that changes by itself is compared only
    /// where it is asked for by name; one that is never restored is not.
    #[must_use]
    pub fn kind(&self, resource: &GroupResource) -> bool {
        let restless = NOT_COMPARED.contains(&resource.to_string().as_str());
        !is_never_restored(resource)
            && self.kinds.includes(resource)
            && (!restless || self.kinds.lists(resource))
    }

    /// Whether an object of a kind that is compared is compared itself. Cluster-scoped ones are if all
    /// namespaces are, or if their kind is asked for by name; a namespace goes by its name.
    #[must_use]
    pub fn object(&self, resource: &GroupResource, name: &ObjectName) -> bool {
        if !name.namespace.is_empty() {
            return self.namespaces.includes(&name.namespace);
        }
        if resource.is("namespaces", "") {
            return self.namespaces.includes(&name.name);
        }
        self.namespaces.is_everything() || self.kinds.lists(resource)
    }

    /// Names in the lists of kinds that mean nothing here.
    #[must_use]
    pub fn unresolved(&self) -> &[String] {
        self.kinds.unresolved()
    }
}

/// One object that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Its kind.
    #[serde(serialize_with = "displayed")]
    pub resource: GroupResource,
    /// Its namespace and name.
    #[serde(flatten, serialize_with = "named")]
    pub name: ObjectName,
    /// In which way.
    #[serde(flatten)]
    pub change: Change,
}

/// How an object differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "camelCase")]
pub enum Change {
    /// Only the second side has it.
    Added,
    /// Only the first side has it.
    Removed,
    /// Both have it.
    Changed {
        /// Which fields differ, in the order of the first object.
        fields: Vec<FieldChange>,
    },
}

fn displayed<S: Serializer>(resource: &GroupResource, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(resource)
}

fn named<S: Serializer>(name: &ObjectName, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = Map::new();
    if !name.namespace.is_empty() {
        map.insert("namespace".to_owned(), (*name.namespace).into());
    }
    map.insert("name".to_owned(), name.name.as_str().into());
    map.serialize(serializer)
}

/// Takes out of an object what does not count when it is compared: its status, what the server keeps
/// in the metadata, labels of restores, what controllers fill in by themselves, `null`s and empty
/// maps of labels and annotations.
pub fn normalise(resource: &GroupResource, object: &mut Value) {
    if let Some(object) = object.as_object_mut() {
        object.shift_remove("status");
    }
    if let Some(metadata) = path::object_mut(object, &["metadata"]) {
        metadata.retain(|key, _| !SERVER_MADE.contains(&key.as_str()));
    }
    for owner in path::list_mut(object, &["metadata", "ownerReferences"])
        .into_iter()
        .flatten()
    {
        path::remove(owner, &[], "uid");
    }
    for label in [labels::BACKUP_NAME, labels::RESTORE_NAME] {
        path::remove(object, &["metadata", "labels"], label);
    }
    for annotation in NOISE_ANNOTATIONS {
        path::remove(object, &["metadata", "annotations"], annotation);
    }
    by_kind(resource, object);
    drop_nulls(object);
    for key in ["labels", "annotations"] {
        if path::object(object, &["metadata", key]).is_some_and(Map::is_empty) {
            path::remove(object, &["metadata"], key);
        }
    }
}

/// What only some kinds have.
fn by_kind(resource: &GroupResource, object: &mut Value) {
    match (resource.group.as_str(), resource.resource.as_str()) {
        ("", "services") => {
            if path::text(object, &["spec", "clusterIP"]) != Some("None") {
                path::remove(object, &["spec"], "clusterIP");
                path::remove(object, &["spec"], "clusterIPs");
            }
            path::remove(object, &["spec"], "healthCheckNodePort");
        }
        ("", "persistentvolumes") => {
            for key in ["uid", "resourceVersion"] {
                path::remove(object, &["spec", "claimRef"], key);
            }
        }
        ("", "namespaces") => {
            path::remove(object, &[], "spec");
            path::remove(object, &["metadata", "labels"], "kubernetes.io/metadata.name");
        }
        ("", "secrets") if path::text(object, &["type"]) == Some("kubernetes.io/service-account-token") => {
            for key in ["token", "ca.crt"] {
                path::remove(object, &["data"], key);
            }
        }
        ("", "pods") => pod(object),
        ("batch", "jobs") => {
            for place in [
                &["metadata", "labels"][..],
                &["spec", "selector", "matchLabels"],
                &["spec", "template", "metadata", "labels"],
            ] {
                for key in ["controller-uid", "batch.kubernetes.io/controller-uid"] {
                    path::remove(object, place, key);
                }
            }
        }
        _ => {}
    }
}

/// A pod without what scheduling and the account's admission filled in.
fn pod(pod: &mut Value) {
    for key in ["nodeName", "priority"] {
        path::remove(pod, &["spec"], key);
    }
    let made =
        |item: &Value| path::text(item, &["name"]).is_some_and(|name| name.starts_with("kube-api-access-"));
    if let Some(volumes) = path::list_mut(pod, &["spec", "volumes"]) {
        volumes.retain(|volume| !made(volume));
    }
    for key in ["containers", "initContainers", "ephemeralContainers"] {
        for container in path::list_mut(pod, &["spec", key]).into_iter().flatten() {
            if let Some(mounts) = path::list_mut(container, &["volumeMounts"]) {
                mounts.retain(|mount| !made(mount));
            }
        }
    }
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// The fields in which two normalised objects differ; none: they mean the same.
#[must_use]
pub fn compare(from: &Value, to: &Value) -> Vec<FieldChange> {
    let mut changes = Vec::new();
    values("", from, to, &mut changes);
    changes
}

fn values(at: &str, from: &Value, to: &Value, changes: &mut Vec<FieldChange>) {
    match (from, to) {
        (Value::Object(from), Value::Object(to)) => objects(at, from, to, changes),
        (Value::Array(from), Value::Array(to)) => list::compare(at, from, to, changes),
        (from, to) if from == to => {}
        (from, to) => changes.push(FieldChange {
            path: at.to_owned(),
            from: Some(from.clone()),
            to: Some(to.clone()),
        }),
    }
}

fn objects(at: &str, from: &Map<String, Value>, to: &Map<String, Value>, changes: &mut Vec<FieldChange>) {
    for (key, old) in from {
        let path = field(at, key);
        match to.get(key) {
            Some(new) => values(&path, old, new, changes),
            None => changes.push(FieldChange {
                path,
                from: Some(old.clone()),
                to: None,
            }),
        }
    }
    for (key, new) in to.iter().filter(|(key, _)| !from.contains_key(*key)) {
        changes.push(FieldChange {
            path: field(at, key),
            from: None,
            to: Some(new.clone()),
        });
    }
}

/// A field's path; names that are no plain words are quoted.
pub(crate) fn field(at: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '$');
    match (plain, at.is_empty()) {
        (true, true) => key.to_owned(),
        (true, false) => format!("{at}.{key}"),
        (false, _) => format!("{at}[{}]", Value::from(key)),
    }
}

/// Puts the lengths of secret values in their place: that they differ is told, what they are is not.
pub fn conceal(resource: &GroupResource, changes: &mut [FieldChange]) {
    if !resource.is("secrets", "") {
        return;
    }
    for change in changes {
        let secret = ["data", "stringData"].iter().any(|field| {
            change
                .path
                .strip_prefix(field)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        });
        if secret {
            change.from.iter_mut().for_each(hide);
            change.to.iter_mut().for_each(hide);
        }
    }
}

/// Replaces every text below a value by its length.
pub(crate) fn hide(value: &mut Value) {
    match value {
        Value::Object(map) => map.values_mut().for_each(hide),
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Null => {}
        Value::String(text) => *value = format!("(hidden, {} characters)", text.chars().count()).into(),
        other => *other = "(hidden)".into(),
    }
}

/// What differs between two states of one object, as they are stored or read; absent: nothing. An
/// object that is not JSON differs from everything.
#[must_use]
pub fn difference(
    resource: &GroupResource,
    name: &ObjectName,
    from: Option<&[u8]>,
    to: Option<&[u8]>,
    conceals: bool,
) -> Option<Difference> {
    let change = match (from, to) {
        (None, None) => return None,
        (None, Some(_)) => Change::Added,
        (Some(_), None) => Change::Removed,
        (Some(from), Some(to)) if from == to => return None,
        (Some(from), Some(to)) => {
            let mut fields = compare(&read(resource, from), &read(resource, to));
            if fields.is_empty() {
                return None;
            }
            if conceals {
                conceal(resource, &mut fields);
            }
            Change::Changed { fields }
        }
    };
    Some(Difference {
        resource: resource.clone(),
        name: name.clone(),
        change,
    })
}

fn read(resource: &GroupResource, json: &[u8]) -> Value {
    match serde_json::from_slice(json) {
        Ok(mut object) => {
            normalise(resource, &mut object);
            object
        }
        Err(error) => format!("not JSON: {error}").into(),
    }
}

#[cfg(test)]
mod tests;
