//! Points in time and lengths as Go programs print them.

use jiff::{Timestamp, tz::TimeZone};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// How Go prints a point in time that is not set.
pub const GO_ZERO: &str = "0001-01-01 00:00:00 +0000 UTC";

/// `2026-08-05 10:00:00 +0200 CEST`, or `absent` when there is none.
#[must_use]
pub fn point(time: Option<&Time>, zone: &TimeZone, absent: &str) -> String {
    let Some(Time(time)) = time else {
        return absent.to_owned();
    };
    time.to_zoned(zone.clone())
        .strftime("%Y-%m-%d %H:%M:%S %z %Z")
        .to_string()
}

/// How far away a point in time is, in its largest unit: `29d`, or `3h ago` for the past.
#[must_use]
pub fn distance(time: Option<Timestamp>, now: Timestamp) -> String {
    let Some(time) = time else { return "n/a".into() };
    let seconds = time.duration_since(now).as_secs();
    if seconds >= 0 {
        short(seconds)
    } else {
        format!("{} ago", short(-seconds))
    }
}

fn short(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    match seconds {
        s if s < MINUTE => format!("{s}s"),
        s if s < HOUR => format!("{}m", s / MINUTE),
        s if s < DAY => format!("{}h", s / HOUR),
        s if s < 365 * DAY => format!("{}d", s / DAY),
        s => format!("{}y", s / (365 * DAY)),
    }
}

/// `20260805100000`, the end of generated names.
#[must_use]
pub fn stamp(now: Timestamp, zone: &TimeZone) -> String {
    now.to_zoned(zone.clone()).strftime("%Y%m%d%H%M%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_prints_them() {
        let time = Time("2026-08-05T10:00:00Z".parse().unwrap());
        assert_eq!(
            point(Some(&time), &TimeZone::UTC, ""),
            "2026-08-05 10:00:00 +0000 UTC"
        );
        assert_eq!(point(None, &TimeZone::UTC, "<nil>"), "<nil>");
        assert_eq!(stamp(time.0, &TimeZone::UTC), "20260805100000");
    }

    #[test]
    fn distances() {
        let now: Timestamp = "2026-08-05T10:00:00Z".parse().unwrap();
        let at = |text: &str| distance(Some(text.parse().unwrap()), now);
        assert_eq!(at("2026-08-05T10:00:59Z"), "59s");
        assert_eq!(at("2026-09-04T09:59:59Z"), "29d");
        assert_eq!(at("2026-08-05T06:59:59Z"), "3h ago");
        let a_bit_later: Timestamp = "2026-08-05T10:00:00.2Z".parse().unwrap();
        let month = "2026-09-04T10:00:00Z".parse().unwrap();
        assert_eq!(distance(Some(month), a_bit_later), "29d", "nothing is rounded up");
        assert_eq!(at("2036-08-05T10:00:00Z"), "10y");
        assert_eq!(distance(None, now), "n/a");
    }
}
