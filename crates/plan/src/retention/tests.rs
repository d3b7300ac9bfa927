//! What retention keeps: by example, and for any backups and any policy.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use refloat_model::{BackupSpec, BackupStatus, schedule::ScheduleSpec};

use super::*;

fn backup(name: &str, phase: BackupPhase, time: Option<Timestamp>) -> Backup {
    let mut backup = Backup::new(name, BackupSpec::default());
    backup.status = Some(BackupStatus {
        phase,
        start_timestamp: time.map(Time),
        ..BackupStatus::default()
    });
    backup
}

fn completed(name: &str, time: &str) -> Backup {
    backup(name, BackupPhase::Completed, Some(time.parse().unwrap()))
}

fn policy(text: &str) -> Policy {
    text.parse().unwrap()
}

fn annotated(mut backup: Backup, key: &str, value: &str) -> Backup {
    let annotations = backup.metadata.annotations.get_or_insert_default();
    annotations.insert(key.to_owned(), value.to_owned());
    backup
}

/// One line for each backup: its name and why it stays.
fn shown(policy: &Policy, backups: &[Backup], zone: &TimeZone) -> Vec<String> {
    let plan = plan_retention(policy, backups, zone);
    let line = |verdict: &Verdict| {
        let why: Vec<_> = verdict.kept.iter().map(ToString::to_string).collect();
        format!("{} {}", verdict.backup, why.join(","))
    };
    plan.verdicts.iter().map(line).collect()
}

#[test]
fn a_backup_represents_its_hour_day_week_month_and_year() {
    let backups: Vec<_> = [
        "2026-03-02T05:00:00Z",
        "2026-03-02T04:30:00Z",
        "2026-03-02T04:00:00Z",
        "2026-03-01T20:00:00Z",
        "2026-02-28T20:00:00Z",
        "2026-02-10T20:00:00Z",
        "2026-01-05T20:00:00Z",
        "2025-12-31T20:00:00Z",
        "2025-11-30T20:00:00Z",
        "2024-11-30T20:00:00Z",
    ]
    .iter()
    .enumerate()
    .map(|(n, time)| completed(&format!("b{n}"), time))
    .collect();
    let policy = policy("keep-last=1,hourly=2,daily=3,weekly=2,monthly=4,yearly=2");
    assert_eq!(
        shown(&policy, &backups, &TimeZone::UTC),
        [
            "b0 keep-last,hourly,daily,weekly,monthly,yearly,last-good",
            "b1 hourly",
            "b2 ",
            "b3 daily,weekly",
            "b4 daily,monthly",
            "b5 ",
            "b6 monthly",
            "b7 monthly,yearly",
            "b8 ",
            "b9 ",
        ]
    );
    // In Shanghai the evening of the 1st is the morning of the 2nd, and so on.
    let shanghai = zone_of(Some(&Schedule::new(
        "s",
        ScheduleSpec {
            schedule: "CRON_TZ=Asia/Shanghai 30 2 * * *".into(),
            ..ScheduleSpec::default()
        },
    )));
    let there = shown(&policy, &backups, &shanghai);
    assert_eq!(there[3..6], ["b3 ", "b4 daily,weekly", "b5 daily,monthly"]);
    assert_eq!(there[7], "b7 ", "it is of the new year there");
}

#[test]
fn with_errors_is_better_than_nothing_and_worse_than_complete() {
    use BackupPhase as P;
    let at = |hour: u32, phase| {
        let time = format!("2026-03-02T{hour:02}:00:00Z").parse().ok();
        backup(&format!("at{hour}"), phase, time)
    };
    let day = [
        at(9, P::PartiallyFailed),
        at(8, P::Completed),
        at(7, P::Completed),
    ];
    assert_eq!(
        shown(&policy("daily=1"), &day, &TimeZone::UTC),
        ["at9 ", "at8 daily,last-good", "at7 "]
    );
    let day = [at(9, P::PartiallyFailed), at(8, P::PartiallyFailed)];
    assert_eq!(
        shown(&policy("daily=1"), &day, &TimeZone::UTC),
        ["at9 daily,last-good", "at8 "]
    );
    let mut gone = at(8, P::Completed);
    gone.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
    let day = [
        at(14, P::InProgress),
        at(13, P::Failed),
        at(12, P::FailedValidation),
        at(11, P::Deleting),
        at(10, P::Completed),
        at(9, P::Completed),
        gone,
        backup("timeless", P::Completed, None),
    ];
    assert_eq!(
        shown(&policy("keep-last=1"), &day, &TimeZone::UTC),
        [
            "at14 not-finished",
            "at13 by-ttl",
            "at12 by-ttl",
            "at11 not-finished",
            "at10 keep-last,last-good",
            "at9 ",
            "at8 not-finished",
            "timeless no-time",
        ]
    );
}

#[test]
fn policies_are_read_and_their_faults_named() {
    let all = "keep-last=3,hourly=24,daily=7,weekly=4,monthly=12,yearly=3";
    assert_eq!(policy(all).to_string(), all);
    assert_eq!(policy(" yearly = 1 , daily=0").to_string(), "yearly=1");
    for (bad, names) in [
        ("", "rule=count"),
        ("daily", "rule=count"),
        ("dayly=3", "\"dayly\""),
        ("daily=-1", "\"-1\""),
        ("daily=1,daily=2", "twice"),
        ("daily=0", "keeps nothing"),
        ("daily=1,", "rule=count"),
    ] {
        let reason = bad.parse::<Policy>().unwrap_err().to_string();
        assert!(reason.contains(names), "{bad:?}: {reason}");
    }
}

#[test]
fn backups_without_their_schedule_keep_its_policy() {
    let old = completed("old", "2026-01-01T00:00:00Z");
    let new = annotated(
        completed("new", "2026-01-02T00:00:00Z"),
        labels::RETENTION,
        "daily=2",
    );
    let backups = [new, old];
    assert_eq!(policy_in_force(None, &backups).unwrap(), Some(policy("daily=2")));
    let mut schedule = Schedule::new("s", ScheduleSpec::default());
    assert_eq!(policy_in_force(Some(&schedule), &backups).unwrap(), None);
    let annotations = [(labels::RETENTION.to_owned(), "weekly=x".to_owned())];
    schedule.metadata.annotations = Some(annotations.into());
    assert!(policy_in_force(Some(&schedule), &backups).is_err());
    assert_eq!(policy_in_force(None, &[]).unwrap(), None);
}

const PHASES: [BackupPhase; 8] = [
    BackupPhase::Completed,
    BackupPhase::Completed,
    BackupPhase::PartiallyFailed,
    BackupPhase::Failed,
    BackupPhase::FailedValidation,
    BackupPhase::InProgress,
    BackupPhase::Deleting,
    BackupPhase::Unknown,
];

/// A few dozen backups: hours, days or weeks apart, some at the same time, some pinned.
fn any_backups() -> impl Strategy<Value = Vec<Backup>> {
    let one = (
        prop::sample::select(PHASES.to_vec()),
        prop::option::weighted(0.95, 0..2000_i64),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.05),
    );
    (
        prop::collection::vec(one, 0..60),
        prop::sample::select(vec![600, 3600, 40_000, 500_000_i64]),
    )
        .prop_map(|(backups, step)| {
            let made = backups.into_iter().enumerate();
            made.map(|(n, (phase, place, pinned, deleted))| {
                let time = place.and_then(|place| Timestamp::from_second(1_750_000_000 + place * step).ok());
                let mut backup = backup(&format!("b{n}"), phase, time);
                if pinned {
                    backup = annotated(backup, labels::PINNED, "true");
                }
                backup.metadata.deletion_timestamp = deleted.then_some(Time(Timestamp::UNIX_EPOCH));
                backup
            })
            .collect()
        })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    prop::array::uniform6(prop_oneof![3 => Just(0), 4 => 1..6_u32, 1 => Just(u32::MAX)])
        .prop_map(|counts| Policy { counts })
}

fn any_zone() -> impl Strategy<Value = TimeZone> {
    let names = ["UTC", "Asia/Shanghai", "America/New_York", "Australia/Lord_Howe"];
    prop::sample::select(names.to_vec()).prop_map(|name| {
        let cron: Cron = format!("CRON_TZ={name} @daily").parse().unwrap();
        cron.zone().clone()
    })
}

/// What can be restored, newest first.
fn restorable(backups: &[Backup]) -> Vec<(Timestamp, &Backup)> {
    let usable = |backup: &&Backup| {
        backup.metadata.deletion_timestamp.is_none() && backup.status.as_ref().unwrap().phase.is_restorable()
    };
    let started = |backup: &Backup| {
        backup
            .status
            .as_ref()?
            .start_timestamp
            .as_ref()
            .map(|time| time.0)
    };
    let mut found: Vec<_> = backups
        .iter()
        .filter(usable)
        .filter_map(|backup| started(backup).map(|time| (time, backup)))
        .collect();
    found.sort_by_key(|(time, _)| Reverse(*time));
    found
}

fn is_complete(backup: &Backup) -> bool {
    backup.status.as_ref().unwrap().phase == BackupPhase::Completed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn the_last_good_backup_and_pinned_ones_stay(
        policy in any_policy(), backups in any_backups(), zone in any_zone(),
    ) {
        let plan = plan_retention(&policy, &backups, &zone);
        prop_assert_eq!(plan.verdicts.len(), backups.len());
        let usable = restorable(&backups);
        let newest = |good: bool| usable.iter().find(|(_, backup)| is_complete(backup) || !good);
        if let Some((time, _)) = newest(true).or_else(|| newest(false)) {
            let good = usable.iter().any(|(_, backup)| is_complete(backup));
            let kept = usable.iter().any(|(at, backup)| {
                at == time && (is_complete(backup) || !good)
                    && !plan.dooms(backup.metadata.name.as_deref().unwrap())
            });
            prop_assert!(kept, "the last good backup goes: {:?}", plan);
        }
        for backup in &backups {
            let goes = plan.dooms(backup.metadata.name.as_deref().unwrap());
            prop_assert!(!goes || !is_pinned(backup));
            prop_assert!(!goes || usable.iter().any(|(_, other)| other.metadata.name == backup.metadata.name));
        }
    }

    #[test]
    fn what_is_left_is_left_by_the_next_run_too(
        policy in any_policy(), backups in any_backups(), zone in any_zone(),
    ) {
        let plan = plan_retention(&policy, &backups, &zone);
        let left: Vec<_> = backups.iter()
            .filter(|backup| !plan.dooms(backup.metadata.name.as_deref().unwrap()))
            .cloned()
            .collect();
        let again = plan_retention(&policy, &left, &zone);
        prop_assert_eq!(again.going().next(), None);
        // Also where a run was interrupted after any of its deletions.
        let first: BTreeSet<&str> = plan.going().take(1).collect();
        let some: Vec<_> = backups.iter()
            .filter(|backup| !first.contains(backup.metadata.name.as_deref().unwrap()))
            .cloned()
            .collect();
        let rest = plan_retention(&policy, &some, &zone);
        prop_assert_eq!(
            rest.going().collect::<BTreeSet<_>>(),
            plan.going().skip(1).collect::<BTreeSet<_>>()
        );
    }

    #[test]
    fn every_rule_has_its_count(policy in any_policy(), backups in any_backups(), zone in any_zone()) {
        let plan = plan_retention(&policy, &backups, &zone);
        let kept: Vec<_> = restorable(&backups).into_iter()
            .filter(|(_, backup)| !plan.dooms(backup.metadata.name.as_deref().unwrap()))
            .collect();
        let span = |rule: &str, time: Timestamp| {
            let wall = time.to_zoned(zone.clone());
            let form = match rule {
                "hourly" => "%Y-%m-%d %H",
                "daily" => "%Y-%m-%d",
                "weekly" => "%G-%V",
                "monthly" => "%Y-%m",
                _ => "%Y",
            };
            wall.strftime(form).to_string()
        };
        for (rule, count) in Rule::ALL.into_iter().zip(policy.counts) {
            let count = usize::try_from(count).unwrap();
            if rule == Rule::Last {
                let expected = restorable(&backups).len().min(count);
                prop_assert!(kept.len() >= expected);
                for ((at, _), (have, _)) in restorable(&backups).iter().zip(&kept).take(expected) {
                    prop_assert_eq!(at, have);
                }
                continue;
            }
            let mut spans: Vec<(String, bool)> = Vec::new();
            for (time, backup) in restorable(&backups) {
                let name = span(rule.word(), time);
                match spans.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, good)) => *good |= is_complete(backup),
                    None => spans.push((name, is_complete(backup))),
                }
            }
            for (name, good) in spans.into_iter().take(count) {
                let represented = kept.iter()
                    .any(|(time, backup)| span(rule.word(), *time) == name && (is_complete(backup) || !good));
                prop_assert!(represented, "{} of {} has none", name, rule.word());
            }
        }
    }

    #[test]
    fn a_policy_is_written_as_it_is_read(policy in any_policy(), text in ".{0,30}") {
        if policy.counts != [0; 6] {
            prop_assert_eq!(policy.to_string().parse::<Policy>().unwrap(), policy);
        }
        drop(text.parse::<Policy>());
    }
}
