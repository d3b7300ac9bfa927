//! Go's `time.Duration` as the Kubernetes API spells it: `"72h0m0s"`.

use std::{fmt, str::FromStr, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time that is read and written in Go's notation (`"1h30m"`, `"250ms"`), as
/// `metav1.Duration` is. Negative lengths are refused. The unit inside is nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub Duration);

/// Why a text is not a duration in Go's notation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a duration such as \"72h\", \"1h30m\" or \"45s\"")]
pub struct ParseDurationError {
    text: String,
}

impl GoDuration {
    /// A whole number of seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A whole number of hours.
    #[must_use]
    pub const fn from_hours(hours: u64) -> Self {
        Self(Duration::from_secs(hours * 3600))
    }

    /// Whether it is zero, which in Velero's specs means "use the server's default".
    #[must_use]
    pub const fn is_zero(&self) -> bool {
        self.0.is_zero()
    }

    /// `self`, or `default` where `self` is zero.
    #[must_use]
    pub const fn or(self, default: Self) -> Self {
        if self.is_zero() { default } else { self }
    }
}

impl FromStr for GoDuration {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        nanoseconds(text)
            .map(|nanos| Self(Duration::from_nanos(nanos)))
            .ok_or_else(|| ParseDurationError {
                text: text.to_owned(),
            })
    }
}

/// The length in nanoseconds, at most Go's longest (about 292 years). In whole numbers: what is
/// printed for a length must be read as the same length, which floats lose above a hundred days.
fn nanoseconds(text: &str) -> Option<u64> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    let mut sum: u64 = 0;
    loop {
        let (whole, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.find(|c: char| !c.is_ascii_digit())?),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (name, after) = after.split_at(
            after
                .find(|c: char| c.is_ascii_digit() || c == '.')
                .unwrap_or(after.len()),
        );
        let unit: u64 = match name {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        sum = sum
            .checked_add(whole.checked_mul(unit)?)?
            .checked_add(part_of(unit, fraction)?)?;
        if after.is_empty() {
            return i64::try_from(sum).is_ok().then_some(sum);
        }
        rest = after;
    }
}

/// `0.<fraction>` times the unit, rounded down. Digits below a nanosecond do not count.
fn part_of(unit: u64, fraction: &str) -> Option<u64> {
    const DIGITS: usize = 18;
    let digits = &fraction[..fraction.len().min(DIGITS)];
    if digits.is_empty() {
        return Some(0);
    }
    let scale = 10_u128.pow(u32::try_from(digits.len()).ok()?);
    u64::try_from(digits.parse::<u128>().ok()? * u128::from(unit) / scale).ok()
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let nanos = self.0.subsec_nanos();
        if seconds == 0 && nanos > 0 {
            return match nanos {
                1_000_000.. => write!(f, "{}ms", decimal(nanos / 1_000_000, nanos % 1_000_000, 6)),
                1_000.. => write!(f, "{}µs", decimal(nanos / 1_000, nanos % 1_000, 3)),
                _ => write!(f, "{nanos}ns"),
            };
        }
        let (hours, minutes, secs) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{}s", decimal(secs, nanos, 9))
    }
}

/// `whole.fraction` without zeros at the end; the fraction counts in units of ten to the minus `digits`.
fn decimal(whole: impl fmt::Display, fraction: u32, digits: usize) -> String {
    if fraction == 0 {
        return whole.to_string();
    }
    let fraction = format!("{fraction:0digits$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for GoDuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }

    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_as_go_does() {
        for (text, printed) in [
            ("72h", "72h0m0s"),
            ("1h30m", "1h30m0s"),
            ("45s", "45s"),
            ("0", "0s"),
            ("0s", "0s"),
            ("250ms", "250ms"),
            ("1.5s", "1.5s"),
            ("1.5h", "1h30m0s"),
            ("720h0m0s", "720h0m0s"),
            ("90m", "1h30m0s"),
            ("1500us", "1.5ms"),
            ("1001ns", "1.001µs"),
            (".5s", "500ms"),
            ("1.s", "1s"),
            ("2562047h47m16.854775807s", "2562047h47m16.854775807s"),
            ("0.100000000000000000000001h", "6m0s"),
        ] {
            assert_eq!(text.parse::<GoDuration>().unwrap().to_string(), printed, "{text}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for text in [
            "",
            "1",
            "h",
            "1x",
            "1h2",
            "-1h",
            "1..2s",
            "∞h",
            ".s",
            "9223372036854775808ns",
            "2562048h",
        ] {
            let error = text.parse::<GoDuration>().unwrap_err();
            assert!(error.to_string().contains("is not a duration"), "{text}");
        }
    }
}
