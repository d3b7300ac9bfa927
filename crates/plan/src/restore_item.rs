//! How an object of a backup is changed before it is created in the cluster.
//!
//! All changes are made in place. What one kind needs is in a module of its own; the rules are those
//! of Velero's restore actions.

mod cluster;
mod context;
mod identity;
mod image;
mod service;
mod storage_class;
mod strip;
mod transforms;
mod volume;
mod workload;

use std::sync::Arc;

use refloat_model::{GroupResource, ObjectName, labels, resource::ApiResource};
use serde_json::{Map, Value};

use crate::{api_conversion::Settled, backup_action::RelatedItem, json, managed_fields::Carry};
pub use context::{ExistingPolicy, RestoreContext};
pub(crate) use strip::strip;
pub use transforms::{NameMap, Transforms};

/// What becomes of an object of the backup.
#[derive(Clone, Debug, PartialEq)]
pub enum Prepared {
    /// Create it.
    Create(Box<PreparedItem>),
    /// Leave it out.
    Skip {
        /// Why, for the log and, by `level`, the results.
        reason: String,
        /// How much it matters.
        level: SkipLevel,
        /// The object is a persistent volume that is provisioned anew: its name goes into
        /// [`RestoreContext::reprovisioned`] before claims are prepared.
        reprovision: bool,
    },
}

/// How much it matters that an object is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipLevel {
    /// Nothing is lost.
    Silent,
    /// Deserves a look.
    Warning,
    /// Something of the backup is not restored.
    Error,
}

/// An object that is ready to be created.
#[derive(Clone, Debug, PartialEq)]
pub struct PreparedItem {
    /// The request's body: no `uid`, no `resourceVersion`, no `status`, no `managedFields`.
    pub object: Value,
    /// Where it goes; empty: cluster-scoped.
    pub namespace: String,
    /// What it is called there.
    pub name: String,
    /// To be written to the status subresource afterwards.
    pub status: Option<Value>,
    /// How its field managers come back.
    pub managed_fields: Carry,
    /// The kind and version that it is created in, where [`RestoreContext::served`] knows; absent: as
    /// the plan says.
    pub api: Option<Arc<ApiResource>>,
    /// Storage classes that it was given and that must exist, or it is not created.
    pub storage_classes: Vec<String>,
    /// What is to be said about it in the results, although it is created.
    pub notes: ItemNotes,
}

/// What is to be said about an object that is created.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemNotes {
    /// Things that deserve a look: a conversion.
    pub warnings: Vec<String>,
    /// Changes that were asked for and could not be made.
    pub errors: Vec<String>,
}

/// Makes an object of a backup ready to be created. `name` is its place in the archive.
#[must_use]
pub fn prepare(
    ctx: &RestoreContext,
    resource: &GroupResource,
    name: &ObjectName,
    mut object: Value,
) -> Prepared {
    if let Err(reason) = check(name, &object) {
        return skip(reason, SkipLevel::Error);
    }
    if resource.is("namespaces", "") {
        return create_namespace(ctx, name, Some(object));
    }
    let mut notes = ItemNotes::default();
    let mut api = match ctx.served.settle(&mut object) {
        Settled::AsIs(api) => api,
        Settled::Converted { api, warning } => {
            notes.warnings.push(warning);
            Some(api)
        }
        Settled::Impossible(reason) => return skip(reason, SkipLevel::Error),
    };
    let stored = resource;
    let resource = api.as_ref().map_or(stored, |api| &api.group_resource).clone();
    if let Some(skipped) = left_out(ctx, &resource, &object) {
        return skipped;
    }
    let stripped = strip(&mut object);
    rewrite(ctx, &resource, &mut object, stripped.managed_fields.as_ref());
    map_namespaces(ctx, &resource, &mut object);
    let storage_classes = match ctx.transforms.apply_maps(&resource, &mut object) {
        Ok(classes) => classes,
        Err(reason) => return skip(reason, SkipLevel::Error),
    };
    if ctx.transforms.modifiers.is_some() {
        notes.errors = ctx.transforms.modify(stored, &resource, &mut object);
        api = match modified_api(ctx, api, &object) {
            Ok(api) => api,
            Err(reason) => return skip(reason, SkipLevel::Error),
        };
    }
    let namespace = ctx.target_namespace(&name.namespace).to_owned();
    if resource.is("pods", "") {
        ctx.hooks.prepare_pod(&namespace, &mut object);
    }
    add_labels(ctx, &mut object, &namespace);
    let status = stripped.status.filter(|_| ctx.restores_status(stored, &object));
    let own_name = json::text(&object, &["metadata", "name"]).unwrap_or(&name.name);
    Prepared::Create(Box::new(PreparedItem {
        name: own_name.to_owned(),
        namespace,
        status,
        managed_fields: crate::managed_fields::carry(stripped.managed_fields),
        api,
        storage_classes,
        notes,
        object,
    }))
}

/// The kind that an object is created in after rules may have changed its version or kind.
fn modified_api(
    ctx: &RestoreContext,
    api: Option<Arc<ApiResource>>,
    object: &Value,
) -> Result<Option<Arc<ApiResource>>, String> {
    let Some(api) = api else { return Ok(None) };
    let text = |field| json::text(object, &[field]).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if api.group_resource.group == group && api.version == version && api.kind == kind {
        return Ok(Some(api));
    }
    match ctx.served.find(group, version, kind) {
        Some(api) => Ok(Some(api.clone())),
        None => Err(format!(
            "the resource modifiers made it a {kind} of {api_version}, which this cluster does not serve"
        )),
    }
}

/// The namespace object for a namespace of the backup: what is stored of it (name, labels,
/// annotations, spec), or a bare one. As in Velero it gets no labels of the restore.
#[must_use]
pub fn namespace_object(ctx: &RestoreContext, name: &str, stored: Option<Value>) -> Value {
    let target = ctx.target_namespace(name);
    let mut metadata = Map::new();
    metadata.insert("name".to_owned(), target.into());
    let mut namespace = Map::new();
    namespace.insert("apiVersion".to_owned(), "v1".into());
    namespace.insert("kind".to_owned(), "Namespace".into());
    let mut stored = stored.unwrap_or_default();
    for key in ["labels", "annotations"] {
        if let Some(map) = json::get_mut(&mut stored, &["metadata", key]).filter(|map| map.is_object()) {
            metadata.insert(key.to_owned(), map.take());
        }
    }
    if let Some(label) = metadata
        .get_mut("labels")
        .and_then(|labels| labels.get_mut("kubernetes.io/metadata.name"))
    {
        *label = target.into();
    }
    namespace.insert("metadata".to_owned(), Value::Object(metadata));
    if let Some(spec) = json::get_mut(&mut stored, &["spec"]).filter(|spec| spec.is_object()) {
        namespace.insert("spec".to_owned(), spec.take());
    }
    Value::Object(namespace)
}

/// Objects that a restored one needs: a pod's priority class and claims, a claim's volume. `object`
/// is as it is in the backup.
#[must_use]
pub fn related(resource: &GroupResource, object: &Value) -> Vec<RelatedItem> {
    if resource.is("pods", "") {
        crate::backup_action::pod_related(object)
    } else if resource.is("persistentvolumeclaims", "") {
        crate::backup_action::bound_volume(object).into_iter().collect()
    } else {
        Vec::new()
    }
}

/// What a kind needs beyond the metadata. Also used to compare with what is in the cluster.
pub(crate) fn rewrite(
    ctx: &RestoreContext,
    resource: &GroupResource,
    object: &mut Value,
    managed_fields: Option<&Value>,
) {
    match (resource.group.as_str(), resource.resource.as_str()) {
        ("", "pods") => workload::pod(object),
        ("batch", "jobs") => workload::job(object),
        ("", "services") => service::rewrite(object, managed_fields, ctx.preserve_node_ports),
        ("", "persistentvolumeclaims") => volume::claim(object, &ctx.reprovisioned),
        ("", "persistentvolumes") => volume::volume(object),
        ("", "secrets") => identity::secret(object),
        ("", "serviceaccounts") => identity::service_account(object),
        ("apiextensions.k8s.io", "customresourcedefinitions") => cluster::definition(object),
        (
            "admissionregistration.k8s.io",
            "mutatingwebhookconfigurations" | "validatingwebhookconfigurations",
        ) => cluster::webhooks(object),
        _ => {}
    }
}

/// Namespaces that an object refers to are mapped like its own.
fn map_namespaces(ctx: &RestoreContext, resource: &GroupResource, object: &mut Value) {
    if ctx.namespace_mapping.is_empty() {
        return;
    }
    match (resource.group.as_str(), resource.resource.as_str()) {
        ("", "persistentvolumes") => volume::map_claim(ctx, object),
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => {
            identity::map_subjects(ctx, object);
        }
        _ => {}
    }
}

/// Objects that are not created, each for its kind's reason.
fn left_out(ctx: &RestoreContext, resource: &GroupResource, object: &Value) -> Option<Prepared> {
    let reason = match (resource.group.as_str(), resource.resource.as_str()) {
        ("", "pods") => workload::pod_left_out(object),
        ("batch", "jobs") => workload::job_left_out(object),
        ("", "secrets") => identity::secret_left_out(object),
        ("apiregistration.k8s.io", "apiservices") => cluster::api_service_left_out(object),
        ("", "persistentvolumes") => return volume::left_out(ctx, object),
        _ => None,
    };
    reason.map(|reason| skip(reason.to_owned(), SkipLevel::Silent))
}

/// What every object must have, and that it is the one that its place in the archive says.
fn check(name: &ObjectName, object: &Value) -> Result<(), String> {
    for field in ["apiVersion", "kind"] {
        if json::text(object, &[field]).is_none_or(str::is_empty) {
            return Err(format!(
                "the object stored as {name} has no {field}; it cannot be restored"
            ));
        }
    }
    match json::text(object, &["metadata", "name"]) {
        Some(own) if own == name.name => Ok(()),
        Some(own) => Err(format!(
            "the object stored as {name} calls itself {own:?}; it is not restored"
        )),
        None => Err(format!(
            "the object stored as {name} has no metadata.name; it cannot be restored"
        )),
    }
}

fn create_namespace(ctx: &RestoreContext, name: &ObjectName, stored: Option<Value>) -> Prepared {
    let object = namespace_object(ctx, &name.name, stored);
    Prepared::Create(Box::new(PreparedItem {
        object,
        namespace: String::new(),
        name: ctx.target_namespace(&name.name).to_owned(),
        status: None,
        managed_fields: Carry::None,
        api: None,
        storage_classes: Vec::new(),
        notes: ItemNotes::default(),
    }))
}

/// Sets the namespace and the labels that tell where the object came from.
fn add_labels(ctx: &RestoreContext, object: &mut Value, namespace: &str) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    let metadata = json::ensure_object(object, "metadata");
    if namespace.is_empty() {
        metadata.shift_remove("namespace");
    } else {
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    let own = json::ensure_object(metadata, "labels");
    own.insert(labels::BACKUP_NAME.to_owned(), ctx.backup_label().into());
    own.insert(labels::RESTORE_NAME.to_owned(), ctx.restore_label().into());
}

fn skip(reason: String, level: SkipLevel) -> Prepared {
    Prepared::Skip {
        reason,
        level,
        reprovision: false,
    }
}

#[cfg(test)]
mod tests;
