//! Runs a restore of API objects: sort the tarball, then create class by class.
//!
//! # Order
//! The tarball is read once and its objects are sorted by kind into a scratch file. The plan puts
//! kinds into classes; inside a class many requests are in flight, and a class begins when the one
//! before it has ended. After the definitions of custom resources the server is asked anew what it
//! serves.
//!
//! # Hooks
//! Commands in restored pods run beside the restore, and it ends when they have; see [`hooks`].
//!
//! # After a crash
//! A restore that is run again does everything again and ends the same: an object that carries this
//! restore's label was created by the earlier try and counts as created. Nothing is created twice,
//! because names are unique.

mod execute;
mod existing;
mod files;
mod hooks;
mod listing;
mod namespaces;
mod planned;
mod planning;
mod recreate;
pub(crate) mod sort;
mod storage_classes;
mod survey;

pub use listing::stream_plan;
pub use planned::check_plan;
pub use planning::{PlanJob, PlanReport, run_plan};

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use refloat_cluster::Cluster;
use refloat_model::{Backup, Restore, RestorePhase, Results, layout::BackupFile, restore::RestoreProgress};
use refloat_plan::{priorities::Priorities, resource_modifier::ResourceModifiers, restore_item::Transforms};
use tokio_util::sync::CancellationToken;

use crate::{EngineError, Location, Progress, backup::seconds, catalog, job_log::JobLog, rules};

/// What a restore needs.
#[derive(Debug)]
pub struct RestoreJob {
    /// The custom resource; in the status `startTimestamp` where it is known.
    pub restore: Restore,
    /// What `velero-backup.json` holds.
    pub backup: Backup,
    /// Where the backup is.
    pub location: Location,
    /// Where it is restored to.
    pub cluster: Cluster,
    /// How.
    pub options: RestoreOptions,
    /// Counters to follow.
    pub progress: Progress,
    /// Stops it at the next object.
    pub cancel: CancellationToken,
}

/// How a restore is done.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The order of kinds.
    pub priorities: Priorities,
    /// How long to wait for a namespace that is being deleted.
    pub terminating_timeout: Duration,
    /// How long to wait for a definition to be served.
    pub resource_timeout: Duration,
    /// Rules that change objects, in place of those that the spec names.
    pub modifiers: Option<ResourceModifiers>,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        let ten_minutes = Duration::from_secs(600);
        Self {
            priorities: Priorities::default(),
            terminating_timeout: ten_minutes,
            resource_timeout: ten_minutes,
            modifiers: None,
        }
    }
}

/// What became of a restore.
#[derive(Clone, Debug)]
pub struct RestoreReport {
    /// The custom resource with its final status.
    pub restore: Restore,
    /// Warnings and errors about single objects.
    pub results: Results,
}

/// Restores a backup. May be called again for the same name after a crash or an error.
///
/// # Errors
/// [`EngineError::Cancelled`], or what kept the restore from being done as a whole: the tarball is
/// damaged, the API server is gone. Objects created until then stay.
pub async fn run_restore(job: RestoreJob) -> Result<RestoreReport, EngineError> {
    let name = job.restore.metadata.name.clone().unwrap_or_default();
    catalog::check_name(&name)?;
    job.progress.reset();
    let cancel = job.cancel.clone();
    tokio::select! {
        () = cancel.cancelled() => Err(EngineError::Cancelled),
        report = Box::pin(restore(job, &name)) => report,
    }
}

async fn restore(job: RestoreJob, name: &str) -> Result<RestoreReport, EngineError> {
    let namespace = job.restore.metadata.namespace.clone().unwrap_or_default();
    let log = Arc::new(JobLog::new(format!("restore={namespace}/{name}")));
    let started = job
        .restore
        .status
        .as_ref()
        .and_then(|status| status.start_timestamp.clone());
    let started = started.map_or_else(Timestamp::now, |time| time.0);
    let backup = job.backup.metadata.name.clone().unwrap_or_default();
    catalog::check_name(&backup)?;
    check_format(&job.backup, &backup)?;
    log.info(&format!(
        "restoring from backup {backup} in {}",
        job.location.name()
    ));
    let transforms = read_transforms(&job, &namespace, &log).await?;
    let volumes = catalog::read_json_gz(&job.location, &BackupFile::VolumeInfo.key(&backup)).await?;
    let sorted = sort::sort_archive(&job).await?;
    if sorted.inventory().is_empty() {
        log.warn("", "the backup holds no objects");
    }
    let done = execute::execute(&job, sorted, volumes.unwrap_or_default(), transforms, &log).await?;

    let mut restore = job.restore.clone();
    let (warnings, errors) = log.counts();
    let status = restore.status.get_or_insert_default();
    status.phase = if errors > 0 {
        RestorePhase::PartiallyFailed
    } else {
        RestorePhase::Completed
    };
    status.warnings = warnings;
    status.errors = errors;
    status.start_timestamp = Some(seconds(started));
    status.completion_timestamp = Some(seconds(Timestamp::now()));
    status.hook_status = Some(done.hooks);
    let count = |items: u64| i64::try_from(items).unwrap_or(i64::MAX);
    status.progress = Some(RestoreProgress {
        total_items: count(job.progress.total()),
        items_restored: count(job.progress.done()),
    });
    let results = files::write_files(&job.location, name, &restore, &log, done).await?;
    Ok(RestoreReport { restore, results })
}

/// Reads what is to be changed in objects, once for the whole restore.
async fn read_transforms(job: &RestoreJob, namespace: &str, log: &JobLog) -> Result<Transforms, EngineError> {
    let modifiers = match &job.options.modifiers {
        Some(given) => Some(given.clone()),
        None => rules::resource_modifiers(&job.cluster, namespace, &job.restore.spec).await?,
    };
    let (transforms, warning) = rules::transforms(&job.cluster, namespace, modifiers).await?;
    if let Some(warning) = warning {
        log.warn("", &warning);
    }
    Ok(transforms)
}

pub(crate) fn check_format(backup: &Backup, name: &str) -> Result<(), EngineError> {
    let version = backup
        .status
        .as_ref()
        .map(|status| status.format_version.clone())
        .unwrap_or_default();
    if version.is_empty() || version.split('.').next() == Some("1") {
        return Ok(());
    }
    Err(EngineError::UnknownFormat {
        name: name.to_owned(),
        version,
    })
}
