//! How kinds and objects are named: `deployments.apps`, `apps/v1/Deployment`, `namespace/name`.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// A resource and its API group, written `pods` or `deployments.apps` as in specs and tarballs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GroupResource {
    /// Plural, lower case.
    pub resource: String,
    /// Empty: core.
    pub group: String,
}

impl GroupResource {
    /// From its two parts.
    #[must_use]
    pub fn new(resource: impl Into<String>, group: impl Into<String>) -> Self {
        Self {
            resource: resource.into(),
            group: group.into(),
        }
    }

    /// Reads `resource[.group]`: everything after the first dot is the group.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.split_once('.') {
            Some((resource, group)) => Self::new(resource, group),
            None => Self::new(text, ""),
        }
    }

    /// Whether it is `resource` of `group`.
    #[must_use]
    pub fn is(&self, resource: &str, group: &str) -> bool {
        self.resource == resource && self.group == group
    }
}

impl fmt::Display for GroupResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.resource)?;
        if self.group.is_empty() {
            Ok(())
        } else {
            write!(f, ".{}", self.group)
        }
    }
}

/// A kind with its group and version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupVersionKind {
    /// Empty: core.
    pub group: String,
    /// For example `v1`.
    pub version: String,
    /// For example `Deployment`.
    pub kind: String,
}

impl GroupVersionKind {
    /// `v1` or `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// As resource lists name kinds: `v1/Pod`, `apps/v1/Deployment`.
impl fmt::Display for GroupVersionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.api_version(), self.kind)
    }
}

/// One kind that the API server serves, in the version to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiResource {
    /// Resource and group.
    pub group_resource: GroupResource,
    /// The version to use.
    pub version: String,
    /// The kind.
    pub kind: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Short names, singular, for resolving what users write.
    pub aliases: Vec<String>,
    /// What the server lets one do: `list`, `create` …
    pub verbs: Vec<String>,
}

impl ApiResource {
    /// Group, version and kind.
    #[must_use]
    pub fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind {
            group: self.group_resource.group.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
        }
    }

    /// Whether the server lets one do all of these.
    #[must_use]
    pub fn can(&self, verbs: &[&str]) -> bool {
        verbs
            .iter()
            .all(|verb| self.verbs.iter().any(|have| have == verb))
    }
}

/// An object's namespace (empty: cluster-scoped) and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Empty: cluster-scoped.
    pub namespace: Arc<str>,
    /// The name.
    pub name: String,
}

impl ObjectName {
    /// From its two parts.
    #[must_use]
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// `namespace/name`, or `name` for cluster-scoped objects.
impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            f.write_str(&self.name)
        } else {
            write!(f, "{}/{}", self.namespace, self.name)
        }
    }
}
