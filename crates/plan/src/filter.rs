//! Include and exclude lists of namespaces and kinds.
//!
//! An empty include list and `*` mean everything; excludes beat includes. Entries may be globs.

use std::collections::BTreeSet;

use globset::{Glob, GlobSet, GlobSetBuilder};
use refloat_model::{GroupResource, resource::ApiResource};

use crate::PlanError;

/// Names, some of them as globs.
#[derive(Clone, Debug)]
pub(crate) struct NameSet {
    everything: bool,
    literals: BTreeSet<String>,
    patterns: Vec<String>,
    globs: GlobSet,
}

/// Equal if the same was written; the compiled globs follow from it.
impl PartialEq for NameSet {
    fn eq(&self, other: &Self) -> bool {
        (self.everything, &self.literals, &self.patterns)
            == (other.everything, &other.literals, &other.patterns)
    }
}

impl NameSet {
    pub(crate) fn new<'a>(
        field: &'static str,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, PlanError> {
        let mut set = Self {
            everything: false,
            literals: BTreeSet::new(),
            patterns: Vec::new(),
            globs: GlobSet::empty(),
        };
        let mut builder = GlobSetBuilder::new();
        let failed = |pattern: &str, error: &globset::Error| PlanError::Pattern {
            field,
            pattern: pattern.to_owned(),
            reason: error.kind().to_string(),
        };
        for name in names {
            if name == "*" {
                set.everything = true;
            } else if is_glob(name) {
                builder.add(Glob::new(name).map_err(|error| failed(name, &error))?);
                set.patterns.push(name.to_owned());
            } else {
                set.literals.insert(name.to_owned());
            }
        }
        set.globs = builder.build().map_err(|error| failed("", &error))?;
        Ok(set)
    }

    /// Whether nothing was written.
    pub(crate) fn is_empty(&self) -> bool {
        !self.everything && self.literals.is_empty() && self.patterns.is_empty()
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.everything
            || self.literals.contains(name)
            || (!self.patterns.is_empty() && self.globs.is_match(name))
    }

    /// The names that are no globs.
    pub(crate) fn literals(&self) -> impl Iterator<Item = &str> {
        self.literals.iter().map(String::as_str)
    }
}

/// Whether a name is a pattern for several.
fn is_glob(name: &str) -> bool {
    name.contains(['*', '?', '[', '{'])
}

/// Which namespaces are meant.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceFilter {
    includes: NameSet,
    excludes: NameSet,
}

impl NamespaceFilter {
    /// From a spec's two lists.
    ///
    /// # Errors
    /// [`PlanError::Pattern`] for a pattern outside `*`, `?` and `[abc]`.
    pub fn new(includes: &[String], excludes: &[String]) -> Result<Self, PlanError> {
        let set = |field, names: &[String]| {
            for name in names {
                check_namespace_pattern(name).map_err(|reason| PlanError::Pattern {
                    field,
                    pattern: name.clone(),
                    reason,
                })?;
            }
            NameSet::new(field, names.iter().map(String::as_str))
        };
        Ok(Self {
            includes: set("spec.includedNamespaces", includes)?,
            excludes: set("spec.excludedNamespaces", excludes)?,
        })
    }

    /// Whether a namespace is meant. Allocates nothing unless there are globs.
    #[must_use]
    pub fn includes(&self, namespace: &str) -> bool {
        !self.excludes.contains(namespace) && (self.includes.is_empty() || self.includes.contains(namespace))
    }

    /// Whether all namespaces are meant, with no exception (a glob that happens to match all does
    /// not count).
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.excludes.is_empty()
            && (self.includes.is_empty()
                || (self.includes.everything
                    && self.includes.literals.is_empty()
                    && self.includes.patterns.is_empty()))
    }

    /// Whether namespaces that nobody has heard of yet are meant too: no include list, or `*`.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.includes.is_empty() || self.includes.everything
    }

    /// The namespaces that are named, not by a pattern, and not excluded. An empty name (users write
    /// it to select no namespace at all) is none.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        self.includes
            .literals()
            .filter(|name| !name.is_empty() && !self.excludes.contains(name))
    }

    /// Patterns in the include list.
    pub(crate) fn include_patterns(&self) -> &[String] {
        &self.includes.patterns
    }
}

/// Checks a namespace or a pattern for namespaces, by Velero 1.18's rules.
///
/// # Errors
/// What is wrong, and what is allowed.
pub fn check_namespace_pattern(pattern: &str) -> Result<(), String> {
    if pattern.contains("**") {
        return Err("`**` is not supported; use a single `*`".to_owned());
    }
    if let Some(odd) = pattern.chars().find(|c| "|(){}!,".contains(*c)) {
        return Err(format!(
            "`{odd}` is not supported; patterns may use `*`, `?` and `[abc]`"
        ));
    }
    let mut rest = pattern;
    while let Some(at) = rest.find(['[', ']']) {
        let Some(class) = rest[at..].strip_prefix('[') else {
            return Err("`]` without `[`; write a class as `[abc]`".to_owned());
        };
        match class.find(']') {
            None => return Err("`[` is not closed; write a class as `[abc]`".to_owned()),
            Some(0) => return Err("`[]` is empty; write a class as `[abc]`".to_owned()),
            Some(end) if class[..end].contains('[') => {
                return Err("`[` inside `[`; write a class as `[abc]`".to_owned());
            }
            Some(end) => rest = &class[end + 1..],
        }
    }
    Ok(())
}

/// Finds the kind that a user means: plural, singular, short name or kind, in any case, with or
/// without the group (or the beginning of it): `deploy`, `deployments`, `deployment.apps`,
/// `Deployment`. Of several, the first in discovery order, as `kubectl` does it; the old group
/// `extensions` comes last.
#[must_use]
pub fn resolve<'a>(written: &str, discovered: &'a [ApiResource]) -> Option<&'a ApiResource> {
    let written = GroupResource::parse(written.trim());
    let plural = |kind: &ApiResource| {
        kind.group_resource
            .resource
            .eq_ignore_ascii_case(&written.resource)
    };
    let named = |kind: &ApiResource| {
        kind.kind.eq_ignore_ascii_case(&written.resource)
            || kind
                .aliases
                .iter()
                .any(|alias| alias.eq_ignore_ascii_case(&written.resource))
    };
    let exact = |kind: &ApiResource| kind.group_resource.group == written.group;
    let begins = |kind: &ApiResource| kind.group_resource.group.starts_with(&written.group);
    let find = |wanted: &dyn Fn(&ApiResource) -> bool| {
        let old = |kind: &&ApiResource| kind.group_resource.group == "extensions";
        let found = discovered.iter().find(|kind| !old(kind) && wanted(kind));
        found.or_else(|| discovered.iter().find(|kind| old(kind) && wanted(kind)))
    };
    if written.group.is_empty() {
        return find(&plural).or_else(|| find(&named));
    }
    find(&|kind| exact(kind) && plural(kind))
        .or_else(|| find(&|kind| exact(kind) && named(kind)))
        .or_else(|| find(&|kind| begins(kind) && (plural(kind) || named(kind))))
}

/// Which kinds are meant.
#[derive(Clone, Debug, PartialEq)]
pub struct KindFilter {
    includes: NameSet,
    excludes: NameSet,
    unresolved: Vec<String>,
}

impl KindFilter {
    /// From a spec's two lists. What cannot be resolved is kept as it is written: it may be a glob
    /// or a kind that the server does not have (yet).
    ///
    /// # Errors
    /// [`PlanError::Pattern`] for a broken glob.
    pub fn new(
        fields: [&'static str; 2],
        includes: &[String],
        excludes: &[String],
        discovered: &[ApiResource],
    ) -> Result<Self, PlanError> {
        let mut unresolved = Vec::new();
        let mut set = |field, written: &[String], keep_all: bool| {
            let mut names = Vec::new();
            for word in written {
                if word == "*" && !keep_all {
                    continue;
                }
                match resolve(word, discovered) {
                    Some(kind) => names.push(kind.group_resource.to_string()),
                    None => {
                        if !is_glob(word) {
                            unresolved.push(word.clone());
                        }
                        names.push(word.clone());
                    }
                }
            }
            NameSet::new(field, names.iter().map(String::as_str))
        };
        let scoped = fields[1].ends_with("ScopedResources");
        let includes = set(fields[0], includes, true)?;
        let excludes = set(fields[1], excludes, scoped)?;
        Ok(Self {
            includes,
            excludes,
            unresolved,
        })
    }

    /// Whether a kind is meant.
    #[must_use]
    pub fn includes(&self, kind: &GroupResource) -> bool {
        let name = kind.to_string();
        !self.excludes.contains(&name) && (self.includes.is_empty() || self.includes.contains(&name))
    }

    /// Whether a kind is in the include list, which is not empty.
    #[must_use]
    pub fn lists(&self, kind: &GroupResource) -> bool {
        let name = kind.to_string();
        !self.excludes.contains(&name) && self.includes.contains(&name)
    }

    /// Whether a kind is excluded in so many words.
    #[must_use]
    pub fn excludes(&self, kind: &GroupResource) -> bool {
        self.excludes.contains(&kind.to_string())
    }

    /// Whether neither list has an entry.
    #[must_use]
    pub fn is_unset(&self) -> bool {
        self.includes.is_empty() && self.excludes.is_empty()
    }

    /// Whether all kinds are meant, with no exception.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.excludes.is_empty() && (self.includes.is_empty() || self.includes.everything)
    }

    /// Entries that are no kind of the cluster and no glob, for a warning.
    #[must_use]
    pub fn unresolved(&self) -> &[String] {
        &self.unresolved
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{discovered, strings};

    #[test]
    fn finds_what_users_write() {
        let kinds = discovered();
        for (written, expected) in [
            ("pods", "pods"),
            ("po", "pods"),
            ("Pod", "pods"),
            ("deploy", "deployments.apps"),
            ("deployments.apps", "deployments.apps"),
            ("deployment.apps", "deployments.apps"),
            ("Deployment", "deployments.apps"),
            ("networkpolicies.networking", "networkpolicies.networking.k8s.io"),
            ("events", "events"),
            ("events.events.k8s.io", "events.events.k8s.io"),
            ("WIDGETS.example.io", "widgets.example.io"),
        ] {
            let found = resolve(written, &kinds).map(|kind| kind.group_resource.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{written}");
        }
        assert_eq!(resolve("nothing", &kinds), None);
        assert_eq!(resolve("pods.apps", &kinds), None);
    }

    #[test]
    fn kinds_by_glob_and_unknown_ones() {
        let kinds = discovered();
        let fields = ["spec.includedResources", "spec.excludedResources"];
        let filter = KindFilter::new(
            fields,
            &strings(&["*.example.io", "deploy", "ghosts"]),
            &[],
            &kinds,
        )
        .unwrap();
        assert!(filter.includes(&GroupResource::parse("widgets.example.io")));
        assert!(filter.includes(&GroupResource::parse("deployments.apps")));
        assert!(filter.includes(&GroupResource::parse("ghosts")));
        assert!(!filter.includes(&GroupResource::parse("pods")));
        assert_eq!(filter.unresolved(), ["ghosts"]);
        let filter = KindFilter::new(fields, &[], &strings(&["deploy", "*"]), &kinds).unwrap();
        assert!(
            filter.includes(&GroupResource::parse("pods")),
            "a lone * in the old exclude list is ignored"
        );
        assert!(!filter.includes(&GroupResource::parse("deployments.apps")));
        assert!(KindFilter::new(fields, &strings(&["[a"]), &[], &kinds).is_err());
    }

    #[test]
    fn namespaces_by_glob() {
        let filter = NamespaceFilter::new(&strings(&["prod-*", "db"]), &strings(&["prod-[xy]?"])).unwrap();
        for (name, expected) in [
            ("prod-a", true),
            ("prod-x1", false),
            ("db", true),
            ("other", false),
        ] {
            assert_eq!(filter.includes(name), expected, "{name}");
        }
        assert!(!filter.is_everything() && !filter.is_open());
        assert_eq!(filter.named().collect::<Vec<_>>(), ["db"]);
        assert!(NamespaceFilter::new(&[], &[]).unwrap().is_everything());
        assert!(
            NamespaceFilter::new(&strings(&["*"]), &[])
                .unwrap()
                .is_everything()
        );
        let filter = NamespaceFilter::new(&[], &strings(&["a"])).unwrap();
        assert!(!filter.is_everything() && filter.is_open());
        for bad in ["a**", "a|b", "(a", "{a,b}", "!a", "a,b", "[a", "a]", "[]", "[[a]"] {
            assert!(NamespaceFilter::new(&strings(&[bad]), &[]).is_err(), "{bad}");
        }
    }
}
