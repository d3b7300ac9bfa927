//! A year of 200 namespaces with three schedules each, by a clock that is only counted: at every
//! instant at which anything happens exactly the right backups exist. What is right is computed anew,
//! minute by minute and without the code under test.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::LazyLock,
};

use jiff::{SignedDuration, tz::TimeZone};
use refloat_model::BackupStatus;

use super::*;
use crate::retention::{Policy, plan_retention, zone_of};

const NAMESPACES: usize = 200;
const POLICY: &str = "keep-last=2,daily=7,weekly=4,monthly=12";
const ZONES: [&str; 4] = ["UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York"];
/// How long a backup takes.
const USUAL: SignedDuration = SignedDuration::from_mins(10);
/// How long the one takes that is in the way of others.
const LONG: SignedDuration = SignedDuration::from_hours(21);
/// How often a server looks whether what was in the way is over.
const POLL: SignedDuration = SignedDuration::from_mins(1);

fn beginning() -> Timestamp {
    at("2026-01-01T00:00:00Z")
}

fn end() -> Timestamp {
    at("2027-01-01T00:00:00Z")
}

/// The time itself, or where no server works then, the end of the downtime.
fn with_server(time: Timestamp) -> Timestamp {
    static DOWN: LazyLock<(Timestamp, Timestamp)> =
        LazyLock::new(|| (at("2026-05-10T00:00:00Z"), at("2026-05-12T09:30:00Z")));
    let (down, up) = *DOWN;
    if (down..up).contains(&time) { up } else { time }
}

/// The backup that is begun in this hour takes long.
fn is_long_hour(time: Timestamp) -> bool {
    static FROM: LazyLock<Timestamp> = LazyLock::new(|| at("2026-08-20T00:00:00Z"));
    (*FROM..*FROM + SignedDuration::from_hours(1)).contains(&time)
}

/// How a schedule gets rid of backups.
#[derive(Clone, Copy, PartialEq)]
enum Ends {
    After(SignedDuration),
    ByPolicy,
}

/// A run as it should be: its time, the backup's name, and the spans that it is in.
struct Expected {
    time: Timestamp,
    name: String,
    spans: [String; 3],
}

struct Actor {
    schedule: Schedule,
    ends: Ends,
    backups: Vec<Backup>,
    runs: Vec<Expected>,
    /// How many of `runs` have come.
    came: usize,
    /// How many of them have ended.
    ended: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The oldest backup that is running has ended.
    Ended,
    /// The oldest backup expires.
    Expires,
    /// A controller looks at the schedule.
    Look,
}

/// What happens when, in order; of several things at one instant, what ends comes first.
type Queue = BinaryHeap<Reverse<(Timestamp, Event, usize)>>;

#[test]
fn a_year_of_six_hundred_schedules() {
    let mut actors = actors();
    let mut queue = Queue::new();
    for actor in 0..actors.len() {
        queue.push(Reverse((beginning(), Event::Look, actor)));
    }
    let policy: Policy = POLICY.parse().unwrap();
    let (mut checks, mut clock, mut touched) = (0_u64, beginning(), Vec::new());
    while let Some(Reverse((now, event, index))) = queue.pop() {
        if now > clock {
            // All that happens at one instant has happened.
            for index in touched.drain(..) {
                let actor: &Actor = &actors[index];
                actor.compare(clock);
                checks += 1;
            }
            clock = now;
        }
        if now >= end() {
            break;
        }
        if with_server(now) > now {
            queue.push(Reverse((with_server(now), event, index)));
            continue;
        }
        let actor = &mut actors[index];
        match event {
            Event::Look => actor.look(index, now, &mut queue),
            Event::Ended => actor.end(&policy),
            Event::Expires => drop(actor.backups.remove(0)),
        }
        touched.push(index);
    }
    for actor in &actors {
        assert_eq!(actor.came, actor.runs.len(), "{:?}", actor.schedule.metadata.name);
    }
    assert!(checks > 500_000, "{checks}");
}

impl Actor {
    /// What the controller does: decides, and makes a backup if one is due and none is in the way.
    fn look(&mut self, index: usize, now: Timestamp, queue: &mut Queue) {
        let plan = plan_schedule(&self.schedule, false, now);
        self.schedule = plan.settled;
        let again = match plan.step {
            Step::Wait(until) => until,
            Step::Run(_) if in_the_way(&self.backups).is_some() => now + POLL,
            Step::Run(_) => {
                let name = timestamped_name(&self.schedule, now);
                let mut backup = backup_of(&self.schedule, &name);
                backup.status = Some(BackupStatus {
                    phase: BackupPhase::InProgress,
                    start_timestamp: Some(Time(now)),
                    ..BackupStatus::default()
                });
                self.backups.push(backup);
                self.schedule.status.as_mut().unwrap().last_backup = Some(Time(now));
                self.came += 1;
                queue.push(Reverse((now + takes(index, now), Event::Ended, index)));
                if let Ends::After(ttl) = self.ends {
                    queue.push(Reverse((now + ttl, Event::Expires, index)));
                }
                now
            }
            other => panic!("{other:?}"),
        };
        queue.push(Reverse((again, Event::Look, index)));
    }

    fn end(&mut self, policy: &Policy) {
        let running = self.backups.iter_mut().rev();
        let mut running = running.filter(|backup| in_the_way(std::slice::from_ref(*backup)).is_some());
        running.next().unwrap().status.as_mut().unwrap().phase = BackupPhase::Completed;
        self.ended += 1;
        if self.ends == Ends::ByPolicy {
            let plan = plan_retention(policy, &self.backups, &zone_of(Some(&self.schedule)));
            self.backups
                .retain(|backup| !plan.dooms(backup.metadata.name.as_deref().unwrap()));
        }
    }

    /// Whether exactly the right backups exist.
    fn compare(&self, now: Timestamp) {
        assert_eq!(
            self.came,
            self.runs.partition_point(|run| run.time <= now),
            "{:?} at {now}",
            self.schedule.metadata.name
        );
        let have = self
            .backups
            .iter()
            .map(|backup| backup.metadata.name.as_deref().unwrap());
        let came = &self.runs[..self.came];
        let right: Vec<&str> = match self.ends {
            Ends::After(ttl) => {
                let alive = |run: &&Expected| now < with_server(run.time + ttl);
                let mut alive: Vec<_> = came
                    .iter()
                    .rev()
                    .take_while(alive)
                    .map(|run| run.name.as_str())
                    .collect();
                alive.reverse();
                alive
            }
            Ends::ByPolicy => kept(came, self.ended),
        };
        assert!(
            have.eq(right.iter().copied()),
            "at {now} there are {:?} instead of {right:?}",
            self.backups
                .iter()
                .map(|backup| &backup.metadata.name)
                .collect::<Vec<_>>()
        );
    }
}

/// What the policy keeps of the runs that ended, and those that have not.
fn kept(came: &[Expected], ended: usize) -> Vec<&str> {
    let mut keep = vec![false; came.len()];
    keep[ended..].fill(true);
    keep[ended.saturating_sub(2)..].fill(true);
    for (rule, count) in [7, 4, 12].into_iter().enumerate() {
        let (mut left, mut last) = (count, "");
        for place in (0..ended).rev() {
            let span = came[place].spans[rule].as_str();
            if span != last {
                if left == 0 {
                    break;
                }
                (left, last) = (left - 1, span);
                keep[place] = true;
            }
        }
    }
    let kept = came.iter().zip(keep).filter(|(_, keep)| *keep);
    kept.map(|(run, _)| run.name.as_str()).collect()
}

/// Every fourth namespace has one backup that takes long.
fn takes(index: usize, start: Timestamp) -> SignedDuration {
    let often = index.is_multiple_of(3);
    if often && (index / 3).is_multiple_of(4) && is_long_hour(start) {
        LONG
    } else {
        USUAL
    }
}

fn actors() -> Vec<Actor> {
    let nightly = nightly_times();
    let mut actors = Vec::new();
    for namespace in 0..NAMESPACES {
        let minute = namespace % 60;
        let zone = ZONES[namespace % ZONES.len()];
        let hours = |hours| SignedDuration::from_hours(hours);
        for (name, times, ends) in [
            ("often", format!("{minute} */12 * * *"), Ends::After(hours(72))),
            (
                "nightly",
                format!("CRON_TZ={zone} {minute} 2 * * *"),
                Ends::ByPolicy,
            ),
            ("weekly", "@every 168h".to_owned(), Ends::After(hours(2160))),
        ] {
            let index = actors.len();
            let mut schedule = schedule(&times);
            schedule.metadata.name = Some(format!("{name}-{namespace}"));
            schedule.metadata.creation_timestamp = Some(Time(beginning()));
            schedule.spec.template.included_namespaces = vec![format!("ns-{namespace}")];
            schedule.spec.skip_immediately = Some(name == "weekly");
            let due = match name {
                "often" => half_days(minute),
                "nightly" => nightly[&(zone, minute)].clone(),
                _ => Vec::new(),
            };
            let times = if name == "weekly" {
                weeks()
            } else {
                runs(index, &due)
            };
            actors.push(Actor {
                runs: times
                    .into_iter()
                    .map(|time| expected(&schedule, zone, time))
                    .collect(),
                schedule,
                ends,
                backups: Vec::new(),
                came: 0,
                ended: 0,
            });
        }
    }
    actors
}

fn expected(schedule: &Schedule, zone: &str, time: Timestamp) -> Expected {
    let wall = time.to_zoned(zone_named(zone));
    let name = schedule.metadata.name.as_deref().unwrap();
    Expected {
        time,
        name: format!("{name}-{}", time.to_string().replace(['-', ':', 'T', 'Z'], "")),
        spans: ["%Y-%m-%d", "%G-%V", "%Y-%m"].map(|form| wall.strftime(form).to_string()),
    }
}

fn zone_named(name: &str) -> TimeZone {
    jiff::tz::TimeZoneDatabase::bundled().get(name).unwrap()
}

fn half_days(minute: usize) -> Vec<Timestamp> {
    let first = beginning() + SignedDuration::from_mins(i64::try_from(minute).unwrap());
    let every = (0..).map(|n| first + SignedDuration::from_hours(12 * n));
    // The first of all is not after the schedule's creation where the minute is zero.
    every
        .skip(usize::from(minute == 0))
        .take_while(|time| *time < end())
        .collect()
}

/// The times at which it is two o'clock and some minutes, found by looking at the clock each minute.
fn nightly_times() -> HashMap<(&'static str, usize), Vec<Timestamp>> {
    let mut found: HashMap<_, Vec<_>> = HashMap::new();
    for name in ZONES {
        let zone = zone_named(name);
        let mut now = beginning() + SignedDuration::from_mins(1);
        while now < end() {
            let wall = zone.to_datetime(now);
            if wall.hour() == 2 {
                let minute = usize::try_from(wall.minute()).unwrap();
                found.entry((name, minute)).or_default().push(now);
            }
            now += SignedDuration::from_mins(1);
        }
    }
    found
}

/// Of the times that are due, those at which there is a run: the ones that no server saw become one at
/// the end of the downtime, the ones that came while a backup ran become one at its end.
fn runs(index: usize, due: &[Timestamp]) -> Vec<Timestamp> {
    let mut runs: Vec<Timestamp> = Vec::new();
    let mut busy_until = beginning();
    for time in due {
        let time = with_server(*time).max(busy_until);
        if runs.last() == Some(&time) {
            continue;
        }
        let takes = takes(index, time);
        if takes == LONG {
            busy_until = time + takes;
        }
        runs.push(time);
    }
    runs
}

/// Every 168 hours from the beginning, which was skipped; after the downtime from its end.
fn weeks() -> Vec<Timestamp> {
    let week = SignedDuration::from_hours(168);
    let mut runs = Vec::new();
    let mut time = beginning() + week;
    while time < end() {
        time = with_server(time);
        runs.push(time);
        time += week;
    }
    runs
}
