//! How the field managers of an object come back, in as few requests as possible.

use serde_json::{Value, json};

use crate::json as path;

/// The longest name of a field manager that the API server accepts.
const LONGEST_MANAGER: usize = 128;

/// How the field managers of an object come back.
#[derive(Clone, Debug, PartialEq)]
pub enum Carry {
    /// One manager wrote all of the object (others only its status): create it in that name, with
    /// the query parameter `fieldManager`.
    FieldManager(String),
    /// A merge patch of the object after it was created.
    Patch(Value),
    /// There are none.
    None,
}

/// Decides it from what the object had as `metadata.managedFields`.
#[must_use]
pub fn carry(managed_fields: Option<Value>) -> Carry {
    let Some(Value::Array(entries)) = managed_fields else {
        return Carry::None;
    };
    if entries.is_empty() {
        return Carry::None;
    }
    let mut main = entries
        .iter()
        .filter(|entry| path::text(entry, &["subresource"]).is_none_or(str::is_empty));
    let single = match (main.next(), main.next()) {
        (Some(entry), None) => sole_manager(entry),
        _ => None,
    };
    match single {
        Some(manager) => Carry::FieldManager(manager),
        None => Carry::Patch(json!({ "metadata": { "managedFields": entries } })),
    }
}

/// The manager of an entry that a plain create in its name reproduces.
fn sole_manager(entry: &Value) -> Option<String> {
    let manager = path::text(entry, &["manager"])?;
    let update = path::text(entry, &["operation"]) == Some("Update");
    let printable = manager
        .chars()
        .all(|c| !c.is_control() && (c.is_alphanumeric() || c.is_ascii()));
    let fits = !manager.is_empty() && manager.len() <= LONGEST_MANAGER && printable;
    (update && fits).then(|| manager.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writer_needs_no_second_request() {
        let entry = |manager: &str, operation: &str| json!({"manager": manager, "operation": operation});
        let status = json!({"manager": "kcm", "operation": "Update", "subresource": "status"});
        let kubectl = entry("kubectl", "Update");
        assert_eq!(carry(None), Carry::None);
        assert_eq!(carry(Some(json!([]))), Carry::None);
        assert_eq!(carry(Some(json!("odd"))), Carry::None);
        assert_eq!(
            carry(Some(json!([kubectl]))),
            Carry::FieldManager("kubectl".into())
        );
        assert_eq!(
            carry(Some(json!([kubectl, status]))),
            Carry::FieldManager("kubectl".into())
        );
        for several in [
            json!([kubectl, entry("helm", "Update")]),
            json!([entry("argo", "Apply")]),
            json!([status]),
            json!([entry("", "Update")]),
            json!([entry(&"x".repeat(129), "Update")]),
            json!([7]),
        ] {
            let patch = json!({"metadata": {"managedFields": several}});
            assert_eq!(carry(Some(several)), Carry::Patch(patch));
        }
    }
}
