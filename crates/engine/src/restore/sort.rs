//! Reads the tarball once and sorts it by kind.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use futures::StreamExt;
use refloat_model::{Backup, GroupResource, ObjectName, layout::BackupFile};
use refloat_plan::restore::{is_never_restored, objects};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::RestoreJob;
use crate::{
    EngineError, Location,
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

/// Streams the tarball of a restore's backup into a spool.
///
/// # Errors
/// If it cannot be read, is damaged or is not to be trusted: then nothing was created yet.
pub(super) async fn sort_archive(job: &RestoreJob) -> Result<Spool, EngineError> {
    let annotations = job.restore.metadata.annotations.as_ref();
    let picked = objects::of_annotations(annotations).map_err(|problem| EngineError::Plan {
        doing: "cannot plan the restore".into(),
        source: problem.into(),
    })?;
    let Some(picked) = picked else {
        let wanted = |resource: &GroupResource, _: &ObjectName| !is_never_restored(resource);
        return sort_tarball(&job.location, &job.backup, &job.cancel, wanted).await;
    };
    let picked = Arc::new(picked);
    let found: Arc<Vec<AtomicBool>> = Arc::new(picked.iter().map(|_| AtomicBool::new(false)).collect());
    let (looked_for, seen) = (picked.clone(), found.clone());
    let wanted = move |resource: &GroupResource, name: &ObjectName| {
        let place = looked_for.iter().position(|one| one.matches(resource, name));
        if let Some(place) = place {
            seen[place].store(true, Ordering::Relaxed);
        }
        place.is_some() && !is_never_restored(resource)
    };
    let spool = sort_tarball(&job.location, &job.backup, &job.cancel, wanted).await?;
    let missing: Vec<String> = picked
        .iter()
        .zip(found.iter())
        .filter(|(_, found)| !found.load(Ordering::Relaxed))
        .map(|(object, _)| object.to_string())
        .collect();
    if missing.is_empty() {
        return Ok(spool);
    }
    Err(EngineError::ObjectNotFound {
        backup: job.backup.metadata.name.clone().unwrap_or_default(),
        objects: missing.join(", "),
    })
}

/// Streams those objects of a backup's tarball into a spool that are wanted.
///
/// # Errors
/// If it cannot be read, is damaged or is not to be trusted.
pub(crate) async fn sort_tarball(
    location: &Location,
    backup: &Backup,
    cancel: &CancellationToken,
    wanted: impl Fn(&GroupResource, &ObjectName) -> bool + Send + 'static,
) -> Result<Spool, EngineError> {
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    let key = BackupFile::Contents.key(name);
    let stream = crate::catalog::stream_file(location, &key).await?;
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
    let cancel = cancel.clone();
    let sorting = tokio::task::spawn_blocking(move || sort(reader, wanted, || cancel.is_cancelled()));
    let sorted = sorting.await.map_err(|error| EngineError::damaged(&key, error))?;
    let sorted = sorted.map_err(|stop| match stop {
        Stop::Engine(error) => error,
        Stop::Archive(ArchiveError::Path(source)) => EngineError::Hostile {
            key: key.clone(),
            source,
        },
        Stop::Archive(ArchiveError::Format(version)) => EngineError::UnknownFormat {
            name: name.to_owned(),
            version,
        },
        Stop::Archive(error) => EngineError::damaged(&key, crate::error::chain(&error)),
    })?;
    let expected = backup
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

fn sort(
    reader: ChannelReader,
    wanted: impl Fn(&GroupResource, &ObjectName) -> bool,
    cancelled: impl Fn() -> bool,
) -> Result<Spool, Stop> {
    let mut spool = Spool::create().map_err(Stop::Engine)?;
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
