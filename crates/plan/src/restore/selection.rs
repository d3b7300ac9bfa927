//! Which objects of a backup a restore selects.

use refloat_model::{GroupResource, RestoreSpec, resource::ApiResource};
use serde_json::{Map, Value};

use super::{ClusterScope, InventoryKind, LeftOutReason, is_never_restored};
use crate::{
    PlanError,
    api_conversion::moved,
    filter::{KindFilter, NamespaceFilter},
    selector::{Selector, compile_all},
};

/// The spec's filters, compiled.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Selection {
    namespaces: NamespaceFilter,
    kinds: KindFilter,
    selectors: Vec<Selector>,
    cluster: Option<bool>,
}

impl Selection {
    pub(super) fn new(
        spec: &RestoreSpec,
        target: &[ApiResource],
        inventory: &[InventoryKind],
    ) -> Result<Self, PlanError> {
        let known = known_kinds(target, inventory);
        let fields = ["spec.includedResources", "spec.excludedResources"];
        Ok(Self {
            namespaces: NamespaceFilter::new(&spec.included_namespaces, &spec.excluded_namespaces)?,
            kinds: KindFilter::new(fields, &spec.included_resources, &spec.excluded_resources, &known)?,
            selectors: compile_all(spec.label_selector.as_ref(), &spec.or_label_selectors)?,
            cluster: spec.include_cluster_resources,
        })
    }

    /// Whether a kind takes part (`true`: only objects that others refer to), or why not.
    pub(super) fn kind(&self, kind: &InventoryKind) -> Result<bool, LeftOutReason> {
        if is_never_restored(&kind.resource) {
            return Err(LeftOutReason::NotRestorable);
        }
        if !self.includes(&kind.resource) {
            return Err(LeftOutReason::Kinds);
        }
        match self.cluster_scope() {
            ClusterScope::None if !kind.namespaced => Err(LeftOutReason::ClusterScoped),
            ClusterScope::Related => Ok(!kind.namespaced),
            _ => Ok(false),
        }
    }

    /// Whether the filters let a kind through, by its own name or, where its group changed since the
    /// backup, by the new one.
    fn includes(&self, resource: &GroupResource) -> bool {
        match moved(resource) {
            Some(now) if !self.kinds.includes(resource) => {
                !self.kinds.excludes(resource) && self.kinds.includes(&now)
            }
            Some(now) => !self.kinds.excludes(&now),
            None => self.kinds.includes(resource),
        }
    }

    pub(super) fn cluster_scope(&self) -> ClusterScope {
        match self.cluster {
            Some(true) => ClusterScope::All,
            Some(false) => ClusterScope::None,
            None if self.namespaces.is_everything() => ClusterScope::All,
            None => ClusterScope::Related,
        }
    }

    pub(super) fn item(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
        labels: Option<&Map<String, Value>>,
    ) -> bool {
        let scope = if namespace.is_empty() {
            let named = !resource.is("namespaces", "") || self.namespaces.includes(name);
            named && self.cluster_scope() == ClusterScope::All
        } else {
            self.namespaces.includes(namespace)
        };
        scope
            && (self.selectors.is_empty()
                || self
                    .selectors
                    .iter()
                    .any(|selector| selector.matches_json(labels)))
    }

    pub(super) fn related(&self, resource: &GroupResource, namespace: &str) -> bool {
        let scope = if namespace.is_empty() {
            self.cluster_scope() != ClusterScope::None
        } else {
            self.namespaces.includes(namespace)
        };
        scope && !is_never_restored(resource) && self.includes(resource)
    }

    pub(super) fn namespace(&self, namespace: &str) -> bool {
        self.namespaces.includes(namespace)
    }

    pub(super) fn needs_related(&self) -> bool {
        self.cluster_scope() == ClusterScope::Related
            || self.selectors.iter().any(|selector| !selector.is_empty())
    }

    pub(super) fn warnings(&self) -> Vec<String> {
        let unresolved = self.kinds.unresolved().iter();
        let restorable = unresolved.filter(|kind| !is_never_restored(&GroupResource::parse(kind)));
        restorable
            .map(|kind| {
                format!("kind {kind:?} in the filters is neither in the backup nor served by the cluster")
            })
            .collect()
    }
}

/// The cluster's kinds, and those that only the backup has, so that a spec can name both.
fn known_kinds(target: &[ApiResource], inventory: &[InventoryKind]) -> Vec<ApiResource> {
    let served = |resource: &GroupResource| target.iter().any(|api| api.group_resource == *resource);
    let only_stored = inventory
        .iter()
        .filter(|kind| !served(&kind.resource))
        .map(|kind| ApiResource {
            group_resource: kind.resource.clone(),
            version: String::new(),
            kind: String::new(),
            namespaced: kind.namespaced,
            aliases: Vec::new(),
            verbs: Vec::new(),
        });
    target.iter().cloned().chain(only_stored).collect()
}
