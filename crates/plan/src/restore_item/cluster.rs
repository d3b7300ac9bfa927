//! Definitions of kinds, aggregated APIs and admission webhooks.

use serde_json::Value;

use crate::json;

/// On an APIService that the API server makes for its own kinds.
const AUTOMANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// Why an APIService is left out.
pub(super) fn api_service_left_out(service: &Value) -> Option<&'static str> {
    let labels = json::object(service, &["metadata", "labels"])?;
    labels
        .contains_key(AUTOMANAGED)
        .then_some("the API server makes this APIService itself")
}

/// `v1` refuses a new definition with `preserveUnknownFields: true`; the same is said in the schemas.
pub(super) fn definition(definition: &mut Value) {
    let v1 = json::text(definition, &["apiVersion"]) == Some("apiextensions.k8s.io/v1");
    let preserve = json::get_mut(definition, &["spec", "preserveUnknownFields"]);
    match preserve {
        Some(preserve) if v1 && *preserve == Value::Bool(true) => *preserve = Value::Bool(false),
        _ => return,
    }
    for version in json::list_mut(definition, &["spec", "versions"])
        .into_iter()
        .flatten()
    {
        if let Some(schema) = json::object_mut(version, &["schema", "openAPIV3Schema"]) {
            schema.insert(
                "x-kubernetes-preserve-unknown-fields".to_owned(),
                Value::Bool(true),
            );
        }
    }
}

/// `v1` wants every webhook to declare its side effects; older versions let it be.
pub(super) fn webhooks(configuration: &mut Value) {
    if json::text(configuration, &["apiVersion"]) != Some("admissionregistration.k8s.io/v1") {
        return;
    }
    let webhooks = json::list_mut(configuration, &["webhooks"]).into_iter().flatten();
    for webhook in webhooks.filter_map(Value::as_object_mut) {
        let valid = matches!(
            webhook.get("sideEffects").and_then(Value::as_str),
            Some("None" | "NoneOnDryRun")
        );
        if !valid {
            webhook.insert("sideEffects".to_owned(), "None".into());
        }
    }
}
