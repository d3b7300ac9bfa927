//! Ingress to `networking.k8s.io/v1`: backends name their service and port in another shape, and every
//! path has a type.

use serde_json::{Map, Value, json};

use super::{at, each};

#[expect(clippy::unnecessary_wraps, reason = "as all changes")]
pub(super) fn convert(ingress: &mut Map<String, Value>, notes: &mut Vec<String>) -> Result<(), String> {
    let Some(spec) = at(ingress, "spec") else {
        return Ok(());
    };
    if let Some(mut default) = spec.shift_remove("backend") {
        if let Some(fields) = default.as_object_mut() {
            backend(fields);
        }
        spec.insert("defaultBackend".to_owned(), default);
    }
    let mut typed = 0;
    for rule in each(spec, "rules") {
        let Some(http) = at(rule, "http") else { continue };
        for path in each(http, "paths") {
            if let Some(fields) = at(path, "backend") {
                backend(fields);
            }
            if path.get("pathType").is_none_or(Value::is_null) {
                path.insert("pathType".to_owned(), "ImplementationSpecific".into());
                typed += 1;
            }
        }
    }
    if typed > 0 {
        notes.push(format!(
            "{typed} paths without a type got ImplementationSpecific, which is what they meant"
        ));
    }
    Ok(())
}

/// `serviceName` and `servicePort` (a number or a name) go into `service`.
fn backend(backend: &mut Map<String, Value>) {
    let (name, port) = (
        backend.shift_remove("serviceName"),
        backend.shift_remove("servicePort"),
    );
    let Some(name) = name.filter(|name| !name.is_null()) else {
        return;
    };
    let mut service = Map::new();
    service.insert("name".to_owned(), name);
    match port {
        Some(Value::String(port)) => service.insert("port".to_owned(), json!({ "name": port })),
        Some(port @ Value::Number(_)) => service.insert("port".to_owned(), json!({ "number": port })),
        _ => None,
    };
    backend.insert("service".to_owned(), Value::Object(service));
}
