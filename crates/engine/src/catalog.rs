//! Backups and restores as a bucket holds them, without any cluster: list, read, download, delete.

use std::{io::Read, sync::Arc};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use refloat_model::{
    Backup, Restore, Results,
    layout::{self, BackupFile},
};
use refloat_store::{ObjectStore, ObjectStream};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::{EngineError, Location, backup::CONTENTS_SHA256, gzip::hex};

/// The longest `velero-backup.json` and other small documents.
const LONGEST_DOCUMENT: u64 = 16 * 1024 * 1024;
/// The longest JSON inside a gzip file that is read whole.
const LONGEST_UNPACKED: u64 = 96 * 1024 * 1024;

/// Whether `name` can be the name of a backup or restore: as Kubernetes names objects. Everything
/// that makes keys checks this first, so no name reaches outside its folder.
///
/// # Errors
/// [`EngineError::BadName`].
pub fn check_name(name: &str) -> Result<(), EngineError> {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let good = name.len() <= 253
        && name.chars().all(inner)
        && edge(name.chars().next())
        && edge(name.chars().next_back())
        && !name.contains("..");
    if good {
        Ok(())
    } else {
        Err(EngineError::BadName {
            name: name.to_owned(),
        })
    }
}

/// The names of all backups that exist, sorted. A folder without `velero-backup.json` is no backup.
///
/// # Errors
/// If the bucket cannot be listed.
pub async fn list_backups(location: &Location) -> Result<Vec<String>, EngineError> {
    let names = list_folders(location).await?;
    let checked = futures::stream::iter(names.into_iter().map(|name| async move {
        let there = location.store().exists(&layout::backup_metadata(&name)).await;
        there.map(|there| there.then_some(name))
    }))
    .buffered(16);
    let found: Vec<Option<String>> = checked.try_collect().await.map_err(|source| {
        EngineError::store(format!("cannot list the backups in {}", location.name()), source)
    })?;
    Ok(found.into_iter().flatten().collect())
}

/// The names of all backups that have any file, sorted: of some `velero-backup.json` may be missing.
///
/// # Errors
/// If the bucket cannot be listed.
pub async fn list_folders(location: &Location) -> Result<Vec<String>, EngineError> {
    folders(location, layout::BACKUPS).await
}

/// The names of all restores that have files, sorted.
///
/// # Errors
/// If the bucket cannot be listed.
pub async fn list_restores(location: &Location) -> Result<Vec<String>, EngineError> {
    folders(location, layout::RESTORES).await
}

async fn folders(location: &Location, top: &str) -> Result<Vec<String>, EngineError> {
    let found =
        location.store().list_prefixes(top).await.map_err(|source| {
            EngineError::store(format!("cannot list {top} in {}", location.name()), source)
        })?;
    let names = found
        .iter()
        .filter_map(|prefix| prefix.strip_prefix(top)?.strip_suffix('/'));
    Ok(names
        .filter(|name| check_name(name).is_ok())
        .map(str::to_owned)
        .collect())
}

/// Reads a backup's `velero-backup.json`.
///
/// # Errors
/// [`EngineError::BackupNotFound`] where there is none, [`EngineError::Damaged`] where it is not a
/// Backup of that name.
pub async fn read_backup(location: &Location, name: &str) -> Result<Backup, EngineError> {
    check_name(name)?;
    let key = layout::backup_metadata(name);
    let bytes = match location.store().get(&key, LONGEST_DOCUMENT).await {
        Err(error) if error.is_not_found() => {
            return Err(EngineError::BackupNotFound {
                name: name.into(),
                location: location.name().into(),
            });
        }
        other => {
            other.map_err(|source| EngineError::store(format!("cannot read backup {name:?}"), source))?
        }
    };
    parse_backup(&key, name, &bytes)
}

/// Whether the tarball in the location is the one that a backup's description speaks of. One without a
/// checksum, as Velero writes it, is believed. Reads the whole tarball.
///
/// # Errors
/// If it cannot be read for another reason than that there is none.
pub async fn has_its_tarball(location: &Location, backup: &Backup) -> Result<bool, EngineError> {
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    let annotations = backup.metadata.annotations.as_ref();
    let Some(expected) = annotations.and_then(|all| all.get(CONTENTS_SHA256)) else {
        return Ok(true);
    };
    let key = BackupFile::Contents.key(name);
    let doing = || format!("cannot read {key}");
    let mut stream = match location.store().get_stream(&key, None).await {
        Err(error) if error.is_not_found() => return Ok(false),
        other => other.map_err(|source| EngineError::store(doing(), source))?,
    };
    let mut hash = Sha256::new();
    while let Some(chunk) = stream.next().await {
        hash.update(chunk.map_err(|source| EngineError::store(doing(), source))?);
    }
    Ok(*expected == hex(&hash.finalize()))
}

/// Reads the text of a `velero-backup.json`.
///
/// # Errors
/// [`EngineError::Damaged`] where it is not a Backup of that name.
pub fn parse_backup(key: &str, name: &str, bytes: &[u8]) -> Result<Backup, EngineError> {
    let backup: Backup = serde_json::from_slice(bytes).map_err(|error| EngineError::damaged(key, error))?;
    match backup.metadata.name.as_deref() {
        Some(found) if found == name => Ok(backup),
        found => Err(EngineError::damaged(key, format!("it describes {found:?}"))),
    }
}

/// Reads a restore that was done without a server.
///
/// # Errors
/// [`EngineError::RestoreNotFound`] where there is none.
pub async fn read_restore(location: &Location, name: &str) -> Result<Restore, EngineError> {
    check_name(name)?;
    let key = restore_metadata(name);
    let bytes = match location.store().get(&key, LONGEST_DOCUMENT).await {
        Err(error) if error.is_not_found() => {
            return Err(EngineError::RestoreNotFound {
                name: name.into(),
                location: location.name().into(),
            });
        }
        other => {
            other.map_err(|source| EngineError::store(format!("cannot read restore {name:?}"), source))?
        }
    };
    serde_json::from_slice(&bytes).map_err(|error| EngineError::damaged(&key, error))
}

/// Where a restore's own description is; Velero knows no such file, its cluster holds it.
#[must_use]
pub fn restore_metadata(name: &str) -> String {
    format!("{}refloat-restore.json", layout::restore_dir(name))
}

/// Reads a file of warnings and errors; `None` where there is none.
///
/// # Errors
/// If it cannot be read or is damaged.
pub async fn read_results(location: &Location, key: &str) -> Result<Option<Results>, EngineError> {
    read_json_gz(location, key).await
}

/// Reads a gzip file of one JSON document; `None` where there is none, and where the document is
/// `null`, as Go writes empty lists.
///
/// # Errors
/// If it cannot be read or is damaged.
pub async fn read_json_gz<T: DeserializeOwned + Send + 'static>(
    location: &Location,
    key: &str,
) -> Result<Option<T>, EngineError> {
    let packed = match location.store().get(key, LONGEST_DOCUMENT * 4).await {
        Err(error) if error.is_not_found() => return Ok(None),
        other => other.map_err(|source| EngineError::store(format!("cannot read {key}"), source))?,
    };
    parse_json_gz(&packed).map_err(|problem| EngineError::damaged(key, problem))
}

/// Reads the bytes of a gzip file of one JSON document.
///
/// # Errors
/// A text that says what is wrong with it.
pub fn parse_json_gz<T: DeserializeOwned>(packed: &[u8]) -> Result<Option<T>, String> {
    let unpacked = flate2::read::MultiGzDecoder::new(packed).take(LONGEST_UNPACKED);
    serde_json::from_reader(std::io::BufReader::new(unpacked)).map_err(|error| error.to_string())
}

/// Streams a file as it is stored.
///
/// # Errors
/// If it cannot be opened; errors on the way are in the stream.
pub async fn stream_file(location: &Location, key: &str) -> Result<ObjectStream, EngineError> {
    open(location.store(), key).await
}

async fn open(store: &Arc<dyn ObjectStore>, key: &str) -> Result<ObjectStream, EngineError> {
    let stream = store.get_stream(key, None).await;
    stream.map_err(|source| EngineError::store(format!("cannot read {key}"), source))
}

/// Streams a gzip file's content.
///
/// # Errors
/// If it cannot be opened; errors on the way are in the stream.
pub async fn stream_gunzipped(
    location: &Location,
    key: &str,
) -> Result<impl Stream<Item = Result<Bytes, EngineError>> + use<>, EngineError> {
    const CHUNK: usize = 64 * 1024;
    let reader = crate::archive_reader::ChannelReader::over(open(location.store(), key).await?);
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let key = key.to_owned();
    tokio::task::spawn_blocking(move || {
        let mut decoder = flate2::read::MultiGzDecoder::new(reader);
        loop {
            let mut chunk = vec![0; CHUNK];
            let next = match decoder.read(&mut chunk) {
                Ok(0) => return,
                Ok(count) => {
                    chunk.truncate(count);
                    Ok(Bytes::from(chunk))
                }
                Err(error) => Err(EngineError::damaged(&key, error)),
            };
            let last = next.is_err();
            if sender.blocking_send(next).is_err() || last {
                return;
            }
        }
    });
    Ok(futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    }))
}

/// Deletes a backup: first what makes it exist, then all its files. One that is not there is fine,
/// so that a deletion which was interrupted can be repeated.
///
/// # Errors
/// If something cannot be deleted; repeat it then.
pub async fn delete_backup(location: &Location, name: &str) -> Result<(), EngineError> {
    check_name(name)?;
    location.writable()?;
    let doing = || format!("cannot delete backup {name:?}");
    let store = location.store();
    let there = store.delete(&layout::backup_metadata(name)).await;
    there.map_err(|source| EngineError::store(doing(), source))?;
    let files = store.delete_prefix(&layout::backup_dir(name)).await;
    files
        .map(|_| ())
        .map_err(|source| EngineError::store(doing(), source))
}

/// Deletes a restore's files. One that has none is fine.
///
/// # Errors
/// If something cannot be deleted; repeat it then.
pub async fn delete_restore(location: &Location, name: &str) -> Result<(), EngineError> {
    check_name(name)?;
    let files = location.store().delete_prefix(&layout::restore_dir(name)).await;
    files
        .map(|_| ())
        .map_err(|source| EngineError::store(format!("cannot delete restore {name:?}"), source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_their_folder_are_refused() {
        for good in ["a", "daily-20261121", "a.b", "0"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "..",
            "a/b",
            "../x",
            "A",
            "-a",
            "a-",
            "a..b",
            "ä",
            &"a".repeat(254),
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
