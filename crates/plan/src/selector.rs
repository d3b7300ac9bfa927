//! Label selectors: as the API server wants them in a LIST request, and matched against labels here.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use serde_json::{Map, Value};

use crate::PlanError;

/// Why a label selector is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SelectorError {
    /// An operator that Kubernetes does not have.
    #[error("operator {operator:?} of key {key:?} is unknown; use In, NotIn, Exists or DoesNotExist")]
    Operator {
        /// The label's key.
        key: String,
        /// What is written.
        operator: String,
    },
    /// In or NotIn without values.
    #[error("operator {operator} of key {key:?} needs at least one value")]
    NoValues {
        /// The label's key.
        key: String,
        /// The operator.
        operator: String,
    },
    /// Exists or DoesNotExist with values.
    #[error("operator {operator} of key {key:?} takes no values; remove them")]
    Values {
        /// The label's key.
        key: String,
        /// The operator.
        operator: String,
    },
    /// Not a label key.
    #[error(
        "{key:?} is not a label key; it is [prefix/]name of letters, digits, '-', '_' and '.', the name at most \
         63 characters and with a letter or digit at both ends"
    )]
    Key {
        /// What is written.
        key: String,
    },
    /// Not a label value.
    #[error(
        "{value:?} is not a value for label {key:?}; it is empty or at most 63 letters, digits, '-', '_' and \
         '.' with a letter or digit at both ends"
    )]
    Value {
        /// The label's key.
        key: String,
        /// What is written.
        value: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Absent(String),
}

/// A checked selector. All of its requirements must hold; none: it matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

impl Selector {
    /// Checks a selector.
    ///
    /// # Errors
    /// What the API server would refuse, and keys and values that would read as something else in a
    /// request.
    pub fn compile(selector: &LabelSelector) -> Result<Self, SelectorError> {
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements.push(Requirement::In(
                checked_key(key)?,
                vec![checked_value(key, value)?],
            ));
        }
        for expression in selector.match_expressions.iter().flatten() {
            requirements.push(compile_expression(expression)?);
        }
        Ok(Self { requirements })
    }

    /// Whether it has no requirement, that is, matches everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether labels, given as a look-up, match. A key that is absent satisfies `NotIn`.
    pub fn matches<'a>(&self, label: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| match requirement {
            Requirement::In(key, values) => label(key).is_some_and(|have| values.iter().any(|v| v == have)),
            Requirement::NotIn(key, values) => label(key).is_none_or(|have| values.iter().all(|v| v != have)),
            Requirement::Exists(key) => label(key).is_some(),
            Requirement::Absent(key) => label(key).is_none(),
        })
    }

    /// Whether labels match.
    #[must_use]
    pub fn matches_map(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches(|key| labels.get(key).map(String::as_str))
    }

    /// Whether an object's labels match. No labels, or something that is no map, counts as empty.
    #[must_use]
    pub fn matches_json(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.matches(|key| labels?.get(key)?.as_str())
    }
}

/// As the `labelSelector` parameter of a LIST request; empty for a selector that matches everything.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match requirement {
                Requirement::In(key, values) if values.len() == 1 => write!(f, "{key}={}", values[0])?,
                Requirement::In(key, values) => write!(f, "{key} in ({})", values.join(","))?,
                Requirement::NotIn(key, values) => write!(f, "{key} notin ({})", values.join(","))?,
                Requirement::Exists(key) => f.write_str(key)?,
                Requirement::Absent(key) => write!(f, "!{key}")?,
            }
        }
        Ok(())
    }
}

/// A spec's two selector fields as one list: an object is selected if it matches any of them, or if
/// there is none.
///
/// # Errors
/// If both fields are set or one cannot be read.
pub fn compile_all(
    single: Option<&LabelSelector>,
    any_of: &[LabelSelector],
) -> Result<Vec<Selector>, PlanError> {
    let compile = |field, selector: &LabelSelector| {
        Selector::compile(selector).map_err(|fault| PlanError::Selector { field, fault })
    };
    match single {
        Some(_) if !any_of.is_empty() => Err(PlanError::TwoSelectors),
        Some(selector) => Ok(vec![compile("spec.labelSelector", selector)?]),
        None => any_of
            .iter()
            .map(|selector| compile("spec.orLabelSelectors", selector))
            .collect(),
    }
}

fn compile_expression(expression: &LabelSelectorRequirement) -> Result<Requirement, SelectorError> {
    let key = checked_key(&expression.key)?;
    let operator = expression.operator.clone();
    let values = expression.values.as_deref().unwrap_or_default();
    let checked = || -> Result<Vec<String>, SelectorError> {
        if values.is_empty() {
            return Err(SelectorError::NoValues {
                key: key.clone(),
                operator: operator.clone(),
            });
        }
        values.iter().map(|value| checked_value(&key, value)).collect()
    };
    let none = || match values {
        [] => Ok(()),
        _ => Err(SelectorError::Values {
            key: key.clone(),
            operator: operator.clone(),
        }),
    };
    match operator.as_str() {
        "In" => checked().map(|values| Requirement::In(key.clone(), values)),
        "NotIn" => checked().map(|values| Requirement::NotIn(key.clone(), values)),
        "Exists" => none().map(|()| Requirement::Exists(key.clone())),
        "DoesNotExist" => none().map(|()| Requirement::Absent(key.clone())),
        _ => Err(SelectorError::Operator { key, operator }),
    }
}

fn checked_key(key: &str) -> Result<String, SelectorError> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let prefix_ok = prefix.is_none_or(|prefix| {
        !prefix.is_empty()
            && prefix.len() <= 253
            && prefix
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
    });
    if prefix_ok && is_name(name) {
        Ok(key.to_owned())
    } else {
        Err(SelectorError::Key { key: key.to_owned() })
    }
}

fn checked_value(key: &str, value: &str) -> Result<String, SelectorError> {
    if value.is_empty() || is_name(value) {
        Ok(value.to_owned())
    } else {
        Err(SelectorError::Value {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

/// 1 to 63 letters, digits, `-`, `_` and `.`, a letter or digit at both ends.
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compile(selector: Value) -> Result<Selector, SelectorError> {
        Selector::compile(&serde_json::from_value(selector).unwrap())
    }

    #[test]
    fn writes_what_the_server_reads() {
        let selector = compile(json!({
            "matchLabels": {"app": "web", "a.b/c": ""},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["a", "b"]},
                {"key": "backup", "operator": "NotIn", "values": ["false", "skip"]},
                {"key": "x", "operator": "Exists"},
                {"key": "y", "operator": "DoesNotExist", "values": []}
            ]
        }));
        assert_eq!(
            selector.unwrap().to_string(),
            "a.b/c=,app=web,tier in (a,b),backup notin (false,skip),x,!y"
        );
        assert_eq!(compile(json!({})).unwrap().to_string(), "");
        assert!(compile(json!({})).unwrap().is_empty());
    }

    #[test]
    fn matches_as_the_server_does() {
        let cases = [
            (
                json!({"matchLabels": {"a": "b"}}),
                json!({"a": "b", "c": "d"}),
                true,
            ),
            (json!({"matchLabels": {"a": "b"}}), json!({"a": "c"}), false),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}),
                json!({}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}),
                json!({"a": "b"}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}),
                json!({}),
                false,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "Exists"}]}),
                json!({"a": ""}),
                true,
            ),
            (
                json!({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}),
                json!({"a": ""}),
                false,
            ),
            (json!({}), json!({}), true),
        ];
        for (selector, labels, expected) in cases {
            let compiled = compile(selector.clone()).unwrap();
            assert_eq!(
                compiled.matches_json(labels.as_object()),
                expected,
                "{selector} {labels}"
            );
            let map: BTreeMap<String, String> = serde_json::from_value(labels).unwrap();
            assert_eq!(compiled.matches_map(&map), expected, "{selector}");
        }
        assert!(compile(json!({})).unwrap().matches_json(None));
    }

    #[test]
    fn refuses_what_would_read_as_something_else() {
        for bad in [
            json!({"matchExpressions": [{"key": "a", "operator": "in", "values": ["b"]}]}),
            json!({"matchExpressions": [{"key": "a", "operator": "In"}]}),
            json!({"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}),
            json!({"matchLabels": {"a": "b,c=d"}}),
            json!({"matchLabels": {"a=b": "c"}}),
            json!({"matchLabels": {"": "c"}}),
            json!({"matchLabels": {"/a": "c"}}),
        ] {
            assert!(compile(bad.clone()).is_err(), "{bad}");
        }
    }
}
