//! Runs a restore that is in progress and writes down how it ended.

use std::{convert::Infallible, time::Duration};

use refloat_cluster::typed::Object;
use refloat_engine::{EngineError, Progress, RestoreJob, RestoreOptions, catalog, check_plan, run_restore};
use refloat_model::{Backup, Restore, RestorePhase, RestoreStatus, labels, restore::RestoreProgress};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::RestoreController;
use crate::{
    ControllerError,
    cancel::requested,
    context::{now, within},
    controller::Next,
    error::chain,
    events::Tone,
    patch::update,
};

/// How often progress is written at most.
const PROGRESS_PERIOD: Duration = Duration::from_secs(1);
/// How often a restore is tried that fails as a whole for reasons which may pass.
const TRIES: u32 = 5;
/// How long reading the backup's description may take.
const READ_LIMIT: Duration = Duration::from_secs(120);

impl RestoreController {
    /// Runs a restore whose phase is `InProgress` to its end.
    pub(super) async fn run(
        &self,
        restore: Restore,
        cancel: &CancellationToken,
    ) -> Result<Next, ControllerError> {
        let name = restore.object_name();
        let mut pause = Duration::from_secs(2);
        let mut attempt = 0;
        let status = loop {
            attempt += 1;
            let error = match self.attempt(&restore, cancel).await {
                Ok(status) => break status,
                Err(error) => error,
            };
            if cancel.is_cancelled() {
                info!(restore = %name, "stopped; unless it was deleted, the restore goes on with the next server");
                return Ok(Next::Done);
            }
            if attempt >= TRIES || !error.is_retryable() {
                error!(restore = %name, error = %chain(&error), "the restore failed");
                break RestoreStatus {
                    phase: RestorePhase::Failed,
                    failure_reason: chain(&error),
                    completion_timestamp: Some(now()),
                    ..restore.status.clone().unwrap_or_default()
                };
            }
            warn!(restore = %name, attempt, error = %chain(&error), "the restore failed; going on with it");
            tokio::select! {
                () = cancel.cancelled() => {}
                () = sleep(pause) => {}
            }
            pause *= 3;
        };
        self.ended(&restore, status).await?;
        Ok(Next::Done)
    }

    async fn attempt(
        &self,
        restore: &Restore,
        cancel: &CancellationToken,
    ) -> Result<RestoreStatus, ControllerError> {
        let context = &self.context;
        let name = &restore.spec.backup_name;
        let missing = || EngineError::BackupNotFound {
            name: name.clone(),
            location: "this cluster".into(),
        };
        let known = context
            .objects::<Backup>()
            .find(name)
            .await?
            .ok_or_else(missing)?;
        let resource = context.location_of(&known).await?.ok_or_else(missing)?;
        let location = context.open(&resource).await?;
        let reading = async { Ok(catalog::read_backup(&location, name).await?) };
        let backup = within("reading velero-backup.json", READ_LIMIT, reading).await?;
        let progress = Progress::default();
        let restore = &self.current(restore).await?;
        if requested(&restore.metadata).is_some() {
            cancel.cancel();
        }
        let job = RestoreJob {
            restore: restore.clone(),
            backup,
            location,
            cluster: context.cluster.clone(),
            options: self.job_options(),
            progress: progress.clone(),
            cancel: cancel.clone(),
        };
        self.check_plan(restore, &job).await?;
        let report = tokio::select! {
            report = Box::pin(run_restore(job)) => report?,
            never = self.show(restore, &progress, cancel) => match never {},
        };
        Ok(report.restore.status.unwrap_or_default())
    }

    /// The restore as it is now: an earlier try may have noted that the plan was checked.
    async fn current(&self, restore: &Restore) -> Result<Restore, ControllerError> {
        let current = self
            .context
            .objects::<Restore>()
            .find(restore.object_name())
            .await?;
        let same = current.filter(|current| current.object_uid() == restore.object_uid());
        Ok(same.unwrap_or_else(|| restore.clone()))
    }

    /// Where the restore applies a plan: makes sure, before anything is written, that the cluster is what
    /// the plan saw. That is noted, because afterwards the restore's own work changes the cluster.
    async fn check_plan(&self, restore: &Restore, job: &RestoreJob) -> Result<(), ControllerError> {
        let annotations = restore.metadata.annotations.as_ref();
        let text = |key: &str| annotations.and_then(|all| all.get(key));
        let hash = text(labels::PLAN_HASH).cloned().unwrap_or_default();
        if text(labels::PLAN).is_none() || text(labels::PLAN_CHECKED) == Some(&hash) {
            return Ok(());
        }
        Box::pin(check_plan(job)).await?;
        let patch = json!({ "metadata": {
            "uid": restore.object_uid(), "annotations": { labels::PLAN_CHECKED: hash },
        } });
        let restores = self.context.objects::<Restore>();
        restores.merge_patch(restore.object_name(), &patch).await?;
        Ok(())
    }

    /// Ends a restore that somebody has cancelled, if it is still there.
    pub(super) async fn end_cancelled_by_name(&self, name: &str) -> Result<(), ControllerError> {
        match self.context.objects::<Restore>().find(name).await? {
            Some(restore) => self.end_cancelled(&restore).await,
            None => Ok(()),
        }
    }

    /// Ends a restore that somebody has cancelled; one that nobody has is left alone.
    pub(super) async fn end_cancelled(&self, restore: &Restore) -> Result<(), ControllerError> {
        let status = restore.status.clone().unwrap_or_default();
        let Some(reason) = requested(&restore.metadata).filter(|_| !status.phase.is_final()) else {
            return Ok(());
        };
        let begun = status.phase == RestorePhase::InProgress;
        let status = RestoreStatus {
            phase: RestorePhase::Failed,
            failure_reason: if begun {
                format!("{reason}; what was restored until then stays")
            } else {
                reason
            },
            completion_timestamp: Some(now()),
            ..status
        };
        self.ended(restore, status).await
    }

    fn job_options(&self) -> RestoreOptions {
        let options = &self.context.options;
        RestoreOptions {
            priorities: self.context.priorities.clone(),
            terminating_timeout: options.terminating_resource_timeout,
            resource_timeout: options.resource_timeout,
            ..RestoreOptions::default()
        }
    }

    /// Writes the progress into the Restore from time to time, for ever.
    async fn show(&self, restore: &Restore, progress: &Progress, cancel: &CancellationToken) -> Infallible {
        let (name, uid) = (restore.object_name(), restore.object_uid());
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
            let value = RestoreProgress {
                total_items: number(state.0),
                items_restored: number(state.1),
            };
            let patch = json!({ "metadata": { "uid": uid }, "status": { "progress": value } });
            match self.context.objects::<Restore>().merge_patch(name, &patch).await {
                Ok(_) => shown = state,
                // Gone, or another of the same name: the work has lost its purpose.
                Err(error) if error.is_not_found() || error.is_conflict() => cancel.cancel(),
                Err(error) => warn!(restore = %name, error = %chain(&error), "cannot write the progress"),
            }
        }
    }

    /// Writes down how a restore ended, and tells it.
    async fn ended(&self, restore: &Restore, status: RestoreStatus) -> Result<(), ControllerError> {
        let restores = self.context.objects::<Restore>();
        let Some(current) = restores.find(restore.object_name()).await? else {
            return Ok(());
        };
        if current.object_uid() != restore.object_uid() {
            return Ok(());
        }
        let mut ended = current.clone();
        ended.status = Some(status);
        let ended = match update(&restores, &current, &ended).await {
            Err(ControllerError::Cluster(error)) if error.is_not_found() => return Ok(()),
            other => other?,
        };
        self.context.metrics.restore_ended(&ended);
        let status = ended.status.clone().unwrap_or_default();
        let items = status.progress.map_or(0, |progress| progress.items_restored);
        let phase = format!("{:?}", status.phase);
        info!(
            restore = %ended.object_name(),
            phase,
            items,
            errors = status.errors,
            warnings = status.warnings,
            "the restore has ended"
        );
        let (tone, note) = match status.phase {
            RestorePhase::Completed => (
                Tone::Normal,
                format!("{items} items, {} warnings", status.warnings),
            ),
            RestorePhase::PartiallyFailed => (
                Tone::Warning,
                format!(
                    "{items} items, {} errors, {} warnings: see `velero restore logs`",
                    status.errors, status.warnings
                ),
            ),
            _ => (Tone::Warning, status.failure_reason),
        };
        self.context
            .events
            .tell(&ended, tone, "Restore", &phase, &note)
            .await;
        Ok(())
    }
}
