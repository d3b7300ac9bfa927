//! The files of a restore: log, results, resource list, and its own description.

use bytes::Bytes;
use refloat_model::{
    Restore, Results,
    layout::{self, RestoreFile},
};

use super::execute::Done;
use crate::{EngineError, Location, backup::json_gz, catalog, error::chain, job_log::JobLog};

/// Writes the files. Those of an earlier try that died while writing them are replaced. A location
/// that refuses (its credentials may only read) does not make the restore fail: the objects are
/// there; only `restore logs` and `describe` will miss the files.
///
/// # Errors
/// If the location fails in another way; the restore may be run again.
pub(super) async fn write_files(
    location: &Location,
    name: &str,
    restore: &Restore,
    log: &JobLog,
    done: Done,
) -> Result<Results, EngineError> {
    let (results, log_file) = log.finish();
    let nothing: [(); 0] = [];
    let mut description = serde_json::to_vec_pretty(restore).map_err(|error| EngineError::Plan {
        doing: format!("cannot describe restore {name:?}"),
        source: error.into(),
    })?;
    description.push(b'\n');
    let files = [
        (RestoreFile::Log.key(name), log_file),
        (RestoreFile::Results.key(name), json_gz(&results)),
        (RestoreFile::ResourceList.key(name), done.list),
        (RestoreFile::ItemOperations.key(name), json_gz(&nothing)),
        (RestoreFile::VolumeInfo.key(name), json_gz(&nothing)),
        (catalog::restore_metadata(name), Bytes::from(description)),
    ];
    let store = location.store();
    let doing = || format!("cannot write the files of restore {name:?}");
    if let Err(error) = store.delete_prefix(&layout::restore_dir(name)).await
        && error.is_retryable()
    {
        return Err(EngineError::store(doing(), error));
    }
    for (key, bytes) in files {
        match store.put_once(&key, bytes).await {
            Ok(()) => {}
            Err(error) if error.is_retryable() => return Err(EngineError::store(doing(), error)),
            Err(error) => {
                tracing::warn!(
                    restore = name,
                    key,
                    "a file of the restore is not stored: {}",
                    chain(&error)
                );
                return Ok(results);
            }
        }
    }
    Ok(results)
}
