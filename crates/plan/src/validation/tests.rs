//! Specs that must be refused, and some that must not.

use serde_json::json;

use super::*;

fn backup(spec: Value) -> Vec<String> {
    validate_backup(&serde_json::from_value(spec).unwrap())
}

fn restore(spec: Value) -> Vec<String> {
    validate_restore(&serde_json::from_value(spec).unwrap())
}

fn one(faults: &[String], field: &str) {
    assert!(
        faults.len() == 1 && faults[0].contains(field),
        "{field}: {faults:?}"
    );
}

#[test]
fn faults_of_backups_name_their_field() {
    one(
        &backup(json!({"includedResources": ["pods"], "includedClusterScopedResources": ["storageclasses"]})),
        "includedClusterScopedResources",
    );
    one(
        &backup(
            json!({"labelSelector": {"matchLabels": {"a": "b"}}, "orLabelSelectors": [{"matchLabels": {"c": "d"}}]}),
        ),
        "spec.orLabelSelectors",
    );
    for (spec, field) in [
        (
            json!({"includedNamespaces": ["a", "b"], "excludedNamespaces": ["a"]}),
            "spec.excludedNamespaces",
        ),
        (
            json!({"includedNamespaces": ["*", "b"]}),
            "spec.includedNamespaces",
        ),
        (json!({"excludedNamespaces": ["*"]}), "spec.excludedNamespaces"),
        (json!({"includedNamespaces": ["a**"]}), "spec.includedNamespaces"),
        (json!({"includedNamespaces": ["A"]}), "spec.includedNamespaces"),
        (
            json!({"includedResources": ["*", "pods"]}),
            "spec.includedResources",
        ),
        (json!({"excludedResources": ["[pods"]}), "spec.excludedResources"),
        (json!({"excludedResources": [""]}), "spec.excludedResources"),
        (
            json!({"excludedClusterScopedResources": ["*", "nodes"]}),
            "spec.excludedClusterScopedResources",
        ),
        (
            json!({"includedNamespaceScopedResources": ["pods"], "excludedNamespaceScopedResources": ["*"]}),
            "spec.excludedNamespaceScopedResources",
        ),
        (
            json!({"labelSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}),
            "spec.labelSelector",
        ),
        (
            json!({"resourcePolicy": {"kind": "secret", "name": "x"}}),
            "spec.resourcePolicy.kind",
        ),
        (
            json!({"orderedResources": {"pods": "a/b/c"}}),
            "spec.orderedResources",
        ),
        (
            json!({"orderedResources": {"pods": "a/b,/d"}}),
            "spec.orderedResources",
        ),
        (
            json!({"uploaderConfig": {"parallelFilesUpload": -1}}),
            "spec.uploaderConfig.parallelFilesUpload",
        ),
        (
            json!({"hooks": {"resources": [{"name": "h", "pre": [{"exec": {"command": []}}]}]}}),
            "spec.hooks.resources[0].pre[0].exec.command",
        ),
    ] {
        one(&backup(spec), field);
    }
}

#[test]
fn good_backups_pass() {
    for spec in [
        json!({}),
        json!({"includedNamespaces": ["*"], "excludedNamespaces": ["kube-system", "prod-[ab]?"]}),
        json!({"excludedNamespaceScopedResources": ["*"], "includedClusterScopedResources": ["*"]}),
        json!({"orderedResources": {"pods": "ns/a, ns/b", "persistentvolumes": "pv1"}}),
        json!({"orderedResources": {"pods": "ns/a,,ns/b,"}}),
        json!({"resourcePolicy": {"kind": "configmap", "name": "x"}}),
        json!({"excludedResources": ["events", "events.events.k8s.io"], "includeClusterResources": true}),
    ] {
        assert_eq!(backup(spec.clone()), Vec::<String>::new(), "{spec}");
    }
}

#[test]
fn faults_of_restores_name_their_field() {
    for (spec, field) in [
        (
            json!({"backupName": "b", "includedResources": ["nodes"]}),
            "spec.includedResources",
        ),
        (
            json!({"backupName": "b", "scheduleName": "s"}),
            "spec.scheduleName",
        ),
        (json!({}), "spec.backupName"),
        (
            json!({"backupName": "b", "existingResourcePolicy": "replace"}),
            "spec.existingResourcePolicy",
        ),
        (
            json!({"backupName": "b", "namespaceMapping": {"a": "B"}}),
            "spec.namespaceMapping",
        ),
        (
            json!({"backupName": "b", "resourceModifier": {"kind": "Secret", "name": "x"}}),
            "spec.resourceModifier.kind",
        ),
        (
            json!({"backupName": "b", "resourcePolicy": {"kind": "ConfigMap", "name": "x"}}),
            "spec.resourcePolicy",
        ),
        (
            json!({"backupName": "b", "includedNamespaces": ["{a}"]}),
            "spec.includedNamespaces",
        ),
        (
            json!({"backupName": "b", "restoreStatus": {"excludedResources": ["*"]}}),
            "spec.restoreStatus.excludedResources",
        ),
        (
            json!({"backupName": "b", "hooks": {"resources": [{"name": "h", "postHooks": [{}]}]}}),
            "spec.hooks.resources[0].postHooks[0]",
        ),
        (
            json!({"backupName": "b", "hooks": {"resources": [{"name": "h", "postHooks": [
                {"init": {"initContainers": [{"name": "x"}]}}]}]}}),
            "initContainers[0].image",
        ),
    ] {
        one(&restore(spec), field);
    }
    let good = json!({"backupName": "b", "namespaceMapping": {"a": "b"}, "existingResourcePolicy": "recreate",
        "includedNamespaces": ["prod-*"], "restoreStatus": {"includedResources": ["workflows.example.io"]},
        "resourceModifier": {"kind": "ConfigMap", "name": "rules"}});
    assert_eq!(restore(good), Vec::<String>::new());
}

#[test]
fn schedules_are_checked_with_their_template() {
    let spec = json!({"schedule": "61 * * * *", "template": {"excludedNamespaces": ["*"]}});
    let faults = validate_schedule(&serde_json::from_value(spec).unwrap());
    assert_eq!(faults.len(), 2);
    assert!(faults[0].contains("spec.schedule") && faults[0].contains("minute"));
    assert!(faults[1].contains("spec.template.excludedNamespaces"));
}
