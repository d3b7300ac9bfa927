//! Strategic merge patches: merge patches that know by which field the elements of a list are the same.
//!
//! The rules are those of k8s.io/apimachinery's `strategicpatch`, which the API server and Velero use:
//! the directives `$patch`, `$retainKeys`, `$setElementOrder/…` and `$deleteFromPrimitiveList/…`, and the
//! order of merged lists. How lists merge is known for built-in kinds only; for others the patch is
//! refused, as by Velero and the API server.

mod merge_keys;

use serde_json::{Map, Value};

use crate::json;
use merge_keys::Strategy;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

/// Applies a patch to an object of a built-in kind.
///
/// # Errors
/// The reason, for the results: the kind is not known, or the patch is malformed. The object may have
/// been changed in part.
pub(crate) fn apply(object: &mut Value, patch: &Value) -> Result<(), String> {
    let version = json::text(object, &["apiVersion"]).unwrap_or_default().to_owned();
    let kind = json::text(object, &["kind"]).unwrap_or_default().to_owned();
    let Some(of) = merge_keys::of_kind(&version, &kind) else {
        return Err(format!(
            "no kind {kind:?} is registered for version {version:?}: strategic patches are for built-in kinds; use \
             mergePatches or patches for this one"
        ));
    };
    let (Value::Object(object), Value::Object(patch)) = (object, patch) else {
        return Err("a strategic patch must be an object".to_owned());
    };
    merge_map(object, patch, of)
}

/// Merges a patch into a map of the type `of` (empty: nothing is known of it).
fn merge_map(original: &mut Map<String, Value>, patch: &Map<String, Value>, of: &str) -> Result<(), String> {
    match patch.get(PATCH).map(|directive| directive.as_str()) {
        None => {}
        Some(Some("replace")) => {
            *original = patch.clone();
            original.shift_remove(PATCH);
            return Ok(());
        }
        Some(Some("delete")) => {
            original.clear();
            return Ok(());
        }
        Some(_) => return Err(format!("unknown patch type {} in a map", patch[PATCH])),
    }
    retain_keys(original, patch)?;
    for (key, value) in patch {
        if key == RETAIN_KEYS || key.starts_with(ORDER) {
            continue;
        }
        if let Some(list) = key.strip_prefix(DELETE) {
            delete_values(original, list, value)?;
            continue;
        }
        if value.is_null() {
            original.shift_remove(key);
            continue;
        }
        let order = patch.get(&format!("{ORDER}{key}"));
        merge_field(original, key, value, order, of)?;
    }
    // An order may also be asked for of a list that is not patched.
    for (key, order) in patch {
        let Some(list) = key.strip_prefix(ORDER) else {
            continue;
        };
        if !patch.contains_key(list)
            && let Some(Value::Array(items)) = original.get_mut(list)
        {
            let strategy = merge_keys::field(of, list).map_or(Strategy::Plain, |field| field.strategy);
            reorder(items, &[], order, strategy)?;
        }
    }
    Ok(())
}

fn merge_field(
    original: &mut Map<String, Value>,
    key: &str,
    value: &Value,
    order: Option<&Value>,
    of: &str,
) -> Result<(), String> {
    let field = merge_keys::field(of, key);
    let (strategy, holds) = field.map_or((Strategy::Plain, ""), |field| (field.strategy, field.holds));
    match (original.get_mut(key), value) {
        (Some(Value::Object(have)), Value::Object(patch)) if strategy != Strategy::Replace => {
            merge_map(have, patch, holds)
        }
        (Some(Value::Array(have)), Value::Array(patch)) if strategy != Strategy::Plain => {
            let before = have.clone();
            merge_list(have, patch, strategy, holds)?;
            if patch.iter().any(|item| directive(item) == Some("replace")) {
                return Ok(());
            }
            match order {
                Some(order) => reorder(have, &before, order, strategy),
                None => reorder(have, &before, &Value::Array(plain_items(patch)), strategy),
            }
        }
        (Some(have), value) => {
            *have = without_directives(value);
            Ok(())
        }
        (None, value) => {
            original.insert(key.to_owned(), without_directives(value));
            Ok(())
        }
    }
}

/// Removes the keys that a patch does not want to retain.
fn retain_keys(original: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), String> {
    let Some(wanted) = patch.get(RETAIN_KEYS) else {
        return Ok(());
    };
    let Some(wanted) = wanted.as_array() else {
        return Err(format!("{RETAIN_KEYS} must be a list of names"));
    };
    let is_wanted = |key: &String| wanted.iter().any(|name| name.as_str() == Some(key.as_str()));
    let stray = patch
        .keys()
        .find(|key| !key.starts_with('$') && !patch[*key].is_null() && !is_wanted(key));
    if let Some(key) = stray {
        return Err(format!("{RETAIN_KEYS} lacks {key:?}, which the patch sets"));
    }
    original.retain(|key, _| is_wanted(key));
    Ok(())
}

fn delete_values(original: &mut Map<String, Value>, list: &str, values: &Value) -> Result<(), String> {
    let Some(values) = values.as_array() else {
        return Err("a list of values to delete must be a list".to_owned());
    };
    if let Some(Value::Array(list)) = original.get_mut(list) {
        list.retain(|item| !values.contains(item));
    }
    Ok(())
}

fn merge_list(have: &mut Vec<Value>, patch: &[Value], strategy: Strategy, holds: &str) -> Result<(), String> {
    let Strategy::By(key) = strategy else {
        for item in patch {
            if !have.contains(item) {
                have.push(item.clone());
            }
        }
        return Ok(());
    };
    if patch.iter().any(|item| directive(item) == Some("replace")) {
        *have = plain_items(patch);
        return Ok(());
    }
    for item in patch {
        let Value::Object(fields) = item else {
            return Err(format!(
                "a list that merges by {key:?} has an element that is no object"
            ));
        };
        let Some(identity) = fields.get(key) else {
            return Err(format!(
                "an element of a list lacks {key:?}, by which the list merges"
            ));
        };
        let at = have.iter().position(|old| old.get(key) == Some(identity));
        match (directive(item), at) {
            (Some("delete"), _) => have.retain(|old| old.get(key) != Some(identity)),
            (Some("merge"), _) => return Err("merging lists cannot be asked for in the patch".to_owned()),
            (Some(other), _) => return Err(format!("unknown patch type {other:?} in a list")),
            (None, Some(at)) => match &mut have[at] {
                Value::Object(old) => merge_map(old, fields, holds)?,
                old => *old = without_directives(item),
            },
            (None, None) => have.push(without_directives(item)),
        }
    }
    Ok(())
}

/// Puts a merged list in order: those that `order` names as it names them, the others as they were, and
/// where both were there before, by that.
fn reorder(list: &mut Vec<Value>, before: &[Value], order: &Value, strategy: Strategy) -> Result<(), String> {
    let Some(order) = order.as_array() else {
        return Err(format!("{ORDER}… must be a list"));
    };
    let identity = |item: &Value| match strategy {
        Strategy::By(key) => item.get(key).cloned().unwrap_or_default(),
        _ => item.clone(),
    };
    let place = |among: &[Value], item: &Value| {
        let wanted = identity(item);
        among.iter().position(|other| identity(other) == wanted)
    };
    let before: Vec<Value> = if before.is_empty() {
        list.clone()
    } else {
        before.to_vec()
    };
    let (mut named, mut others): (Vec<Value>, Vec<Value>) = std::mem::take(list)
        .into_iter()
        .partition(|item| place(order, item).is_some());
    named.sort_by_key(|item| place(order, item));
    others.sort_by_key(|item| place(&before, item));
    let mut named = named.into_iter().peekable();
    let mut others = others.into_iter().peekable();
    loop {
        let other_first = match (others.peek(), named.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(other), Some(named)) => {
                matches!((place(&before, other), place(&before, named)), (Some(a), Some(b)) if a < b)
            }
        };
        list.extend(if other_first { others.next() } else { named.next() });
    }
}

fn directive(item: &Value) -> Option<&str> {
    json::text(item, &[PATCH])
}

/// The elements of a patch's list that are no directives.
fn plain_items(patch: &[Value]) -> Vec<Value> {
    let plain = patch.iter().filter(|item| directive(item).is_none());
    plain.map(without_directives).collect()
}

/// A value as it is stored where nothing was before: without nulls and directives.
fn without_directives(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.iter().filter(|(key, value)| {
                let is_directive =
                    *key == PATCH || *key == RETAIN_KEYS || key.starts_with(ORDER) || key.starts_with(DELETE);
                !is_directive && !value.is_null()
            });
            Value::Object(
                kept.map(|(key, value)| (key.clone(), without_directives(value)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(plain_items(items)),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::fixture::any_json;

    fn pod(spec: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "spec": spec})
    }

    fn patched(spec: &Value, patch: &Value) -> Result<Value, String> {
        let mut pod = pod(spec);
        apply(&mut pod, &json!({ "spec": patch }))?;
        Ok(pod["spec"].take())
    }

    #[test]
    fn lists_merge_by_their_key() {
        let spec = json!({"containers": [
            {"name": "a", "image": "x:1", "env": [{"name": "K", "value": "1"}], "args": ["one", "two"]},
            {"name": "b", "image": "y:1"}]});
        let patch = json!({"containers": [
            {"name": "b", "image": "y:2"},
            {"name": "a", "env": [{"name": "L", "value": "2"}], "args": ["three"]}]});
        assert_eq!(
            patched(&spec, &patch).unwrap(),
            json!({"containers": [
                {"name": "b", "image": "y:2"},
                {"name": "a", "image": "x:1", "args": ["three"],
                    "env": [{"name": "L", "value": "2"}, {"name": "K", "value": "1"}]}]})
        );
    }

    #[test]
    fn directives_delete_replace_retain_and_order() {
        let spec = json!({
            "containers": [{"name": "a"}, {"name": "b"}, {"name": "c"}],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "nodeSelector": {"x": "y"}, "hostAliases": [{"ip": "1.1.1.1"}]
        });
        let patch = json!({
            "containers": [{"name": "b", "$patch": "delete"}],
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}],
            "nodeSelector": {"$patch": "replace", "z": "z"},
            "hostAliases": [{"$patch": "replace"}, {"ip": "2.2.2.2"}]
        });
        assert_eq!(
            patched(&spec, &patch).unwrap(),
            json!({
                "containers": [{"name": "c"}, {"name": "a"}],
                "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
                "nodeSelector": {"z": "z"}, "hostAliases": [{"ip": "2.2.2.2"}]
            })
        );
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"finalizers": ["a", "b"]}, "data": {"k": "v", "gone": "x"}});
        let patch = json!({"metadata": {"finalizers": ["c"], "$deleteFromPrimitiveList/finalizers": ["a"]},
            "data": {"gone": null, "new": {"$patch": "merge", "n": null}}});
        apply(&mut object, &patch).unwrap();
        assert_eq!(
            object,
            json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"finalizers": ["c", "b"]}, "data": {"k": "v", "new": {}}})
        );
    }

    #[test]
    fn what_is_malformed_or_unknown_is_refused() {
        let spec = json!({"containers": [{"name": "a"}], "nodeSelector": {"x": "y"}});
        for patch in [
            json!({"containers": [{"image": "x"}]}),
            json!({"containers": ["a"]}),
            json!({"containers": [{"name": "a", "$patch": "merge"}]}),
            json!({"nodeSelector": {"$patch": "merge"}}),
            json!({"nodeSelector": {"$retainKeys": ["a"], "b": "c"}}),
            json!({"nodeSelector": {"$retainKeys": "a"}}),
        ] {
            assert!(patched(&spec, &patch).is_err(), "{patch}");
        }
        let mut widget = json!({"apiVersion": "example.io/v1", "kind": "Widget"});
        let error = apply(&mut widget, &json!({})).unwrap_err();
        assert!(error.starts_with("no kind \"Widget\" is registered for version \"example.io/v1\""));
    }

    proptest! {
        #[test]
        fn any_patch_of_any_object_ends(spec in any_json(true), patch in any_json(true)) {
            let _ = patched(&spec, &patch);
        }
    }
}
