//! A store that fails at a chosen call, so that a test can let every call fail in turn.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use crate::error::{At, Cause, StoreError};
use crate::object::{Entry, ObjectStore, ObjectStream, ObjectWriter, SignedUrl};

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// At once, with an error that may pass; nothing was done.
    Error,
    /// At once, with an error that stays; nothing was done.
    ErrorPermanent,
    /// After a while, with the error of a time limit; nothing was done.
    Timeout,
    /// Not at all, but only after a while.
    Slow,
    /// A read delivers half of the bytes, then an error that may pass; any other call is [`FaultKind::Error`].
    ShortRead,
    /// The call is carried out, and then fails with an error that may pass: its answer was lost.
    ErrorAfterSuccess,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Error,
        Self::ErrorPermanent,
        Self::Timeout,
        Self::Slow,
        Self::ShortRead,
        Self::ErrorAfterSuccess,
    ];
}

/// Which call fails, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The number of the call, from 1.
    pub at: u64,
    /// How it fails.
    pub kind: FaultKind,
    /// Whether all calls after it fail too.
    pub lasting: bool,
}

/// Passes calls on to another store and lets one, or all from one on, fail. Counted as calls are: each method of
/// the store, the body of each stream, each listing, and each method of a writer.
#[derive(Debug)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct Plan {
    fault: Option<Fault>,
    pause: Duration,
    calls: AtomicU64,
    fired: AtomicBool,
    location: String,
}

impl FaultStore {
    /// With a fault, or with `None` to count calls only.
    pub fn new(inner: Arc<dyn ObjectStore>, fault: Option<Fault>) -> Self {
        Self::with_pause(inner, fault, Duration::from_millis(20))
    }

    /// With another length of what "after a while" means.
    pub fn with_pause(inner: Arc<dyn ObjectStore>, fault: Option<Fault>, pause: Duration) -> Self {
        let location = inner.display_name().to_owned();
        let plan = Plan {
            fault,
            pause,
            calls: AtomicU64::new(0),
            fired: AtomicBool::new(false),
            location,
        };
        Self {
            inner,
            plan: Arc::new(plan),
        }
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.plan.calls.load(Ordering::SeqCst)
    }

    /// Whether the fault has happened.
    pub fn fired(&self) -> bool {
        self.plan.fired.load(Ordering::SeqCst)
    }
}

impl Plan {
    /// Counts a call; says how it fails.
    fn count(&self) -> Option<FaultKind> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        let fault = self
            .fault
            .filter(|fault| number == fault.at || (fault.lasting && number > fault.at))?;
        self.fired.store(true, Ordering::SeqCst);
        Some(fault.kind)
    }

    fn error(&self, key: &str, text: &str) -> StoreError {
        let at = At::new("calling with an injected fault on", key, &self.location);
        StoreError::Temporary {
            at,
            cause: Cause::new(text),
        }
    }

    /// What happens before the call is carried out.
    async fn before(&self, key: &str, kind: Option<FaultKind>) -> Result<(), StoreError> {
        match kind {
            None | Some(FaultKind::ErrorAfterSuccess) => Ok(()),
            Some(FaultKind::Slow) => {
                tokio::time::sleep(self.pause).await;
                Ok(())
            }
            Some(FaultKind::Timeout) => {
                tokio::time::sleep(self.pause).await;
                Err(self.error(key, "injected: time limit reached"))
            }
            Some(FaultKind::Error | FaultKind::ShortRead) => {
                Err(self.error(key, "injected: service unavailable"))
            }
            Some(FaultKind::ErrorPermanent) => {
                let at = At::new("calling with an injected fault on", key, &self.location);
                Err(StoreError::Other {
                    at,
                    cause: Cause::new("injected: refused"),
                })
            }
        }
    }

    /// What becomes of the result of a call that was carried out.
    fn after<T>(
        &self,
        key: &str,
        kind: Option<FaultKind>,
        result: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match kind {
            Some(FaultKind::ErrorAfterSuccess) if result.is_ok() => {
                Err(self.error(key, "injected: answer lost"))
            }
            _ => result,
        }
    }

    async fn around<T>(
        &self,
        key: &str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let kind = self.count();
        self.before(key, kind).await?;
        self.after(key, kind, call.await)
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    fn display_name(&self) -> &str {
        self.inner.display_name()
    }

    async fn put_once(&self, key: &str, data: Bytes) -> Result<(), StoreError> {
        self.plan.around(key, self.inner.put_once(key, data)).await
    }

    async fn put_stream(&self, key: &str) -> Result<Box<dyn ObjectWriter>, StoreError> {
        let inner = self.plan.around(key, self.inner.put_stream(key)).await?;
        Ok(Box::new(FaultWriter {
            inner,
            key: key.to_owned(),
            plan: Arc::clone(&self.plan),
        }))
    }

    async fn get(&self, key: &str, limit: u64) -> Result<Bytes, StoreError> {
        self.plan.around(key, self.inner.get(key, limit)).await
    }

    async fn get_stream(&self, key: &str, range: Option<Range<u64>>) -> Result<ObjectStream, StoreError> {
        let ObjectStream { size, range, bytes } =
            self.plan.around(key, self.inner.get_stream(key, range)).await?;
        let Some(kind) = self.plan.count() else {
            return Ok(ObjectStream { size, range, bytes });
        };
        let (plan, key) = (Arc::clone(&self.plan), key.to_owned());
        let (at, expected) = (At::new("reading", &key, &plan.location), range.end);
        let cut = range.start + (range.end - range.start) / 2;
        let first = stream::once({
            let (plan, key) = (Arc::clone(&plan), key.clone());
            async move {
                match kind {
                    FaultKind::ShortRead => Ok(()),
                    kind => plan.before(&key, Some(kind)).await,
                }
            }
        })
        .try_filter_map(|()| std::future::ready(Ok(None)));
        let rest = match kind {
            FaultKind::ShortRead => half(bytes, cut - range.start)
                .chain(stream::once(async move {
                    Err(StoreError::Truncated {
                        at,
                        got: cut,
                        expected,
                    })
                }))
                .boxed(),
            FaultKind::ErrorAfterSuccess => bytes
                .chain(stream::once(async move {
                    Err(plan.error(&key, "injected: connection reset at the end"))
                }))
                .boxed(),
            _ => bytes,
        };
        // An error ends the stream.
        let bytes = first.chain(rest).scan(false, |ended, item| {
            let next = (!*ended).then_some(item);
            *ended |= next.as_ref().is_some_and(Result::is_err);
            std::future::ready(next)
        });
        Ok(ObjectStream {
            size,
            range,
            bytes: bytes.boxed(),
        })
    }

    async fn head(&self, key: &str) -> Result<Entry, StoreError> {
        self.plan.around(key, self.inner.head(key)).await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Entry, StoreError>> {
        let (kind, plan) = (self.plan.count(), Arc::clone(&self.plan));
        let (entries, prefix) = (self.inner.list(prefix), prefix.to_owned());
        match kind {
            None => entries,
            Some(FaultKind::ErrorAfterSuccess) => entries
                .chain(stream::once(async move {
                    Err(plan.error(&prefix, "injected: page lost"))
                }))
                .boxed(),
            kind => stream::once(async move { plan.before(&prefix, kind).await.map(|()| entries) })
                .try_flatten()
                .boxed(),
        }
    }

    async fn list_prefixes(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.plan.around(prefix, self.inner.list_prefixes(prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.plan.around(key, self.inner.delete(key)).await
    }

    async fn delete_prefix(&self, prefix: &str) -> Result<u64, StoreError> {
        self.plan.around(prefix, self.inner.delete_prefix(prefix)).await
    }

    async fn presign_get(&self, key: &str, ttl: Duration) -> Result<Option<SignedUrl>, StoreError> {
        self.plan.around(key, self.inner.presign_get(key, ttl)).await
    }
}

/// The first `left` bytes.
fn half(
    bytes: BoxStream<'static, Result<Bytes, StoreError>>,
    left: u64,
) -> impl futures::Stream<Item = Result<Bytes, StoreError>> {
    bytes.scan(left, |left, item| {
        let next = match item {
            _ if *left == 0 => None,
            Ok(mut bytes) => {
                bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= bytes.len() as u64;
                Some(Ok(bytes))
            }
            Err(e) => Some(Err(e)),
        };
        std::future::ready(next)
    })
}

struct FaultWriter {
    inner: Box<dyn ObjectWriter>,
    key: String,
    plan: Arc<Plan>,
}

#[async_trait]
impl ObjectWriter for FaultWriter {
    async fn write(&mut self, data: Bytes) -> Result<(), StoreError> {
        self.plan.around(&self.key, self.inner.write(data)).await
    }

    async fn finish(self: Box<Self>) -> Result<u64, StoreError> {
        self.plan.around(&self.key, self.inner.finish()).await
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        self.plan.around(&self.key, self.inner.abort()).await
    }
}
