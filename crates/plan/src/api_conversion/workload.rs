//! Deployments, daemon sets, replica sets and stateful sets to `apps/v1`: the selector is no longer
//! derived from the template, and rolling back by a field is gone.

use serde_json::{Map, Value, json};

use super::at;

pub(super) fn convert(workload: &mut Map<String, Value>, notes: &mut Vec<String>) -> Result<(), String> {
    let Some(spec) = at(workload, "spec") else {
        return Ok(());
    };
    if spec.get("selector").is_none_or(Value::is_null) {
        let labels = spec
            .get("template")
            .and_then(|template| template.pointer("/metadata/labels"))
            .filter(|labels| labels.as_object().is_some_and(|labels| !labels.is_empty()))
            .cloned()
            .ok_or("it has no selector, and its template no labels to make one of")?;
        spec.insert("selector".to_owned(), json!({ "matchLabels": labels }));
        notes.push("its selector was made of its template's labels, as the old version did".to_owned());
    }
    for (field, why) in [
        ("rollbackTo", "a rollback that was asked for is forgotten"),
        ("templateGeneration", ""),
    ] {
        if spec.shift_remove(field).is_some() && !why.is_empty() {
            notes.push(why.to_owned());
        }
    }
    Ok(())
}
