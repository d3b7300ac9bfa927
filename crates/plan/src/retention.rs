//! Which backups of a schedule are kept, by a policy of counts: the last ones, and one each for the
//! last hours, days, weeks, months and years that have any.
//!
//! What holds whatever the input, and is tested for any input:
//! - the last good backup stays: the newest `Completed` one, or without any the newest that can be
//!   restored at all;
//! - a backup with the annotation `refloat.io/pinned: "true"` stays;
//! - what is going on, or never became a backup, is not this policy's to delete;
//! - the policy applied to what it has left deletes nothing more.

use std::{cmp::Reverse, fmt, str::FromStr};

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use refloat_model::{Backup, BackupPhase, Schedule, labels};
use serde::{Serialize, Serializer};

use crate::{PlanError, schedule::cron::Cron};

#[cfg(test)]
mod tests;

/// How many backups are kept by each rule; a backup may be kept by several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    counts: [u32; Rule::ALL.len()],
}

/// One way to be kept by a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Among the newest.
    Last,
    /// The newest of its hour.
    Hourly,
    /// The newest of its day.
    Daily,
    /// The newest of its week, which begins on Monday.
    Weekly,
    /// The newest of its month.
    Monthly,
    /// The newest of its year.
    Yearly,
}

impl Rule {
    const ALL: [Self; 6] = [
        Self::Last,
        Self::Hourly,
        Self::Daily,
        Self::Weekly,
        Self::Monthly,
        Self::Yearly,
    ];

    /// As it is written in a policy.
    const fn word(self) -> &'static str {
        match self {
            Self::Last => "keep-last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// The span of time that a backup stands for; each backup has one of its own where that does not
    /// matter. Spans are compared only with those of the same rule.
    fn span(self, wall: DateTime, place: usize) -> (i64, i64) {
        let day = || i64::from(wall.month()) * 100 + i64::from(wall.day());
        let year = i64::from(wall.year());
        match self {
            Self::Last => (i64::try_from(place).unwrap_or(i64::MAX), 0),
            Self::Hourly => (year, day() * 100 + i64::from(wall.hour())),
            Self::Daily => (year, day()),
            Self::Weekly => {
                let week = wall.date().iso_week_date();
                (i64::from(week.year()), i64::from(week.week()))
            }
            Self::Monthly => (year, i64::from(wall.month())),
            Self::Yearly => (year, 0),
        }
    }
}

/// `keep-last=3,hourly=24,daily=7,weekly=4,monthly=12,yearly=3`; each rule once, at least one above
/// zero.
impl FromStr for Policy {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read(text).map_err(|reason| PlanError::Retention {
            text: text.to_owned(),
            reason,
        })
    }
}

fn read(text: &str) -> Result<Policy, String> {
    let known = || Rule::ALL.map(Rule::word).join(", ");
    let mut seen = Vec::new();
    let mut policy = Policy::default();
    for part in text.split(',').map(str::trim) {
        let Some((word, count)) = part.split_once('=') else {
            return Err(format!(
                "{part:?} is not of the form rule=count; write for example keep-last=3,daily=7"
            ));
        };
        let (word, count) = (word.trim(), count.trim());
        let Some(place) = Rule::ALL.iter().position(|rule| rule.word() == word) else {
            return Err(format!("{word:?} is no rule; use {}", known()));
        };
        if seen.contains(&place) {
            return Err(format!("{word} is there twice; write it once"));
        }
        seen.push(place);
        policy.counts[place] = count.parse().map_err(|_| {
            format!(
                "{count:?} is no count for {word}; use a number from 0 to {}",
                u32::MAX
            )
        })?;
    }
    if policy.counts == [0; Rule::ALL.len()] {
        return Err("it keeps nothing; give a rule a count above zero".to_owned());
    }
    Ok(policy)
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rules = Rule::ALL.iter().zip(self.counts).filter(|(_, count)| *count > 0);
        for (at, (rule, count)) in rules.enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{}={count}", rule.word())?;
        }
        Ok(())
    }
}

/// Why a backup stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// By a rule of the policy.
    Rule(Rule),
    /// It is the last good one.
    LastGood,
    /// It is pinned.
    Pinned,
    /// It is not finished, or being deleted already.
    NotFinished,
    /// It holds nothing that could be restored; it goes by its TTL.
    NothingInIt,
    /// Nothing tells when it was made.
    NoTime,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rule(rule) => rule.word(),
            Self::LastGood => "last-good",
            Self::Pinned => "pinned",
            Self::NotFinished => "not-finished",
            Self::NothingInIt => "by-ttl",
            Self::NoTime => "no-time",
        })
    }
}

impl Serialize for Why {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What becomes of one backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// The backup's name.
    pub backup: String,
    /// When it was begun, or where that is not known, created.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// Why it stays; empty: it goes.
    pub kept: Vec<Why>,
}

impl Verdict {
    /// Whether the backup is to be deleted.
    #[must_use]
    pub fn goes(&self) -> bool {
        self.kept.is_empty()
    }
}

/// What becomes of the backups of one schedule, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RetentionPlan {
    /// One for each backup.
    pub verdicts: Vec<Verdict>,
}

impl RetentionPlan {
    /// The names of the backups that go, oldest first.
    pub fn going(&self) -> impl Iterator<Item = &str> {
        let going = self.verdicts.iter().rev().filter(|verdict| verdict.goes());
        going.map(|verdict| verdict.backup.as_str())
    }

    /// Whether the policy has nothing against the backup's going once its TTL is over: it goes by the
    /// policy too, or the policy is not about it. `false` where there is none of that name.
    #[must_use]
    pub fn lets_expire(&self, backup: &str) -> bool {
        let indifferent = |why: &Why| matches!(why, Why::NotFinished | Why::NothingInIt);
        let verdict = self.verdicts.iter().find(|verdict| verdict.backup == backup);
        verdict.is_some_and(|verdict| verdict.kept.iter().all(indifferent))
    }

    /// Whether the backup of that name goes; `false` where there is none.
    #[must_use]
    pub fn dooms(&self, backup: &str) -> bool {
        self.going().any(|name| name == backup)
    }
}

/// The policy that holds for the backups of a schedule: the one in the schedule's annotation. Where
/// that schedule does not exist (it was deleted, or the cluster is a new one and only its backups were
/// found again), the one that the newest of its backups took over from it, so that they do not all
/// expire at once. `None`: only their TTL.
///
/// # Errors
/// [`PlanError::Retention`] where it cannot be read. Nothing is to be deleted then.
pub fn policy_in_force(schedule: Option<&Schedule>, backups: &[Backup]) -> Result<Option<Policy>, PlanError> {
    let annotations = match schedule {
        Some(schedule) => schedule.metadata.annotations.as_ref(),
        None => {
            let newest = backups.iter().max_by_key(|backup| Candidate::of(backup).time);
            newest.and_then(|backup| backup.metadata.annotations.as_ref())
        }
    };
    let text = annotations.and_then(|annotations| annotations.get(labels::RETENTION));
    text.map(|text| text.parse()).transpose()
}

/// The time zone of a schedule's days; UTC where it has none.
#[must_use]
pub fn zone_of(schedule: Option<&Schedule>) -> TimeZone {
    let cron = schedule.and_then(|schedule| schedule.spec.schedule.parse::<Cron>().ok());
    cron.map_or(TimeZone::UTC, |cron| cron.zone().clone())
}

/// Whether a backup carries the annotation that keeps it.
#[must_use]
pub fn is_pinned(backup: &Backup) -> bool {
    let annotations = backup.metadata.annotations.as_ref();
    annotations
        .and_then(|annotations| annotations.get(labels::PINNED))
        .is_some_and(|value| value == "true")
}

/// A backup as the rules see it.
struct Candidate<'a> {
    backup: &'a Backup,
    phase: BackupPhase,
    time: Option<Timestamp>,
    kept: Vec<Why>,
}

impl<'a> Candidate<'a> {
    fn of(backup: &'a Backup) -> Self {
        let status = backup.status.as_ref();
        let started = status.and_then(|status| status.start_timestamp.as_ref());
        let time = started
            .or(backup.metadata.creation_timestamp.as_ref())
            .map(|time| time.0);
        Self {
            backup,
            phase: status.map(|status| status.phase).unwrap_or_default(),
            time,
            kept: Vec::new(),
        }
    }

    fn name(&self) -> &'a str {
        self.backup.metadata.name.as_deref().unwrap_or_default()
    }

    /// Whether the rules are about it.
    fn counts(&self) -> bool {
        self.phase.is_restorable() && self.time.is_some() && self.backup.metadata.deletion_timestamp.is_none()
    }

    fn is_good(&self) -> bool {
        self.phase == BackupPhase::Completed
    }

    /// Why it stays whatever the rules say.
    fn exempt(&self) -> Option<Why> {
        let over = matches!(self.phase, BackupPhase::Failed | BackupPhase::FailedValidation);
        if over {
            Some(Why::NothingInIt)
        } else if !self.phase.is_restorable() || self.backup.metadata.deletion_timestamp.is_some() {
            Some(Why::NotFinished)
        } else if self.time.is_none() {
            Some(Why::NoTime)
        } else {
            None
        }
    }
}

/// Decides what becomes of the backups of one schedule. Days and weeks are those of `zone`.
///
/// A span of time is represented by its newest `Completed` backup; where it has none, by its newest
/// `PartiallyFailed` one.
#[must_use]
pub fn plan_retention(policy: &Policy, backups: &[Backup], zone: &TimeZone) -> RetentionPlan {
    let mut candidates: Vec<_> = backups.iter().map(Candidate::of).collect();
    candidates.sort_by_key(|candidate| (Reverse(candidate.time), candidate.name()));
    for (rule, count) in Rule::ALL.into_iter().zip(policy.counts) {
        for place in kept_by(rule, count, &candidates, zone) {
            candidates[place].kept.push(Why::Rule(rule));
        }
    }
    let newest = |good: bool| {
        let wanted = |candidate: &Candidate<'_>| candidate.counts() && (candidate.is_good() || !good);
        candidates.iter().position(wanted)
    };
    if let Some(place) = newest(true).or_else(|| newest(false)) {
        candidates[place].kept.push(Why::LastGood);
    }
    for candidate in &mut candidates {
        let pinned = is_pinned(candidate.backup).then_some(Why::Pinned);
        candidate
            .kept
            .extend(candidate.exempt().into_iter().chain(pinned));
    }
    let verdicts = candidates.into_iter().map(|candidate| Verdict {
        backup: candidate.name().to_owned(),
        time: candidate.time,
        kept: candidate.kept,
    });
    RetentionPlan {
        verdicts: verdicts.collect(),
    }
}

/// The places of those that a rule keeps, of candidates that are sorted newest first.
fn kept_by(rule: Rule, count: u32, candidates: &[Candidate<'_>], zone: &TimeZone) -> Vec<usize> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut spans: Vec<((i64, i64), usize)> = Vec::new();
    for (place, candidate) in candidates.iter().enumerate() {
        let Some(time) = candidate.time.filter(|_| candidate.counts()) else {
            continue;
        };
        let span = rule.span(zone.to_datetime(time), place);
        // Sorted by time, so a span's backups follow each other, also in an hour that comes twice.
        let kept = spans.len();
        match spans.last_mut().filter(|(latest, _)| *latest == span) {
            Some((_, chosen)) if candidate.is_good() && !candidates[*chosen].is_good() => *chosen = place,
            Some(_) => {}
            None if kept == count => break,
            None => spans.push((span, place)),
        }
    }
    spans.into_iter().map(|(_, place)| place).collect()
}
