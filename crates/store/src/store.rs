//! The store over OpenDAL: keys under a prefix, timeouts, retries, write-once.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use opendal::layers::TimeoutLayer;
use opendal::options::WriteOptions;
use opendal::{EntryMode, Metadata, Operator};

use crate::disk::Disk;
use crate::download;
use crate::error::{At, StoreError};
use crate::location::LocationConfig;
use crate::object::{Entry, ObjectStore, ObjectStream, ObjectWriter, SignedUrl, checked};
use crate::provider;
use crate::retry::Tuning;
use crate::upload::{self, Upload};

/// User metadata that names the call that wrote an object. When the answer to a write is lost, it tells whether
/// the object that is there now is ours. (Letters only: Azure takes nothing else.)
const MARK: &str = "refloatwrite";

/// Above this size `put_once` uploads in parts.
const ONE_PIECE: usize = 16 * 1024 * 1024;

/// How many deletes of `delete_prefix` are under way at once.
const DELETES: usize = 8;

/// A location, opened. Cloning is cheap and shares the connections.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) name: String,
    pub(crate) prefix: String,
    pub(crate) operator: Operator,
    presigner: Option<Operator>,
    read_only: bool,
    /// Whether objects carry [`MARK`].
    pub(crate) marks: bool,
    unconditional: Arc<AtomicBool>,
    pub(crate) disk: Option<Disk>,
    pub(crate) tuning: Tuning,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("location", &self.inner.name)
            .field("read_only", &self.inner.read_only)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a location. Settings and credentials are checked; the service itself is first asked by the first
    /// call (see [`ObjectStore::check`]), except for the region of an Amazon bucket that names none.
    ///
    /// # Errors
    /// [`StoreError::InvalidConfig`], [`StoreError::BadCredentials`]; for a folder [`StoreError::NoSuchBucket`].
    pub async fn open(config: &LocationConfig) -> Result<Self, StoreError> {
        Self::open_with(config, Tuning::default()).await
    }

    /// [`open`](Self::open) with other times and sizes.
    pub async fn open_with(config: &LocationConfig, mut tuning: Tuning) -> Result<Self, StoreError> {
        let name = config.display_name();
        let opened = Box::pin(provider::open(config, &tuning)).await?;
        tuning.part_size = opened.part_size.unwrap_or(tuning.part_size).max(1);
        let disk = match opened.folder {
            Some(folder) => Some(Disk::open(folder, tuning.io_timeout, &name).await?),
            None => None,
        };
        let timeout = TimeoutLayer::new()
            .with_timeout(tuning.call_timeout)
            .with_io_timeout(tuning.io_timeout);
        let inner = Inner {
            prefix: config.key_prefix(),
            operator: opened.operator.layer(timeout.clone()),
            presigner: opened.presigner.map(|presigner| presigner.layer(timeout)),
            read_only: config.read_only,
            marks: opened.marks,
            unconditional: opened.unconditional,
            disk,
            tuning,
            name,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }
}

impl Inner {
    pub(crate) fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    fn writable(&self, operation: &'static str, key: &str) -> Result<Box<At>, StoreError> {
        let at = checked(operation, key, &self.name)?;
        if self.read_only {
            Err(StoreError::ReadOnly { at })
        } else {
            Ok(at)
        }
    }

    /// Options of a new object that carries `mark`.
    pub(crate) fn write_options(&self, mark: &str) -> WriteOptions {
        WriteOptions {
            if_not_exists: !self.unconditional.load(Ordering::Relaxed),
            user_metadata: self
                .marks
                .then(|| HashMap::from([(MARK.to_owned(), mark.to_owned())])),
            concurrent: self.tuning.parts_in_flight.max(1),
            ..WriteOptions::default()
        }
    }

    /// Decides what a failed write means: if the object carries our mark, the write took place and only its
    /// answer was lost (or an own retry met the object of the first try).
    pub(crate) async fn settle(&self, key: &str, mark: &str, error: StoreError) -> Result<(), StoreError> {
        let in_doubt = error.is_retryable()
            || matches!(
                error,
                StoreError::AlreadyExists { .. } | StoreError::NotFound { .. }
            );
        if self.marks
            && in_doubt
            && let Ok(found) = self.stat(At::new("looking up", key, &self.name), key).await
            && found.user_metadata().and_then(|metadata| metadata.get(MARK)) == Some(mark)
        {
            return Ok(());
        }
        Err(error)
    }

    pub(crate) async fn stat(&self, at: Box<At>, key: &str) -> Result<Metadata, StoreError> {
        let path = self.path(key);
        let found = self
            .tuning
            .retry(&at, false, || self.operator.stat(&path))
            .await?;
        if found.mode() == EntryMode::DIR {
            return Err(StoreError::NotFound { at });
        }
        Ok(found)
    }

    /// The folder must be there and be the one that was opened: a vanished mount looks like an empty location.
    pub(crate) async fn check_disk(&self, at: &At) -> Result<(), StoreError> {
        match &self.disk {
            Some(disk) => disk.check(at).await,
            None => Ok(()),
        }
    }

    pub(crate) fn entry(&self, path: &str, found: &Metadata) -> Entry {
        Entry {
            key: path.strip_prefix(&self.prefix).unwrap_or(path).to_owned(),
            size: found.content_length(),
            last_modified: found.last_modified().map(opendal::raw::Timestamp::into_inner),
        }
    }

    async fn delete(&self, at: Box<At>, path: &str) -> Result<(), StoreError> {
        match &self.disk {
            Some(disk) => disk.delete(at, path).await,
            None => self.tuning.retry(&at, false, || self.operator.delete(path)).await,
        }
    }
}

#[async_trait]
impl ObjectStore for Store {
    fn display_name(&self) -> &str {
        &self.inner.name
    }

    async fn put_once(&self, key: &str, data: Bytes) -> Result<(), StoreError> {
        let inner = &self.inner;
        let at = inner.writable("writing", key)?;
        if inner.disk.is_some() || data.len() > ONE_PIECE {
            let mut writer = self.put_stream(key).await?;
            writer.write(data).await?;
            return writer.finish().await.map(|_| ());
        }
        let mark = uuid::Uuid::new_v4().to_string();
        loop {
            let options = inner.write_options(&mark);
            let conditional = options.if_not_exists;
            if !conditional && self.exists(key).await? {
                return Err(StoreError::AlreadyExists { at });
            }
            let path = inner.path(key);
            let write = || inner.operator.write_options(&path, data.clone(), options.clone());
            match inner.tuning.retry(&at, true, write).await {
                Ok(_) => return Ok(()),
                // The service has just said that it knows no conditions: once more without.
                Err(_) if conditional && inner.unconditional.load(Ordering::Relaxed) => {}
                Err(error) => return inner.settle(key, &mark, error).await,
            }
        }
    }

    async fn put_stream(&self, key: &str) -> Result<Box<dyn ObjectWriter>, StoreError> {
        let at = self.inner.writable("writing", key)?;
        if let Some(disk) = &self.inner.disk {
            return Ok(Box::new(disk.create(at, &self.inner.path(key)).await?));
        }
        // Better now than after hours of upload; and for services without conditions this is all there is.
        if self.exists(key).await? {
            return Err(StoreError::AlreadyExists { at });
        }
        let mark = uuid::Uuid::new_v4().to_string();
        let options = self.inner.write_options(&mark);
        let writer = upload::begin(&self.inner.operator, &self.inner.path(key), options)
            .map_err(|e| StoreError::from_opendal(at.clone(), &e, true))?;
        Ok(Box::new(Upload::new(Arc::clone(&self.inner), at, mark, writer)))
    }

    async fn get(&self, key: &str, limit: u64) -> Result<Bytes, StoreError> {
        let mut stream = self.get_stream(key, None).await?;
        if stream.size > limit {
            let at = At::new("reading", key, &self.inner.name);
            return Err(StoreError::TooLarge {
                at,
                size: stream.size,
                limit,
            });
        }
        let first = stream.try_next().await?.unwrap_or_default();
        let Some(second) = stream.try_next().await? else {
            return Ok(first);
        };
        // The size is at most `limit`, so it fits into memory.
        let mut all = BytesMut::with_capacity(usize::try_from(stream.size).unwrap_or_default());
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(more) = stream.try_next().await? {
            all.extend_from_slice(&more);
        }
        Ok(all.freeze())
    }

    async fn get_stream(&self, key: &str, range: Option<Range<u64>>) -> Result<ObjectStream, StoreError> {
        let at = checked("reading", key, &self.inner.name)?;
        self.inner.check_disk(&at).await?;
        download::open(Arc::clone(&self.inner), at, key, range).await
    }

    async fn head(&self, key: &str) -> Result<Entry, StoreError> {
        let at = checked("looking up", key, &self.inner.name)?;
        self.inner.check_disk(&at).await?;
        let found = self.inner.stat(at, key).await?;
        Ok(self.inner.entry(&self.inner.path(key), &found))
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Entry, StoreError>> {
        let inner = Arc::clone(&self.inner);
        futures::stream::once(inner.list_all(prefix.to_owned()))
            .try_flatten()
            .try_filter(|entry| std::future::ready(!entry.key.is_empty() && !entry.key.ends_with('/')))
            .boxed()
    }

    async fn list_prefixes(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.inner.prefixes(prefix).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let at = self.inner.writable("deleting", key)?;
        self.inner.delete(at, &self.inner.path(key)).await
    }

    async fn delete_prefix(&self, prefix: &str) -> Result<u64, StoreError> {
        let at = self
            .inner
            .writable("deleting", prefix.strip_suffix('/').unwrap_or(""))?;
        let deleted = Arc::clone(&self.inner)
            .list_all(prefix.to_owned())
            .await?
            .map_ok(|entry| {
                let (inner, at) = (&self.inner, at.clone());
                async move {
                    inner.delete(at, &inner.path(&entry.key)).await?;
                    Ok(u64::from(!entry.key.ends_with('/')))
                }
            })
            .try_buffer_unordered(DELETES)
            .try_fold(0, |sum, one| std::future::ready(Ok(sum + one)))
            .await?;
        if let Some(disk) = &self.inner.disk {
            disk.remove_remains(&at, &self.inner.path(prefix)).await?;
        }
        Ok(deleted)
    }

    async fn presign_get(&self, key: &str, ttl: Duration) -> Result<Option<SignedUrl>, StoreError> {
        let at = checked("signing a URL for", key, &self.inner.name)?;
        let Some(presigner) = &self.inner.presigner else {
            return Ok(None);
        };
        let path = self.inner.path(key);
        match presigner.presign_read(&path, ttl).await {
            // A URL that needs headers as well is of no use to others.
            Ok(signed) if signed.header().keys().any(|name| name != http::header::HOST) => Ok(None),
            Ok(signed) => Ok(Some(SignedUrl::new(signed.uri().to_string()))),
            Err(e) if e.kind() == opendal::ErrorKind::Unsupported => Ok(None),
            Err(e) => Err(StoreError::from_opendal(at, &e, false)),
        }
    }
}
