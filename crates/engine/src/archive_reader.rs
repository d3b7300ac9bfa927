//! Reads a tarball of foreign origin once, as a stream, and believes nothing of it.
//!
//! Refused as a whole: paths that leave the folder, links and devices, an object longer than any
//! cluster stores, two entries of one name, a file that is cut. What is in memory is one object.

use std::{
    cell::Cell,
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    io::{self, Read},
    rc::Rc,
};

use bytes::{Buf, Bytes};
use futures::{Stream, StreamExt};
use refloat_model::{
    GroupResource, ObjectName,
    archive::{self, Entry, PathError},
};
use refloat_store::StoreError;
use tokio::sync::mpsc;

/// The longest object. etcd's own limit is 1.5 MiB unless raised, and 8 MiB is the most advised.
const LONGEST_OBJECT: u64 = 32 * 1024 * 1024;
/// The longest headers of one entry. The tar library holds long names and other extensions in memory,
/// however long they are.
const LONGEST_HEADERS: u64 = 1024 * 1024;
/// A tarball is made of such blocks, and ends in two of zeros.
const TAR_BLOCK: u64 = 512;

/// Why a tarball is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    #[error("it is cut or damaged")]
    Io(#[source] io::Error),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("entry {0:?} is a link or a device; a backup has only plain files")]
    NotAFile(String),
    #[error("entry {0:?} is longer than any object")]
    TooLong(String),
    #[error("entry {0:?} is there twice")]
    Twice(String),
    #[error("its format version {0:?} is not known")]
    Format(String),
}

/// One object of a tarball.
pub(crate) struct Object<'a> {
    pub resource: &'a GroupResource,
    pub name: &'a ObjectName,
    pub json: &'a [u8],
}

/// Reads a gzipped tarball to its end and hands each object that is restored by default, and that
/// `wanted` asks for, to `take`. Blocks; `take` may end it with an error of its own.
pub(crate) fn read<E: From<ArchiveError>>(
    packed: impl Read,
    wanted: impl Fn(&GroupResource, &ObjectName) -> bool,
    mut take: impl FnMut(Object<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let allowed = Rc::new(Cell::new(u64::MAX));
    let mut tar = tar::Archive::new(Rationed {
        inner: flate2::read::MultiGzDecoder::new(packed),
        allowed: allowed.clone(),
    });
    let mut names = Names::default();
    let mut json = Vec::new();
    let mut entries = tar.entries().map_err(ArchiveError::Io)?;
    loop {
        allowed.set(LONGEST_HEADERS);
        let Some(entry) = entries.next() else { break };
        allowed.set(u64::MAX);
        let mut entry = entry.map_err(ArchiveError::Io)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = entry.header().entry_type();
        let parsed = archive::parse(&path).map_err(ArchiveError::Path)?;
        if !kind.is_dir() && !kind.is_file() {
            return Err(ArchiveError::NotAFile(path).into());
        }
        let size = entry.size();
        if size > LONGEST_OBJECT {
            return Err(ArchiveError::TooLong(path).into());
        }
        if kind.is_dir() {
            drain(&mut entry)?;
            continue;
        }
        if !matches!(parsed, Entry::Other) && !names.first(&path) {
            return Err(ArchiveError::Twice(path).into());
        }
        match parsed {
            Entry::Version => check_version(&mut entry)?,
            Entry::Object { resource, name } if wanted(&resource, &name) => {
                json.clear();
                entry.read_to_end(&mut json).map_err(ArchiveError::Io)?;
                if json.len() as u64 != size {
                    return Err(ArchiveError::Io(io::ErrorKind::UnexpectedEof.into()).into());
                }
                take(Object {
                    resource: &resource,
                    name: &name,
                    json: &json,
                })?;
            }
            Entry::Object { .. } | Entry::Versioned { .. } | Entry::Other => {}
        }
        drain(&mut entry)?;
    }
    // A file that is cut between two entries, where a gzip member may end too, has no end mark.
    if LONGEST_HEADERS - allowed.get() < TAR_BLOCK {
        return Err(ArchiveError::Io(io::ErrorKind::UnexpectedEof.into()).into());
    }
    allowed.set(u64::MAX);
    // The tar reader stops at the end mark; what follows must still be whole gzip.
    let mut rest = tar.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(ArchiveError::Io)?;
    Ok(())
}

/// Reads what is left of an entry, so that what the library reads next is headers only.
fn drain(entry: &mut impl Read) -> Result<(), ArchiveError> {
    io::copy(entry, &mut io::sink()).map_err(ArchiveError::Io)?;
    Ok(())
}

/// A reader that ends in an error after so many bytes as are allowed.
struct Rationed<R> {
    inner: R,
    allowed: Rc<Cell<u64>>,
}

impl<R: Read> Read for Rationed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let allowed = self.allowed.get();
        if allowed == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the headers of an entry are longer than any path",
            ));
        }
        let most = usize::try_from(allowed).map_or(buffer.len(), |allowed| allowed.min(buffer.len()));
        let count = self.inner.read(&mut buffer[..most])?;
        self.allowed.set(allowed - count as u64);
        Ok(count)
    }
}

fn check_version(entry: &mut impl Read) -> Result<(), ArchiveError> {
    let mut text = String::new();
    entry
        .take(64)
        .read_to_string(&mut text)
        .map_err(ArchiveError::Io)?;
    let version = text.trim();
    if version.split('.').next() == Some("1") {
        Ok(())
    } else {
        Err(ArchiveError::Format(version.to_owned()))
    }
}

/// Which names were seen, at eight bytes each: a keyed hash that no archive can aim at.
#[derive(Default)]
struct Names {
    seen: HashSet<u64>,
    key: RandomState,
}

impl Names {
    fn first(&mut self, name: &str) -> bool {
        self.seen.insert(self.key.hash_one(name))
    }
}

/// A blocking reader over the store's asynchronous stream. Ends with an error where that does.
pub(crate) struct ChannelReader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl ChannelReader {
    /// Starts to read ahead, a few chunks.
    pub(crate) fn over<S>(mut stream: S) -> Self
    where
        S: Stream<Item = Result<Bytes, StoreError>> + Send + Unpin + 'static,
    {
        let (sender, receiver) = mpsc::channel(4);
        tokio::spawn(async move {
            while let Some(chunk) = stream.next().await {
                let failed = chunk.is_err();
                if sender.send(chunk.map_err(io::Error::other)).await.is_err() || failed {
                    return;
                }
            }
        });
        Self {
            receiver,
            current: Bytes::new(),
        }
    }
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.receiver.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => self.current = chunk?,
            }
        }
        let count = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
#[path = "archive_reader/tests.rs"]
mod tests;
