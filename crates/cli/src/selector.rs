//! Label selectors as flags spell them, as specs hold them and as tables show them.

use std::{collections::BTreeMap, fmt::Write as _, str::FromStr};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// A label selector in kubectl's notation: `a=b,c in (d,e),!f`. Velero allows no `!=` in specs, and
/// neither does this; `notin` says the same.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selector(pub LabelSelector);

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut selector = LabelSelector::default();
        for part in split_outside_parentheses(text) {
            let part = part.trim();
            if part.is_empty() {
                if text.trim().is_empty() {
                    continue;
                }
                return Err(format!("{text:?} has an empty requirement"));
            }
            requirement(part, &mut selector)?;
        }
        Ok(Self(selector))
    }
}

impl Selector {
    /// Whether an object with these labels is selected.
    #[must_use]
    pub fn matches(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        let value = |key: &str| labels.and_then(|labels| labels.get(key));
        let equal = self
            .0
            .match_labels
            .iter()
            .flatten()
            .all(|(key, want)| value(key) == Some(want));
        equal
            && self.0.match_expressions.iter().flatten().all(|requirement| {
                let have = value(&requirement.key);
                let listed = || requirement.values.iter().flatten().any(|one| have == Some(one));
                match requirement.operator.as_str() {
                    "In" => listed(),
                    "NotIn" => !listed(),
                    "Exists" => have.is_some(),
                    _ => have.is_none(),
                }
            })
    }

    /// In the notation that the API server reads; empty selects everything.
    #[must_use]
    pub fn query(&self) -> String {
        let text = format(Some(&self.0));
        if text == NONE { String::new() } else { text }
    }
}

/// Several selectors, any of which may match: `a=b or c=d`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OrSelector(pub Vec<LabelSelector>);

impl FromStr for OrSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(" or ")
            .map(|part| part.parse().map(|Selector(selector)| selector))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

const NONE: &str = "<none>";

/// As tables and descriptions show a selector: sorted by key, `<none>` when it selects all.
#[must_use]
pub fn format(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else {
        return NONE.into();
    };
    let equal = selector
        .match_labels
        .iter()
        .flatten()
        .map(|(key, value)| (key, format!("{key}={value}")));
    let others = selector.match_expressions.iter().flatten().map(|requirement| {
        let mut values = requirement.values.clone().unwrap_or_default();
        values.sort();
        let key = &requirement.key;
        let values = values.join(",");
        let text = match requirement.operator.as_str() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.clone(),
            _ => format!("!{key}"),
        };
        (key, text)
    });
    let mut parts: Vec<_> = equal.chain(others).collect();
    parts.sort();
    let mut text = String::new();
    for (index, (_, part)) in parts.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(text, "{comma}{part}").expect("writing to a string does not fail");
    }
    if text.is_empty() { NONE.into() } else { text }
}

pub(crate) fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(|c| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn requirement(part: &str, selector: &mut LabelSelector) -> Result<(), String> {
    if part.contains("!=") {
        return Err(format!(
            "\"!=\" is not a valid label selector operator in {part:?}; use \"notin\""
        ));
    }
    let mut push = |key: &str, operator: &str, values: Option<Vec<String>>| {
        let key = check(key.trim(), part)?;
        let one = LabelSelectorRequirement {
            key,
            operator: operator.into(),
            values,
        };
        selector.match_expressions.get_or_insert_default().push(one);
        Ok(())
    };
    if let Some(key) = part.strip_prefix('!') {
        return push(key, "DoesNotExist", None);
    }
    if let Some((head, rest)) = part.split_once('(') {
        let values = rest
            .strip_suffix(')')
            .ok_or_else(|| format!("a parenthesis is not closed in {part:?}"))?;
        let values: Vec<_> = values.split(',').map(|value| value.trim().to_owned()).collect();
        let words: Vec<_> = head.split_whitespace().collect();
        return match words[..] {
            [key, "in"] => push(key, "In", Some(values)),
            [key, "notin"] => push(key, "NotIn", Some(values)),
            _ => Err(format!(
                "{part:?} is not of the form \"key in (a,b)\" or \"key notin (a,b)\""
            )),
        };
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        let value = value.trim();
        if value.contains(|c: char| c.is_whitespace() || c == '=') {
            return Err(format!("{value:?} is not a label value in {part:?}"));
        }
        let key = check(key.trim(), part)?;
        selector
            .match_labels
            .get_or_insert_default()
            .insert(key, value.to_owned());
        return Ok(());
    }
    push(part, "Exists", None)
}

fn check(key: &str, part: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if key.is_empty() || !key.chars().all(good) {
        return Err(format!("{key:?} is not a label key in {part:?}"));
    }
    Ok(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubectl_reads_and_prints_it_sorted() {
        let Selector(selector) = "c in (e, d),a==b,!f,g,h notin (x)".parse().unwrap();
        assert_eq!(format(Some(&selector)), "a=b,c in (d,e),!f,g,h notin (x)");
        assert_eq!(format(None), "<none>");
        assert_eq!(format(Some(&LabelSelector::default())), "<none>");
    }

    #[test]
    fn refuses_what_velero_refuses() {
        for text in ["a!=b", "a in b", "a in (b", "=b", "a b", "a=b,,c=d", "a=b c"] {
            assert!(text.parse::<Selector>().is_err(), "{text}");
        }
    }

    #[test]
    fn matches_as_the_api_server_does() {
        let labels: BTreeMap<_, _> =
            [("a".to_owned(), "b".to_owned()), ("t".to_owned(), "x".to_owned())].into();
        for (text, expected) in [
            ("a=b", true),
            ("a=c", false),
            ("a in (b,c),t", true),
            ("a notin (b)", false),
            ("z notin (b)", true),
            ("!a", false),
            ("!z", true),
            ("", true),
        ] {
            assert_eq!(
                text.parse::<Selector>().unwrap().matches(Some(&labels)),
                expected,
                "{text}"
            );
        }
        assert!(!"a".parse::<Selector>().unwrap().matches(None));
    }

    #[test]
    fn or_selectors_are_split_at_the_word() {
        let OrSelector(selectors) = "a=b or c in (d)".parse().unwrap();
        assert_eq!(selectors.len(), 2);
    }
}
