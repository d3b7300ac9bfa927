//! The times of a schedule: five fields, a word such as `@daily`, or `@every` with a duration; a time
//! zone may stand in front.

use refloat_model::GoDuration;

struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    words: &'static [&'static str],
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        least: 0,
        most: 59,
        words: &[],
    },
    Field {
        name: "hour",
        least: 0,
        most: 23,
        words: &[],
    },
    Field {
        name: "day of month",
        least: 1,
        most: 31,
        words: &[],
    },
    Field {
        name: "month",
        least: 1,
        most: 12,
        words: &MONTHS,
    },
    Field {
        name: "day of week",
        least: 0,
        most: 6,
        words: &DAYS,
    },
];

/// Checks the times of a schedule.
pub(super) fn check(schedule: &str) -> Result<(), String> {
    let text = without_zone(schedule.trim())?;
    if text.is_empty() {
        return Err("it is empty; write five fields, for example \"0 2 * * *\", or @daily".to_owned());
    }
    if let Some(word) = text.strip_prefix('@') {
        return check_word(word);
    }
    let parts: Vec<&str> = text.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        return Err(format!(
            "it has {} fields instead of five: minute, hour, day of month, month, day of week",
            parts.len()
        ));
    }
    FIELDS
        .iter()
        .zip(parts)
        .try_for_each(|(field, part)| part.split(',').try_for_each(|range| check_range(field, range)))
}

fn without_zone(text: &str) -> Result<&str, String> {
    let Some(rest) = text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) else {
        return Ok(text);
    };
    match rest.split_once(char::is_whitespace) {
        Some((zone, rest)) if !zone.is_empty() => Ok(rest.trim_start()),
        _ => Err("after CRON_TZ= come a time zone, a space and the times".to_owned()),
    }
}

fn check_word(word: &str) -> Result<(), String> {
    if let Some(duration) = word.strip_prefix("every ") {
        let parsed = duration.trim().parse::<GoDuration>();
        return match parsed {
            Ok(duration) if !duration.is_zero() => Ok(()),
            Ok(_) => Err("@every needs a duration above zero, for example @every 6h".to_owned()),
            Err(error) => Err(format!("@every needs a duration, for example @every 6h: {error}")),
        };
    }
    match word {
        "yearly" | "annually" | "monthly" | "weekly" | "daily" | "midnight" | "hourly" => Ok(()),
        _ => Err(format!(
            "@{word} is unknown; use @yearly, @monthly, @weekly, @daily, @hourly or @every with a duration"
        )),
    }
}

/// One element of a field: `*`, `a`, `a-b`, each with or without `/step`.
fn check_range(field: &Field, range: &str) -> Result<(), String> {
    let (range, step) = match range.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (range, None),
    };
    let bad_step = |step: &str| step.parse::<u32>().ok().is_none_or(|step| step == 0);
    if let Some(step) = step.filter(|step| bad_step(step)) {
        return Err(format!(
            "{step:?} is no step for the {}; use a number above zero",
            field.name
        ));
    }
    if matches!(range, "*" | "?") {
        return Ok(());
    }
    let (from, to) = match range.split_once('-') {
        Some((from, to)) => (number(field, from)?, number(field, to)?),
        None => {
            let number = number(field, range)?;
            (number, number)
        }
    };
    if from > to {
        return Err(format!("{range:?} for the {} ends before it begins", field.name));
    }
    Ok(())
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
    use super::*;

    #[test]
    fn good_and_bad_times() {
        for good in [
            "0 * * * *",
            "CRON_TZ=Asia/Shanghai 30 2 * * *",
            "@every 168h",
            "@daily",
            "*/5 1-3,7 ? JAN-mar SUN",
            " 0 0 1 1 0 ",
            "0 0 * * 6",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
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
            ("1,,2 * * * *", "minute"),
            ("@often", "@often"),
            ("@every x", "@every"),
            ("CRON_TZ=UTC", "CRON_TZ"),
        ] {
            let reason = check(bad).unwrap_err();
            assert!(reason.contains(names), "{bad}: {reason}");
        }
    }
}
