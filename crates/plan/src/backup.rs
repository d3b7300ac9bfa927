//! What a backup lists, which objects it keeps, and which others it may fetch because kept ones
//! refer to them.

mod kinds;
mod namespaces;

use std::collections::{BTreeMap, BTreeSet};

use refloat_model::{BackupSpec, GroupResource, ObjectName, resource::ApiResource};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{
    PlanError,
    filter::{NamespaceFilter, resolve},
    selector::Selector,
};
use kinds::KindRules;
pub use namespaces::{NamespaceFacts, NamespaceObject};

/// With more namespaces than this, one listing of all of them, filtered here, takes fewer requests
/// than one listing for each.
const MOST_NAMESPACE_LISTINGS: usize = 16;

/// Everything that is decided before a backup begins. Immutable; the executor makes no choices
/// beyond asking it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupPlan {
    /// What to list, in the order in which it is written where that matters. The kind `namespaces`
    /// is not among these: see [`BackupPlan::namespace_kind`].
    pub listings: Vec<Listing>,
    /// The namespaces that exist and are selected, sorted.
    pub namespaces: Vec<String>,
    /// Namespaces that are named in the spec but do not exist: an error each in the results. None where
    /// namespace objects are not stored; then [`BackupPlan::warnings`] tell of them.
    pub missing_namespaces: Vec<String>,
    /// What deserves a look: one line each.
    pub warnings: Vec<String>,
    /// How cluster-scoped kinds are treated.
    pub cluster_scoped: ClusterScope,
    /// The kind of namespace objects, if they are stored. Whether one is, tells
    /// [`BackupPlan::keeps_namespace`], after its items were listed.
    #[serde(serialize_with = "optional_resource", skip_serializing_if = "Option::is_none")]
    pub namespace_kind: Option<ApiResource>,
    /// What becomes of each namespace's own object.
    pub namespace_objects: BTreeMap<String, NamespaceObject>,
    /// Label selectors, one LIST each and an object of several is kept once; empty: no selection.
    pub label_selectors: Vec<String>,
    #[serde(skip)]
    filter: NamespaceFilter,
    #[serde(skip)]
    labelled_out: BTreeSet<String>,
    #[serde(skip)]
    related: BTreeMap<GroupResource, Related>,
    #[serde(skip)]
    default_namespace_object: NamespaceObject,
    #[serde(skip)]
    selectors: Vec<Selector>,
}

/// One kind to list.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// The kind, in the version to use.
    #[serde(serialize_with = "resource")]
    pub resource: ApiResource,
    /// Where.
    pub scope: ListScope,
    /// One LIST request (with its pages) for each, an object that several of them return is kept
    /// once; empty: one LIST without a selector.
    pub label_selectors: Vec<String>,
    /// Objects to write first, in this order.
    #[serde(serialize_with = "names", skip_serializing_if = "Vec::is_empty")]
    pub ordered_first: Vec<ObjectName>,
}

/// Where a kind is listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ListScope {
    /// A cluster-scoped kind.
    Cluster,
    /// All namespaces in one go; [`BackupPlan::verdict`] drops those that are not selected.
    AllNamespaces,
    /// Each of these by itself.
    Namespaces(Vec<String>),
}

/// How cluster-scoped kinds are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ClusterScope {
    /// All that the filters let through.
    All,
    /// Only what kept objects refer to.
    Related,
    /// Only those that the scoped filter lists, and what kept objects refer to.
    Listed,
    /// None.
    None,
}

/// What [`BackupPlan::verdict`] looks at.
#[derive(Clone, Copy, Debug)]
pub struct ItemMeta<'a> {
    /// Empty: cluster-scoped.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
    /// Whether the label `velero.io/exclude-from-backup` is `true`.
    pub exclude_label: bool,
    /// Whether `deletionTimestamp` is set.
    pub deleting: bool,
}

/// Whether an object goes into the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Keep,
    /// It does not.
    Skip(SkipReason),
}

/// Why an object is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SkipReason {
    /// Its label says so.
    ExcludeLabel,
    /// It is being deleted.
    Deleting,
    /// Its namespace is not selected.
    Namespace,
}

/// Whether an object that a kept one refers to is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelatedVerdict {
    /// A listing returns it anyway.
    AlreadyListed,
    /// Fetch it by name; a listing with a label selector may return it too, it is kept once.
    Fetch,
    /// The spec excludes it.
    Excluded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Related {
    Listed { namespaced: bool },
    Fetch { namespaced: bool },
}

/// Plans a backup from what the cluster serves (in discovery order) and its namespaces.
///
/// # Errors
/// A spec that means nothing: selectors or patterns that cannot be read, filters that contradict.
pub fn plan_backup(
    spec: &BackupSpec,
    discovered: &[ApiResource],
    namespaces: &[NamespaceFacts],
) -> Result<BackupPlan, PlanError> {
    let filter = NamespaceFilter::new(&spec.included_namespaces, &spec.excluded_namespaces)?;
    let selectors = selectors(spec)?;
    let labelled_out: BTreeSet<String> = namespaces
        .iter()
        .filter(|facts| facts.excluded_label)
        .map(|facts| facts.name.clone())
        .collect();
    // As in Velero, a namespace that its label excludes counts like one in excludedNamespaces:
    // then not "all" namespaces are selected.
    let everything = filter.is_everything() && labelled_out.is_empty();
    let rules = KindRules::new(spec, discovered, everything)?;
    let selected: BTreeSet<&str> = namespaces
        .iter()
        .map(|facts| facts.name.as_str())
        .filter(|name| filter.includes(name) && !labelled_out.contains(*name))
        .collect();
    let mut warnings = rules.warnings();
    warnings.extend(namespaces::warnings(&filter, namespaces, &labelled_out));

    let label_selectors = if selectors.iter().any(Selector::is_empty) {
        Vec::new()
    } else {
        selectors.iter().map(Selector::to_string).collect()
    };
    let listed = kinds::in_order(discovered, |kind| rules.lists(kind));
    let scope = namespaced_scope(&filter, &selected);
    let mut listings = Vec::new();
    for resource in listed.iter().filter(|kind| !is_namespaces(&kind.group_resource)) {
        listings.push(Listing {
            scope: if resource.namespaced {
                scope.clone()
            } else {
                ListScope::Cluster
            },
            label_selectors: label_selectors.clone(),
            ordered_first: ordered_first(spec, discovered, resource),
            resource: (*resource).clone(),
        });
    }
    warnings.extend(order_warnings(spec, &listings));
    let related = related_kinds(discovered, &rules, &listings);
    let default_namespace_object = match (filter.is_open(), selectors.is_empty()) {
        (true, true) => NamespaceObject::Always,
        _ => NamespaceObject::WithItems,
    };
    let namespace_kind = listed
        .into_iter()
        .find(|kind| is_namespaces(&kind.group_resource))
        .cloned();
    let mut missing_namespaces = namespaces::missing(&filter, namespaces);
    if namespace_kind.is_none() {
        let missing = std::mem::take(&mut missing_namespaces);
        warnings.extend(missing.iter().map(|name| namespaces::missing_warning(name)));
    }
    Ok(BackupPlan {
        listings,
        missing_namespaces,
        namespace_kind,
        namespace_objects: namespaces::objects(namespaces, &filter, &labelled_out, &selectors),
        namespaces: selected.into_iter().map(str::to_owned).collect(),
        warnings,
        cluster_scoped: rules.cluster_scope(),
        label_selectors,
        filter,
        labelled_out,
        related,
        default_namespace_object,
        selectors,
    })
}

impl BackupPlan {
    /// Whether a listed or fetched object is kept. Called for each object: allocates nothing unless
    /// the namespace is new and the spec has globs.
    #[must_use]
    pub fn verdict(&self, _resource: &GroupResource, item: &ItemMeta<'_>) -> Verdict {
        if item.exclude_label {
            return Verdict::Skip(SkipReason::ExcludeLabel);
        }
        if item.deleting {
            return Verdict::Skip(SkipReason::Deleting);
        }
        if item.namespace.is_empty() || self.selects_namespace(item.namespace) {
            Verdict::Keep
        } else {
            Verdict::Skip(SkipReason::Namespace)
        }
    }

    /// Whether labels match the spec's selectors: for objects that no LIST request has selected.
    #[must_use]
    pub fn selects_labels(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.selectors.is_empty()
            || self
                .selectors
                .iter()
                .any(|selector| selector.matches_json(labels))
    }

    /// Whether objects of a namespace are kept. A namespace that was made after the plan counts by
    /// the spec's lists.
    #[must_use]
    pub fn selects_namespace(&self, namespace: &str) -> bool {
        if self.labelled_out.contains(namespace) {
            return false;
        }
        self.namespaces
            .binary_search_by(|have| have.as_str().cmp(namespace))
            .is_ok()
            || (self.filter.is_open() && self.filter.includes(namespace))
    }

    /// Whether a namespace's own object is stored, once it is known whether it has items in the
    /// backup. The object's own label and deletion count besides: ask [`BackupPlan::verdict`].
    #[must_use]
    pub fn keeps_namespace(&self, namespace: &str, has_items: bool) -> bool {
        let rule = match self.namespace_objects.get(namespace) {
            Some(rule) => *rule,
            None if self.selects_namespace(namespace) => self.default_namespace_object,
            None => NamespaceObject::Never,
        };
        self.namespace_kind.is_some()
            && match rule {
                NamespaceObject::Always => true,
                NamespaceObject::WithItems => has_items,
                NamespaceObject::Never => false,
            }
    }

    /// Whether an object that a kept one refers to is fetched: a claim of a pod, the volume of a
    /// claim, the definition of a custom resource. Labels do not count. Cluster-scoped ones come
    /// along unless their kind is excluded; namespaced ones only if kind and namespace are selected.
    #[must_use]
    pub fn related_allowed(&self, resource: &GroupResource, namespace: &str) -> RelatedVerdict {
        let Some(related) = self.related.get(resource) else {
            return RelatedVerdict::Excluded;
        };
        let (Related::Listed { namespaced } | Related::Fetch { namespaced }) = *related;
        if namespaced && !self.selects_namespace(namespace) {
            return RelatedVerdict::Excluded;
        }
        match related {
            Related::Listed { .. } if self.label_selectors.is_empty() => RelatedVerdict::AlreadyListed,
            _ => RelatedVerdict::Fetch,
        }
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

/// The definition that a kind's objects need, if the kind can be a custom one: to be asked for by
/// name, where "not found" means that it is not (an aggregated API).
#[must_use]
pub fn definition_of(resource: &GroupResource) -> Option<ObjectName> {
    const BUILT_IN: [&str; 19] = [
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "internal.apiserver.k8s.io",
        "metrics.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "rbac.authorization.k8s.io",
        "resource.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
        "storagemigration.k8s.io",
    ];
    let custom = resource.group.contains('.') && !BUILT_IN.contains(&resource.group.as_str());
    custom.then(|| ObjectName::new("", resource.to_string()))
}

/// Whether a spec asks for a kind of that API group by its name.
#[must_use]
pub fn names_group(spec: &BackupSpec, group: &str) -> bool {
    [
        &spec.included_resources,
        &spec.included_cluster_scoped_resources,
        &spec.included_namespace_scoped_resources,
    ]
    .into_iter()
    .flatten()
    .any(|kind| kind.split_once('.').is_some_and(|(_, named)| named == group))
}

/// Whether a spec uses both kinds of filters.
pub(crate) fn mixes_filters(spec: &BackupSpec) -> bool {
    kinds::uses_old_filters(spec) && kinds::uses_scoped_filters(spec)
}

/// Whether a spec uses the filters that know no scope. What the server always excludes does not count,
/// although it is written in their terms where a spec has no filter.
pub(crate) fn uses_old_filters(spec: &BackupSpec) -> bool {
    let by_default = |kind: &String| kinds::ALWAYS_EXCLUDED.contains(&kind.as_str());
    if spec.include_cluster_resources.is_some() || !spec.included_resources.is_empty() {
        return true;
    }
    spec.excluded_resources.iter().any(|kind| !by_default(kind))
}

/// Adds what the server always excludes to a spec, as Velero does before it stores the spec in the
/// bucket: CSI snapshots, which are only backed up as part of their claim's data.
pub fn add_default_excludes(spec: &mut BackupSpec) {
    let add = |include: &mut Vec<String>, exclude: &mut Vec<String>, kinds: &[&str]| {
        for kind in kinds {
            include.retain(|have| have != kind);
            if !exclude.iter().any(|have| have == kind) {
                exclude.push((*kind).to_owned());
            }
        }
    };
    if kinds::uses_old_filters(spec) {
        add(
            &mut spec.included_resources,
            &mut spec.excluded_resources,
            &kinds::ALWAYS_EXCLUDED,
        );
    } else {
        let [namespaced, cluster] = kinds::ALWAYS_EXCLUDED;
        add(
            &mut spec.included_namespace_scoped_resources,
            &mut spec.excluded_namespace_scoped_resources,
            &[namespaced],
        );
        add(
            &mut spec.included_cluster_scoped_resources,
            &mut spec.excluded_cluster_scoped_resources,
            &[cluster],
        );
    }
}

fn is_namespaces(kind: &GroupResource) -> bool {
    kind.is("namespaces", "")
}

fn selectors(spec: &BackupSpec) -> Result<Vec<Selector>, PlanError> {
    crate::selector::compile_all(spec.label_selector.as_ref(), &spec.or_label_selectors)
}

fn namespaced_scope(filter: &NamespaceFilter, selected: &BTreeSet<&str>) -> ListScope {
    if filter.is_open() || selected.len() > MOST_NAMESPACE_LISTINGS {
        ListScope::AllNamespaces
    } else {
        ListScope::Namespaces(selected.iter().map(|name| (*name).to_owned()).collect())
    }
}

/// The entries of `orderedResources` for a kind.
fn ordered_first(spec: &BackupSpec, discovered: &[ApiResource], kind: &ApiResource) -> Vec<ObjectName> {
    let mut names = Vec::new();
    for (written, list) in &spec.ordered_resources {
        let meant = kind.group_resource.resource == *written
            || resolve(written, discovered).is_some_and(|found| found.group_resource == kind.group_resource);
        if !meant {
            continue;
        }
        for entry in list.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            names.push(match entry.split_once('/') {
                Some((namespace, name)) => ObjectName::new(namespace, name),
                None => ObjectName::new("", entry),
            });
        }
    }
    names
}

fn order_warnings(spec: &BackupSpec, listings: &[Listing]) -> Vec<String> {
    let mut warnings = Vec::new();
    for (kind, order) in &spec.ordered_resources {
        if order.split(',').any(|entry| entry.trim().is_empty()) {
            warnings.push(format!(
                "orderedResources has an empty entry for kind {kind:?}: is there a comma too many?"
            ));
        }
        let kinds: Vec<ApiResource> = listings.iter().map(|listing| listing.resource.clone()).collect();
        let known = resolve(kind, &kinds).is_some();
        if !known {
            warnings.push(format!(
                "orderedResources names kind {kind:?}, which is not in this backup: its order has no effect"
            ));
        }
    }
    warnings
}

fn related_kinds(
    discovered: &[ApiResource],
    rules: &KindRules,
    listings: &[Listing],
) -> BTreeMap<GroupResource, Related> {
    let mut related = BTreeMap::new();
    for kind in discovered.iter().filter(|kind| kinds::can_be_stored(kind)) {
        let namespaced = kind.namespaced;
        if listings
            .iter()
            .any(|listing| listing.resource.group_resource == kind.group_resource)
        {
            related.insert(kind.group_resource.clone(), Related::Listed { namespaced });
        } else if !namespaced && !rules.excludes_related(kind) && !is_namespaces(&kind.group_resource) {
            related.insert(kind.group_resource.clone(), Related::Fetch { namespaced });
        }
    }
    related
}

fn resource<S: Serializer>(resource: &ApiResource, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{} {}", resource.group_resource, resource.gvk()))
}

fn optional_resource<S: Serializer>(
    resource: &Option<ApiResource>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match resource {
        Some(resource) => self::resource(resource, serializer),
        None => serializer.serialize_none(),
    }
}

fn names<S: Serializer>(names: &[ObjectName], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(ObjectName::to_string))
}

#[cfg(test)]
mod tests;
