//! An object on its way down: exactly as long as announced, resumed where a connection broke.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{StreamExt, TryStreamExt};
use opendal::options::ReaderOptions;
use opendal::{BufferStream, ErrorKind, Metadata};

use crate::error::{At, StoreError};
use crate::object::ObjectStream;
use crate::store::Inner;

/// Opens an object, or what of `range` lies inside it.
pub(crate) async fn open(
    store: Arc<Inner>,
    at: Box<At>,
    key: &str,
    range: Option<Range<u64>>,
) -> Result<ObjectStream, StoreError> {
    let empty = range.as_ref().is_some_and(|range| range.start >= range.end);
    // HTTP services tell size and version with the first bytes; others are asked before.
    if empty || !store.marks {
        let found = store.stat(at.clone(), key).await?;
        return Ok(stream(Resume::new(store, at, key, &found, range, None)));
    }
    let mut failures = 0;
    loop {
        match first(&store, key, range.clone()).await {
            Ok((found, bytes)) => return Ok(stream(Resume::new(store, at, key, &found, range, Some(bytes)))),
            // The range begins behind the end (or the object is empty).
            Err(e) if e.kind() == ErrorKind::RangeNotSatisfied => {
                let found = store.stat(at.clone(), key).await?;
                let size = found.content_length();
                return Ok(stream(Resume::new(
                    store,
                    at,
                    key,
                    &found,
                    Some(size..size),
                    None,
                )));
            }
            Err(e) => store.tuning.pause(&at, &e, false, &mut failures).await?,
        }
    }
}

async fn first(
    store: &Inner,
    key: &str,
    range: Option<Range<u64>>,
) -> opendal::Result<(Metadata, BufferStream)> {
    let reader = store.operator.reader(&store.path(key)).await?;
    let mut bytes = match range {
        Some(range) => reader.into_stream(range).await?,
        None => reader.into_stream(..).await?,
    };
    Ok((bytes.metadata().await?, bytes))
}

fn stream(resume: Resume) -> ObjectStream {
    let (size, range) = (resume.size, resume.next..resume.end);
    let bytes = futures::stream::try_unfold(resume, |mut resume| async move {
        let bytes = resume.next().await?;
        Ok(bytes.map(|bytes| (bytes, resume)))
    });
    ObjectStream {
        size,
        range,
        bytes: bytes.into_stream().boxed(),
    }
}

/// What is left to read, and of which version of the object.
struct Resume {
    store: Arc<Inner>,
    at: Box<At>,
    key: String,
    etag: Option<String>,
    size: u64,
    next: u64,
    end: u64,
    bytes: Option<BufferStream>,
    /// In a row, without a byte between.
    failures: usize,
}

impl Resume {
    fn new(
        store: Arc<Inner>,
        at: Box<At>,
        key: &str,
        found: &Metadata,
        range: Option<Range<u64>>,
        bytes: Option<BufferStream>,
    ) -> Self {
        let size = found.content_length();
        let range = range.unwrap_or(0..size);
        let next = range.start.min(size);
        Self {
            etag: found.etag().map(str::to_owned),
            key: key.to_owned(),
            size,
            next,
            end: range.end.clamp(next, size),
            store,
            at,
            bytes,
            failures: 0,
        }
    }

    /// The next bytes; none when all are delivered.
    async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        while self.next < self.end {
            let error = match self.step().await {
                Ok(Some(bytes)) => {
                    self.next += bytes.len() as u64;
                    self.failures = 0;
                    if self.next <= self.end {
                        return Ok(Some(bytes));
                    }
                    return Err(self.truncated());
                }
                Ok(None) => self.truncated(),
                Err(e) => StoreError::from_opendal(self.at.clone(), &e, false),
            };
            self.bytes = None;
            self.failures += 1;
            if !error.is_retryable()
                || matches!(error, StoreError::Changed { .. })
                || self.failures >= self.store.tuning.attempts
            {
                return Err(error);
            }
            tracing::debug!(%error, at_byte = self.next, "resuming a download");
            tokio::time::sleep(self.store.tuning.delay(self.failures)).await;
        }
        Ok(None)
    }

    async fn step(&mut self) -> opendal::Result<Option<Bytes>> {
        let bytes = match &mut self.bytes {
            Some(bytes) => bytes,
            None => {
                // Only the version that was begun, where the service can tell versions apart.
                let options = ReaderOptions {
                    if_match: self.etag.clone(),
                    ..ReaderOptions::default()
                };
                let reader = self
                    .store
                    .operator
                    .reader_options(&self.store.path(&self.key), options)
                    .await?;
                self.bytes.insert(reader.into_stream(self.next..self.end).await?)
            }
        };
        loop {
            match bytes.try_next().await? {
                Some(buffer) if buffer.is_empty() => {}
                buffer => return Ok(buffer.map(|buffer| buffer.to_bytes())),
            }
        }
    }

    fn truncated(&self) -> StoreError {
        StoreError::Truncated {
            at: self.at.clone(),
            got: self.next,
            expected: self.end,
        }
    }
}
