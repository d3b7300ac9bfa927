//! RuntimeClass from `node.k8s.io/v1alpha1`: what was in `spec` is at the top.

use serde_json::{Map, Value};

#[expect(clippy::unnecessary_wraps, reason = "as all changes")]
pub(super) fn convert(class: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<(), String> {
    let Some(Value::Object(mut spec)) = class.shift_remove("spec") else {
        return Ok(());
    };
    for (old, new) in [
        ("runtimeHandler", "handler"),
        ("overhead", "overhead"),
        ("scheduling", "scheduling"),
    ] {
        if let Some(value) = spec.shift_remove(old) {
            class.insert(new.to_owned(), value);
        }
    }
    Ok(())
}
