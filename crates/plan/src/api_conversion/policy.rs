//! PodDisruptionBudget to `policy/v1`: an empty selector, which selected nothing, would select all pods
//! of the namespace.

use serde_json::{Map, Value};

use super::at;

#[expect(clippy::unnecessary_wraps, reason = "as all changes")]
pub(super) fn convert(budget: &mut Map<String, Value>, notes: &mut Vec<String>) -> Result<(), String> {
    let Some(spec) = at(budget, "spec") else {
        return Ok(());
    };
    let holds_nothing = |selector: &Value| {
        let parts = selector.as_object();
        parts.is_some_and(|parts| {
            parts.values().all(|part| match part {
                Value::Object(labels) => labels.is_empty(),
                Value::Array(expressions) => expressions.is_empty(),
                other => other.is_null(),
            })
        })
    };
    if spec.get("selector").is_some_and(holds_nothing) {
        spec.shift_remove("selector");
        notes.push("its empty selector was removed: it selected no pods and would now select all".to_owned());
    }
    Ok(())
}
