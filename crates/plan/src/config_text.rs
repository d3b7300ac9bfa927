//! YAML documents in ConfigMaps, read as strictly as Velero reads them: exactly one key, no unknown
//! field, no key twice.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use serde::{Deserialize, Deserializer, de};

/// The text of a ConfigMap that must have exactly one key.
///
/// # Errors
/// The reason.
pub(crate) fn only_text(data: &BTreeMap<String, String>) -> Result<&str, String> {
    match data.len() {
        1 => Ok(data.values().next().map_or("", String::as_str)),
        many => Err(format!(
            "it has {many} keys in data; put the whole document under one key"
        )),
    }
}

/// Reads a document of one type.
///
/// # Errors
/// What is wrong with it and where, in one line.
pub(crate) fn read<T: de::DeserializeOwned>(text: &str) -> Result<T, String> {
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| one_line(&error.to_string()))
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text that may be written as a number, a truth value or nothing: `value: 1` is `"1"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Text(pub(crate) String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text (put it in quotes, or after a '|')")
            }

            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_bool<E>(self, value: bool) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Text, E> {
                Ok(Text(value.to_string()))
            }

            fn visit_unit<E>(self) -> Result<Text, E> {
                Ok(Text::default())
            }

            fn visit_none<E>(self) -> Result<Text, E> {
                Ok(Text::default())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A list where nothing, or `null`, is an empty one.
pub(crate) fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// A label selector that knows no other fields than its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct StrictSelector {
    match_labels: Option<BTreeMap<String, Text>>,
    match_expressions: Option<Vec<StrictRequirement>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StrictRequirement {
    key: Text,
    operator: Text,
    values: Option<Vec<Text>>,
}

impl From<StrictSelector> for LabelSelector {
    fn from(selector: StrictSelector) -> Self {
        let labels = selector.match_labels.map(|labels| {
            let pairs = labels.into_iter().map(|(key, Text(value))| (key, value));
            pairs.collect()
        });
        let expressions = selector.match_expressions.map(|expressions| {
            let converted = expressions.into_iter().map(|one| LabelSelectorRequirement {
                key: one.key.0,
                operator: one.operator.0,
                values: one
                    .values
                    .map(|values| values.into_iter().map(|Text(value)| value).collect()),
            });
            converted.collect()
        });
        Self {
            match_labels: labels,
            match_expressions: expressions,
        }
    }
}
