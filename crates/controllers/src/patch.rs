//! The merge patch that turns one state of an object into another and leaves all else alone, so that
//! fields of a newer version, and fields that others write, survive.

use refloat_cluster::typed::{Object, Objects};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::ControllerError;

/// The RFC 7386 patch from `old` to `new`; `None` where they are the same. Lists are replaced whole.
#[must_use]
pub(crate) fn merge_diff(old: &Value, new: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return (old != new).then(|| new.clone());
    };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            // A new object may itself hold nulls, which a patch cannot say; our models write none.
            None => drop(patch.insert(key.clone(), value.clone())),
            Some(before) => {
                if let Some(change) = merge_diff(before, value) {
                    patch.insert(key.clone(), change);
                }
            }
        }
    }
    for key in old.keys().filter(|key| !new.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    (!patch.is_empty()).then_some(Value::Object(patch))
}

/// Writes what differs between `old` (as read) and `new`, and returns the object as it is then.
/// Where the finalizers change, nobody else may have changed the object meanwhile (conflict).
///
/// # Errors
/// Whatever the request reports.
pub(crate) async fn update<K: Object>(objects: &Objects<K>, old: &K, new: &K) -> Result<K, ControllerError> {
    let what = || format!("{} {}", K::kind_name(), old.object_name());
    let value = |object: &K| to_value(&what, object);
    let Some(mut patch) = merge_diff(&value(old)?, &value(new)?) else {
        return Ok(old.clone());
    };
    if patch["metadata"].get("finalizers").is_some() {
        patch["metadata"]["resourceVersion"] = old.object_meta().resource_version.clone().into();
    }
    Ok(objects.merge_patch(old.object_name(), &patch).await?)
}

fn to_value(what: &dyn Fn() -> String, object: &impl Serialize) -> Result<Value, ControllerError> {
    serde_json::to_value(object).map_err(|source| ControllerError::Encode { what: what(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_in_the_patch() {
        let old = json!({"a": 1, "b": {"c": [1, 2], "d": "x", "gone": true}, "same": {"k": 1}});
        let new = json!({"a": 1, "b": {"c": [1], "d": "x"}, "same": {"k": 1}, "new": {"z": 0}});
        let patch = merge_diff(&old, &new).unwrap();
        assert_eq!(patch, json!({"b": {"c": [1], "gone": null}, "new": {"z": 0}}));
        assert_eq!(merge_diff(&new, &new), None);
    }

    #[test]
    fn a_scalar_becomes_an_object_and_back() {
        assert_eq!(
            merge_diff(&json!({"a": 1}), &json!({"a": {"b": 1}})),
            Some(json!({"a": {"b": 1}}))
        );
        assert_eq!(
            merge_diff(&json!({"a": {"b": 1}}), &json!({"a": 1})),
            Some(json!({"a": 1}))
        );
    }
}
