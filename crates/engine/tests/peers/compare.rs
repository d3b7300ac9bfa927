//! Compares objects as JSON values whose numbers are text, after taking away what is meant to differ.

#![allow(dead_code, reason = "each test program uses a part of it")]

use serde_json::Value;

/// Something that is meant to differ.
#[derive(Debug)]
pub(crate) struct Normalisation {
    /// The kinds, as `resource.group`; `*` for all.
    pub(crate) kinds: &'static [&'static str],
    /// What is taken away: keys joined by `/`; `*` is any key or item, and as the end of a key any rest.
    pub(crate) path: &'static str,
    /// Why it is meant to differ.
    pub(crate) why: &'static str,
}

/// Short for a [`Normalisation`].
pub(crate) const fn without(
    kinds: &'static [&'static str],
    path: &'static str,
    why: &'static str,
) -> Normalisation {
    Normalisation { kinds, path, why }
}

/// The object without what is meant to differ, and without maps that are empty then.
pub(crate) fn normalised(list: &[Normalisation], kind: &str, object: &Value) -> Value {
    let mut object = object.clone();
    for one in list {
        if one.kinds.iter().any(|name| *name == "*" || *name == kind) {
            let parts: Vec<&str> = one.path.split('/').collect();
            remove(&mut object, &parts);
        }
    }
    for key in ["labels", "annotations"] {
        let empty = object.pointer(&format!("/metadata/{key}")) == Some(&Value::Object(Default::default()));
        if empty && let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove(key);
        }
    }
    object
}

fn remove(value: &mut Value, path: &[&str]) {
    let [key, rest @ ..] = path else { return };
    // A key of the API group kind has slashes itself: `~1` as in JSON pointers.
    let key = key.replace("~1", "/");
    let matches = |name: &str| match key.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == key,
    };
    match value {
        Value::Object(map) if rest.is_empty() => map.retain(|name, _| !matches(name)),
        Value::Object(map) => {
            for (_, inner) in map.iter_mut().filter(|(name, _)| matches(name)) {
                remove(inner, rest);
            }
        }
        Value::Array(items) if key == "*" && !rest.is_empty() => {
            for item in items {
                remove(item, rest);
            }
        }
        _ => {}
    }
}

/// Where two values differ, one line each, at most a few.
pub(crate) fn differences(left: &Value, right: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk("", left, right, &mut found);
    found.truncate(12);
    found
}

fn walk(path: &str, left: &Value, right: &Value, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                match b.get(key) {
                    Some(other) => walk(&format!("{path}/{key}"), value, other, found),
                    None => found.push(format!("{path}/{key}: {} | -", short(value))),
                }
            }
            for (key, value) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                found.push(format!("{path}/{key}: - | {}", short(value)));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (value, other)) in a.iter().zip(b).enumerate() {
                walk(&format!("{path}/{index}"), value, other, found);
            }
        }
        _ if left == right => {}
        _ => found.push(format!("{path}: {} | {}", short(left), short(right))),
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    text.chars().take(160).collect()
}
