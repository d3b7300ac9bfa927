//! Objects as JSON and YAML, one alone or several as a list, as kubectl's users expect them.

use anyhow::{Context as _, Result};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Value, json};

use crate::flags::Format;

/// The objects in the format: a single one by itself, any other number as a `List` of the kind.
/// Ends in an empty line, as Velero's output does.
///
/// # Errors
/// Where an object cannot be serialised.
pub fn objects<K: Serialize>(kind: &str, objects: &[K], format: Format) -> Result<String> {
    let values: Vec<Value> = objects
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<_, _>>()
        .context("cannot serialise the objects")?;
    let value = match <[Value; 1]>::try_from(values) {
        Ok([value]) => value,
        Err(values) => json!({
            "kind": format!("{kind}List"), "apiVersion": "velero.io/v1", "metadata": {}, "items": values,
        }),
    };
    document(&value, format)
}

/// One document in the format.
///
/// # Errors
/// Where it cannot be serialised.
pub fn document(value: &Value, format: Format) -> Result<String> {
    Ok(match format {
        Format::Yaml => format!("{}\n", yaml(value)?),
        Format::Json | Format::Table => format!("{}\n", serde_json::to_string_pretty(value)?),
    })
}

/// YAML with sorted keys.
///
/// # Errors
/// Where it cannot be serialised.
pub fn yaml(value: &Value) -> Result<String> {
    let options = serde_saphyr::ser_options! { compact_list_indent: true, prefer_block_scalars: false };
    let mut text = String::new();
    serde_saphyr::to_fmt_writer_with_options(&mut text, &Sorted(value), options)
        .context("cannot write YAML")?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// A JSON value with its keys in order and its numbers as numbers.
struct Sorted<'a>(&'a Value);

impl Serialize for Sorted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(map) => {
                let mut keys: Vec<_> = map.iter().collect();
                keys.sort_by_key(|(key, _)| *key);
                let mut out = serializer.serialize_map(Some(keys.len()))?;
                for (key, value) in keys {
                    out.serialize_entry(key, &Sorted(value))?;
                }
                out.end()
            }
            Value::Array(items) => serializer.collect_seq(items.iter().map(Sorted)),
            Value::Number(number) => {
                if let Some(number) = number.as_i64() {
                    serializer.serialize_i64(number)
                } else if let Some(number) = number.as_u64() {
                    serializer.serialize_u64(number)
                } else {
                    serializer.serialize_f64(number.as_f64().unwrap_or(f64::NAN))
                }
            }
            other => other.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_that_other_readers_understand() {
        let value = json!({
            "b": ["*", "yes", "1", "a: b", "", "two\nlines"], "a": { "n": 1, "f": 1.5, "none": null, "empty": {}, "no": [] },
            "t": "2026-08-05T10:00:00Z",
        });
        let text = yaml(&value).unwrap();
        assert!(text.starts_with("a:\n"), "{text}");
        let back: Value = serde_saphyr::from_str(&text).unwrap();
        assert_eq!(back, value, "{text}");
    }

    #[test]
    fn one_object_stands_alone() {
        let one = objects("Backup", &[json!({"kind": "Backup"})], Format::Json).unwrap();
        assert_eq!(one, "{\n  \"kind\": \"Backup\"\n}\n");
        let none = objects::<Value>("Backup", &[], Format::Yaml).unwrap();
        assert_eq!(
            none,
            "apiVersion: velero.io/v1\nitems: []\nkind: BackupList\nmetadata: {}\n\n"
        );
    }
}
