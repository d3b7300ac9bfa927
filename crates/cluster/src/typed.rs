//! Custom resources and a few built-in kinds as Rust types: what controllers read, write and watch.
//!
//! Writes of status are merge patches of the main resource, because Velero's kinds have no status
//! subresource; fields that this version does not know stay as they are.

use std::{collections::BTreeSet, fmt::Debug, marker::PhantomData};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::Method;
use k8s_openapi::{
    ByteString, NamespaceResourceScope,
    api::core::v1::{ConfigMap, Secret},
    apimachinery::pkg::apis::meta::v1::{APIResourceList, ObjectMeta},
};
use kube::{
    Api,
    runtime::{WatchStreamExt, watcher},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Cluster, ClusterError,
    apply::percent,
    client::{decode, from_kube},
};

/// Objects read per page.
const PAGE: u32 = 500;

/// A namespaced kind that is known at compile time.
pub trait Object:
    kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Its name; empty where the server has yet to make one.
    fn object_name(&self) -> &str {
        self.meta().name.as_deref().unwrap_or_default()
    }

    /// Its UID; empty where the server has not seen it.
    fn object_uid(&self) -> &str {
        self.meta().uid.as_deref().unwrap_or_default()
    }

    /// Its metadata.
    fn object_meta(&self) -> &ObjectMeta {
        self.meta()
    }

    /// The kind's name, for example `Backup`.
    #[must_use]
    fn kind_name() -> String {
        Self::kind(&()).into_owned()
    }

    /// `group/version`, or `v1`.
    #[must_use]
    fn api_version_name() -> String {
        Self::api_version(&()).into_owned()
    }
}

impl<K> Object for K where
    K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// What a watch saw.
#[derive(Clone, Debug)]
pub enum Change<K> {
    /// The object is there, new or changed (or just listed again).
    Present(K),
    /// The object of this name is gone.
    Gone(String),
}

/// The objects of one kind in one namespace.
pub struct Objects<K> {
    cluster: Cluster,
    namespace: String,
    kind: PhantomData<fn() -> K>,
}

impl<K> Clone for Objects<K> {
    fn clone(&self) -> Self {
        Self {
            cluster: self.cluster.clone(),
            namespace: self.namespace.clone(),
            kind: PhantomData,
        }
    }
}

#[derive(Deserialize)]
#[serde(bound = "K: DeserializeOwned")]
struct Page<K> {
    #[serde(default)]
    metadata: PageMetadata,
    items: Vec<K>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct PageMetadata {
    r#continue: Option<String>,
}

impl Cluster {
    /// The objects of kind `K` in `namespace`.
    #[must_use]
    pub fn objects<K: Object>(&self, namespace: &str) -> Objects<K> {
        Objects {
            cluster: self.clone(),
            namespace: namespace.to_owned(),
            kind: PhantomData,
        }
    }

    /// The value of `key` in a Secret; `None` where the Secret or the key is missing.
    ///
    /// # Errors
    /// Whatever the request reports.
    pub async fn secret_value(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<Option<Vec<u8>>, ClusterError> {
        let secret = self.objects::<Secret>(namespace).find(name).await?;
        let data = secret.and_then(|secret| secret.data);
        Ok(data
            .and_then(|mut data| data.remove(key))
            .map(|ByteString(bytes)| bytes))
    }

    /// A ConfigMap; `None` where there is none.
    ///
    /// # Errors
    /// Whatever the request reports.
    pub async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<ConfigMap>, ClusterError> {
        self.objects::<ConfigMap>(namespace).find(name).await
    }

    /// The plural names that the server serves in `group/version`; empty where it does not serve it.
    ///
    /// # Errors
    /// Whatever the request reports.
    pub async fn served_resources(&self, api_version: &str) -> Result<Vec<String>, ClusterError> {
        let action = format!("read which resources {api_version} has");
        let list: Result<APIResourceList, _> = self.get_json(&action, &format!("/apis/{api_version}")).await;
        match list {
            Ok(list) => Ok(list.resources.into_iter().map(|resource| resource.name).collect()),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

impl<K: Object> Objects<K> {
    /// The object of that name.
    ///
    /// # Errors
    /// [`ClusterError::is_not_found`] where there is none, else whatever the last try reports.
    pub async fn get(&self, name: &str) -> Result<K, ClusterError> {
        let action = self.action("read", name);
        self.cluster.get_json(&action, &self.path(name)).await
    }

    /// The object of that name; `None` where there is none.
    ///
    /// # Errors
    /// Whatever the last try reports.
    pub async fn find(&self, name: &str) -> Result<Option<K>, ClusterError> {
        match self.get(name).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects, or those that match a label selector such as `a=b,c`. Read in pages and held
    /// whole, so meant for kinds with thousands of objects, not millions.
    ///
    /// # Errors
    /// Whatever the last try of a page reports.
    pub async fn list(&self, label_selector: Option<&str>) -> Result<Vec<K>, ClusterError> {
        let action = self.action("list", "");
        let selector = label_selector.map(|text| format!("&labelSelector={}", percent(text)));
        let base = format!(
            "{}?limit={PAGE}{}",
            self.collection(),
            selector.unwrap_or_default()
        );
        let mut objects = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let path = match &token {
                Some(token) => format!("{base}&continue={}", percent(token)),
                None => base.clone(),
            };
            match self.cluster.get_json::<Page<K>>(&action, &path).await {
                Ok(page) => {
                    objects.extend(page.items);
                    token = page.metadata.r#continue.filter(|token| !token.is_empty());
                }
                // The snapshot behind the token is gone: what was read so far may be stale as well.
                Err(error) if error.is_expired() && token.is_some() => {
                    objects.clear();
                    token = None;
                    continue;
                }
                Err(error) => return Err(error),
            }
            if token.is_none() {
                return Ok(objects);
            }
        }
    }

    /// Creates an object and returns what the server made of it. The kinds here have no status
    /// subresource, so a status goes in with it.
    ///
    /// # Errors
    /// [`ClusterError::is_already_exists`] where the name is taken, else whatever the last try reports.
    pub async fn create(&self, object: &K) -> Result<K, ClusterError> {
        let action = self.action("create", object.object_name());
        let body = encode(&action, object)?;
        self.exchange(
            &action,
            &Method::POST,
            &self.collection(),
            body,
            "application/json",
        )
        .await
    }

    /// Changes fields of an object by JSON merge patch (RFC 7386); `null` removes one.
    ///
    /// # Errors
    /// [`ClusterError::is_not_found`] where there is none, [`ClusterError::is_conflict`] where the
    /// patch names a `resourceVersion` that is not current, else whatever the last try reports.
    pub async fn merge_patch(&self, name: &str, patch: &Value) -> Result<K, ClusterError> {
        let action = self.action("patch", name);
        let body = encode(&action, patch)?;
        self.exchange(
            &action,
            &Method::PATCH,
            &self.path(name),
            body,
            "application/merge-patch+json",
        )
        .await
    }

    /// Writes a whole object; its `resourceVersion`, where set, must be current.
    ///
    /// # Errors
    /// As [`Objects::merge_patch`].
    pub async fn replace(&self, name: &str, object: &K) -> Result<K, ClusterError> {
        let action = self.action("replace", name);
        let body = encode(&action, object)?;
        self.exchange(&action, &Method::PUT, &self.path(name), body, "application/json")
            .await
    }

    /// Deletes an object (one with finalizers goes later); one that is not there is fine.
    ///
    /// # Errors
    /// Whatever the last try reports.
    pub async fn delete(&self, name: &str) -> Result<(), ClusterError> {
        let action = self.action("delete", name);
        let path = self.path(name);
        match self
            .cluster
            .exchange(&action, &Method::DELETE, &path, None, Bytes::new())
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Every object, then every change, for ever. After a break of the connection the objects are
    /// listed again: those that are still there come as [`Change::Present`] once more, those that
    /// vanished meanwhile as [`Change::Gone`]. An error is followed by another try, with growing
    /// pauses.
    pub fn watch(&self) -> impl Stream<Item = Result<Change<K>, ClusterError>> + Send + use<K> {
        let api = Api::<K>::namespaced(self.cluster.client(), &self.namespace);
        let action = self.action("watch", "");
        let config = watcher::Config::default().page_size(PAGE);
        let mut names = Names::default();
        watcher(api, config).default_backoff().flat_map(move |event| {
            let changes = match event {
                Ok(event) => names.follow(event).into_iter().map(Ok).collect(),
                Err(error) => vec![Err(watch_error(&action, error))],
            };
            futures::stream::iter(changes)
        })
    }

    async fn exchange(
        &self,
        action: &str,
        method: &Method,
        path: &str,
        body: Bytes,
        content_type: &'static str,
    ) -> Result<K, ClusterError> {
        let answer = self
            .cluster
            .exchange(action, method, path, Some(content_type), body)
            .await?;
        serde_json::from_slice(&answer).map_err(|error| decode(action, error))
    }

    fn collection(&self) -> String {
        K::url_path(&(), Some(&self.namespace))
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{}", self.collection(), percent(name))
    }

    fn action(&self, verb: &str, name: &str) -> String {
        let plural = K::plural(&());
        if name.is_empty() {
            format!("{verb} {plural} in namespace {}", self.namespace)
        } else {
            format!("{verb} {plural} {}/{name}", self.namespace)
        }
    }
}

fn encode(action: &str, body: &impl Serialize) -> Result<Bytes, ClusterError> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(|error| decode(action, error))
}

fn watch_error(action: &str, error: watcher::Error) -> ClusterError {
    use watcher::Error;
    match error {
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
            from_kube(action, error)
        }
        Error::WatchError(status) => from_kube(action, kube::Error::Api(status)),
        other => decode(action, other),
    }
}

/// The names seen so far, to tell after a new list which objects have vanished.
#[derive(Default)]
struct Names {
    known: BTreeSet<String>,
    listed: BTreeSet<String>,
}

impl Names {
    fn follow<K: Object>(&mut self, event: watcher::Event<K>) -> Vec<Change<K>> {
        use watcher::Event;
        match event {
            Event::Init => {
                self.listed.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                self.listed.insert(object.object_name().to_owned());
                vec![Change::Present(object)]
            }
            Event::InitDone => {
                let listed = std::mem::take(&mut self.listed);
                let gone = self
                    .known
                    .difference(&listed)
                    .cloned()
                    .map(Change::Gone)
                    .collect();
                self.known = listed;
                gone
            }
            Event::Apply(object) => {
                self.known.insert(object.object_name().to_owned());
                vec![Change::Present(object)]
            }
            Event::Delete(object) => {
                self.known.remove(object.object_name());
                vec![Change::Gone(object.object_name().to_owned())]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> ConfigMap {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        };
        ConfigMap {
            metadata,
            ..ConfigMap::default()
        }
    }

    fn shown(changes: Vec<Change<ConfigMap>>) -> Vec<String> {
        let show = |change| match change {
            Change::Present(object) => format!("+{}", ConfigMap::object_name(&object)),
            Change::Gone(name) => format!("-{name}"),
        };
        changes.into_iter().map(show).collect()
    }

    #[test]
    fn what_vanished_while_the_watch_was_broken_is_gone_after_the_next_list() {
        use watcher::Event;
        let mut names = Names::default();
        let mut feed = |event| shown(names.follow(event));
        assert!(feed(Event::Init).is_empty());
        assert_eq!(feed(Event::InitApply(named("a"))), ["+a"]);
        assert_eq!(feed(Event::InitApply(named("b"))), ["+b"]);
        assert!(feed(Event::InitDone).is_empty());
        assert_eq!(feed(Event::Apply(named("c"))), ["+c"]);
        assert_eq!(feed(Event::Delete(named("a"))), ["-a"]);
        assert!(feed(Event::Init).is_empty());
        assert_eq!(feed(Event::InitApply(named("c"))), ["+c"]);
        assert_eq!(feed(Event::InitDone), ["-b"]);
    }
}
