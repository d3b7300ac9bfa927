//! JSON patches (RFC 6902) as rules write them: every value is a text, read as JSON where it looks
//! like it.

use json_patch::{
    AddOperation, CopyOperation, MoveOperation, PatchErrorKind, PatchOperation, RemoveOperation,
    ReplaceOperation, TestOperation, jsonptr::PointerBuf,
};
use serde_json::Value;

/// One operation. Its paths may count from the end of a list: `/spec/containers/-1`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Operation {
    what: What,
    path: PointerBuf,
    from: PointerBuf,
    value: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Add,
    Remove,
    Replace,
    Move,
    Copy,
    Test,
}

/// Why an operation was not applied.
pub(super) enum Failure {
    /// A test found another value.
    Test,
    /// Something is not there.
    Other(String),
}

impl Operation {
    /// Checks an operation.
    ///
    /// # Errors
    /// In Velero's words where it has some.
    pub(super) fn new(operation: &str, path: &str, from: &str, value: &str) -> Result<Self, String> {
        let what = match operation.to_ascii_lowercase().as_str() {
            "add" => What::Add,
            "remove" => What::Remove,
            "replace" => What::Replace,
            "move" => What::Move,
            "copy" => What::Copy,
            "test" => What::Test,
            "" => return Err("operation cannot be empty".to_owned()),
            _ => {
                return Err(format!(
                    "unsupported operation {operation}; use add, remove, replace, move, copy or test"
                ));
            }
        };
        if path.is_empty() {
            return Err("path cannot be empty".to_owned());
        }
        let pointer = |field: &str, text: &str| {
            PointerBuf::parse(text).map_err(|_| {
                format!("{field} {text:?} is no JSON pointer; it begins with / and has no ~ but ~0 and ~1")
            })
        };
        let from = match what {
            What::Move | What::Copy => pointer("from", from)?,
            _ => PointerBuf::new(),
        };
        let value = match what {
            What::Add | What::Replace | What::Test => meant(value)?,
            _ => Value::Null,
        };
        Ok(Self {
            what,
            path: pointer("path", path)?,
            from,
            value,
        })
    }

    /// A test of a value.
    ///
    /// # Errors
    /// As [`Operation::new`].
    pub(super) fn test(path: &str, value: &str) -> Result<Self, String> {
        if path.is_empty() {
            return Err("path is required for match rule".to_owned());
        }
        Self::new("test", path, "", value)
    }

    /// Whether a test holds; what is not there has no value.
    pub(super) fn holds(&self, object: &Value) -> bool {
        let path = counted(&self.path, object);
        let found = object.pointer(path.as_str());
        found.unwrap_or(&Value::Null) == &self.value && (found.is_some() || self.parent_is_there(object))
    }

    fn parent_is_there(&self, object: &Value) -> bool {
        let parent = self.path.parent().map(|parent| counted(&parent.to_buf(), object));
        parent.is_some_and(|parent| object.pointer(parent.as_str()).is_some())
    }

    /// Changes an object.
    pub(super) fn apply(&self, object: &mut Value) -> Result<(), Failure> {
        let path = counted(&self.path, object);
        let from = counted(&self.from, object);
        let value = self.value.clone();
        let operation = match self.what {
            What::Test if self.holds(object) => return Ok(()),
            What::Test if self.parent_is_there(object) => return Err(Failure::Test),
            What::Test => PatchOperation::Test(TestOperation { path, value }),
            What::Add => PatchOperation::Add(AddOperation { path, value }),
            What::Remove => PatchOperation::Remove(RemoveOperation { path }),
            What::Replace => PatchOperation::Replace(ReplaceOperation { path, value }),
            What::Move => PatchOperation::Move(MoveOperation { from, path }),
            What::Copy => PatchOperation::Copy(CopyOperation { from, path }),
        };
        json_patch::patch(object, &[operation]).map_err(|error| match error.kind {
            PatchErrorKind::TestFailed => Failure::Test,
            kind => Failure::Other(format!("{:?} of {}: {kind}", self.what, self.path)),
        })
    }
}

/// A path whose negative indices are counted from the end of the lists that they are in.
fn counted(path: &PointerBuf, object: &Value) -> PointerBuf {
    let mut found = PointerBuf::new();
    let mut at = Some(object);
    for token in path.tokens() {
        let text = token.decoded();
        let back = at
            .and_then(Value::as_array)
            .and_then(|list| list.len().checked_sub(text.strip_prefix('-')?.parse().ok()?));
        match back {
            Some(index) => found.push_back(index),
            None => found.push_back(text.as_ref()),
        }
        at = at.and_then(|at| match at {
            Value::Object(map) => map.get(text.as_ref()),
            Value::Array(list) => list.get(back.or_else(|| text.parse().ok())?),
            _ => None,
        });
    }
    found
}

/// The JSON that a text stands for: `null`, truth values, numbers, objects and lists as such, a text in
/// double quotes as the text in them, anything else as text, with JSON's escapes.
fn meant(text: &str) -> Result<Value, String> {
    if text.len() >= 2 && text.starts_with('"') && text.ends_with('"') {
        return Ok(escaped(&text[1..text.len() - 1]));
    }
    if text == "null" {
        return Ok(Value::Null);
    }
    for truth in [true, false] {
        if text.eq_ignore_ascii_case(&truth.to_string()) {
            return Ok(truth.into());
        }
    }
    if text.starts_with(['{', '[']) {
        return serde_json::from_str(text).map_err(|error| {
            format!("the value {text:?} is no JSON: {error}; to mean a text, put it in \"quotes\"")
        });
    }
    match serde_json::from_str::<Value>(text) {
        Ok(number @ Value::Number(_)) => Ok(number),
        _ => Ok(escaped(text)),
    }
}

fn escaped(text: &str) -> Value {
    let json = serde_json::from_str(&format!("\"{text}\""));
    json.unwrap_or_else(|_| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_what_they_look_like() {
        for (text, value) in [
            ("", json!("")),
            ("1", json!(1)),
            ("\"1\"", json!("1")),
            ("\"true\"", json!("true")),
            ("true", json!(true)),
            ("False", json!(false)),
            ("null", json!(null)),
            ("-1", json!(-1)),
            ("1e3", serde_json::from_str("1e3").unwrap()),
            ("007", json!("007")),
            ("nan", json!("nan")),
            ("a b", json!("a b")),
            ("a\\nb", json!("a\nb")),
            ("say \"hi\"", json!("say \"hi\"")),
            ("[1, 2]", json!([1, 2])),
            ("{\"a\": null}", json!({"a": null})),
            ("\"", json!("\"")),
            ("1Gi", json!("1Gi")),
        ] {
            assert_eq!(meant(text), Ok(value), "{text}");
        }
        assert!(meant("{a}").is_err());
    }

    #[test]
    fn indices_may_count_from_the_end() {
        let mut object = json!({"l": [{"n": 1}, {"n": 2}]});
        for (operation, path, value) in [
            ("replace", "/l/-1/n", "3"),
            ("Add", "/l/-", "4"),
            ("remove", "/l/-3", ""),
        ] {
            let operation = Operation::new(operation, path, "", value).unwrap();
            assert!(operation.apply(&mut object).is_ok(), "{path}");
        }
        assert_eq!(object, json!({"l": [{"n": 3}, 4]}));
    }

    #[test]
    fn tests_of_what_is_not_there() {
        let object = json!({"a": {"b": null, "c": 1}});
        for (path, value, expected) in [
            ("/a/c", "1", true),
            ("/a/c", "\"1\"", false),
            ("/a/b", "null", true),
            ("/a/d", "null", true),
            ("/x/d", "null", false),
            ("/a/d", "1", false),
        ] {
            let test = Operation::test(path, value).unwrap();
            assert_eq!(test.holds(&object), expected, "{path} {value}");
        }
    }
}
