//! Runs a backup that is in progress and writes down how it ended.

use std::{convert::Infallible, time::Duration};

use refloat_cluster::typed::Object;
use refloat_engine::{BackupJob, BackupOptions, EngineError, Location, Progress, catalog, run_backup};
use refloat_model::{Backup, BackupPhase, BackupStatus, backup::BackupProgress};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{Active, BackupController};
use crate::{
    ControllerError, cancel, context::now, controller::Next, error::chain, events::Tone, patch::update,
};

/// How often progress is written at most.
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);
/// How often a backup is tried that fails for reasons which may pass, such as a store that is away.
const TRIES: u32 = 5;
/// What clients of Velero know as the reason that a name is taken.
pub(crate) const ALREADY_EXISTS: &str = "backup already exists in object storage";

/// Why a backup failed whose files were changed under our hands again and again.
const ANOTHER_WRITER: &str =
    "another server writes the same backup; let only one of them use this location with that name";

/// How the work on a backup ended.
enum Outcome {
    /// It is in the bucket; this is its final status.
    Published(Box<BackupStatus>),
    /// It is not, for this reason.
    Failed(String),
    /// What is there is not what its description says, and has been removed: it is to be made again.
    Replaced,
    /// Its Backup was deleted meanwhile.
    Deleted,
    /// The server stops; its successor starts the backup again.
    Stopped,
}

impl BackupController {
    /// Runs a backup whose phase is `InProgress` to its end.
    pub(super) async fn run(
        &self,
        backup: Backup,
        stop: &CancellationToken,
    ) -> Result<Next, ControllerError> {
        let name = backup.object_name().to_owned();
        let cancel = stop.child_token();
        let active = Active {
            uid: backup.object_uid().to_owned(),
            cancel: cancel.clone(),
        };
        self.active().insert(name.clone(), active);
        // Somebody may have cancelled it before it could be heard of here.
        let current = self.context.objects::<Backup>().find(&name).await;
        let outcome = match current {
            Ok(Some(current)) if cancel::requested(&current.metadata).is_some() => {
                self.withdraw(&backup).await
            }
            _ => self.work(&backup, &cancel, stop).await,
        };
        self.active().remove(&name);
        match outcome? {
            Outcome::Published(status) => self.ended(&backup, *status).await?,
            Outcome::Failed(reason) => {
                error!(backup = %name, error = %reason, "the backup failed");
                let status = BackupStatus {
                    phase: BackupPhase::Failed,
                    failure_reason: reason,
                    completion_timestamp: Some(now()),
                    ..backup.status.clone().unwrap_or_default()
                };
                self.ended(&backup, status).await?;
            }
            // Only one that was cancelled comes here: there is no need to make it again.
            Outcome::Replaced => drop(self.end_cancelled(&name).await?),
            Outcome::Deleted if self.end_cancelled(&name).await? => {}
            Outcome::Deleted => info!(backup = %name, "the backup was deleted while it was being written"),
            Outcome::Stopped => {
                info!(backup = %name, "the server stops: the backup is started again by the next");
            }
        }
        Ok(Next::Done)
    }

    async fn work(
        &self,
        backup: &Backup,
        cancel: &CancellationToken,
        stop: &CancellationToken,
    ) -> Result<Outcome, ControllerError> {
        let mut pause = Duration::from_secs(2);
        for attempt in 1.. {
            let error = match self.attempt(backup, cancel).await {
                Ok(Outcome::Replaced) if attempt < TRIES => continue,
                Ok(Outcome::Replaced) => return Ok(Outcome::Failed(ANOTHER_WRITER.to_owned())),
                Ok(outcome) => return Ok(outcome),
                Err(error) => error,
            };
            if stop.is_cancelled() {
                return Ok(Outcome::Stopped);
            }
            if cancel.is_cancelled() {
                return Ok(Outcome::Deleted);
            }
            // A predecessor that has not yet noticed its end may have written a file of ours.
            let may_pass = error.is_retryable() || error.reason() == "ObjectAlreadyExists";
            if attempt >= TRIES || !may_pass {
                return Ok(Outcome::Failed(chain(&error)));
            }
            warn!(backup = %backup.object_name(), attempt, error = %chain(&error), "the backup failed; trying again");
            tokio::select! {
                () = cancel.cancelled() => {}
                () = sleep(pause) => {}
            }
            pause *= 3;
        }
        unreachable!("the loop only ends by returning")
    }

    /// What becomes of a backup that was cancelled before it is worked on (again): what an earlier
    /// server has written of it is removed, unless that had published it.
    async fn withdraw(&self, backup: &Backup) -> Result<Outcome, ControllerError> {
        let Some(resource) = self.context.location_of(backup).await? else {
            return Ok(Outcome::Deleted);
        };
        let location = self.context.open(&resource).await?;
        match catalog::read_backup(&location, backup.object_name()).await {
            Ok(_) => taken(&location, backup).await,
            Err(EngineError::BackupNotFound { .. }) => {
                catalog::delete_backup(&location, backup.object_name()).await?;
                Ok(Outcome::Deleted)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn attempt(&self, backup: &Backup, cancel: &CancellationToken) -> Result<Outcome, ControllerError> {
        let Some(resource) = self.context.location_of(backup).await? else {
            let location = &backup.spec.storage_location;
            return Ok(Outcome::Failed(format!(
                "the storage location {location:?} does not exist any more"
            )));
        };
        let location = self.context.open(&resource).await?;
        let progress = Progress::default();
        let job = BackupJob {
            backup: backup.clone(),
            location: location.clone(),
            cluster: self.context.cluster.clone(),
            options: self.job_options(),
            progress: progress.clone(),
            cancel: cancel.clone(),
        };
        let result = tokio::select! {
            result = Box::pin(run_backup(job)) => result,
            never = self.show(backup, &progress, cancel) => match never {},
        };
        match result {
            Ok(report) => Ok(Outcome::Published(
                report.backup.status.unwrap_or_default().into(),
            )),
            Err(EngineError::AlreadyExists { .. }) => taken(&location, backup).await,
            Err(error) => Err(error.into()),
        }
    }

    /// Ends a backup that somebody has cancelled, and tells whether that is so. Nothing of it is in the
    /// bucket.
    pub(super) async fn end_cancelled(&self, name: &str) -> Result<bool, ControllerError> {
        let Some(backup) = self.context.objects::<Backup>().find(name).await? else {
            return Ok(false);
        };
        let status = backup.status.clone().unwrap_or_default();
        let over = status.phase.is_final() || backup.metadata.deletion_timestamp.is_some();
        let Some(reason) = cancel::requested(&backup.metadata).filter(|_| !over) else {
            return Ok(false);
        };
        let status = BackupStatus {
            phase: BackupPhase::Failed,
            failure_reason: reason,
            completion_timestamp: Some(now()),
            ..status
        };
        self.ended(&backup, status).await?;
        Ok(true)
    }

    fn job_options(&self) -> BackupOptions {
        let options = &self.context.options;
        BackupOptions {
            page_size: page_size(options.client_page_size),
            parallel_hooks: options.item_block_worker_count,
            ..BackupOptions::default()
        }
    }

    /// Writes the progress into the Backup from time to time, for ever.
    async fn show(&self, backup: &Backup, progress: &Progress, cancel: &CancellationToken) -> Infallible {
        let (name, uid) = (backup.object_name(), backup.object_uid());
        let mut tick = interval_at(Instant::now() + PROGRESS_PERIOD, PROGRESS_PERIOD);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shown = (0, 0);
        loop {
            tick.tick().await;
            let state = (progress.total(), progress.done());
            if state == shown {
                continue;
            }
            let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
            let value = BackupProgress {
                total_items: number(state.0),
                items_backed_up: number(state.1),
            };
            let patch = json!({ "metadata": { "uid": uid }, "status": { "progress": value } });
            match self.context.objects::<Backup>().merge_patch(name, &patch).await {
                Ok(_) => shown = state,
                // Gone, or another of the same name: the work has lost its purpose.
                Err(error) if error.is_not_found() || error.is_conflict() => cancel.cancel(),
                Err(error) => warn!(backup = %name, error = %chain(&error), "cannot write the progress"),
            }
        }
    }

    /// Writes down how a backup ended, and tells it.
    async fn ended(&self, backup: &Backup, status: BackupStatus) -> Result<(), ControllerError> {
        let backups = self.context.objects::<Backup>();
        // What was written since, such as progress, is to be replaced as well.
        let Some(current) = backups.find(backup.object_name()).await? else {
            return Ok(());
        };
        if current.object_uid() != backup.object_uid() {
            return Ok(());
        }
        let mut ended = current.clone();
        ended.status = Some(BackupStatus {
            queue_position: 0,
            ..status
        });
        let ended = match update(&backups, &current, &ended).await {
            Err(ControllerError::Cluster(error)) if error.is_not_found() => return Ok(()),
            other => other?,
        };
        self.context.metrics.backup_ended(&ended);
        self.tell_end(&ended).await;
        Ok(())
    }

    async fn tell_end(&self, backup: &Backup) {
        let status = backup.status.clone().unwrap_or_default();
        let items = status.progress.map_or(0, |progress| progress.items_backed_up);
        let phase = format!("{:?}", status.phase);
        info!(
            backup = %backup.object_name(),
            phase,
            items,
            errors = status.errors,
            warnings = status.warnings,
            "the backup has ended"
        );
        let (tone, note) = match status.phase {
            BackupPhase::Completed => (
                Tone::Normal,
                format!("{items} items, {} warnings", status.warnings),
            ),
            BackupPhase::PartiallyFailed => (
                Tone::Warning,
                format!(
                    "{items} items, {} errors, {} warnings: see `velero backup logs`",
                    status.errors, status.warnings
                ),
            ),
            _ => (Tone::Warning, status.failure_reason),
        };
        self.context
            .events
            .tell(backup, tone, "Backup", &phase, &note)
            .await;
    }
}

/// Objects per LIST request. To Velero 0 means whole lists in one answer; ours are streams, which pages of
/// the usual size serve better.
fn page_size(asked: u32) -> u32 {
    match asked {
        0 => BackupOptions::default().page_size,
        some => some,
    }
}

/// The location has a backup of that name. If it is this very one, a server had died between
/// publishing it and saying so. Or one that had been paused published it when its turn was over and its
/// files had been replaced: then the description is of a tarball that is no more, nobody has been told of
/// it, and the backup is made again.
async fn taken(location: &Location, backup: &Backup) -> Result<Outcome, ControllerError> {
    let stored = catalog::read_backup(location, backup.object_name()).await?;
    let same = !backup.object_uid().is_empty() && stored.metadata.uid.as_deref() == Some(backup.object_uid());
    if same && !catalog::has_its_tarball(location, &stored).await? {
        warn!(backup = %backup.object_name(), "a server published the backup after its turn: removing that");
        catalog::delete_backup(location, backup.object_name()).await?;
        return Ok(Outcome::Replaced);
    }
    if same {
        info!(backup = %backup.object_name(), "the backup had been published already: taking over its status");
        return Ok(Outcome::Published(stored.status.unwrap_or_default().into()));
    }
    Ok(Outcome::Failed(ALREADY_EXISTS.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::page_size;

    #[test]
    fn no_paging_does_not_mean_one_object_per_page() {
        assert_eq!(page_size(0), 500);
        assert_eq!(page_size(20), 20);
    }
}
