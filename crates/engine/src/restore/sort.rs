//! Reads the tarball once and sorts it by kind.

use std::sync::{Arc, Mutex};

use futures::StreamExt;
use refloat_model::{GroupResource, ObjectName, layout::BackupFile};
use refloat_plan::restore::is_never_restored;
use sha2::{Digest, Sha256};

use super::RestoreJob;
use crate::{
    EngineError,
    archive_reader::{self, ArchiveError, ChannelReader},
    backup::CONTENTS_SHA256,
    gzip::hex,
    spool::Spool,
};

enum Stop {
    Archive(ArchiveError),
    Engine(EngineError),
}

impl From<ArchiveError> for Stop {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

/// Streams the tarball into a spool.
///
/// # Errors
/// If it cannot be read, is damaged or is not to be trusted: then nothing was created yet.
pub(super) async fn sort_archive(job: &RestoreJob, backup: &str) -> Result<Spool, EngineError> {
    let key = BackupFile::Contents.key(backup);
    let stream = crate::catalog::stream_file(&job.location, &key).await?;
    let hash = Arc::new(Mutex::new(Sha256::new()));
    let feed = hash.clone();
    let stream = stream.inspect(move |chunk| {
        if let Ok(chunk) = chunk {
            feed.lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .update(chunk);
        }
    });
    let reader = ChannelReader::over(stream);
    let cancel = job.cancel.clone();
    let sorting = tokio::task::spawn_blocking(move || sort(reader, || cancel.is_cancelled()));
    let sorted = sorting.await.map_err(|error| EngineError::damaged(&key, error))?;
    let sorted = sorted.map_err(|stop| match stop {
        Stop::Engine(error) => error,
        Stop::Archive(ArchiveError::Path(source)) => EngineError::Hostile {
            key: key.clone(),
            source,
        },
        Stop::Archive(ArchiveError::Format(version)) => EngineError::UnknownFormat {
            name: backup.to_owned(),
            version,
        },
        Stop::Archive(error) => EngineError::damaged(&key, crate::error::chain(&error)),
    })?;
    let expected = job
        .backup
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(CONTENTS_SHA256));
    let found = hash
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .clone()
        .finalize();
    match expected {
        Some(expected) if *expected != hex(&found) => Err(EngineError::damaged(
            &key,
            "its SHA-256 is not the one that the backup recorded",
        )),
        _ => Ok(sorted),
    }
}

fn sort(reader: ChannelReader, cancelled: impl Fn() -> bool) -> Result<Spool, Stop> {
    let mut spool = Spool::create().map_err(Stop::Engine)?;
    let wanted = |resource: &GroupResource, _: &ObjectName| !is_never_restored(resource);
    archive_reader::read(reader, wanted, |object| {
        if cancelled() {
            return Err(Stop::Engine(EngineError::Cancelled));
        }
        spool
            .add(object.resource, object.name, object.json)
            .map_err(Stop::Engine)
    })?;
    spool.seal().map_err(Stop::Engine)?;
    Ok(spool)
}
