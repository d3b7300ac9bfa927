//! Writing to and deleting from a folder. OpenDAL reads and lists there; it does not write as a backup must be
//! written: whole or not at all, on the disk before it is visible, and never over what is there.
//!
//! A new object is a temporary file beside its place, synced, then linked to its name (which fails if the name
//! exists), then the folders are synced. Folders without objects do not exist for the reader.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use tokio::io::AsyncWriteExt;

use crate::error::{At, Cause, StoreError};
use crate::object::{ObjectWriter, TEMPORARY};

#[derive(Clone)]
pub(crate) struct Disk {
    root: PathBuf,
    /// Device and inode of the root when it was opened.
    identity: (u64, u64),
    limit: Duration,
}

impl Disk {
    pub(crate) async fn open(root: PathBuf, limit: Duration, location: &str) -> Result<Self, StoreError> {
        let at = At::new("opening", "", location);
        let found = tokio::fs::metadata(&root)
            .await
            .map_err(|e| StoreError::from_io(at, &e))?;
        Ok(Self {
            root,
            identity: (found.dev(), found.ino()),
            limit,
        })
    }

    /// Whether a path is that of an unfinished file.
    pub(crate) fn hides(path: &str) -> bool {
        path.rsplit('/')
            .next()
            .is_some_and(|name| name.starts_with(TEMPORARY))
    }

    /// Fails when the folder has gone or was replaced, as it is when a mount vanishes.
    pub(crate) async fn check(&self, at: &At) -> Result<(), StoreError> {
        let missing = |text: &str| {
            let cause = Cause::new(format!("{} {text}; is it still mounted?", self.root.display()));
            StoreError::NoSuchBucket {
                at: Box::new(at.clone()),
                cause,
            }
        };
        let root = self.root.clone();
        match self.blocking(at, move || fs::metadata(root)).await {
            Ok(found) if (found.dev(), found.ino()) == self.identity => Ok(()),
            Ok(_) => Err(missing("is another folder than the one that was opened")),
            Err(e) if e.is_not_found() => Err(missing("is gone")),
            Err(e) => Err(e),
        }
    }

    /// Begins the file of an object.
    pub(crate) async fn create(&self, at: Box<At>, path: &str) -> Result<DiskWriter, StoreError> {
        self.check(&at).await?;
        let target = self.root.join(path);
        let root = self.root.clone();
        let (temporary, file) = self
            .blocking(&at, move || Temporary::create(&root, target))
            .await?;
        Ok(DiskWriter {
            disk: self.clone(),
            at,
            temporary,
            file: tokio::fs::File::from_std(file),
            written: 0,
            broken: false,
        })
    }

    /// Removes a file, then the folders it leaves empty.
    pub(crate) async fn delete(&self, at: Box<At>, path: &str) -> Result<(), StoreError> {
        self.check(&at).await?;
        let (root, target) = (self.root.clone(), self.root.join(path));
        self.blocking(&at, move || {
            match fs::remove_file(&target) {
                Ok(()) => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(e) if e.kind() == io::ErrorKind::IsADirectory => return Ok(()),
                Err(e) => return Err(e),
            }
            prune(&root, &target);
            Ok(())
        })
        .await
    }

    /// Removes what is left of a folder whose objects are deleted: unfinished files and empty folders.
    pub(crate) async fn remove_remains(&self, at: &At, path: &str) -> Result<(), StoreError> {
        let (root, target) = (self.root.clone(), self.root.join(path.trim_end_matches('/')));
        self.blocking(at, move || {
            if target.is_dir() && !contains_object(&target)? {
                fs::remove_dir_all(&target)?;
            }
            prune(&root, &target);
            Ok(())
        })
        .await
    }

    /// Whether there is any object below a folder.
    pub(crate) async fn has_object(&self, at: &At, path: &str) -> Result<bool, StoreError> {
        let target = self.root.join(path);
        self.blocking(at, move || contains_object(&target)).await
    }

    /// Runs file calls on a thread for such, with a time limit. A call that hangs (a dead NFS server) keeps its
    /// thread until the kernel gives up.
    async fn blocking<T: Send + 'static>(
        &self,
        at: &At,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let at = || Box::new(at.clone());
        match tokio::time::timeout(self.limit, tokio::task::spawn_blocking(work)).await {
            Ok(Ok(result)) => result.map_err(|e| StoreError::from_io(at(), &e)),
            Ok(Err(e)) => Err(StoreError::Other {
                at: at(),
                cause: Cause::new(e.to_string()),
            }),
            Err(_) => Err(StoreError::Temporary {
                at: at(),
                cause: Cause::new("the file system does not answer"),
            }),
        }
    }
}

fn contains_object(folder: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        let found = match entry.file_type()? {
            kind if kind.is_dir() => contains_object(&entry.path())?,
            _ => !Disk::hides(&entry.file_name().to_string_lossy()),
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes the folders above `target`, up to `root`, that are empty. A folder that somebody is about to use is
/// made again by them.
fn prune(root: &Path, target: &Path) {
    let parents = target
        .ancestors()
        .skip(1)
        .take_while(|parent| parent.starts_with(root) && *parent != root);
    for parent in parents {
        if fs::remove_dir(parent).is_err() {
            return;
        }
    }
}

/// An unfinished file; removed when dropped.
struct Temporary {
    root: PathBuf,
    path: PathBuf,
    target: PathBuf,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if fs::remove_file(&self.path).is_ok() {
            prune(&self.root, &self.path);
        }
    }
}

impl Temporary {
    fn create(root: &Path, target: PathBuf) -> io::Result<(Self, fs::File)> {
        if fs::symlink_metadata(&target).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let folder = target.parent().unwrap_or(root).to_owned();
        let path = folder.join(format!("{TEMPORARY}{}", uuid::Uuid::new_v4()));
        let mut tries = 0;
        loop {
            fs::create_dir_all(&folder)?;
            match fs::File::options().write(true).create_new(true).open(&path) {
                Ok(file) => {
                    return Ok((
                        Self {
                            root: root.to_owned(),
                            path,
                            target,
                        },
                        file,
                    ));
                }
                // Somebody pruned the empty folder just now.
                Err(e) if e.kind() == io::ErrorKind::NotFound && tries < 10 => tries += 1,
                Err(e) => return Err(e),
            }
        }
    }

    /// Gives the file its name, if that is free, and makes that last.
    fn publish(self) -> io::Result<()> {
        match fs::hard_link(&self.path, &self.target) {
            Ok(()) => fs::remove_file(&self.path)?,
            // An NFS server may do the work and lose the answer; the client asks again and is told so.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && self.is_linked() => {
                fs::remove_file(&self.path)?;
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Err(e),
            // No hard links there (FAT, some network file systems).
            Err(_) => renameat_with(CWD, &self.path, CWD, &self.target, RenameFlags::NOREPLACE)?,
        }
        let parents = self
            .target
            .ancestors()
            .skip(1)
            .take_while(|parent| parent.starts_with(&self.root));
        for parent in parents {
            fs::File::open(parent)?.sync_all()?;
        }
        Ok(())
    }

    fn is_linked(&self) -> bool {
        let same = || {
            Some((
                fs::metadata(&self.path).ok()?.ino(),
                fs::metadata(&self.target).ok()?.ino(),
            ))
        };
        same().is_some_and(|(one, other)| one == other)
    }
}

/// An object being written to a folder.
pub(crate) struct DiskWriter {
    disk: Disk,
    at: Box<At>,
    temporary: Temporary,
    file: tokio::fs::File,
    written: u64,
    broken: bool,
}

impl DiskWriter {
    async fn limited<T>(&mut self, write: bool, data: &[u8], done: T) -> Result<T, StoreError> {
        let work = async {
            if write {
                self.file.write_all(data).await
            } else {
                self.file.flush().await
            }
        };
        match tokio::time::timeout(self.disk.limit, work).await {
            Ok(Ok(())) => Ok(done),
            Ok(Err(e)) => Err(StoreError::from_io(self.at.clone(), &e)),
            Err(_) => Err(StoreError::Temporary {
                at: self.at.clone(),
                cause: Cause::new("the file system does not answer"),
            }),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.broken {
            let cause = Cause::new("an earlier write failed or was cancelled, so bytes would be missing");
            return Err(StoreError::Other {
                at: self.at.clone(),
                cause,
            });
        }
        Ok(())
    }
}

#[async_trait]
impl ObjectWriter for DiskWriter {
    async fn write(&mut self, data: Bytes) -> Result<(), StoreError> {
        self.check()?;
        self.broken = true;
        self.limited(true, &data, ()).await?;
        self.broken = false;
        self.written += data.len() as u64;
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<u64, StoreError> {
        self.check()?;
        self.limited(false, &[], ()).await?;
        let Self {
            disk,
            at,
            temporary,
            file,
            written,
            ..
        } = *self;
        let file = file.into_std().await;
        let work = move || {
            file.sync_all()?;
            temporary.publish()
        };
        disk.blocking(&at, work).await?;
        Ok(written)
    }

    async fn abort(self: Box<Self>) -> Result<(), StoreError> {
        // Dropping the file's guard removes it.
        Ok(())
    }
}
