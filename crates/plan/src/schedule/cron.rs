//! The times of a schedule: five fields, a word such as `@daily`, or `@every` with a duration; a time
//! zone may stand in front. Read and computed as `robfig/cron` v3 does, which Velero uses; the tests
//! compare with what that library says (`tests/robfig_cron`).
//!
//! Three deliberate differences: times that never come are refused (Velero would make a backup every
//! minute), `@every` below a second is refused, and where clocks move by half an hour or skip midnight
//! no run is lost (the library passes over some).

use std::sync::LazyLock;

use jiff::{
    SignedDuration, Timestamp,
    civil::Date,
    tz::{TimeZone, TimeZoneDatabase},
};
use refloat_model::GoDuration;

use crate::PlanError;

/// The time zones that are compiled in: an image needs no files for them, and a plan depends on none.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Beyond this nothing is looked for. A 29th of February that is also a certain day of the week comes
/// within 40 years, wherever it begins.
const HORIZON: SignedDuration = SignedDuration::from_hours(41 * 366 * 24);
const MINUTE: SignedDuration = SignedDuration::from_mins(1);

/// When something happens, again and again.
#[derive(Clone, Debug)]
pub struct Cron {
    times: Times,
    zone: TimeZone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Times {
    Every(SignedDuration),
    At(Fields),
}

/// Which values each field allows, as bits; and whether the days were left open.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    any_day: bool,
    any_weekday: bool,
}

struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    words: &'static [&'static str],
}

const fn field(name: &'static str, least: u32, most: u32, words: &'static [&'static str]) -> Field {
    Field {
        name,
        least,
        most,
        words,
    }
}

const FIELDS: [Field; 5] = [
    field("minute", 0, 59, &[]),
    field("hour", 0, 23, &[]),
    field("day of month", 1, 31, &[]),
    field(
        "month",
        1,
        12,
        &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    ),
    field(
        "day of week",
        0,
        6,
        &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    ),
];

impl std::str::FromStr for Cron {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read(text).map_err(|reason| PlanError::Schedule { reason })
    }
}

impl Cron {
    /// The first time after `after`; `None` where the calendar ends before.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.times {
            Times::Every(pause) => {
                let second = Timestamp::from_second(after.as_second()).ok()?;
                second.checked_add(*pause).ok()
            }
            Times::At(fields) => fields.next_after(&self.zone, after),
        }
    }

    /// The time zone of its days: the one in front of the times, else UTC.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }
}

impl Fields {
    /// Walks forward in steps that cannot pass over a time that matches. Each step reads the clock on
    /// the wall anew, so hours that do not exist are not met and hours that come twice are met twice.
    fn next_after(&self, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
        let whole_minute = after.as_second().div_euclid(60) * 60;
        let mut at = Timestamp::from_second(whole_minute)
            .ok()?
            .checked_add(MINUTE)
            .ok()?;
        let end = at.checked_add(HORIZON).unwrap_or(Timestamp::MAX);
        while at <= end {
            let wall = zone.to_datetime(at);
            let (date, minute) = (wall.date(), wall.minute());
            let next = if !has(self.months, date.month()) {
                start_of(zone, date.last_of_month().tomorrow().ok()?, at)?
            } else if !self.has_day(date) {
                start_of(zone, date.tomorrow().ok()?, at)?
            } else if !has(self.hours, wall.hour()) {
                later(at, 60 - minute)?
            } else {
                match (minute..60).find(|minute| has(self.minutes, *minute)) {
                    Some(found) if found == minute => return Some(at),
                    Some(found) => later(at, found - minute)?,
                    None => later(at, 60 - minute)?,
                }
            };
            at = next;
        }
        None
    }

    /// Where both kinds of days are restricted, either is enough.
    fn has_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        if self.any_day || self.any_weekday {
            day && weekday
        } else {
            day || weekday
        }
    }
}

fn has(bits: u64, value: i8) -> bool {
    (bits >> value) & 1 == 1
}

fn later(at: Timestamp, minutes: i8) -> Option<Timestamp> {
    at.checked_add(SignedDuration::from_mins(i64::from(minutes))).ok()
}

/// When a day begins; in any case after `at`.
fn start_of(zone: &TimeZone, date: Date, at: Timestamp) -> Option<Timestamp> {
    let midnight = date.at(0, 0, 0, 0);
    let start = zone.to_ambiguous_timestamp(midnight).compatible().ok()?;
    Some(start.max(later(at, 1)?))
}

fn read(text: &str) -> Result<Cron, String> {
    let (zone, text) = split_zone(text.trim())?;
    if text.is_empty() {
        return Err("it is empty; write five fields, for example \"0 2 * * *\", or @daily".to_owned());
    }
    let times = match text.strip_prefix('@') {
        Some(word) => read_word(word)?,
        None => Times::At(read_fields(text)?),
    };
    let cron = Cron { times, zone };
    // Any instant serves to find out whether there is a next one.
    if cron.next_after(Timestamp::UNIX_EPOCH).is_none() {
        return Err("no day is like that; check the day of the month and the month".to_owned());
    }
    Ok(cron)
}

fn split_zone(text: &str) -> Result<(TimeZone, &str), String> {
    let Some(rest) = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) else {
        return Ok((TimeZone::UTC, text));
    };
    let Some((name, rest)) = rest
        .split_once(char::is_whitespace)
        .filter(|(name, _)| !name.is_empty())
    else {
        return Err("after CRON_TZ= come a time zone, a space and the times".to_owned());
    };
    let zone = ZONES.get(name).map_err(|_| {
        format!("{name:?} is no time zone; use a name of the IANA database, for example Europe/Berlin")
    })?;
    Ok((zone, rest.trim_start()))
}

fn read_word(word: &str) -> Result<Times, String> {
    if let Some(duration) = word.strip_prefix("every ") {
        let GoDuration(duration) = duration
            .trim()
            .parse()
            .map_err(|error| format!("@every needs a duration, for example @every 6h: {error}"))?;
        // Whole seconds, as all times of objects are.
        let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        if seconds == 0 {
            return Err("@every needs a second or more, for example @every 6h".to_owned());
        }
        return Ok(Times::Every(SignedDuration::from_secs(seconds)));
    }
    let fields = match word {
        "yearly" | "annually" => "0 0 1 1 *",
        "monthly" => "0 0 1 * *",
        "weekly" => "0 0 * * 0",
        "daily" | "midnight" => "0 0 * * *",
        "hourly" => "0 * * * *",
        _ => {
            return Err(format!(
                "@{word} is unknown; use @yearly, @monthly, @weekly, @daily, @hourly or @every with a duration"
            ));
        }
    };
    read_fields(fields).map(Times::At)
}

fn read_fields(text: &str) -> Result<Fields, String> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [minutes, hours, days, months, weekdays] = parts.as_slice() else {
        return Err(format!(
            "it has {} fields instead of five: minute, hour, day of month, month, day of week",
            parts.len()
        ));
    };
    let [minute, hour, day, month, weekday] = &FIELDS;
    let (days, any_day) = read_field(day, days)?;
    let (weekdays, any_weekday) = read_field(weekday, weekdays)?;
    Ok(Fields {
        minutes: read_field(minute, minutes)?.0,
        hours: read_field(hour, hours)?.0,
        days,
        months: read_field(month, months)?.0,
        weekdays,
        any_day,
        any_weekday,
    })
}

/// A field's bits, and whether it was left open by `*` or `?`.
fn read_field(field: &Field, text: &str) -> Result<(u64, bool), String> {
    let (mut bits, mut open) = (0, false);
    for range in text.split(',').filter(|range| !range.is_empty()) {
        let (more, any) = read_range(field, range)?;
        bits |= more;
        open |= any;
    }
    if bits == 0 {
        return Err(format!("{text:?} names no {}", field.name));
    }
    Ok((bits, open))
}

/// One element of a field: `*`, `a`, `a-b`, each with or without `/step`. `a/step` goes on to the end;
/// with a step above one `*` counts as restricted.
fn read_range(field: &Field, text: &str) -> Result<(u64, bool), String> {
    let (range, step) = match text.split_once('/') {
        Some((range, step)) => (range, Some(read_step(field, step)?)),
        None => (text, None),
    };
    let any = matches!(range, "*" | "?");
    let (from, to) = match range.split_once('-') {
        _ if any => (field.least, field.most),
        Some((from, to)) => (number(field, from)?, number(field, to)?),
        None => {
            let from = number(field, range)?;
            (from, if step.is_some() { field.most } else { from })
        }
    };
    if from > to {
        return Err(format!("{range:?} for the {} ends before it begins", field.name));
    }
    let step = step.unwrap_or(1);
    let width = usize::try_from(step).unwrap_or(usize::MAX);
    let bits = (from..=to)
        .step_by(width)
        .fold(0, |bits, value| bits | 1_u64 << value);
    Ok((bits, any && step == 1))
}

fn read_step(field: &Field, text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|step| *step > 0).ok_or_else(|| {
        format!(
            "{text:?} is no step for the {}; use a number above zero",
            field.name
        )
    })
}

fn number(field: &Field, text: &str) -> Result<u32, String> {
    let word = field
        .words
        .iter()
        .position(|word| text.eq_ignore_ascii_case(word));
    let number = match word {
        Some(place) => u32::try_from(place).ok().map(|place| place + field.least),
        None => text.parse().ok(),
    };
    number
        .filter(|number| (field.least..=field.most).contains(number))
        .ok_or_else(|| {
            format!(
                "{text:?} is no {}; use a number from {} to {}",
                field.name, field.least, field.most
            )
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    fn after(schedule: &str, after: &str) -> String {
        let cron: Cron = schedule.parse().unwrap();
        cron.next_after(after.parse().unwrap()).unwrap().to_string()
    }

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Theirs {
        schedule: String,
        refused: bool,
        times: Vec<Vec<Timestamp>>,
    }

    #[test]
    fn the_times_are_those_of_veleros_library() {
        let text = include_str!("../../tests/robfig_cron/times.jsonl");
        let mut compared = 0;
        for line in text.lines() {
            let theirs: Theirs = serde_json::from_str(line).unwrap();
            let ours = theirs.schedule.parse::<Cron>();
            assert_eq!(ours.is_err(), theirs.refused, "{:?}: {ours:?}", theirs.schedule);
            let Ok(ours) = ours else { continue };
            for times in theirs.times {
                let mut at = times[0];
                for time in &times[1..] {
                    at = ours.next_after(at).unwrap();
                    assert_eq!(at, *time, "{:?} in the times after {}", theirs.schedule, times[0]);
                    compared += 1;
                }
            }
        }
        assert!(compared > 3000, "only {compared} times were compared");
    }

    #[test]
    fn faults_name_the_field() {
        for (bad, names) in [
            ("61 * * * *", "minute"),
            ("* 24 * * *", "hour"),
            ("* * 0 * *", "day of month"),
            ("* * * 13 *", "month"),
            ("* * * * 7", "day of week"),
            ("* * * *", "4 fields"),
            ("", "empty"),
            ("*/0 * * * *", "step"),
            ("5-1 * * * *", "ends before"),
            ("a * * * *", "minute"),
            (", * * * *", "minute"),
            ("@often", "@often"),
            ("@every x", "@every"),
            ("@every 500ms", "@every"),
            ("CRON_TZ=UTC", "CRON_TZ"),
            ("CRON_TZ=Mars/Base 0 0 * * *", "Mars/Base"),
            ("0 0 30 2 *", "no day"),
            ("0 0 31 4,6,9,11 *", "no day"),
        ] {
            let reason = bad.parse::<Cron>().unwrap_err().to_string();
            assert!(reason.contains(names), "{bad}: {reason}");
        }
    }

    #[test]
    fn clocks_that_are_put_forward_and_back() {
        // The hour that does not exist is left out, the hour that comes twice is met twice, as in Velero.
        let nightly = "CRON_TZ=Europe/Berlin 30 2 * * *";
        assert_eq!(after(nightly, "2026-03-28T12:00:00Z"), "2026-03-30T00:30:00Z");
        assert_eq!(after(nightly, "2026-10-24T12:00:00Z"), "2026-10-25T00:30:00Z");
        assert_eq!(after(nightly, "2026-10-25T00:30:00Z"), "2026-10-25T01:30:00Z");
        // Cairo's clocks skip midnight of this Friday; what runs at noon runs that day too.
        let noon = "CRON_TZ=Africa/Cairo 0 12 * * *";
        assert_eq!(after(noon, "2026-04-23T20:00:00Z"), "2026-04-24T09:00:00Z");
    }

    #[test]
    fn the_calendar_has_rare_days_and_an_end() {
        // The 29th of February that is a Monday (`*/1` leaves the rule "and").
        assert_eq!(
            after("0 0 29 2 *", "2096-03-01T00:00:00Z"),
            "2104-02-29T00:00:00Z"
        );
        let yearly: Cron = "@yearly".parse().unwrap();
        assert_eq!(yearly.next_after(Timestamp::MAX), None);
        let every: Cron = "@every 2562047h".parse().unwrap();
        assert_eq!(every.next_after(Timestamp::MAX), None);
    }

    proptest! {
        /// The definition itself: the first whole minute whose wall clock matches.
        #[test]
        fn nothing_is_passed_over(
            minutes in 0..60_u32, hours in 0..24_u32, days in 1..32_u32, weekdays in 0..7_u32, form in 0..4_u32,
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe",
                "Africa/Cairo", "America/Havana", "Pacific/Apia", "Asia/Kathmandu"]),
            start in 1_700_000_000_i64..1_900_000_000,
        ) {
            let fields = match form {
                0 => format!("{minutes} {hours} * * *"),
                1 => format!("{minutes}/7 {hours}/5 * * {weekdays}"),
                2 => format!("{minutes} {hours},{} {days},{} * {weekdays}", (hours + 1) % 24, days % 28 + 1),
                _ => format!("{minutes} * * * *"),
            };
            let cron: Cron = format!("CRON_TZ={zone} {fields}").parse().unwrap();
            let Times::At(bits) = &cron.times else { panic!("these are fields") };
            let start = Timestamp::from_second(start).unwrap();
            let found = cron.next_after(start).unwrap();
            prop_assert!(found > start);
            let matches = |at: Timestamp| {
                let wall = cron.zone.to_datetime(at);
                has(bits.minutes, wall.minute()) && has(bits.hours, wall.hour()) && bits.has_day(wall.date())
                    && has(bits.months, wall.month())
            };
            prop_assert!(matches(found));
            let mut at = Timestamp::from_second(start.as_second() / 60 * 60).unwrap() + MINUTE;
            while at < found {
                prop_assert!(!matches(at), "{} matches too", at);
                at += MINUTE;
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}") {
            if let Ok(cron) = text.parse::<Cron>() {
                prop_assert!(cron.next_after(Timestamp::UNIX_EPOCH).is_some());
            }
        }
    }
}
