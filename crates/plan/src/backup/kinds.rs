//! Which kinds a backup lists, in which order, and which ones related objects may be of.

use std::collections::HashSet;

use refloat_model::{BackupSpec, resource::ApiResource};

use super::{ClusterScope, is_namespaces};
use crate::{PlanError, filter::KindFilter};

/// Kinds that the server excludes from every backup: the namespaced one and the cluster-scoped one.
/// They are backed up only together with a claim's data.
pub(super) const ALWAYS_EXCLUDED: [&str; 2] = [
    "volumesnapshots.snapshot.storage.k8s.io",
    "volumesnapshotcontents.snapshot.storage.k8s.io",
];

/// A kind that two groups serve: only one of them is stored.
const COHABITING: [(&str, [&str; 2]); 5] = [
    ("deployments", ["extensions", "apps"]),
    ("daemonsets", ["extensions", "apps"]),
    ("replicasets", ["extensions", "apps"]),
    ("networkpolicies", ["extensions", "networking.k8s.io"]),
    ("events", ["", "events.k8s.io"]),
];

/// The filters of kinds.
pub(super) struct KindRules {
    filters: Filters,
    all_namespaces: bool,
}

enum Filters {
    Old {
        kinds: KindFilter,
        cluster: Option<bool>,
    },
    Scoped {
        namespaced: KindFilter,
        cluster: KindFilter,
    },
}

/// Whether a spec uses the filters that know no scope.
pub(super) fn uses_old_filters(spec: &BackupSpec) -> bool {
    spec.include_cluster_resources.is_some()
        || !spec.included_resources.is_empty()
        || !spec.excluded_resources.is_empty()
}

/// Whether a spec uses the filters by scope.
pub(super) fn uses_scoped_filters(spec: &BackupSpec) -> bool {
    !spec.included_cluster_scoped_resources.is_empty()
        || !spec.excluded_cluster_scoped_resources.is_empty()
        || !spec.included_namespace_scoped_resources.is_empty()
        || !spec.excluded_namespace_scoped_resources.is_empty()
}

/// Whether objects of a kind can be stored and brought back.
pub(super) fn can_be_stored(kind: &ApiResource) -> bool {
    kind.can(&["list", "create", "get", "delete"])
}

impl KindRules {
    pub(super) fn new(
        spec: &BackupSpec,
        discovered: &[ApiResource],
        all_namespaces: bool,
    ) -> Result<Self, PlanError> {
        let old = uses_old_filters(spec);
        if old && uses_scoped_filters(spec) {
            return Err(PlanError::MixedFilters);
        }
        // The defaults are excluded by `is_always_excluded`; as entries they would make a full
        // backup look filtered.
        let user = |list: &[String]| -> Vec<String> {
            list.iter()
                .filter(|kind| !ALWAYS_EXCLUDED.contains(&kind.as_str()))
                .cloned()
                .collect()
        };
        let filters = if old {
            let fields = ["spec.includedResources", "spec.excludedResources"];
            let (include, exclude) = (&spec.included_resources, user(&spec.excluded_resources));
            Filters::Old {
                kinds: KindFilter::new(fields, include, &exclude, discovered)?,
                cluster: spec.include_cluster_resources,
            }
        } else {
            let of_scope = |list: &[String], namespaced: bool| -> Vec<String> {
                let other = |written: &String| {
                    crate::filter::resolve(written, discovered)
                        .is_some_and(|found| found.namespaced != namespaced)
                };
                user(list).into_iter().filter(|written| !other(written)).collect()
            };
            Filters::Scoped {
                namespaced: KindFilter::new(
                    [
                        "spec.includedNamespaceScopedResources",
                        "spec.excludedNamespaceScopedResources",
                    ],
                    &of_scope(&spec.included_namespace_scoped_resources, true),
                    &of_scope(&spec.excluded_namespace_scoped_resources, true),
                    discovered,
                )?,
                cluster: KindFilter::new(
                    [
                        "spec.includedClusterScopedResources",
                        "spec.excludedClusterScopedResources",
                    ],
                    &of_scope(&spec.included_cluster_scoped_resources, false),
                    &of_scope(&spec.excluded_cluster_scoped_resources, false),
                    discovered,
                )?,
            }
        };
        Ok(Self {
            filters,
            all_namespaces,
        })
    }

    /// Whether a kind's objects are listed.
    pub(super) fn lists(&self, kind: &ApiResource) -> bool {
        let name = &kind.group_resource;
        if !can_be_stored(kind) || is_always_excluded(kind) {
            return false;
        }
        match &self.filters {
            Filters::Old { kinds, cluster } => {
                let scope = kind.namespaced
                    || match cluster {
                        Some(include) => *include,
                        None => self.all_namespaces || is_namespaces(name),
                    };
                scope && kinds.includes(name)
            }
            Filters::Scoped { namespaced, .. } if kind.namespaced => namespaced.includes(name),
            Filters::Scoped { cluster, .. } => {
                !cluster.excludes(name) && (self.is_full() || cluster.lists(name) || is_namespaces(name))
            }
        }
    }

    /// Whether a cluster-scoped kind is kept out even where a kept object refers to one of it.
    pub(super) fn excludes_related(&self, kind: &ApiResource) -> bool {
        let name = &kind.group_resource;
        is_always_excluded(kind)
            || match &self.filters {
                Filters::Old { kinds, cluster } => match cluster {
                    Some(true) => kinds.excludes(name),
                    Some(false) => true,
                    None => !kinds.includes(name),
                },
                Filters::Scoped { cluster, .. } => cluster.excludes(name),
            }
    }

    pub(super) fn cluster_scope(&self) -> ClusterScope {
        match &self.filters {
            Filters::Old {
                cluster: Some(true), ..
            } => ClusterScope::All,
            Filters::Old {
                cluster: Some(false), ..
            } => ClusterScope::None,
            Filters::Old { .. } if self.all_namespaces => ClusterScope::All,
            Filters::Old { .. } => ClusterScope::Related,
            Filters::Scoped { .. } if self.is_full() => ClusterScope::All,
            Filters::Scoped { .. } => ClusterScope::Listed,
        }
    }

    /// One line for each entry that is no kind of the cluster.
    pub(super) fn warnings(&self) -> Vec<String> {
        let filters: Vec<&KindFilter> = match &self.filters {
            Filters::Old { kinds, .. } => vec![kinds],
            Filters::Scoped { namespaced, cluster } => vec![namespaced, cluster],
        };
        let unresolved = filters.iter().flat_map(|filter| filter.unresolved());
        unresolved
            .map(|kind| {
                format!("kind {kind:?} in the filters is not served by the cluster; kept as it is written")
            })
            .collect()
    }

    /// Scoped filters that filter nothing: all cluster-scoped kinds belong to the backup.
    fn is_full(&self) -> bool {
        match &self.filters {
            Filters::Old { .. } => false,
            Filters::Scoped { namespaced, cluster } => {
                self.all_namespaces && cluster.is_unset() && namespaced.is_everything()
            }
        }
    }
}

fn is_always_excluded(kind: &ApiResource) -> bool {
    kind.group_resource.group == "snapshot.storage.k8s.io"
        && matches!(
            kind.group_resource.resource.as_str(),
            "volumesnapshots" | "volumesnapshotcontents"
        )
}

/// The kinds to list, in Velero's order: groups as discovered but `extensions` last; in the core
/// group pods, claims and volumes first; of two groups that serve the same objects, the first.
pub(super) fn in_order(
    discovered: &[ApiResource],
    lists: impl Fn(&ApiResource) -> bool,
) -> Vec<&ApiResource> {
    let mut groups: Vec<&str> = Vec::new();
    for kind in discovered {
        let group = kind.group_resource.group.as_str();
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let rank = |kind: &ApiResource| {
        let group = kind.group_resource.group.as_str();
        let place = groups
            .iter()
            .position(|have| *have == group)
            .unwrap_or(usize::MAX);
        let within = match (group, kind.group_resource.resource.as_str()) {
            ("", "pods") => 0,
            ("", "persistentvolumeclaims") => 1,
            ("", "persistentvolumes") => 2,
            _ => 3,
        };
        (group == "extensions", place, within)
    };
    let mut kinds: Vec<&ApiResource> = discovered.iter().filter(|kind| lists(kind)).collect();
    kinds.sort_by_key(|kind| rank(kind));
    let mut seen = HashSet::new();
    kinds.retain(|kind| {
        let GroupOf { name, cohabits } = group_of(kind);
        !cohabits || seen.insert(name)
    });
    kinds
}

struct GroupOf<'a> {
    name: &'a str,
    cohabits: bool,
}

fn group_of(kind: &ApiResource) -> GroupOf<'_> {
    let name = kind.group_resource.resource.as_str();
    let group = kind.group_resource.group.as_str();
    let cohabits = COHABITING
        .iter()
        .any(|(resource, groups)| *resource == name && groups.contains(&group));
    GroupOf { name, cohabits }
}
