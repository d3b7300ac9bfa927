//! Label selectors of commands that list: all forms that the API server reads in a request, also those
//! that a spec cannot hold (`a!=b`, `n>1`, one key twice).

use std::{collections::BTreeMap, str::FromStr};

use crate::selector::{Selector, split_outside_parentheses};

/// A label selector of a list: `a=b,c!=d,e in (f,g),!h,n>1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    text: String,
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    condition: Condition,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Greater(i64),
    Less(i64),
}

impl FromStr for Query {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = split_outside_parentheses(text).into_iter().map(str::trim);
        let mut requirements = Vec::new();
        for part in parts {
            if part.is_empty() {
                if text.trim().is_empty() {
                    continue;
                }
                return Err(format!("{text:?} has an empty requirement"));
            }
            requirements.push(Requirement::read(part)?);
        }
        Ok(Self {
            text: text.trim().to_owned(),
            requirements,
        })
    }
}

impl From<&Selector> for Query {
    fn from(selector: &Selector) -> Self {
        let text = selector.query();
        text.parse().expect("a selector of a spec is one of a request")
    }
}

impl Query {
    /// As the API server reads it; empty selects everything.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.requirements.iter().all(|requirement| {
            let have = labels.and_then(|labels| labels.get(&requirement.key));
            let number = || have.and_then(|have| have.parse::<i64>().ok());
            match &requirement.condition {
                Condition::In(values) => have.is_some_and(|have| values.contains(have)),
                Condition::NotIn(values) => have.is_none_or(|have| !values.contains(have)),
                Condition::Exists => have.is_some(),
                Condition::Absent => have.is_none(),
                Condition::Greater(limit) => number().is_some_and(|number| number > *limit),
                Condition::Less(limit) => number().is_some_and(|number| number < *limit),
            }
        })
    }
}

impl Requirement {
    fn read(part: &str) -> Result<Self, String> {
        if let Some(key) = part.strip_prefix('!') {
            return Self::new(key, Condition::Absent, part);
        }
        if let Some((head, rest)) = part.split_once('(') {
            let values = rest
                .strip_suffix(')')
                .ok_or_else(|| format!("a parenthesis is not closed in {part:?}"))?;
            let values = values
                .split(',')
                .map(|text| value(text, part))
                .collect::<Result<_, _>>()?;
            let words: Vec<_> = head.split_whitespace().collect();
            return match words[..] {
                [key, "in"] => Self::new(key, Condition::In(values), part),
                [key, "notin"] => Self::new(key, Condition::NotIn(values), part),
                _ => Err(format!(
                    "{part:?} is not of the form \"key in (a,b)\" or \"key notin (a,b)\""
                )),
            };
        }
        if let Some((key, text)) = part.split_once("!=") {
            return Self::new(key, Condition::NotIn(vec![value(text, part)?]), part);
        }
        if let Some((key, text)) = part.split_once("==").or_else(|| part.split_once('=')) {
            return Self::new(key, Condition::In(vec![value(text, part)?]), part);
        }
        let number = |text: &str| {
            let number = text.trim().parse();
            number.map_err(|_| format!("{part:?} compares with what is no whole number"))
        };
        if let Some((key, text)) = part.split_once('>') {
            return Self::new(key, Condition::Greater(number(text)?), part);
        }
        if let Some((key, text)) = part.split_once('<') {
            return Self::new(key, Condition::Less(number(text)?), part);
        }
        Self::new(part, Condition::Exists, part)
    }

    fn new(key: &str, condition: Condition, part: &str) -> Result<Self, String> {
        let key = key.trim();
        let good = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        if key.is_empty() || !key.chars().all(good) {
            return Err(format!("{key:?} is not a label key in {part:?}"));
        }
        Ok(Self {
            key: key.to_owned(),
            condition,
        })
    }
}

fn value(text: &str, part: &str) -> Result<String, String> {
    let text = text.trim();
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.chars().all(good) {
        Ok(text.to_owned())
    } else {
        Err(format!("{text:?} is not a label value in {part:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_the_api_server_does() {
        let labels: BTreeMap<String, String> = [("a", "b"), ("n", "5")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        for (text, expected) in [
            ("", true),
            ("a=b", true),
            ("a==b", true),
            ("a!=b", false),
            ("a != c", true),
            ("z!=b", true),
            ("a=b,a=c", false),
            ("a in (c, b),n", true),
            ("a notin (b)", false),
            ("a in (,c)", false),
            ("z=", false),
            ("!a", false),
            ("!z", true),
            ("n>4", true),
            ("n > 5", false),
            ("n<6", true),
            ("a>1", false),
            ("z<1", false),
        ] {
            let query: Query = text.parse().unwrap();
            assert_eq!(query.matches(Some(&labels)), expected, "{text}");
            assert_eq!(query.text(), text);
        }
        assert!("a!=b".parse::<Query>().unwrap().matches(None));
    }

    #[test]
    fn refuses_what_the_api_server_refuses() {
        for text in [
            "a in b", "a in (b", "=b", "a b", "a=b,,c=d", "a=b c", "n>x", "a=b=c", "a!",
        ] {
            assert!(text.parse::<Query>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_selector_of_a_spec_is_a_query() {
        let selector: Selector = "a=b,c in (d,e),!f".parse().unwrap();
        assert_eq!(Query::from(&selector).text(), selector.query());
        assert_eq!(Query::from(&Selector::default()), Query::default());
    }
}
