//! Reading and changing JSON objects whose fields may have any type. A path that is not there, or
//! that leads through something that is no object, is simply absent.

use serde_json::{Map, Value};

/// The value at a path of object keys.
pub(crate) fn get<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter()
        .try_fold(value, |value, key| value.as_object()?.get(*key))
}

/// The value at a path of object keys, to change.
pub(crate) fn get_mut<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Value> {
    path.iter()
        .try_fold(value, |value, key| value.as_object_mut()?.get_mut(*key))
}

/// The text at a path.
pub(crate) fn text<'a>(value: &'a Value, path: &[&str]) -> Option<&'a str> {
    get(value, path)?.as_str()
}

/// The object at a path.
pub(crate) fn object<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Map<String, Value>> {
    get(value, path)?.as_object()
}

/// The object at a path, to change.
pub(crate) fn object_mut<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Map<String, Value>> {
    get_mut(value, path)?.as_object_mut()
}

/// The elements of the list at a path; none if there is no list.
pub(crate) fn list<'a>(value: &'a Value, path: &[&str]) -> &'a [Value] {
    get(value, path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The elements of the list at a path, to change.
pub(crate) fn list_mut<'a>(value: &'a mut Value, path: &[&str]) -> Option<&'a mut Vec<Value>> {
    get_mut(value, path)?.as_array_mut()
}

/// Removes a key from an object and leaves the others in order. Tells whether it was there.
pub(crate) fn remove(value: &mut Value, path: &[&str], key: &str) -> bool {
    object_mut(value, path).is_some_and(|object| object.shift_remove(key).is_some())
}

/// The object at a key, made (in place of anything else) if it is not one.
pub(crate) fn ensure_object<'a>(object: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = object.entry(key).or_insert_with(|| Value::Object(Map::new()));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("it was made an object just above")
}
