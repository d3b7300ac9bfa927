//! Connecting to an API server, and the one way a request is sent.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kube::{
    client::Body,
    config::{Config, KubeConfigOptions, Kubeconfig},
};
use serde::de::DeserializeOwned;

use crate::{
    error::ClusterError,
    limiter::{Limiter, Outcome},
};

/// How long to wait for an answer. The API server gives up after 60 s and says so: its own answer is to come
/// first.
const ANSWER_LIMIT: Duration = Duration::from_secs(75);
/// How often a request is tried that ran into a time limit, each time for so long.
const TRIES_AFTER_TIMEOUT: u32 = 3;
/// The longest answer that is read whole.
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;

/// Where the cluster is and who we are.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// A kubeconfig; absent: `KUBECONFIG`, `~/.kube/config`, then the pod's service account.
    pub kubeconfig: Option<PathBuf>,
    /// The context in it; absent: the current one.
    pub context: Option<String>,
    /// Sent as `User-Agent`, and thereby the field manager where none is named.
    pub user_agent: String,
    /// The most requests in flight at once.
    pub max_connections: usize,
    /// How often a single request is tried while trying again can help: 9 times take about half a
    /// minute, 4 times about a second.
    pub tries: u32,
    /// How long one request may take until its answer begins, and again until it is whole.
    pub answer_limit: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            user_agent: concat!("refloat/", env!("CARGO_PKG_VERSION")).to_owned(),
            max_connections: 30,
            tries: 9,
            answer_limit: ANSWER_LIMIT,
        }
    }
}

/// A connection to one cluster. Cheap to clone; clones share connections and the limiter.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    limiter: Arc<Limiter>,
    tries: u32,
    answer_limit: Duration,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("limiter", &self.limiter)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reads the configuration and prepares the connection. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClusterError::Config`] where there is no configuration or it cannot be used.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, ClusterError> {
        let bad = |error: Box<dyn std::error::Error + Send + Sync>| ClusterError::Config(error);
        let chosen = KubeConfigOptions {
            context: options.context.clone(),
            ..Default::default()
        };
        let mut config = match &options.kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).map_err(|error| bad(error.into()))?;
                Config::from_custom_kubeconfig(file, &chosen)
                    .await
                    .map_err(|error| bad(error.into()))?
            }
            None if options.context.is_some() => Config::from_kubeconfig(&chosen)
                .await
                .map_err(|error| bad(error.into()))?,
            None => Config::infer().await.map_err(|error| bad(error.into()))?,
        };
        // The limiter retries and slows down by itself; the client's own retries would hide from
        // it what the server says.
        config.default_retry = false;
        let agent = http::HeaderValue::from_str(&options.user_agent).map_err(|error| bad(error.into()))?;
        config.headers.push((header::USER_AGENT, agent));
        let client = kube::Client::try_from(config).map_err(|error| bad(error.into()))?;
        Ok(Self {
            client,
            limiter: Arc::new(Limiter::new(options.max_connections)),
            tries: options.tries,
            answer_limit: options.answer_limit,
        })
    }

    /// The underlying client, for the modules of this crate.
    pub(crate) fn client(&self) -> kube::Client {
        self.client.clone()
    }

    /// The bound on requests in flight that all writes share.
    #[must_use]
    pub fn limiter(&self) -> &Limiter {
        &self.limiter
    }

    /// How long to wait for an answer, or for more of it.
    pub(crate) fn answer_limit(&self) -> Duration {
        self.answer_limit
    }

    /// How often a request is tried that failed like this.
    pub(crate) fn tries(&self, error: &ClusterError) -> u32 {
        if error.is_timeout() {
            self.tries.min(TRIES_AFTER_TIMEOUT)
        } else {
            self.tries
        }
    }

    /// Whether an error is about the request alone: others are answered.
    pub async fn answers_others(&self, error: &ClusterError) -> bool {
        error.code().is_some() || (error.is_timeout() && self.server_version().await.is_ok())
    }

    /// The server's version: `gitVersion`, `major`, `minor`.
    ///
    /// # Errors
    /// Whatever the request reports.
    pub async fn server_version(&self) -> Result<ServerVersion, ClusterError> {
        self.get_json("read the API server's version", "/version").await
    }

    /// Sends a request and hands out the answer's head once it has come; an answer that is not
    /// 2xx is an error. Not retried, not limited.
    pub(crate) async fn send(
        &self,
        action: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>, ClusterError> {
        let sent = tokio::time::timeout(self.answer_limit, self.client.send(request)).await;
        let response = match sent {
            Err(_) => {
                return Err(ClusterError::Timeout {
                    action: action.to_owned(),
                    limit: self.answer_limit,
                });
            }
            Ok(Err(error)) => return Err(from_kube(action, error)),
            Ok(Ok(response)) => response,
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = tokio::time::timeout(self.answer_limit, read_whole(action, response)).await;
        let body = body.unwrap_or_else(|_| Ok(Bytes::new())).unwrap_or_default();
        Err(api_error(action, status, retry_after, &body))
    }

    /// GETs a document and reads it whole; tried again while that can help.
    ///
    /// # Errors
    /// Whatever the last try reports, or [`ClusterError::Decode`].
    pub async fn get_json<T: DeserializeOwned>(&self, action: &str, path: &str) -> Result<T, ClusterError> {
        let bytes = self.get_bytes(action, path).await?;
        serde_json::from_slice(&bytes).map_err(|error| decode(action, error))
    }

    /// GETs a document's bytes; tried again while that can help.
    ///
    /// # Errors
    /// Whatever the last try reports.
    pub async fn get_bytes(&self, action: &str, path: &str) -> Result<Bytes, ClusterError> {
        self.exchange(action, &Method::GET, path, None, Bytes::new())
            .await
    }

    /// GETs a document once, without a conclusion about the API server's strain: another server behind it
    /// may be the one that does not answer.
    ///
    /// # Errors
    /// Whatever the try reports, or [`ClusterError::Decode`].
    pub(crate) async fn get_json_once<T: DeserializeOwned>(
        &self,
        action: &str,
        path: &str,
    ) -> Result<T, ClusterError> {
        let leave = self.limiter.enter().await;
        let result = self.once(action, &Method::GET, path, None, Bytes::new()).await;
        self.limiter.done(leave, Outcome::Answered);
        serde_json::from_slice(&result?).map_err(|error| decode(action, error))
    }

    /// One request with its whole answer: limited, and tried again while that can help. A POST
    /// whose answer was lost may find its own object on the next try (`AlreadyExists`).
    pub(crate) async fn exchange(
        &self,
        action: &str,
        method: &Method,
        path: &str,
        content_type: Option<&'static str>,
        body: Bytes,
    ) -> Result<Bytes, ClusterError> {
        let mut pauses = Pauses::default();
        loop {
            let leave = self.limiter.enter().await;
            let result = self.once(action, method, path, content_type, body.clone()).await;
            let outcome = match &result {
                Err(ClusterError::Api {
                    code: 429 | 503,
                    retry_after,
                    ..
                }) => Outcome::Overloaded(*retry_after),
                Err(ClusterError::Timeout { .. } | ClusterError::Api { code: 504, .. }) => {
                    Outcome::Overloaded(None)
                }
                _ => Outcome::Answered,
            };
            self.limiter.done(leave, outcome);
            match result {
                Err(error) if error.is_retryable() => match pauses.next() {
                    Some(pause) if pauses.given() < self.tries(&error) => tokio::time::sleep(pause).await,
                    _ => return Err(error),
                },
                other => return other,
            }
        }
    }

    async fn once(
        &self,
        action: &str,
        method: &Method,
        path: &str,
        content_type: Option<&'static str>,
        body: Bytes,
    ) -> Result<Bytes, ClusterError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::ACCEPT, "application/json");
        if let Some(content_type) = content_type {
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let request = request
            .body(Body::from(body))
            .map_err(|error| decode(action, error))?;
        let response = self.send(action, request).await?;
        let reading = tokio::time::timeout(self.answer_limit, read_whole(action, response)).await;
        reading.unwrap_or_else(|_| {
            Err(ClusterError::Timeout {
                action: action.to_owned(),
                limit: self.answer_limit,
            })
        })
    }
}

/// What `/version` says.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerVersion {
    /// For example `v1.34.4`.
    pub git_version: String,
    /// For example `1`.
    pub major: String,
    /// For example `34`.
    pub minor: String,
}

/// The pauses between tries: doubling from 200 ms with jitter, about a minute in all.
#[derive(Debug, Default)]
pub(crate) struct Pauses(u32);

impl Pauses {
    /// How many were asked for.
    pub(crate) fn given(&self) -> u32 {
        self.0
    }
}

impl Iterator for Pauses {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        const TRIES: u32 = 9;
        self.0 += 1;
        let base = Duration::from_millis(200) * 2u32.saturating_pow(self.0 - 1);
        // Different clients must not come back in step; the address of a fresh box would do, the
        // clock's last digits do as well.
        let jitter = jiff::Timestamp::now().subsec_nanosecond().unsigned_abs() % 256;
        (self.0 < TRIES).then(|| base.min(Duration::from_secs(15)) * (256 + jitter) / 512)
    }
}

pub(crate) fn decode(
    action: &str,
    error: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> ClusterError {
    ClusterError::Decode {
        action: action.to_owned(),
        source: error.into(),
    }
}

async fn read_whole(action: &str, response: Response<Body>) -> Result<Bytes, ClusterError> {
    let body = Limited::new(response.into_body(), LONGEST_ANSWER);
    match body.collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(source) => Err(ClusterError::Transport {
            action: action.to_owned(),
            source,
        }),
    }
}

/// The client's error as ours.
pub(crate) fn from_kube(action: &str, error: kube::Error) -> ClusterError {
    let action = action.to_owned();
    match error {
        kube::Error::Api(status) => ClusterError::Api {
            action,
            code: status.code,
            reason: status.reason.clone(),
            message: status.message.clone(),
            retry_after: status
                .details
                .as_ref()
                .filter(|details| details.retry_after_seconds > 0)
                .map(|details| Duration::from_secs(details.retry_after_seconds.into())),
            continue_token: None,
        },
        kube::Error::SerdeError(source) => ClusterError::Decode {
            action,
            source: source.into(),
        },
        other => ClusterError::Transport {
            action,
            source: other.into(),
        },
    }
}

fn api_error(action: &str, status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> ClusterError {
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Status {
        reason: String,
        message: String,
        metadata: Metadata,
    }
    #[derive(serde::Deserialize, Default)]
    #[serde(default)]
    struct Metadata {
        r#continue: String,
    }
    let parsed: Status = serde_json::from_slice(body).unwrap_or_default();
    let message = if parsed.message.is_empty() {
        let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
        let text = text.trim();
        if text.is_empty() {
            status.to_string()
        } else {
            format!("{status}: {text}")
        }
    } else {
        parsed.message
    };
    let token = parsed.metadata.r#continue;
    ClusterError::Api {
        action: action.to_owned(),
        code: status.as_u16(),
        reason: parsed.reason,
        message,
        retry_after,
        continue_token: (!token.is_empty()).then_some(token),
    }
}
