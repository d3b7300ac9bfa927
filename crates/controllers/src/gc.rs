//! Deletes what is not to be kept any longer, by making DeleteBackupRequests: backups whose time is
//! over, as Velero does, and backups that the policy of their schedule does not keep, as
//! [`refloat_plan::retention`] decides. Where there is a policy it takes the place of the time.

use std::time::Duration;

use jiff::Timestamp;
use refloat_cluster::typed::Object;
use refloat_model::{
    Backup, BackupPhase, BackupStorageLocation, DeleteBackupRequest, Schedule,
    deletion::DeleteBackupRequestPhase,
    labels,
    location::{AccessMode, LocationPhase},
};
use refloat_plan::{
    PlanError,
    retention::{RetentionPlan, is_pinned, plan_retention, policy_in_force, zone_of},
    schedule::of_schedule,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    ControllerError,
    context::{Shared, until},
    controller::{Next, Reconciler},
    error::chain,
    events::Tone,
    metrics::schedule_name,
};

/// How often expired backups are looked at where the option does not say.
const FREQUENCY: Duration = Duration::from_secs(3600);
/// How often to look again while something is in the way that may pass soon.
const SOON: Duration = Duration::from_secs(10);

/// How often everything is looked at without a change.
pub(crate) fn frequency(context: &Shared) -> Duration {
    let frequency = context.options.garbage_collection_frequency;
    if frequency.is_zero() { FREQUENCY } else { frequency }
}

/// Deletes backups whose time is over, at once.
pub(crate) struct GcController {
    collector: Collector,
}

/// Deletes backups that the policy of their schedule does not keep.
pub(crate) struct RetentionController {
    collector: Collector,
}

/// What both do.
struct Collector {
    context: Shared,
}

/// Why a backup cannot be deleted now: the values of the label `velero.io/gc-failure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    NotFound,
    Unavailable,
    ReadOnly,
}

impl Obstacle {
    const fn label(self) -> &'static str {
        match self {
            Self::NotFound => "BSLNotFound",
            Self::Unavailable => "BSLUnavailable",
            Self::ReadOnly => "BSLReadOnly",
        }
    }

    /// What is in the way of deleting from a location. One that has not been probed yet counts as
    /// unavailable.
    fn of(location: Option<&BackupStorageLocation>) -> Option<Self> {
        let Some(location) = location else {
            return Some(Self::NotFound);
        };
        let phase = location.status.as_ref().and_then(|status| status.phase);
        if phase != Some(LocationPhase::Available) {
            Some(Self::Unavailable)
        } else if location.spec.access_mode == Some(AccessMode::ReadOnly) {
            Some(Self::ReadOnly)
        } else {
            None
        }
    }
}

impl Collector {
    /// Asks for a backup to be deleted, if nobody has and its location takes deletions; else labels
    /// it with what is in the way.
    async fn collect(&self, backup: &Backup, why: &str) -> Result<Next, ControllerError> {
        let name = backup.object_name();
        let location = match self.context.location_of(backup).await {
            Ok(location) => location,
            Err(error) => {
                self.label(backup, Some("BSLCannotGet")).await?;
                return Err(error);
            }
        };
        if let Some(obstacle) = Obstacle::of(location.as_ref()) {
            let location = &backup.spec.storage_location;
            warn!(backup = %name, %location, why = obstacle.label(), "the backup is to be deleted, but its storage location does not allow it");
            self.label(backup, Some(obstacle.label())).await?;
            let passes = obstacle == Obstacle::Unavailable;
            let again = frequency(&self.context);
            return Ok(Next::After(if passes { again.min(SOON) } else { again }));
        }
        self.label(backup, None).await?;
        let requests = self.context.objects::<DeleteBackupRequest>();
        let selector = format!(
            "{}={},{}={}",
            labels::BACKUP_NAME,
            labels::label_value(name),
            labels::BACKUP_UID,
            backup.object_uid()
        );
        let pending = requests.list(Some(&selector)).await?.iter().any(|request| {
            let phase = request.status.as_ref().map(|status| status.phase);
            phase != Some(DeleteBackupRequestPhase::Processed)
        });
        if !pending {
            info!(backup = %name, why, "asking for the backup to be deleted");
            requests.create(&DeleteBackupRequest::for_backup(backup)).await?;
        }
        Ok(Next::After(frequency(&self.context)))
    }

    /// Sets or removes the label that tells why a backup could not be deleted.
    async fn label(&self, backup: &Backup, value: Option<&str>) -> Result<(), ControllerError> {
        let labels = backup.metadata.labels.as_ref();
        let have = labels.and_then(|labels| labels.get(labels::GC_FAILURE));
        if have.map(String::as_str) == value {
            return Ok(());
        }
        let patch = json!({ "metadata": { "labels": { labels::GC_FAILURE: value } } });
        let backups = self.context.objects::<Backup>();
        match backups.merge_patch(backup.object_name(), &patch).await {
            Err(error) if error.is_not_found() => Ok(()),
            other => Ok(other.map(|_| ())?),
        }
    }

    /// The schedule that a backup's label names; the label may be shortened.
    async fn schedule_of(&self, label: &str) -> Result<Option<Schedule>, ControllerError> {
        let schedules = self.context.objects::<Schedule>();
        if let Some(schedule) = schedules.find(label).await? {
            return Ok(Some(schedule));
        }
        if label.len() < labels::LONGEST_VALUE {
            return Ok(None);
        }
        let all = schedules.list(None).await?;
        Ok(all
            .into_iter()
            .find(|schedule| labels::label_value(schedule.object_name()) == label))
    }

    /// The backups of a schedule, and what its policy says about them. `None`: there is no policy.
    async fn plan(
        &self,
        label: &str,
        schedule: Option<&Schedule>,
    ) -> Result<(Vec<Backup>, Result<Option<RetentionPlan>, PlanError>), ControllerError> {
        let selector = of_schedule(label);
        let backups = self.context.objects::<Backup>().list(Some(&selector)).await?;
        let policy = policy_in_force(schedule, &backups);
        let plan =
            policy.map(|policy| policy.map(|policy| plan_retention(&policy, &backups, &zone_of(schedule))));
        Ok((backups, plan))
    }

    /// What keeps a backup whose time is over; `None`: nothing.
    async fn kept(&self, backup: &Backup) -> Result<Option<String>, ControllerError> {
        if is_pinned(backup) {
            return Ok(Some(format!("the annotation {}", labels::PINNED)));
        }
        let label = schedule_name(backup);
        if label.is_empty() {
            return Ok(None);
        }
        let schedule = self.schedule_of(label).await?;
        let (_, plan) = self.plan(label, schedule.as_ref()).await?;
        Ok(match plan {
            Ok(None) => None,
            Ok(Some(plan)) if plan.lets_expire(backup.object_name()) => None,
            Ok(Some(_)) => Some(format!("the retention policy of schedule {label}")),
            Err(error) => Some(format!("schedule {label}, whose policy cannot be read: {error}")),
        })
    }
}

impl GcController {
    pub(crate) fn new(context: Shared) -> Self {
        Self {
            collector: Collector { context },
        }
    }
}

impl Reconciler for GcController {
    type Object = Backup;
    const NAME: &'static str = "gc";

    async fn reconcile(&self, name: &str, _stop: &CancellationToken) -> Result<Next, ControllerError> {
        let collector = &self.collector;
        let Some(backup) = collector.context.objects::<Backup>().find(name).await? else {
            return Ok(Next::Done);
        };
        let expiration = backup
            .status
            .as_ref()
            .and_then(|status| status.expiration.as_ref());
        let Some(expiration) = expiration.filter(|_| self.wants(&backup)) else {
            return Ok(Next::Done);
        };
        let left = until(Timestamp::now(), expiration.0);
        let frequency = frequency(&collector.context);
        if !left.is_zero() {
            return Ok(Next::After(left.min(frequency)));
        }
        if let Some(keeper) = collector.kept(&backup).await? {
            debug!(backup = %name, "the backup has expired and is kept by {keeper}");
            return Ok(Next::After(frequency));
        }
        collector.collect(&backup, "it has expired").await
    }

    /// A backup that goes on is looked at when it has ended; one whose deletion failed is tried again.
    fn wants(&self, backup: &Backup) -> bool {
        let phase = backup.status.as_ref().map(|status| status.phase);
        backup.metadata.deletion_timestamp.is_none()
            && phase.is_some_and(|phase| phase.is_final() || phase == BackupPhase::Deleting)
    }
}

impl RetentionController {
    pub(crate) fn new(context: Shared) -> Self {
        Self {
            collector: Collector { context },
        }
    }

    /// Asks for the deletion of all that the plan dooms. What is wrong with one does not keep the others.
    async fn carry_out(&self, plan: &RetentionPlan, backups: &[Backup]) -> Result<(), ControllerError> {
        let mut failure = None;
        for name in plan.going() {
            let Some(backup) = backups.iter().find(|backup| backup.object_name() == name) else {
                continue;
            };
            let why = "the retention policy of its schedule does not keep it";
            if let Err(error) = self.collector.collect(backup, why).await {
                warn!(backup = %name, error = %chain(&error), "cannot ask for the deletion of the backup");
                failure = Some(error);
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

impl Reconciler for RetentionController {
    type Object = Schedule;
    const NAME: &'static str = "gc";

    async fn reconcile(&self, name: &str, _stop: &CancellationToken) -> Result<Next, ControllerError> {
        let context = &self.collector.context;
        let Some(schedule) = context.objects::<Schedule>().find(name).await? else {
            return Ok(Next::Done);
        };
        if !self.wants(&schedule) {
            return Ok(Next::Done);
        }
        let (backups, plan) = self.collector.plan(name, Some(&schedule)).await?;
        let plan = match plan {
            Ok(plan) => plan.unwrap_or_default(),
            Err(error) => {
                let note = format!("{error}; until then none of its backups is deleted");
                warn!(schedule = %name, "{note}");
                context
                    .events
                    .tell(&schedule, Tone::Warning, "Retain", "BadRetentionPolicy", &note)
                    .await;
                return Ok(Next::After(frequency(context)));
            }
        };
        self.carry_out(&plan, &backups).await?;
        // A backup that ends may put others out, and its end is no change of the schedule.
        let going_on = backups.iter().any(|backup| {
            let phase = backup.status.as_ref().map(|status| status.phase);
            !phase.unwrap_or_default().is_final()
        });
        let frequency = frequency(context);
        Ok(Next::After(if going_on {
            frequency.min(SOON)
        } else {
            frequency
        }))
    }

    fn wants(&self, schedule: &Schedule) -> bool {
        let annotations = schedule.metadata.annotations.as_ref();
        schedule.metadata.deletion_timestamp.is_none()
            && annotations.is_some_and(|annotations| annotations.contains_key(labels::RETENTION))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use refloat_model::location::{BackupStorageLocationSpec, BackupStorageLocationStatus};

    fn location(phase: Option<LocationPhase>, access_mode: Option<AccessMode>) -> BackupStorageLocation {
        let spec = BackupStorageLocationSpec {
            access_mode,
            ..Default::default()
        };
        let mut location = BackupStorageLocation::new("default", spec);
        location.status = Some(BackupStorageLocationStatus {
            phase,
            ..Default::default()
        });
        location
    }

    #[test]
    fn only_an_available_location_that_takes_writes_is_deleted_from() {
        let available = Some(LocationPhase::Available);
        assert_eq!(Obstacle::of(None), Some(Obstacle::NotFound));
        assert_eq!(Obstacle::of(Some(&location(available, None))), None);
        let writable = location(available, Some(AccessMode::ReadWrite));
        assert_eq!(Obstacle::of(Some(&writable)), None);
        let read_only = location(available, Some(AccessMode::ReadOnly));
        assert_eq!(Obstacle::of(Some(&read_only)), Some(Obstacle::ReadOnly));
        for phase in [None, Some(LocationPhase::Unavailable)] {
            assert_eq!(
                Obstacle::of(Some(&location(phase, None))),
                Some(Obstacle::Unavailable)
            );
        }
    }
}
