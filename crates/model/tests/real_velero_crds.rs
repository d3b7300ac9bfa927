//! Our custom resource definitions against those that real Velero installs: whatever a client of
//! Velero may write must be accepted and kept.

#![allow(clippy::unwrap_used, reason = "a panic is how this test fails")]

use std::collections::BTreeMap;

use refloat_testkit::{
    process,
    testbed::{self, Part},
};
use serde_json::Value;

#[test]
fn whatever_velero_accepts_we_accept() {
    let velero = testbed::build(&Part::Velero("1.18".into())).unwrap();
    let printed = process::run(
        velero,
        ["install", "--crds-only", "--dry-run", "--output", "json"],
    )
    .unwrap();
    let theirs: Value = serde_json::from_str(&printed).unwrap();
    let theirs = by_name(theirs["items"].as_array().unwrap().clone());
    let ours: Vec<Value> = refloat_model::crds::all()
        .unwrap()
        .iter()
        .map(|crd| serde_json::to_value(crd).unwrap())
        .collect();
    let ours = by_name(ours);
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());

    let mut differences = Vec::new();
    for (name, theirs) in &theirs {
        let ours = &ours[name];
        for field in ["/spec/group", "/spec/scope"] {
            assert_eq!(ours.pointer(field), theirs.pointer(field), "{name}");
        }
        for field in ["kind", "plural", "singular", "shortNames", "categories"] {
            assert_eq!(
                ours["spec"]["names"][field], theirs["spec"]["names"][field],
                "{field} of {name}"
            );
        }
        let (ours, theirs) = (versions(ours), versions(theirs));
        assert_eq!(
            ours.keys().collect::<Vec<_>>(),
            theirs.keys().collect::<Vec<_>>(),
            "{name}"
        );
        for (version, theirs) in &theirs {
            let ours = &ours[version];
            for field in ["served", "storage"] {
                assert_eq!(ours[field], theirs[field], "{field} of {name}");
            }
            assert_eq!(columns(ours), columns(theirs), "columns of {name}");
            for part in ["spec", "status"] {
                let pointer = format!("/schema/openAPIV3Schema/properties/{part}");
                let Some(theirs) = theirs.pointer(&pointer) else {
                    continue;
                };
                compare(
                    &format!("{name}: {part}"),
                    ours.pointer(&pointer),
                    theirs,
                    &mut differences,
                );
            }
        }
    }
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

fn by_name(definitions: Vec<Value>) -> BTreeMap<String, Value> {
    definitions
        .into_iter()
        .map(|one| (one["metadata"]["name"].as_str().unwrap().to_owned(), one))
        .collect()
}

fn versions(definition: &Value) -> BTreeMap<String, Value> {
    let versions = definition["spec"]["versions"].as_array().unwrap();
    versions
        .iter()
        .map(|version| (version["name"].as_str().unwrap().to_owned(), version.clone()))
        .collect()
}

/// What `kubectl get` shows. The words of a description are each project's own.
fn columns(version: &Value) -> Vec<[Value; 4]> {
    let columns = version["additionalPrinterColumns"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    columns
        .iter()
        .map(|column| ["name", "type", "jsonPath", "priority"].map(|key| column[key].clone()))
        .collect()
}

/// Adds where ours would refuse or drop what theirs takes.
fn compare(path: &str, ours: Option<&Value>, theirs: &Value, differences: &mut Vec<String>) {
    let Some(ours) = ours else {
        differences.push(format!("{path} is missing"));
        return;
    };
    let keeps_all = |schema: &Value| schema["x-kubernetes-preserve-unknown-fields"] == true;
    if keeps_all(theirs)
        && !keeps_all(ours)
        && !ours["items"].as_object().is_some_and(|items| {
            items
                .get("x-kubernetes-preserve-unknown-fields")
                .is_some_and(|keep| *keep == true)
        })
    {
        differences.push(format!("{path} does not keep unknown fields"));
    }
    if ours["type"] != theirs["type"] {
        differences.push(format!(
            "{path} is {} and should be {}",
            ours["type"], theirs["type"]
        ));
    }
    if theirs["nullable"] == true && ours["nullable"] != true {
        differences.push(format!("{path} refuses null"));
    }
    if ours["x-kubernetes-map-type"] != theirs["x-kubernetes-map-type"] {
        differences.push(format!("{path} is applied in another way"));
    }
    for stricter in ["minimum", "maximum", "minLength", "maxLength", "pattern"] {
        if !ours[stricter].is_null() && ours[stricter] != theirs[stricter] {
            differences.push(format!("{path} has a {stricter} that Velero has not"));
        }
    }
    let list = |schema: &Value, key: &str| schema[key].as_array().cloned().unwrap_or_default();
    let required = list(theirs, "required");
    for name in list(ours, "required")
        .iter()
        .filter(|name| !required.contains(name))
    {
        differences.push(format!("{path}.{name} is required"));
    }
    let allowed = list(ours, "enum");
    if !allowed.is_empty() {
        let theirs = list(theirs, "enum");
        if theirs.is_empty() || theirs.iter().any(|value| !allowed.contains(value)) {
            differences.push(format!("{path} takes only {allowed:?}"));
        }
    }
    for (name, theirs) in theirs["properties"].as_object().into_iter().flatten() {
        compare(
            &format!("{path}.{name}"),
            ours["properties"].get(name),
            theirs,
            differences,
        );
    }
    if theirs["items"].is_object() {
        compare(
            &format!("{path}[]"),
            ours.get("items"),
            &theirs["items"],
            differences,
        );
    }
    if theirs["additionalProperties"].is_object() {
        compare(
            &format!("{path}{{}}"),
            ours.get("additionalProperties"),
            &theirs["additionalProperties"],
            differences,
        );
    }
}
