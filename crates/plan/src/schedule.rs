//! When a schedule makes a backup, and what backup that is.

pub mod cron;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use refloat_model::{
    Backup, BackupPhase, Schedule, VELERO_GROUP,
    labels::{self, label_value},
    schedule::SchedulePhase,
};

use self::cron::Cron;
use crate::validation::read_schedule;

/// What is to be done about a schedule now.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulePlan {
    /// The schedule as it is to be written first, where it differs.
    pub settled: Schedule,
    /// What comes then.
    pub step: Step,
}

/// What a schedule's clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing until the schedule changes: it is paused, wrong, or at the end of the calendar.
    Rest,
    /// Nothing before this time.
    Wait(Timestamp),
    /// A run is due since this time, unless another backup of the schedule is [`in_the_way`]. However
    /// many times have passed, it is one run.
    Run(Timestamp),
    /// The run of this time was begun by a server that did not come to its end. It is to be finished
    /// under the name that belongs to the time, which cannot be taken twice.
    GoOn(Timestamp),
}

/// Decides. `skip_by_default` is the server's `--schedule-skip-immediately`.
///
/// A run is due when the clock reaches the first time after the latest of: the last run (without one,
/// the schedule's creation) and the last time that was skipped on purpose. A paused schedule is left
/// as it is, as Velero leaves it.
#[must_use]
pub fn plan_schedule(schedule: &Schedule, skip_by_default: bool, now: Timestamp) -> SchedulePlan {
    let mut settled = schedule.clone();
    let begun = begun(schedule);
    if schedule.spec.paused {
        let step = begun.map_or(Step::Rest, Step::GoOn);
        return SchedulePlan { settled, step };
    }
    let status = settled.status.get_or_insert_default();
    if settled.spec.skip_immediately.unwrap_or(skip_by_default) {
        status.last_skipped = Some(Time(whole_seconds(now)));
    }
    settled.spec.skip_immediately = Some(false);
    let cron = match read_schedule(&schedule.spec) {
        Ok(cron) => cron,
        Err(faults) => {
            status.validation_errors = faults;
            status.phase = SchedulePhase::FailedValidation;
            let step = begun.map_or(Step::Rest, Step::GoOn);
            return SchedulePlan { settled, step };
        }
    };
    status.validation_errors = Vec::new();
    status.phase = SchedulePhase::Enabled;
    let step = match (begun, next_run(&settled, &cron)) {
        (Some(begun), _) => Step::GoOn(begun),
        (None, None) => Step::Rest,
        (None, Some(due)) if due <= now => Step::Run(due),
        (None, Some(due)) => Step::Wait(due),
    };
    SchedulePlan { settled, step }
}

/// When the next run of a schedule is due; it may have passed.
#[must_use]
pub fn next_run(schedule: &Schedule, cron: &Cron) -> Option<Timestamp> {
    let status = schedule.status.as_ref();
    let last_backup = status.and_then(|status| status.last_backup.as_ref());
    let last_skipped = status.and_then(|status| status.last_skipped.as_ref());
    let last = last_backup.or(schedule.metadata.creation_timestamp.as_ref());
    // A schedule without any of them was never in a cluster; it is due at its first time since 1970.
    let from = last
        .max(last_skipped)
        .map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    cron.next_after(from)
}

/// The backup that keeps a schedule from making another: one that has not had its turn, or has it.
#[must_use]
pub fn in_the_way(backups: &[Backup]) -> Option<&Backup> {
    use BackupPhase as Phase;
    backups.iter().find(|backup| {
        let phase = backup.status.as_ref().map(|status| status.phase);
        matches!(
            phase.unwrap_or_default(),
            Phase::New | Phase::Queued | Phase::ReadyToStart | Phase::InProgress
        )
    })
}

/// The run that the schedule says was begun.
fn begun(schedule: &Schedule) -> Option<Timestamp> {
    let annotations = schedule.metadata.annotations.as_ref()?;
    annotations.get(labels::RUN)?.parse().ok()
}

/// A time without its fraction, as objects hold it.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// `<schedule>-YYYYMMDDHHMMSS`, in UTC.
#[must_use]
pub fn timestamped_name(schedule: &Schedule, at: Timestamp) -> String {
    let name = schedule.metadata.name.as_deref().unwrap_or_default();
    format!("{name}-{}", at.strftime("%Y%m%d%H%M%S"))
}

/// The label selector of the backups that a schedule of this name made.
#[must_use]
pub fn of_schedule(name: &str) -> String {
    format!("{}={}", labels::SCHEDULE_NAME, label_value(name))
}

/// The backup that a schedule's template makes: the template's labels, or without any the schedule's,
/// and the schedule's annotations but for the one that is about its own run.
#[must_use]
pub fn backup_of(schedule: &Schedule, name: &str) -> Backup {
    let own = schedule.metadata.name.as_deref().unwrap_or_default();
    let template = &schedule.spec.template;
    let mut backup = Backup::new(name, template.clone());
    let of_template = Some(&template.metadata.labels).filter(|labels| !labels.is_empty());
    let mut marks = of_template
        .or(schedule.metadata.labels.as_ref())
        .cloned()
        .unwrap_or_default();
    marks.insert(labels::SCHEDULE_NAME.to_owned(), label_value(own));
    let mut notes = schedule.metadata.annotations.clone().unwrap_or_default();
    notes.remove(labels::RUN);
    backup.metadata.labels = Some(marks);
    backup.metadata.annotations = Some(notes).filter(|notes| !notes.is_empty());
    backup.metadata.namespace.clone_from(&schedule.metadata.namespace);
    if schedule.spec.use_owner_references_in_backup == Some(true) {
        backup.metadata.owner_references = Some(vec![OwnerReference {
            api_version: format!("{VELERO_GROUP}/v1"),
            kind: "Schedule".to_owned(),
            name: own.to_owned(),
            uid: schedule.metadata.uid.clone().unwrap_or_default(),
            controller: Some(true),
            ..OwnerReference::default()
        }]);
    }
    backup
}
