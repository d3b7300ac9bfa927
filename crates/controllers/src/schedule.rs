//! Schedules: makes a backup when one is due, exactly then.
//!
//! A run is three writes, each safe to be the last: the run is written down in an annotation of the
//! schedule (refused if anybody has changed the schedule meanwhile, so of two servers one goes on), the
//! backup is made under the name that belongs to the run's time, and the run becomes `lastBackup`. A
//! server that finds a run written down finishes it. So no crash makes a second backup or loses one.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use refloat_cluster::typed::Object;
use refloat_model::{Backup, Schedule, labels, schedule::SchedulePhase};
use refloat_plan::schedule::{Step, backup_of, in_the_way, of_schedule, plan_schedule, timestamped_name};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    ControllerError,
    context::{Shared, until, whole_seconds},
    controller::{Next, Reconciler},
    error::chain,
    events::Tone,
    metrics::schedule_name,
    patch::merge_diff,
};

/// How often to look whether the backup that is in the way has ended.
const IN_THE_WAY_AGAIN: Duration = Duration::from_secs(10);
/// The longest time without a look: clocks may be set.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The controller.
pub(crate) struct ScheduleController {
    context: Shared,
}

/// Who made the backup of a run.
enum Made {
    /// We, just now.
    Now,
    /// An earlier try, or somebody who made one of this schedule by hand in the same second.
    Before,
    /// It is not this schedule's.
    BySomebodyElse,
}

impl ScheduleController {
    pub(crate) fn new(context: Shared) -> Self {
        Self { context }
    }

    /// Writes what is settled where it differs: phase, faults, and that skipping is done with.
    async fn settle(&self, schedule: &Schedule, settled: Schedule) -> Result<Schedule, ControllerError> {
        let written = self.write(schedule, &settled).await?;
        let status = written.status.clone().unwrap_or_default();
        let before = schedule.status.clone().unwrap_or_default();
        if status.phase == SchedulePhase::FailedValidation
            && status.validation_errors != before.validation_errors
        {
            let note = status.validation_errors.join("; ");
            warn!(schedule = %schedule.object_name(), errors = %note, "the schedule cannot be used as it is specified");
            self.context
                .events
                .tell(&written, Tone::Warning, "Validate", "FailedValidation", &note)
                .await;
        }
        Ok(written)
    }

    /// Makes the backup that is due, unless another one of the schedule is not over.
    async fn run(&self, schedule: &Schedule) -> Result<Next, ControllerError> {
        let name = schedule.object_name();
        let backups = self
            .context
            .objects::<Backup>()
            .list(Some(&of_schedule(name)))
            .await?;
        if let Some(other) = in_the_way(&backups) {
            debug!(schedule = %name, backup = %other.object_name(), "a run is due, but this backup is not over");
            return Ok(Next::After(IN_THE_WAY_AGAIN));
        }
        let at = whole_seconds(Timestamp::now());
        let mut begun = schedule.clone();
        begun
            .metadata
            .annotations
            .get_or_insert_default()
            .insert(labels::RUN.to_owned(), at.to_string());
        let begun = self.write(schedule, &begun).await?;
        self.finish(&begun, at, at).await
    }

    /// Makes the backup of the run `at` where it is not there, and writes down that it was made. Where
    /// it was made only `now`, the next run is computed from then: what was missed while no server
    /// worked is one run.
    async fn finish(
        &self,
        schedule: &Schedule,
        at: Timestamp,
        now: Timestamp,
    ) -> Result<Next, ControllerError> {
        let own = schedule.object_name();
        let name = timestamped_name(schedule, at);
        let done = match self.create(schedule, &name).await {
            Ok(Made::Now) => {
                info!(schedule = %own, backup = %name, "a run is due: made its backup");
                now
            }
            Ok(Made::Before) => {
                info!(schedule = %own, backup = %name, "the backup of the run is there already");
                at
            }
            Ok(Made::BySomebodyElse) => {
                warn!(schedule = %own, backup = %name, "the name of the run's backup is taken; taking another");
                self.close(schedule, None).await?;
                return Ok(Next::After(Duration::from_secs(1)));
            }
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => {
                // It was refused and would be again: the next try is a new run with a new name.
                let note = chain(&error);
                self.close(schedule, None).await?;
                self.context
                    .events
                    .tell(schedule, Tone::Warning, "Run", error.reason(), &note)
                    .await;
                return Err(error);
            }
        };
        self.close(schedule, Some(done)).await?;
        // The write comes back as a change, and the next time is computed then.
        Ok(Next::Done)
    }

    async fn create(&self, schedule: &Schedule, name: &str) -> Result<Made, ControllerError> {
        let backups = self.context.objects::<Backup>();
        match backups.create(&backup_of(schedule, name)).await {
            Ok(_) => return Ok(Made::Now),
            Err(error) if error.is_already_exists() => {}
            Err(error) => return Err(error.into()),
        }
        let there = backups.find(name).await?;
        let ours =
            there.is_none_or(|backup| schedule_name(&backup) == labels::label_value(schedule.object_name()));
        Ok(if ours { Made::Before } else { Made::BySomebodyElse })
    }

    /// Takes the run's note away, and writes down when it was.
    async fn close(&self, schedule: &Schedule, done: Option<Timestamp>) -> Result<(), ControllerError> {
        let mut patch = json!({ "metadata": { "annotations": { labels::RUN: null } } });
        if let Some(done) = done {
            patch["status"] = json!({ "lastBackup": Time(done) });
        }
        let schedules = self.context.objects::<Schedule>();
        match schedules.merge_patch(schedule.object_name(), &patch).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => Ok(other.map(|_| ())?),
        }
    }

    /// Writes the difference, if nobody has changed the schedule since it was read.
    async fn write(&self, old: &Schedule, new: &Schedule) -> Result<Schedule, ControllerError> {
        let value = |schedule: &Schedule| -> Result<Value, ControllerError> {
            serde_json::to_value(schedule).map_err(|source| ControllerError::Encode {
                what: format!("Schedule {}", old.object_name()),
                source,
            })
        };
        let Some(mut patch) = merge_diff(&value(old)?, &value(new)?) else {
            return Ok(old.clone());
        };
        patch["metadata"]["resourceVersion"] = old.metadata.resource_version.clone().into();
        let schedules = self.context.objects::<Schedule>();
        Ok(schedules.merge_patch(old.object_name(), &patch).await?)
    }
}

impl Reconciler for ScheduleController {
    type Object = Schedule;
    const NAME: &'static str = "schedule";

    async fn reconcile(&self, name: &str, _stop: &CancellationToken) -> Result<Next, ControllerError> {
        let Some(schedule) = self.context.objects::<Schedule>().find(name).await? else {
            self.context.metrics.schedule_gone(name);
            return Ok(Next::Done);
        };
        if schedule.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Done);
        }
        self.context.metrics.schedule_seen(name);
        let now = Timestamp::now();
        let skip_by_default = self.context.options.schedule_skip_immediately;
        let plan = plan_schedule(&schedule, skip_by_default, now);
        let schedule = self.settle(&schedule, plan.settled).await?;
        match plan.step {
            Step::Rest => Ok(Next::Done),
            Step::Wait(due) => Ok(Next::After(until(now, due).min(LONGEST_WAIT))),
            Step::Run(_) => self.run(&schedule).await,
            // However long ago it was begun, what was missed since then is not made up for.
            Step::GoOn(at) => self.finish(&schedule, at, whole_seconds(now).max(at)).await,
        }
    }
}
