//! HorizontalPodAutoscaler from `autoscaling/v2beta1` to `v2`: what a metric is and what it aims at are
//! objects of their own.

use serde_json::{Map, Value, json};

use super::{at, each};

#[expect(clippy::unnecessary_wraps, reason = "as all changes")]
pub(super) fn convert(scaler: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<(), String> {
    let Some(spec) = at(scaler, "spec") else {
        return Ok(());
    };
    for metric in each(spec, "metrics") {
        for source in ["resource", "containerResource"] {
            if let Some(fields) = at(metric, source) {
                resource(fields);
            }
        }
        if let Some(pods) = at(metric, "pods") {
            let identity = identity(pods, "metricName", "selector");
            pods.insert("metric".to_owned(), identity);
            aim(pods, &[("targetAverageValue", "AverageValue", "averageValue")]);
        }
        if let Some(object) = at(metric, "object") {
            let identity = identity(object, "metricName", "selector");
            object.insert("metric".to_owned(), identity);
            if let Some(target) = object.shift_remove("target") {
                object.insert("describedObject".to_owned(), target);
            }
            aim(
                object,
                &[
                    ("averageValue", "AverageValue", "averageValue"),
                    ("targetValue", "Value", "value"),
                ],
            );
        }
        if let Some(external) = at(metric, "external") {
            let identity = identity(external, "metricName", "metricSelector");
            external.insert("metric".to_owned(), identity);
            aim(
                external,
                &[
                    ("targetAverageValue", "AverageValue", "averageValue"),
                    ("targetValue", "Value", "value"),
                ],
            );
        }
    }
    Ok(())
}

fn resource(fields: &mut Map<String, Value>) {
    aim(
        fields,
        &[
            ("targetAverageUtilization", "Utilization", "averageUtilization"),
            ("targetAverageValue", "AverageValue", "averageValue"),
        ],
    );
}

/// The metric's name and selector.
fn identity(source: &mut Map<String, Value>, name: &str, selector: &str) -> Value {
    let mut metric = Map::new();
    for (old, new) in [(name, "name"), (selector, "selector")] {
        if let Some(value) = source.shift_remove(old).filter(|value| !value.is_null()) {
            metric.insert(new.to_owned(), value);
        }
    }
    Value::Object(metric)
}

/// The first of the old fields that is set becomes the target; the others go.
fn aim(source: &mut Map<String, Value>, fields: &[(&str, &str, &str)]) {
    let mut target = None;
    for (old, kind, new) in fields {
        let value = source.shift_remove(*old).filter(|value| !value.is_null());
        if let (Some(value), None) = (value, &target) {
            target = Some(json!({ "type": kind, *new: value }));
        }
    }
    if let Some(target) = target {
        source.insert("target".to_owned(), target);
    }
}
