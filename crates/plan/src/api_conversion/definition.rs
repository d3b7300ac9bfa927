//! CustomResourceDefinitions to `apiextensions.k8s.io/v1`: what held for all versions is written in
//! each, and each has a schema.

use serde_json::{Map, Value, json};

use super::{at, each};

/// Fields that go from the spec into each version that has none of its own.
const SHARED: [(&str, &str); 3] = [
    ("validation", "schema"),
    ("subresources", "subresources"),
    ("additionalPrinterColumns", "additionalPrinterColumns"),
];

#[expect(clippy::unnecessary_wraps, reason = "as all changes")]
pub(super) fn convert(definition: &mut Map<String, Value>, notes: &mut Vec<String>) -> Result<(), String> {
    let Some(spec) = at(definition, "spec") else {
        return Ok(());
    };
    let single = spec.shift_remove("version");
    let missing = spec
        .get("versions")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty);
    if let (true, Some(name)) = (missing, single) {
        let version = json!([{ "name": name, "served": true, "storage": true }]);
        spec.insert("versions".to_owned(), version);
    }
    let keeps_unknown = match spec.shift_remove("preserveUnknownFields") {
        Some(Value::Bool(keeps)) => keeps,
        _ => true,
    };
    let shared = SHARED.map(|(old, new)| (new, spec.shift_remove(old).filter(|value| !value.is_null())));
    let mut open = 0;
    for version in each(spec, "versions") {
        for (field, value) in &shared {
            if let Some(value) = value
                && version.get(*field).is_none_or(Value::is_null)
            {
                version.insert((*field).to_owned(), value.clone());
            }
        }
        for column in each(version, "additionalPrinterColumns") {
            if let Some(path) = column.shift_remove("JSONPath") {
                column.insert("jsonPath".to_owned(), path);
            }
        }
        open += usize::from(schema(version, keeps_unknown));
    }
    if open > 0 {
        notes.push(format!(
            "{open} versions have no complete schema and now take any field, as the old version did"
        ));
    }
    conversion(spec);
    Ok(())
}

/// Makes sure that a version has a schema. Tells whether it was left open for unknown fields.
fn schema(version: &mut Map<String, Value>, keeps_unknown: bool) -> bool {
    let known = version
        .get("schema")
        .and_then(|schema| schema.get("openAPIV3Schema"))
        .is_some_and(Value::is_object);
    if !known {
        version.insert("schema".to_owned(), json!({ "openAPIV3Schema": {} }));
    }
    let root = at(version, "schema").and_then(|schema| at(schema, "openAPIV3Schema"));
    let Some(root) = root else { return false };
    root.entry("type").or_insert_with(|| "object".into());
    let open = keeps_unknown || !known;
    if open {
        root.insert("x-kubernetes-preserve-unknown-fields".to_owned(), true.into());
    }
    open
}

/// The webhook that converts between versions has a place of its own.
fn conversion(spec: &mut Map<String, Value>) {
    let Some(conversion) = at(spec, "conversion") else {
        return;
    };
    let client = conversion.shift_remove("webhookClientConfig");
    let versions = conversion.shift_remove("conversionReviewVersions");
    if let Some(client) = client.filter(|client| !client.is_null()) {
        let versions = versions
            .filter(|versions| versions.as_array().is_some_and(|list| !list.is_empty()))
            .unwrap_or_else(|| json!(["v1beta1"]));
        let webhook = json!({ "clientConfig": client, "conversionReviewVersions": versions });
        conversion.insert("webhook".to_owned(), webhook);
    }
}
