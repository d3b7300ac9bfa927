//! The files beside the tarball, and the one that makes the backup exist.

use bytes::Bytes;
use refloat_model::{
    Backup, Results,
    layout::{self, BackupFile},
};
use refloat_store::StoreError;
use serde::Serialize;

use super::collect::Contents;
use crate::{EngineError, Location, gzip::member, job_log::JobLog};

/// Writes all files that describe the tarball.
///
/// # Errors
/// If one cannot be written: then the backup is not published.
pub(super) async fn write_descriptions(
    location: &Location,
    name: &str,
    log: &JobLog,
    contents: Contents,
) -> Result<Results, EngineError> {
    let (results, log_file) = log.finish();
    let nothing: [(); 0] = [];
    let files = [
        (BackupFile::Log, log_file),
        (BackupFile::PodVolumeBackups, json_gz(&nothing)),
        (BackupFile::VolumeSnapshots, json_gz(&nothing)),
        (BackupFile::ItemOperations, json_gz(&nothing)),
        (BackupFile::ResourceList, contents.list),
        (BackupFile::CsiVolumeSnapshotClasses, json_gz(&nothing)),
        (BackupFile::Results, json_gz(&results)),
        (BackupFile::VolumeInfo, json_gz(&contents.volumes)),
    ];
    for (file, bytes) in files {
        put(location, &file.key(name), bytes).await?;
    }
    Ok(results)
}

/// Writes `velero-backup.json`: from here on the backup exists.
///
/// # Errors
/// If it cannot be written, or if that cannot be found out.
pub(super) async fn publish(location: &Location, name: &str, backup: &Backup) -> Result<(), EngineError> {
    let mut text = serde_json::to_vec_pretty(backup).map_err(|error| EngineError::Plan {
        doing: format!("cannot describe backup {name:?}"),
        source: error.into(),
    })?;
    text.push(b'\n');
    put(location, &layout::backup_metadata(name), Bytes::from(text)).await
}

/// Writes a file once. A write whose answer was lost is recognised by its content.
async fn put(location: &Location, key: &str, bytes: Bytes) -> Result<(), EngineError> {
    let store = location.store();
    let error = match store.put_once(key, bytes.clone()).await {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    let doubtful = error.is_retryable() || matches!(error, StoreError::AlreadyExists { .. });
    if doubtful
        && store
            .get(key, bytes.len() as u64)
            .await
            .is_ok_and(|found| found == bytes)
    {
        return Ok(());
    }
    Err(EngineError::store(format!("cannot write {key}"), error))
}

/// A value as a gzip file of one JSON document and a newline.
pub(crate) fn json_gz(value: &impl Serialize) -> Bytes {
    let mut text = serde_json::to_vec(value).expect("our own documents have string keys only");
    text.push(b'\n');
    member(&text)
}
