//! The last step of every request: what OpenDAL cannot say is added here, and failures are told apart.
//!
//! OpenDAL signs an S3 request before the transport sees it, and a signed request takes no further `x-amz-*`
//! header. So where a header must come or go, the request is signed again, with the same credentials.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::header::{AUTHORIZATION, HOST, IF_NONE_MATCH};
use http::{HeaderValue, Request, Response, StatusCode};
use opendal::raw::ServiceOperation;
use opendal::{Buffer, ErrorKind, HttpBody, HttpTransport};
use opendal_http_transport_reqwest::ReqwestTransport;
use reqsign_aws_v4::Credential;
use reqsign_core::Signer;

use crate::error::is_untrusted;

/// How requests leave. Cloning shares the connections.
#[derive(Clone)]
pub(crate) struct Transport {
    inner: ReqwestTransport,
    extras: Extras,
    #[cfg(any(test, feature = "testing"))]
    faults: Option<Arc<crate::testing::HttpFaults>>,
}

/// What a provider needs besides what OpenDAL does.
#[derive(Clone, Default)]
pub(crate) enum Extras {
    /// Nothing.
    #[default]
    None,
    /// For S3.
    S3(Arc<S3Extras>),
    /// For Google: the `kmsKeyName` that new objects are encrypted with.
    GcsKmsKey(String),
}

/// What S3 needs.
pub(crate) struct S3Extras {
    /// `x-amz-tagging` of new objects.
    pub(crate) tagging: Option<HeaderValue>,
    /// Signs as OpenDAL does.
    pub(crate) signer: Signer<Credential>,
    /// Set once the service has said that it knows no conditional writes.
    pub(crate) unconditional: Arc<AtomicBool>,
}

impl Transport {
    pub(crate) fn new(client: reqwest::Client) -> Self {
        Self {
            inner: ReqwestTransport::new(client),
            extras: Extras::None,
            #[cfg(any(test, feature = "testing"))]
            faults: None,
        }
    }

    pub(crate) fn with_extras(mut self, extras: Extras) -> Self {
        self.extras = extras;
        self
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn with_faults(mut self, faults: Option<Arc<crate::testing::HttpFaults>>) -> Self {
        self.faults = faults;
        self
    }

    async fn send(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        #[cfg(any(test, feature = "testing"))]
        if let Some(faults) = &self.faults {
            return faults.send(&self.inner, request).await;
        }
        self.inner.fetch(request).await
    }
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let answer = match &self.extras {
            Extras::None => self.send(request).await,
            Extras::S3(extras) => extras.send(self, request).await,
            Extras::GcsKmsKey(name) => self.send(with_kms_key(request, name)?).await,
        };
        // A certificate that is not trusted now will not be trusted in a second: no retry.
        answer.map_err(|e| if is_untrusted(&e) { e.set_permanent() } else { e })
    }
}

impl S3Extras {
    async fn send(
        &self,
        transport: &Transport,
        request: Request<Buffer>,
    ) -> opendal::Result<Response<HttpBody>> {
        let operation = request
            .extensions()
            .get::<ServiceOperation>()
            .map_or("", |operation| operation.0);
        let creates = matches!(operation, "PutObject" | "CreateMultipartUpload");
        let completes = operation == "CompleteMultipartUpload";
        if !creates && !completes {
            return transport.send(request).await;
        }
        let (mut parts, body) = request.into_parts();
        let mut changed = false;
        if creates && let Some(tagging) = &self.tagging {
            parts.headers.insert("x-amz-tagging", tagging.clone());
            changed = true;
        }
        if self.unconditional.load(Ordering::Relaxed) {
            changed |= parts.headers.remove(IF_NONE_MATCH).is_some();
        }
        if changed {
            self.sign_again(&mut parts).await?;
        }
        let answer = transport
            .send(Request::from_parts(parts.clone(), body.clone()))
            .await?;
        if answer.status() != StatusCode::NOT_IMPLEMENTED || !parts.headers.contains_key(IF_NONE_MATCH) {
            return Ok(answer);
        }
        self.unconditional.store(true, Ordering::Relaxed);
        tracing::warn!("the S3 service knows no conditional writes; existing objects are looked for instead");
        if creates {
            // The store looks whether the object exists, and comes again.
            return Ok(answer);
        }
        // An upload was looked for when it began.
        parts.headers.remove(IF_NONE_MATCH);
        self.sign_again(&mut parts).await?;
        transport.send(Request::from_parts(parts, body)).await
    }

    async fn sign_again(&self, parts: &mut http::request::Parts) -> opendal::Result<()> {
        parts.headers.remove(AUTHORIZATION);
        for name in ["x-amz-date", "x-amz-content-sha256", "x-amz-security-token"] {
            parts.headers.remove(name);
        }
        self.signer
            .sign(parts, None)
            .await
            .map_err(|e| opendal::Error::new(ErrorKind::Unexpected, "signing http request").set_source(e))?;
        // The client sets it, by the version of HTTP.
        parts.headers.remove(HOST);
        Ok(())
    }
}

/// Google takes the key as a query parameter of what creates an object; its requests are not signed.
fn with_kms_key(request: Request<Buffer>, name: &str) -> opendal::Result<Request<Buffer>> {
    let creates = request
        .extensions()
        .get::<ServiceOperation>()
        .is_some_and(|operation| matches!(operation.0, "InsertObject" | "InitiateResumableUpload"));
    if !creates {
        return Ok(request);
    }
    let (mut parts, body) = request.into_parts();
    let joint = if parts.uri.query().is_some() { '&' } else { '?' };
    let uri = format!("{}{joint}kmsKeyName={}", parts.uri, name.replace('/', "%2F"));
    parts.uri = uri.parse().map_err(|e| {
        opendal::Error::new(ErrorKind::ConfigInvalid, "kmsKeyName does not fit into a URL").set_source(e)
    })?;
    Ok(Request::from_parts(parts, body))
}
