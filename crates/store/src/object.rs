//! What every store can do: the one trait through which the rest of Refloat reaches bytes.

use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, Stream};

use crate::error::{At, StoreError};

/// An object as a listing or a look-up tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key inside the location, without its prefix.
    pub key: String,
    /// Size in bytes.
    pub size: u64,
    /// When it was written, by the clock of the service.
    pub last_modified: Option<jiff::Timestamp>,
}

/// Objects by key. Every implementation passes the suite in `testing::contract`.
///
/// An object is written once and never changed; it becomes visible whole or not at all. All calls may be
/// dropped at any point (cancelled) without harm to the store; what a cancelled write left is either nothing or
/// the whole object.
///
/// # Errors
/// Every call: [`StoreError`], after the retries the implementation makes itself.
#[async_trait]
pub trait ObjectStore: Send + Sync + fmt::Debug {
    /// The location for logs and messages, without secrets: `s3://bucket/prefix`.
    fn display_name(&self) -> &str;

    /// Writes an object in one piece, unless the key exists: then [`StoreError::AlreadyExists`] and nothing is
    /// changed. Of several at the same time exactly one wins, where the service has conditional writes (all
    /// that are supported do; a few S3 imitations do not, and are asked first instead).
    async fn put_once(&self, key: &str, data: Bytes) -> Result<(), StoreError>;

    /// Begins an object whose size is not known, under the same promise as [`put_once`](Self::put_once). Nothing
    /// is visible before [`ObjectWriter::finish`].
    async fn put_stream(&self, key: &str) -> Result<Box<dyn ObjectWriter>, StoreError>;

    /// Reads a whole object of at most `limit` bytes; a larger one is [`StoreError::TooLarge`] before its body
    /// is read.
    async fn get(&self, key: &str, limit: u64) -> Result<Bytes, StoreError>;

    /// Reads an object, or the part of `range` that lies inside it. The stream ends after exactly the announced
    /// number of bytes, or with an error.
    async fn get_stream(&self, key: &str, range: Option<Range<u64>>) -> Result<ObjectStream, StoreError>;

    /// Looks an object up.
    async fn head(&self, key: &str) -> Result<Entry, StoreError>;

    /// Whether the object is there.
    async fn exists(&self, key: &str) -> Result<bool, StoreError> {
        match self.head(key).await {
            Ok(_) => Ok(true),
            Err(e) if e.is_not_found() => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// All objects whose key begins with `prefix` (any string), page by page, in no promised order.
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Entry, StoreError>>;

    /// The distinct beginnings of keys up to and including the next `/` after `prefix` (empty, or ending in
    /// `/`), sorted: for `backups/` something like `backups/a/`, `backups/b/`.
    ///
    /// MinIO also names those in which all objects of a versioned bucket have been deleted, so whether something
    /// exists is told by [`exists`](Self::exists) alone.
    async fn list_prefixes(&self, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Removes an object; one that is not there is no error.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Removes every object below `prefix` (ending in `/`) and says how many there were. When it fails in the
    /// middle, call it again.
    async fn delete_prefix(&self, prefix: &str) -> Result<u64, StoreError>;

    /// A URL that reads the object without credentials for the time `ttl`; `None` where there is no such thing
    /// (a file system, or a key encrypted with a customer's key).
    async fn presign_get(&self, key: &str, ttl: Duration) -> Result<Option<SignedUrl>, StoreError>;

    /// Whether the location can be reached and read: its top-level prefixes.
    async fn check(&self) -> Result<Vec<String>, StoreError> {
        self.list_prefixes("").await
    }
}

/// An object being written. Dropped before [`finish`](Self::finish) it is aborted in the background as far as
/// the service can be reached.
#[async_trait]
pub trait ObjectWriter: Send {
    /// Takes the next bytes, without copying large ones, and waits while too many are under way. After an
    /// error, or when the call was cancelled, the object can only be aborted.
    async fn write(&mut self, data: Bytes) -> Result<(), StoreError>;

    /// Makes the object visible and returns its size.
    async fn finish(self: Box<Self>) -> Result<u64, StoreError>;

    /// Throws away what was written.
    async fn abort(self: Box<Self>) -> Result<(), StoreError>;
}

/// The bytes of an object, or of a range of it, under way.
pub struct ObjectStream {
    /// Size of the whole object.
    pub size: u64,
    /// What this stream delivers, inside `0..size`.
    pub range: Range<u64>,
    pub(crate) bytes: BoxStream<'static, Result<Bytes, StoreError>>,
}

impl fmt::Debug for ObjectStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectStream")
            .field("size", &self.size)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

impl Stream for ObjectStream {
    type Item = Result<Bytes, StoreError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.bytes.as_mut().poll_next(cx)
    }
}

/// A URL that carries a permission; its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedUrl(String);

impl SignedUrl {
    pub(crate) fn new(url: String) -> Self {
        Self(url)
    }

    /// The URL. Whoever has it can read the object: never log it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SignedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedUrl({})", crate::error::without_queries(&self.0))
    }
}

/// The start of the names of unfinished files on disk: no key may have a part that begins so.
pub(crate) const TEMPORARY: &str = ".refloat-tmp-";

/// Whether a key can be stored everywhere: not empty, at most 1,024 bytes, and each part between slashes not
/// empty, `.` or `..`, at most 255 bytes, without control characters and without white space at either end.
pub fn check_key(key: &str) -> Result<(), &'static str> {
    if key.len() > 1024 {
        return Err("it is longer than 1,024 bytes");
    }
    if key.chars().any(char::is_control) {
        return Err("it has a control character");
    }
    if key.trim() != key {
        return Err("it begins or ends with white space");
    }
    for part in key.split('/') {
        match part {
            "" => return Err("it is empty, or has an empty part between slashes"),
            "." | ".." => return Err("it has a part that is `.` or `..`"),
            _ if part.len() > 255 => return Err("it has a part longer than 255 bytes"),
            _ if part.starts_with(TEMPORARY) => return Err("it has a part reserved for unfinished files"),
            _ => {}
        }
    }
    Ok(())
}

pub(crate) fn checked(operation: &'static str, key: &str, location: &str) -> Result<Box<At>, StoreError> {
    let at = At::new(operation, key, location);
    match check_key(key) {
        Ok(()) => Ok(at),
        Err(problem) => Err(StoreError::BadKey { at, problem }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_checked() {
        for good in ["a", "a/b", "backups/x y/ü+%.tar.gz", "a/...", &"k".repeat(255)] {
            assert_eq!(check_key(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "../a",
            "a/./b",
            "a\nb",
            " a",
            "a ",
            ".refloat-tmp-1",
            &"k".repeat(256),
        ] {
            assert!(check_key(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_signed_url_is_hidden() {
        let url = SignedUrl::new("https://h/b?X-Amz-Signature=1".to_owned());
        assert_eq!(format!("{url:?}"), "SignedUrl(https://h/b?…)");
        assert!(url.as_str().ends_with("=1"));
    }
}
