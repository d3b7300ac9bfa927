//! Reading and writing single objects of any kind as JSON.

use bytes::Bytes;
use http::Method;
use refloat_model::{ObjectName, resource::ApiResource};

use crate::{Cluster, ClusterError};

/// How a patch is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 7386.
    Merge,
    /// RFC 6902.
    Json,
    /// Server-side apply.
    Apply,
}

impl PatchKind {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Merge => "application/merge-patch+json",
            Self::Json => "application/json-patch+json",
            Self::Apply => "application/apply-patch+yaml",
        }
    }
}

/// Options of a write.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions<'a> {
    /// Whose name the fields get; absent: from the user agent.
    pub field_manager: Option<&'a str>,
    /// Ask the server to check everything and change nothing.
    pub dry_run: bool,
    /// With [`PatchKind::Apply`]: take fields over from other managers.
    pub force: bool,
}

impl WriteOptions<'_> {
    fn query(self) -> String {
        let mut query = String::new();
        let mut add = |key: &str, value: &str| {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.push_str(key);
            query.push('=');
            query.push_str(&percent(value));
        };
        if let Some(manager) = self.field_manager {
            add("fieldManager", manager);
        }
        if self.dry_run {
            add("dryRun", "All");
        }
        if self.force {
            add("force", "true");
        }
        query
    }
}

impl Cluster {
    /// Reads an object.
    ///
    /// # Errors
    /// [`ClusterError::is_not_found`] where there is none, else whatever the last try reports.
    pub async fn get(&self, resource: &ApiResource, name: &ObjectName) -> Result<Bytes, ClusterError> {
        let action = format!("read {} {name}", resource.group_resource);
        self.get_bytes(&action, &object_path(resource, name)).await
    }

    /// Creates an object and hands out what the server made of it.
    ///
    /// # Errors
    /// [`ClusterError::is_already_exists`] where there is one; that may be one which an earlier
    /// try made whose answer was lost.
    pub async fn create(
        &self,
        resource: &ApiResource,
        name: &ObjectName,
        body: Bytes,
        options: WriteOptions<'_>,
    ) -> Result<Bytes, ClusterError> {
        let action = format!("create {} {name}", resource.group_resource);
        let namespace = (!name.namespace.is_empty()).then_some(&*name.namespace);
        let path = collection_path(resource, namespace) + &options.query();
        self.exchange(&action, &Method::POST, &path, Some("application/json"), body)
            .await
    }

    /// Patches an object, or with `subresource` (for example `status`) that part of it.
    ///
    /// # Errors
    /// [`ClusterError::is_not_found`] where there is none, else whatever the last try reports.
    pub async fn patch(
        &self,
        resource: &ApiResource,
        name: &ObjectName,
        subresource: Option<&str>,
        kind: PatchKind,
        body: Bytes,
        options: WriteOptions<'_>,
    ) -> Result<Bytes, ClusterError> {
        let action = format!("patch {} {name}", resource.group_resource);
        let mut path = object_path(resource, name);
        if let Some(subresource) = subresource {
            path.push('/');
            path.push_str(subresource);
        }
        path.push_str(&options.query());
        self.exchange(&action, &Method::PATCH, &path, Some(kind.content_type()), body)
            .await
    }

    /// Deletes an object; one that is not there is fine.
    ///
    /// # Errors
    /// Whatever the last try reports.
    pub async fn delete(&self, resource: &ApiResource, name: &ObjectName) -> Result<(), ClusterError> {
        let action = format!("delete {} {name}", resource.group_resource);
        let path = object_path(resource, name);
        match self
            .exchange(&action, &Method::DELETE, &path, None, Bytes::new())
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Cluster {
    /// Deletes an object only if it still is the one with this UID; what it owns goes after it. One that is
    /// not there is fine.
    ///
    /// # Errors
    /// [`ClusterError::is_conflict`] where another object has taken its place, else whatever the last try
    /// reports.
    pub async fn delete_exactly(
        &self,
        resource: &ApiResource,
        name: &ObjectName,
        uid: &str,
    ) -> Result<(), ClusterError> {
        let action = format!("delete {} {name}", resource.group_resource);
        let options = serde_json::json!({
            "apiVersion": "v1", "kind": "DeleteOptions",
            "preconditions": { "uid": uid }, "propagationPolicy": "Background",
        });
        let body = Bytes::from(options.to_string());
        let path = object_path(resource, name);
        match self
            .exchange(&action, &Method::DELETE, &path, Some("application/json"), body)
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The path of a kind's collection, in one namespace or over all.
pub(crate) fn collection_path(resource: &ApiResource, namespace: Option<&str>) -> String {
    let group = &resource.group_resource.group;
    let mut path = if group.is_empty() {
        format!("/api/{}", resource.version)
    } else {
        format!("/apis/{group}/{}", resource.version)
    };
    if let Some(namespace) = namespace {
        path.push_str("/namespaces/");
        path.push_str(&percent(namespace));
    }
    path.push('/');
    path.push_str(&resource.group_resource.resource);
    path
}

fn object_path(resource: &ApiResource, name: &ObjectName) -> String {
    let namespace = (!name.namespace.is_empty()).then_some(&*name.namespace);
    let mut path = collection_path(resource, namespace);
    path.push('/');
    path.push_str(&percent(&name.name));
    path
}

/// Percent-encodes everything but RFC 3986's unreserved characters.
pub(crate) fn percent(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
