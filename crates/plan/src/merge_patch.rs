//! JSON merge patches (RFC 7396).

use serde_json::{Map, Value};

/// The patch that makes `to` out of `from`; absent if there is nothing to do. A `null` in `to`
/// counts as a field that is not there, for a merge patch cannot set one; in the same way `null` in
/// `from` and no field are the same.
#[must_use]
pub fn diff(from: &Value, to: &Value) -> Option<Value> {
    match (from, to) {
        (Value::Object(from), Value::Object(to)) => {
            let patch = diff_objects(from, to);
            (!patch.is_empty()).then_some(Value::Object(patch))
        }
        (from, to) if same(from, to) => None,
        (_, to) => Some(without_nulls(to)),
    }
}

/// Whether two values are equal, where `null` and no field are the same.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(_), Value::Object(_)) => diff(a, b).is_none(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => a == b,
    }
}

fn diff_objects(from: &Map<String, Value>, to: &Map<String, Value>) -> Map<String, Value> {
    let mut patch = Map::new();
    let there = |map: &Map<String, Value>, key: &str| map.get(key).is_some_and(|value| !value.is_null());
    for (key, old) in from {
        if !old.is_null() && !there(to, key) {
            patch.insert(key.clone(), Value::Null);
        }
    }
    for (key, new) in to.iter().filter(|(_, new)| !new.is_null()) {
        match from.get(key).filter(|old| !old.is_null()) {
            Some(old) => {
                if let Some(change) = diff(old, new) {
                    patch.insert(key.clone(), change);
                }
            }
            None => {
                patch.insert(key.clone(), without_nulls(new));
            }
        }
    }
    patch
}

/// A value as a patch can set it: objects without their nulls; lists are set as they are.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let there = map.iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                there
                    .map(|(key, value)| (key.clone(), without_nulls(value)))
                    .collect(),
            )
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::fixture::any_json;

    #[test]
    fn says_only_what_changes() {
        let from = json!({"a": 1, "b": {"c": [1], "d": "x"}, "gone": 1, "n": null});
        let to = json!({"a": 1, "b": {"c": [1, 2], "d": "x"}, "new": {"e": null, "f": 2}, "m": null});
        let patch = diff(&from, &to).unwrap();
        assert_eq!(patch, json!({"gone": null, "b": {"c": [1, 2]}, "new": {"f": 2}}));
        assert_eq!(diff(&from, &from), None);
        assert_eq!(diff(&json!({"n": null}), &json!({})), None);
        assert_eq!(diff(&json!({"l": [{"n": null}]}), &json!({"l": [{}]})), None);
        assert_eq!(
            diff(&json!({"l": [1.0]}), &json!({"l": [1]})),
            Some(json!({"l": [1]}))
        );
    }

    proptest! {
        #[test]
        fn applied_it_gives_the_other(from in any_json(false), to in any_json(false)) {
            let mut patched = from.clone();
            if let Some(patch) = diff(&from, &to) {
                json_patch::merge(&mut patched, &patch);
            }
            prop_assert_eq!(patched, to);
        }
    }
}
