//! Faults between a store and its HTTP service, in a fixed rhythm: what retries and resumed streams must hide.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::stream;
use http::{Request, Response, StatusCode};
use opendal::raw::oio::ReadStream;
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport};
use opendal_http_transport_reqwest::ReqwestTransport;

/// How a request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpFault {
    /// No connection; nothing reached the service.
    NoConnection,
    /// The service says that it is overloaded, and does nothing.
    Overload,
    /// The answer is lost after the work was done.
    LostAnswer,
    /// The body of the answer breaks off in the middle.
    HalfAnswer,
}

impl HttpFault {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::NoConnection,
        Self::Overload,
        Self::LostAnswer,
        Self::HalfAnswer,
    ];
}

/// Lets some requests fail.
#[derive(Debug)]
pub struct HttpFaults {
    rhythm: Rhythm,
    requests: AtomicU64,
}

#[derive(Debug)]
enum Rhythm {
    Every(u64),
    Once(u64, HttpFault),
    Unconditional,
}

impl HttpFaults {
    /// A fault in every `every`-th request, counted over all of them, each time in the next way.
    pub fn every(every: u64) -> Self {
        Self {
            rhythm: Rhythm::Every(every.max(2)),
            requests: AtomicU64::new(0),
        }
    }

    /// The request number `at` (from 1) fails, and no other.
    pub fn once(at: u64, fault: HttpFault) -> Self {
        Self {
            rhythm: Rhythm::Once(at, fault),
            requests: AtomicU64::new(0),
        }
    }

    /// No request fails, but the service knows no conditional writes, as some imitations of S3 do not.
    pub fn unconditional() -> Self {
        Self {
            rhythm: Rhythm::Unconditional,
            requests: AtomicU64::new(0),
        }
    }

    /// How many requests there were.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    pub(crate) async fn send(
        &self,
        transport: &ReqwestTransport,
        request: Request<Buffer>,
    ) -> opendal::Result<Response<HttpBody>> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let fault = match self.rhythm {
            Rhythm::Every(every) if number.is_multiple_of(every) => {
                HttpFault::ALL[usize::try_from(number / every % 4).unwrap_or_default()]
            }
            Rhythm::Once(at, fault) if at == number => fault,
            Rhythm::Unconditional if request.headers().contains_key(http::header::IF_NONE_MATCH) => {
                let text = "<Error><Code>NotImplemented</Code><Message>injected</Message></Error>";
                return Ok(answer(StatusCode::NOT_IMPLEMENTED, text));
            }
            _ => return transport.fetch(request).await,
        };
        let lost = || Error::new(ErrorKind::Unexpected, "injected: connection reset").set_temporary();
        match fault {
            HttpFault::NoConnection => Err(lost()),
            HttpFault::Overload => {
                let text = "<Error><Code>SlowDown</Code><Message>injected</Message></Error>";
                Ok(answer(StatusCode::SERVICE_UNAVAILABLE, text))
            }
            HttpFault::LostAnswer => {
                let mut answer = transport.fetch(request).await?;
                let _: Bytes = answer.body_mut().read_all().await?.to_bytes();
                Err(lost())
            }
            HttpFault::HalfAnswer => {
                let (parts, mut body) = transport.fetch(request).await?.into_parts();
                let whole = body.read_all().await?.to_bytes();
                let half = whole.slice(..whole.len() / 2);
                let chunks = stream::iter([Ok(Buffer::from(half)), Err(lost())]);
                Ok(Response::from_parts(parts, HttpBody::new(chunks, None)))
            }
        }
    }
}

fn answer(status: StatusCode, text: &'static str) -> Response<HttpBody> {
    let mut answer = Response::new(HttpBody::new(stream::iter([Ok(Buffer::from(text))]), None));
    *answer.status_mut() = status;
    answer
}
