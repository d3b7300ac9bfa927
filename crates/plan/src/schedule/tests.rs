//! What a schedule does when, and what backup it makes.

mod year;

use refloat_model::{BackupSpec, BackupStatus, schedule::ScheduleSpec};
use serde_json::json;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A schedule made on New Year's Day at noon.
fn schedule(times: &str) -> Schedule {
    let mut schedule = Schedule::new(
        "daily",
        ScheduleSpec {
            schedule: times.to_owned(),
            ..ScheduleSpec::default()
        },
    );
    schedule.metadata.creation_timestamp = Some(Time(at("2026-01-01T12:00:00Z")));
    schedule
}

fn step(schedule: &Schedule, now: &str) -> Step {
    plan_schedule(schedule, false, at(now)).step
}

fn in_phase(phase: BackupPhase) -> Backup {
    let mut backup = Backup::new("b", BackupSpec::default());
    backup.status = Some(BackupStatus {
        phase,
        ..BackupStatus::default()
    });
    backup
}

#[test]
fn a_run_is_due_at_its_time_and_not_before() {
    let nightly = schedule("0 2 * * *");
    let due = at("2026-01-02T02:00:00Z");
    assert_eq!(step(&nightly, "2026-01-01T12:00:01Z"), Step::Wait(due));
    assert_eq!(step(&nightly, "2026-01-02T01:59:59.999Z"), Step::Wait(due));
    assert_eq!(step(&nightly, "2026-01-02T02:00:00Z"), Step::Run(due));
    // A week later it is still one run, and after it the clock goes on from there.
    assert_eq!(step(&nightly, "2026-01-09T13:00:00Z"), Step::Run(due));
    let mut ran = nightly;
    ran.status.get_or_insert_default().last_backup = Some(Time(at("2026-01-09T13:00:00Z")));
    assert_eq!(
        step(&ran, "2026-01-09T13:00:01Z"),
        Step::Wait(at("2026-01-10T02:00:00Z"))
    );
}

#[test]
fn paused_and_wrong_schedules_rest() {
    let mut paused = schedule("61 * * * *");
    paused.spec.paused = true;
    let plan = plan_schedule(&paused, true, at("2027-01-01T00:00:00Z"));
    assert_eq!(
        plan,
        SchedulePlan {
            settled: paused.clone(),
            step: Step::Rest
        }
    );
    paused.spec.paused = false;
    let plan = plan_schedule(&paused, false, at("2027-01-01T00:00:00Z"));
    let status = plan.settled.status.unwrap();
    assert_eq!(
        (plan.step, status.phase),
        (Step::Rest, SchedulePhase::FailedValidation)
    );
    assert!(status.validation_errors[0].contains("minute"), "{status:?}");
    // Once it is right the errors go.
    let mut mended = paused;
    mended.status = Some(status_with_errors());
    mended.spec.schedule = "@hourly".into();
    let status = plan_schedule(&mended, false, at("2026-01-01T12:10:00Z"))
        .settled
        .status
        .unwrap();
    assert_eq!(status.phase, SchedulePhase::Enabled);
    assert!(status.validation_errors.is_empty());
}

fn status_with_errors() -> refloat_model::schedule::ScheduleStatus {
    refloat_model::schedule::ScheduleStatus {
        phase: SchedulePhase::FailedValidation,
        validation_errors: vec!["wrong".into()],
        ..Default::default()
    }
}

#[test]
fn skipping_moves_the_clock_once() {
    let now = "2026-01-05T10:00:00.5Z";
    for (said, by_default, skips) in [
        (None, false, false),
        (None, true, true),
        (Some(true), false, true),
        (Some(false), true, false),
    ] {
        let mut nightly = schedule("0 2 * * *");
        nightly.spec.skip_immediately = said;
        let plan = plan_schedule(&nightly, by_default, at(now));
        assert_eq!(plan.settled.spec.skip_immediately, Some(false));
        let skipped = plan.settled.status.clone().unwrap().last_skipped;
        let expected = if skips {
            assert_eq!(skipped, Some(Time(at("2026-01-05T10:00:00Z"))), "whole seconds");
            Step::Wait(at("2026-01-06T02:00:00Z"))
        } else {
            assert_eq!(skipped, None);
            Step::Run(at("2026-01-02T02:00:00Z"))
        };
        assert_eq!(plan.step, expected, "{said:?} {by_default}");
        // The server's default is for new schedules only.
        let again = plan_schedule(&plan.settled, true, at("2026-01-05T11:00:00Z"));
        assert_eq!(again.step, expected);
    }
}

#[test]
fn a_run_that_was_begun_is_ended_first() {
    let mut nightly = schedule("0 2 * * *");
    nightly.metadata.annotations = Some([(labels::RUN.into(), "2026-01-02T02:00:03Z".into())].into());
    let begun = Step::GoOn(at("2026-01-02T02:00:03Z"));
    assert_eq!(step(&nightly, "2026-01-02T02:10:00Z"), begun);
    nightly.spec.paused = true;
    assert_eq!(step(&nightly, "2026-01-02T02:10:00Z"), begun);
    nightly.spec.paused = false;
    nightly.metadata.annotations = Some([(labels::RUN.into(), "nonsense".into())].into());
    assert_eq!(
        step(&nightly, "2026-01-02T02:10:00Z"),
        Step::Run(at("2026-01-02T02:00:00Z"))
    );
}

#[test]
fn backups_that_wait_or_run_are_in_the_way() {
    use BackupPhase as P;
    for phase in [P::New, P::Queued, P::ReadyToStart, P::InProgress] {
        assert!(
            in_the_way(&[in_phase(P::Completed), in_phase(phase)]).is_some(),
            "{phase:?}"
        );
    }
    for phase in [
        P::Completed,
        P::Failed,
        P::PartiallyFailed,
        P::FailedValidation,
        P::Deleting,
        P::WaitingForPluginOperations,
        P::Finalizing,
    ] {
        assert!(in_the_way(&[in_phase(phase)]).is_none(), "{phase:?}");
    }
    assert!(in_the_way(&[Backup::new("fresh", BackupSpec::default())]).is_some());
}

#[test]
fn the_backup_has_the_template_and_what_marks_it() {
    let mut schedule: Schedule = serde_json::from_value(json!({
        "apiVersion": "velero.io/v1", "kind": "Schedule",
        "metadata": {
            "name": "daily", "namespace": "velero", "uid": "u", "labels": {"tier": "0"},
            "annotations": {"refloat.io/retention": "daily=2", "refloat.io/run": "2026-01-02T02:00:03Z"},
        },
        "spec": {
            "schedule": "@daily", "useOwnerReferencesInBackup": true,
            "template": {"includedNamespaces": ["shop"], "ttl": "24h0m0s"},
        },
    }))
    .unwrap();
    let name = timestamped_name(&schedule, at("2026-01-02T02:00:03.9Z"));
    assert_eq!(name, "daily-20260102020003");
    let made = serde_json::to_value(backup_of(&schedule, &name)).unwrap();
    assert_eq!(
        made,
        json!({
            "apiVersion": "velero.io/v1", "kind": "Backup",
            "metadata": {
                "name": "daily-20260102020003", "namespace": "velero",
                "labels": {"tier": "0", "velero.io/schedule-name": "daily"},
                "annotations": {"refloat.io/retention": "daily=2"},
                "ownerReferences": [{
                    "apiVersion": "velero.io/v1", "kind": "Schedule", "name": "daily", "uid": "u", "controller": true,
                }],
            },
            "spec": {"includedNamespaces": ["shop"], "ttl": "24h0m0s"},
        })
    );
    schedule.spec.template.metadata.labels = [("made-by".into(), "template".into())].into();
    schedule.spec.use_owner_references_in_backup = Some(false);
    let made = backup_of(&schedule, &name);
    let labels = made.metadata.labels.unwrap();
    assert_eq!(
        labels.keys().collect::<Vec<_>>(),
        ["made-by", "velero.io/schedule-name"]
    );
    assert_eq!(made.metadata.owner_references, None);
}
