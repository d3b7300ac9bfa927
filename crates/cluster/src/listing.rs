//! Listing a kind as a stream of the objects' own bytes, page after page.
//!
//! A list that breaks (the connection drops, the server is overloaded) goes on where it was. One
//! whose snapshot has expired (410) goes on from the next key with the token that the server gives
//! for that, or from the start. What was handed out already is passed over by its key and not by its
//! count, because objects come and go meanwhile; the server sorts lists by namespace and name.

use bytes::Bytes;
use http::{Request, header};
use http_body_util::BodyExt;
use kube::client::Body;
use refloat_model::resource::ApiResource;
use serde::Deserialize;

use crate::{
    Cluster, ClusterError,
    apply::{collection_path, percent},
    client::{Pauses, decode},
    splitter::Splitter,
};

/// The longest time that a server may have us wait.
const LONGEST_WAIT: std::time::Duration = std::time::Duration::from_secs(60);

/// A list under way. Dropping it ends it.
pub struct Listing<'a> {
    cluster: &'a Cluster,
    path: String,
    action: String,
    token: Option<String>,
    page: Option<Page>,
    /// The object that was handed out last.
    last: Option<Bytes>,
    /// After an error: objects up to this key were handed out.
    after: Option<String>,
    remaining: Option<u64>,
    pauses: Pauses,
    done: bool,
}

struct Page {
    body: Body,
    splitter: Splitter,
}

/// What an object is sorted by.
#[derive(Deserialize)]
struct Keyed {
    metadata: Key,
}

#[derive(Deserialize)]
struct Key {
    name: String,
    #[serde(default)]
    namespace: String,
}

#[derive(Deserialize)]
struct Envelope {
    #[serde(default)]
    metadata: ListMeta,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(default)]
    r#continue: Option<String>,
    #[serde(default)]
    remaining_item_count: Option<u64>,
}

impl Cluster {
    /// Starts to list a kind: in one namespace or in all, all objects or those of one selector
    /// (in the API's own notation), `page_size` objects per request. Nothing is sent yet.
    #[must_use]
    pub fn list_pages(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        selector: Option<&str>,
        page_size: u32,
    ) -> Listing<'_> {
        let mut path = collection_path(resource, namespace);
        path.push_str(&format!("?limit={page_size}"));
        if let Some(selector) = selector {
            path.push_str("&labelSelector=");
            path.push_str(&percent(selector));
        }
        let place = namespace
            .map(|namespace| format!(" in namespace {namespace}"))
            .unwrap_or_default();
        Listing {
            cluster: self,
            path,
            action: format!("list {}{place}", resource.group_resource),
            token: None,
            page: None,
            last: None,
            after: None,
            remaining: None,
            pauses: Pauses::default(),
            done: false,
        }
    }
}

impl Listing<'_> {
    /// The next object as the server sent it; objects of built-in kinds lack `kind` and
    /// `apiVersion` then. `None`: there are no more. Cancel safe.
    ///
    /// # Errors
    /// When trying again does not help (any more). The list is over then.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClusterError> {
        loop {
            if self.done {
                return Ok(None);
            }
            match self.step().await {
                Ok(Step::Object(object)) => {
                    if let Some(after) = &self.after
                        && key(&object).is_some_and(|key| key <= *after)
                    {
                        continue;
                    }
                    self.after = None;
                    self.last = Some(object.clone());
                    return Ok(Some(object));
                }
                Ok(Step::Again) => {}
                Err(error) => self.recover(error).await?,
            }
        }
    }

    /// How many objects are still to come after this page, where the server says so.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        self.remaining
    }

    async fn step(&mut self) -> Result<Step, ClusterError> {
        if self.page.is_none() {
            let uri = self.uri();
            self.page = Some(open(self.cluster, &self.action, &uri).await?);
        }
        let Some(page) = &mut self.page else {
            return Ok(Step::Again);
        };
        if let Some(object) = page
            .splitter
            .next_object()
            .map_err(|error| decode(&self.action, error))?
        {
            return Ok(Step::Object(object));
        }
        let limit = self.cluster.answer_limit();
        let frame = tokio::time::timeout(limit, page.body.frame()).await;
        let frame = frame
            .map_err(|_| ClusterError::Timeout {
                action: self.action.clone(),
                limit,
            })?
            .transpose()
            .map_err(|error| ClusterError::Transport {
                action: self.action.clone(),
                source: error.into(),
            })?;
        match frame {
            Some(frame) => {
                if let Some(data) = frame.data_ref() {
                    page.splitter.feed(data);
                }
            }
            None => self.close()?,
        }
        Ok(Step::Again)
    }

    fn uri(&self) -> String {
        match &self.token {
            Some(token) => format!("{}&continue={}", self.path, percent(token)),
            None => self.path.clone(),
        }
    }

    /// The page is whole: takes its token for the next one.
    fn close(&mut self) -> Result<(), ClusterError> {
        let Some(page) = self.page.take() else {
            return Ok(());
        };
        let envelope = page.splitter.finish().map_err(|error| ClusterError::Transport {
            action: self.action.clone(),
            source: error.into(),
        })?;
        let envelope: Envelope =
            serde_json::from_slice(&envelope).map_err(|error| decode(&self.action, error))?;
        self.token = envelope.metadata.r#continue.filter(|token| !token.is_empty());
        self.remaining = envelope.metadata.remaining_item_count;
        self.done = self.token.is_none();
        // A page that has brought nothing new is no progress: a list that expires again and again ends.
        if self.after.is_none() {
            self.pauses = Pauses::default();
        }
        Ok(())
    }

    /// Prepares to go on after an error, or hands it out.
    async fn recover(&mut self, error: ClusterError) -> Result<(), ClusterError> {
        self.page = None;
        self.after = self.last.as_ref().and_then(key).or(self.after.take());
        let expired = matches!(&error, ClusterError::Api { code: 410, .. });
        let pause = match self.pauses.next() {
            Some(pause)
                if (expired || error.is_retryable()) && self.pauses.given() < self.cluster.tries(&error) =>
            {
                pause
            }
            _ => {
                self.done = true;
                return Err(error);
            }
        };
        let mut wait = pause;
        match &error {
            ClusterError::Api {
                code: 410,
                continue_token,
                ..
            } => {
                tracing::info!(
                    list = self.action,
                    "the list's snapshot has expired; going on from the next key"
                );
                self.token = continue_token.clone();
            }
            ClusterError::Api {
                retry_after: Some(asked),
                ..
            } => wait = pause.max((*asked).min(LONGEST_WAIT)),
            _ => tracing::debug!(list = self.action, %error, "trying again"),
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// Where an object is in the order of its list.
fn key(object: &Bytes) -> Option<String> {
    let Keyed { metadata } = serde_json::from_slice(object).ok()?;
    Some(format!("{}/{}", metadata.namespace, metadata.name))
}

enum Step {
    Object(Bytes),
    Again,
}

/// Asks for a page and waits for the head of its answer.
async fn open(cluster: &Cluster, action: &str, uri: &str) -> Result<Page, ClusterError> {
    let request = Request::get(uri)
        .header(header::ACCEPT, "application/json")
        .body(Body::empty())
        .map_err(|error| decode(action, error))?;
    let response = cluster.send(action, request).await?;
    Ok(Page {
        body: response.into_body(),
        splitter: Splitter::default(),
    })
}
