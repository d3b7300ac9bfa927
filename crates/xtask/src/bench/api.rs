//! A plain client of the API server for measuring: HTTP/1.1 over TLS with a client certificate, nothing parsed
//! that need not be. It is the least that any program must do, and therefore also what the floors are made of.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reqwest::{Body, Certificate, Client, Identity, Method, Response};
use serde_json::Value;

/// How long one request may take until its answer begins.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// A connection to one API server. Clones share their connections.
#[derive(Clone)]
pub(super) struct Api {
    client: Client,
    server: String,
}

impl Api {
    /// Reads a kubeconfig as the test cluster writes it: JSON, with the certificates inside.
    pub(super) fn open(kubeconfig: &Path) -> Result<Self> {
        // Fails only where a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let text = fs::read(kubeconfig).with_context(|| format!("reading {}", kubeconfig.display()))?;
        let config: Value = serde_json::from_slice(&text)
            .with_context(|| format!("{} is not a test cluster's kubeconfig", kubeconfig.display()))?;
        let cluster = &config["clusters"][0]["cluster"];
        let user = &config["users"][0]["user"];
        let server = cluster["server"]
            .as_str()
            .context("the kubeconfig names no server")?
            .to_owned();
        let authority = Certificate::from_pem(&embedded(cluster, "certificate-authority-data")?)?;
        let mut pem = embedded(user, "client-certificate-data")?;
        pem.extend(embedded(user, "client-key-data")?);
        let client = Client::builder()
            .tls_certs_only([authority])
            .identity(Identity::from_pem(&pem).context("reading the client certificate")?)
            .http1_only()
            .no_proxy()
            .build()
            .context("preparing the HTTP client")?;
        Ok(Self { client, server })
    }

    /// Sends a request and hands out the answer's head; a status that tells of an error is an error.
    pub(super) async fn send(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Response> {
        let what = format!("{method} {path}");
        let mut request = self.client.request(method, format!("{}{path}", self.server));
        request = request.header("accept", "application/json");
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(Body::from(body));
        }
        let answer = tokio::time::timeout(ANSWER_LIMIT, request.send()).await;
        let answer = answer.with_context(|| format!("{what}: no answer in a minute"))??;
        if !answer.status().is_success() {
            let status = answer.status();
            bail!(
                "{what}: {status} {}",
                answer.text().await.unwrap_or_default().trim()
            );
        }
        Ok(answer)
    }

    /// GETs a document.
    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        let answer = self.send(Method::GET, path, None).await?;
        serde_json::from_slice(&answer.bytes().await?)
            .with_context(|| format!("reading the answer to GET {path}"))
    }

    /// POSTs an object and returns it as the server has it.
    pub(super) async fn create(&self, path: &str, object: &Value) -> Result<Value> {
        let answer = self
            .send(Method::POST, path, Some(object.to_string().into_bytes()))
            .await?;
        serde_json::from_slice(&answer.bytes().await?)
            .with_context(|| format!("reading the answer to POST {path}"))
    }

    /// Follows one object from `version` on until `done` says what it has come to. `alive` is asked now and then
    /// whether waiting still makes sense.
    pub(super) async fn watch<T>(
        &self,
        collection: &str,
        name: &str,
        version: &str,
        alive: impl Fn() -> Result<()>,
        done: impl Fn(&Value) -> Option<T>,
    ) -> Result<T> {
        let mut version = version.to_owned();
        loop {
            let path = format!(
                "{collection}?watch=true&fieldSelector=metadata.name%3D{name}&resourceVersion={version}"
            );
            let mut answer = self.send(Method::GET, &path, None).await?;
            let mut buffer = Vec::new();
            // The server ends a watch after some minutes; it goes on from where it was.
            while let Some(chunk) = chunk(&mut answer, &alive).await? {
                buffer.extend_from_slice(&chunk);
                while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = buffer.drain(..=end).collect();
                    let event: Value =
                        serde_json::from_slice(&line).context("reading an event of a watch")?;
                    let object = &event["object"];
                    ensure!(
                        event["type"] != "ERROR" && event["type"] != "DELETED",
                        "watching {name}: {object}"
                    );
                    if let Some(result) = done(object) {
                        return Ok(result);
                    }
                    version = text(&object["metadata"]["resourceVersion"]);
                }
            }
        }
    }
}

/// The next bytes; `alive` is asked each half second while there are none.
async fn chunk(answer: &mut Response, alive: impl Fn() -> Result<()>) -> Result<Option<Vec<u8>>> {
    loop {
        match tokio::time::timeout(Duration::from_millis(500), answer.chunk()).await {
            Ok(chunk) => return Ok(chunk?.map(|bytes| bytes.to_vec())),
            Err(_) => alive()?,
        }
    }
}

/// A field's text; empty where it is none.
pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn embedded(object: &Value, key: &str) -> Result<Vec<u8>> {
    let text = object[key]
        .as_str()
        .with_context(|| format!("the kubeconfig has no {key}"))?;
    BASE64_STANDARD
        .decode(text)
        .with_context(|| format!("the kubeconfig's {key} is not base64"))
}
