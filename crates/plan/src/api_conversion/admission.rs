//! Webhook configurations to `admissionregistration.k8s.io/v1`: side effects must be known, and the
//! versions of reviews named.

use serde_json::{Map, Value, json};

use super::each;

#[expect(clippy::unnecessary_wraps, reason = "as all changes")]
pub(super) fn convert(configuration: &mut Map<String, Value>, notes: &mut Vec<String>) -> Result<(), String> {
    let mut guessed = Vec::new();
    for webhook in each(configuration, "webhooks") {
        let effects = webhook.get("sideEffects").and_then(Value::as_str);
        if !matches!(effects, Some("None" | "NoneOnDryRun")) {
            webhook.insert("sideEffects".to_owned(), "None".into());
            let name = webhook.get("name").and_then(Value::as_str);
            guessed.push(name.unwrap_or_default().to_owned());
        }
        let versions = webhook.get("admissionReviewVersions").and_then(Value::as_array);
        if versions.is_none_or(Vec::is_empty) {
            webhook.insert("admissionReviewVersions".to_owned(), json!(["v1beta1"]));
        }
        for (field, default) in [
            ("failurePolicy", json!("Ignore")),
            ("matchPolicy", json!("Exact")),
            ("timeoutSeconds", json!(30)),
        ] {
            if webhook.get(field).is_none_or(Value::is_null) {
                webhook.insert(field.to_owned(), default);
            }
        }
    }
    if !guessed.is_empty() {
        notes.push(format!(
            "sideEffects of {} must now be known and were set to None; correct them if dry runs change something",
            guessed.join(", ")
        ));
    }
    Ok(())
}
