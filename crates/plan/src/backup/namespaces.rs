//! Which namespaces a backup misses, and which namespace objects it stores.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{filter::NamespaceFilter, selector::Selector};

/// What has to be known of a namespace.
#[derive(Clone, Debug, Default)]
pub struct NamespaceFacts {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether its phase is `Active`.
    pub active: bool,
    /// Whether the label `velero.io/exclude-from-backup` is `true`.
    pub excluded_label: bool,
}

/// What becomes of a namespace's own object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum NamespaceObject {
    /// Stored, items or not.
    Always,
    /// Stored if the backup has an item of it.
    WithItems,
    /// Not stored.
    Never,
}

pub(super) fn missing(filter: &NamespaceFilter, namespaces: &[NamespaceFacts]) -> Vec<String> {
    let exists = |name: &str| namespaces.iter().any(|facts| facts.name == name);
    filter
        .named()
        .filter(|name| !exists(name))
        .map(str::to_owned)
        .collect()
}

pub(super) fn missing_warning(name: &str) -> String {
    format!("namespace {name:?} is named in includedNamespaces but does not exist")
}

pub(super) fn warnings(
    filter: &NamespaceFilter,
    namespaces: &[NamespaceFacts],
    labelled_out: &BTreeSet<String>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    for name in filter.named().filter(|name| labelled_out.contains(*name)) {
        warnings.push(format!(
            "namespace {name:?} is named in includedNamespaces but its label \
             velero.io/exclude-from-backup=true keeps it out"
        ));
    }
    let nothing = !filter.is_open() && !namespaces.iter().any(|facts| filter.includes(&facts.name));
    if nothing && !filter.include_patterns().is_empty() {
        warnings.push(format!(
            "no namespace matches the patterns {} in includedNamespaces",
            filter.include_patterns().join(", ")
        ));
    }
    warnings
}

/// Velero's rule: an active namespace is stored if it is selected by name or matches the selector;
/// if all namespaces are meant and there is a selector, then only with items. Unlike in Velero, a
/// matching label does not bring in a namespace that the spec excludes.
pub(super) fn objects(
    namespaces: &[NamespaceFacts],
    filter: &NamespaceFilter,
    labelled_out: &BTreeSet<String>,
    selectors: &[Selector],
) -> BTreeMap<String, NamespaceObject> {
    let everything = filter.is_everything() && labelled_out.is_empty();
    let by_name = !everything || selectors.is_empty();
    let rule = |facts: &NamespaceFacts| {
        if !filter.includes(&facts.name) || labelled_out.contains(&facts.name) {
            NamespaceObject::Never
        } else if facts.active && (by_name || selectors.iter().any(|s| s.matches_map(&facts.labels))) {
            NamespaceObject::Always
        } else {
            NamespaceObject::WithItems
        }
    };
    namespaces
        .iter()
        .map(|facts| (facts.name.clone(), rule(facts)))
        .collect()
}
