//! Plans of restores.

use serde_json::{Value, json};

use super::*;
use crate::fixture::{discovered, kind};

fn inventory(kinds: &[ApiResource]) -> Vec<InventoryKind> {
    let entry = |kind: &ApiResource| InventoryKind {
        resource: kind.group_resource.clone(),
        namespaced: kind.namespaced,
        count: 3,
    };
    kinds.iter().map(entry).collect()
}

/// What a large backup has, in no order.
fn stored() -> Vec<ApiResource> {
    let mut kinds = discovered();
    kinds.retain(|kind| kind.can(&["list"]) && kind.group_resource.group != "extensions");
    kinds.extend([
        kind("statefulsets.apps", "v1", "StatefulSet", true),
        kind("controllerrevisions.apps", "v1", "ControllerRevision", true),
        kind("resourcequotas", "v1", "ResourceQuota", true),
        kind("runtimeclasses.node.k8s.io", "v1", "RuntimeClass", false),
        kind("endpoints", "v1", "Endpoints", true),
        kind("endpointslices.discovery.k8s.io", "v1", "EndpointSlice", true),
        kind("clusters.cluster.x-k8s.io", "v1beta1", "Cluster", true),
        kind("backups.velero.io", "v1", "Backup", true),
        kind(
            "deletebackuprequests.velero.io",
            "v1",
            "DeleteBackupRequest",
            true,
        ),
        kind("schedules.velero.io", "v1", "Schedule", true),
    ]);
    kinds.reverse();
    kinds
}

fn plan_into(json: Value, priorities: &Priorities, target: &[ApiResource]) -> RestorePlan {
    let mut spec: RestoreSpec = serde_json::from_value(json).unwrap();
    spec.backup_name = "b".into();
    plan_restore(&spec, priorities, target, &inventory(&stored())).unwrap()
}

fn plan(json: Value) -> RestorePlan {
    plan_into(json, &Priorities::default(), &stored())
}

fn order(plan: &RestorePlan) -> Vec<Vec<String>> {
    let names = |class: &RestoreClass| -> Vec<String> {
        class
            .resources
            .iter()
            .map(|step| step.group_resource.to_string())
            .collect()
    };
    plan.classes.iter().map(names).collect()
}

#[test]
fn a_full_restore() {
    insta::assert_json_snapshot!(plan(json!({})));
}

#[test]
fn some_namespaces_with_what_they_refer_to() {
    insta::assert_json_snapshot!(plan(json!({
        "includedNamespaces": ["shop"],
        "excludedResources": ["secrets", "*.velero.io", "ghosts"]
    })));
}

#[test]
fn custom_priorities() {
    let priorities: Priorities = "widgets,po,pods,ghosts,-,svc,services,configmaps"
        .parse()
        .unwrap();
    let plan = plan_into(
        json!({"includedResources": ["widgets", "pods", "services", "configmaps", "secrets",
        "customresourcedefinitions", "namespaces"]}),
        &priorities,
        &stored(),
    );
    assert_eq!(
        order(&plan).concat(),
        [
            "customresourcedefinitions.apiextensions.k8s.io",
            "namespaces",
            "widgets.example.io",
            "pods",
            "secrets",
            "services",
            "configmaps"
        ]
    );
}

#[test]
fn kinds_that_the_cluster_does_not_serve_yet() {
    let target: Vec<ApiResource> = stored()
        .into_iter()
        .filter(|kind| kind.group_resource.group != "example.io")
        .collect();
    let plan = plan_into(
        json!({"includedResources": ["widgets", "crd", "customresourcedefinitions"]}),
        &Priorities::default(),
        &target,
    );
    let steps: Vec<&ResourceStep> = plan.classes.iter().flat_map(|class| &class.resources).collect();
    assert_eq!(steps.len(), 2, "{steps:?}");
    assert!(plan.classes[0].wait_established && steps[0].api.is_some());
    assert!(!plan.classes[1].wait_established && steps[1].api.is_none());
    assert_eq!(
        plan.warnings.len(),
        1,
        "crd is no name for them here: {:?}",
        plan.warnings
    );
}

#[test]
fn selection_by_namespace_label_and_scope() {
    let pods = GroupResource::parse("pods");
    let volumes = GroupResource::parse("persistentvolumes");
    let namespaces = GroupResource::parse("namespaces");
    let labels = json!({"app": "web"});
    let labels = labels.as_object();
    let selective =
        plan(json!({"includedNamespaces": ["shop*"], "labelSelector": {"matchLabels": {"app": "web"}}}));
    assert!(selective.selects(&pods, "shop-db", "p", labels));
    assert!(!selective.selects(&pods, "shop-db", "p", None));
    assert!(!selective.selects(&pods, "default", "p", labels));
    assert!(
        !selective.selects(&volumes, "", "v", labels),
        "comes only with its claim"
    );
    assert!(selective.allows_related(&volumes, "") && selective.needs_related());
    assert!(selective.allows_related(&pods, "shop") && !selective.allows_related(&pods, "default"));

    let all = plan(json!({}));
    assert!(all.selects(&volumes, "", "v", None) && !all.needs_related());
    let without = plan(json!({"includeClusterResources": false}));
    assert!(!without.selects(&volumes, "", "v", None) && !without.allows_related(&volumes, ""));
    assert_eq!(without.cluster_scoped, ClusterScope::None);
    let with = plan(json!({"includeClusterResources": true, "includedNamespaces": ["shop"]}));
    assert!(with.selects(&volumes, "", "v", None));
    assert!(with.selects(&namespaces, "", "shop", None) && !with.selects(&namespaces, "", "other", None));
}

#[test]
fn some_kinds_are_never_restored() {
    for name in NOT_RESTORABLE.iter().chain(&["deletebackuprequests.velero.io"]) {
        assert!(is_never_restored(&GroupResource::parse(name)), "{name}");
    }
    assert!(!is_never_restored(&GroupResource::parse("schedules.velero.io")));
    let plan = plan(json!({"includedResources": ["*"]}));
    assert!(!order(&plan).concat().contains(&"nodes".to_owned()));
    assert!(!plan.allows_related(&GroupResource::parse("nodes"), ""));
    assert_eq!(plan.digest(), self::plan(json!({})).digest());
}
