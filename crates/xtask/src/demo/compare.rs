//! Whether an application is what it was: all its objects, read twice and compared field by field.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use refloat_testkit::cluster::Cluster;
use serde_json::{Map, Value};

/// What is not compared, for the reader. [`normalise`] and [`DERIVED`] hold to it.
pub(super) const NOT_COMPARED: [&str; 3] = [
    "what the API server assigns anew: uid, resourceVersion, generation, creationTimestamp, managedFields, \
     generateName of what has its name already, cluster IPs, node ports, a Job's controller-uid",
    "status, and the labels velero.io/backup-name and velero.io/restore-name",
    "Events, Endpoints and EndpointSlices, which Kubernetes derives from the rest",
];

/// What the API server assigns in the metadata of every object, or needs only until it has.
const ASSIGNED: [&str; 6] = [
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "generateName",
];

/// What Kubernetes writes about the objects, rather than a part of the application.
const DERIVED: [&str; 4] = [
    "events",
    "events.events.k8s.io",
    "endpoints",
    "endpointslices.discovery.k8s.io",
];

/// The objects by kind and name, each as its fields by path.
pub(super) type Snapshot = BTreeMap<String, BTreeMap<String, Value>>;

/// Reads everything in the namespace, the namespace, and what is labelled as its part elsewhere.
pub(super) fn snapshot(cluster: &Cluster, namespace: &str) -> Result<Snapshot> {
    let kinds = cluster.kubectl(&["api-resources", "--namespaced", "--verbs=list", "-o", "name"])?;
    let kinds: Vec<_> = kinds.lines().filter(|kind| !DERIVED.contains(kind)).collect();
    let inside = cluster.kubectl(&["get", &kinds.join(","), "-n", namespace, "-o", "json"])?;
    let label = format!("app.kubernetes.io/part-of={namespace}");
    let outside = "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings";
    let outside = cluster.kubectl(&["get", outside, "-l", &label, "-o", "json"])?;
    let mut snapshot = Snapshot::new();
    for list in [inside, outside] {
        let list: Value = serde_json::from_str(&list).context("reading the answer of kubectl")?;
        for object in list["items"].as_array().into_iter().flatten() {
            let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
            let key = format!(
                "{} {}",
                kind.as_str().unwrap_or_default(),
                name.as_str().unwrap_or_default()
            );
            let mut fields = BTreeMap::new();
            flatten("", &normalise(object.clone()), &mut fields);
            snapshot.insert(key, fields);
        }
    }
    Ok(snapshot)
}

/// What differs, in words, one line for each object or field.
pub(super) fn differences(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    for (key, old) in before {
        let Some(new) = after.get(key) else {
            lines.push(format!("{key} is missing"));
            continue;
        };
        let paths: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        for path in paths.into_iter().filter(|path| old.get(*path) != new.get(*path)) {
            let show = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
            lines.push(format!(
                "{key}{path}: {} became {}",
                show(old.get(path)),
                show(new.get(path))
            ));
        }
    }
    lines.extend(
        after
            .keys()
            .filter(|key| !before.contains_key(*key))
            .map(|key| format!("{key} is new")),
    );
    lines
}

/// How many kinds there are.
pub(super) fn kinds(snapshot: &Snapshot) -> usize {
    let kinds: std::collections::BTreeSet<_> =
        snapshot.keys().filter_map(|key| key.split(' ').next()).collect();
    kinds.len()
}

fn normalise(mut object: Value) -> Value {
    let kind = object["kind"].as_str().unwrap_or_default().to_owned();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ASSIGNED {
            metadata.remove(field);
        }
        drop_restore_labels(metadata);
        let owners = metadata.get_mut("ownerReferences").and_then(Value::as_array_mut);
        for owner in owners.into_iter().flatten().filter_map(Value::as_object_mut) {
            owner.remove("uid");
        }
    }
    match kind.as_str() {
        "Service" => forget_addresses(&mut object["spec"]),
        // Its selector and its pods' labels carry its own uid.
        "Job" => forget_uid_of_job(&mut object["spec"]),
        _ => {}
    }
    if kind == "Job" {
        forget_uid_labels(&mut object["metadata"]);
    }
    object
}

fn drop_restore_labels(metadata: &mut Map<String, Value>) {
    if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
        labels.remove("velero.io/backup-name");
        labels.remove("velero.io/restore-name");
        if labels.is_empty() {
            metadata.remove("labels");
        }
    }
}

fn forget_addresses(spec: &mut Value) {
    // `None` is a choice, an address is not.
    if spec["clusterIP"] != "None"
        && let Some(spec) = spec.as_object_mut()
    {
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    let ports = spec["ports"].as_array_mut();
    for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
        port.remove("nodePort");
    }
}

fn forget_uid_of_job(spec: &mut Value) {
    if let Some(selector) = spec
        .pointer_mut("/selector/matchLabels")
        .and_then(Value::as_object_mut)
    {
        selector.remove("batch.kubernetes.io/controller-uid");
    }
    forget_uid_labels(&mut spec["template"]["metadata"]);
}

fn forget_uid_labels(metadata: &mut Value) {
    if let Some(labels) = metadata["labels"].as_object_mut() {
        labels.remove("batch.kubernetes.io/controller-uid");
        labels.remove("controller-uid");
    }
}

/// An empty object or list is a field of its own: it must not become nothing.
fn flatten(path: &str, value: &Value, fields: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, value) in members {
                flatten(&format!("{path} .{key}"), value, fields);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, value) in items.iter().enumerate() {
                flatten(&format!("{path} [{index}]"), value, fields);
            }
        }
        _ => {
            fields.insert(path.to_owned(), value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn snapshot_of(object: Value) -> Snapshot {
        let mut fields = BTreeMap::new();
        flatten("", &normalise(object), &mut fields);
        Snapshot::from([("Service web".to_owned(), fields)])
    }

    #[test]
    fn only_what_matters_counts_as_a_difference() {
        let old = json!({"kind": "Service", "metadata": {"name": "web", "uid": "1"}, "status": {"a": 1},
            "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30001}], "empty": {}}});
        let mut new = old.clone();
        new["metadata"] = json!({"name": "web", "uid": "2", "labels": {"velero.io/backup-name": "b"}});
        new["spec"]["clusterIP"] = "10.0.0.2".into();
        assert!(differences(&snapshot_of(old.clone()), &snapshot_of(new.clone())).is_empty());
        new["spec"]["ports"][0]["port"] = 81.into();
        new["spec"]["empty"] = Value::Null;
        assert_eq!(
            differences(&snapshot_of(old.clone()), &snapshot_of(new)),
            [
                "Service web .spec .empty: {} became null",
                "Service web .spec .ports [0] .port: 80 became 81"
            ]
        );
        assert_eq!(
            differences(&snapshot_of(old.clone()), &Snapshot::new()),
            ["Service web is missing"]
        );
        assert_eq!(
            differences(&Snapshot::new(), &snapshot_of(old)),
            ["Service web is new"]
        );
    }

    #[test]
    fn a_headless_service_must_stay_headless() {
        let headless = json!({"kind": "Service", "spec": {"clusterIP": "None"}});
        let other = json!({"kind": "Service", "spec": {"clusterIP": "10.0.0.1"}});
        assert_eq!(differences(&snapshot_of(headless), &snapshot_of(other)).len(), 1);
    }
}
