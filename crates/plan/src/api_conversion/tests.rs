//! Old objects in a new cluster.
#![expect(clippy::needless_pass_by_value, reason = "literals read best without borrows")]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fixture::{any_json, kind};

/// What Kubernetes 1.34 serves of the kinds that have rules.
fn served() -> ServedKinds {
    let kinds = [
        kind("ingresses.networking.k8s.io", "v1", "Ingress", true),
        kind("networkpolicies.networking.k8s.io", "v1", "NetworkPolicy", true),
        kind("deployments.apps", "v1", "Deployment", true),
        kind("poddisruptionbudgets.policy", "v1", "PodDisruptionBudget", true),
        kind("cronjobs.batch", "v1", "CronJob", true),
        kind(
            "horizontalpodautoscalers.autoscaling",
            "v2",
            "HorizontalPodAutoscaler",
            true,
        ),
        kind("endpointslices.discovery.k8s.io", "v1", "EndpointSlice", true),
        kind("runtimeclasses.node.k8s.io", "v1", "RuntimeClass", false),
        kind(
            "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
            "v1",
            "PriorityLevelConfiguration",
            false,
        ),
        kind(
            "customresourcedefinitions.apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            false,
        ),
        kind(
            "validatingwebhookconfigurations.admissionregistration.k8s.io",
            "v1",
            "ValidatingWebhookConfiguration",
            false,
        ),
        kind("widgets.example.io", "v2", "Widget", true),
    ];
    let others = [kind(
        "horizontalpodautoscalers.autoscaling",
        "v1",
        "HorizontalPodAutoscaler",
        true,
    )];
    ServedKinds::new(&kinds, &others)
}

fn converted(mut object: Value) -> (Value, String) {
    match served().settle(&mut object) {
        Settled::Converted { api, warning } => {
            assert_eq!(object["apiVersion"], api.gvk().api_version());
            (object, warning)
        }
        other => panic!("{other:?}"),
    }
}

fn of(api_version: &str, kind: &str, spec: Value) -> Value {
    json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, "spec": spec})
}

#[test]
fn ingresses() {
    for old in ["extensions/v1beta1", "networking.k8s.io/v1beta1"] {
        let (object, warning) = converted(of(
            old,
            "Ingress",
            json!({
                "backend": {"serviceName": "fallback", "servicePort": "http"},
                "rules": [{"host": "a", "http": {"paths": [
                    {"path": "/", "backend": {"serviceName": "web", "servicePort": 80}},
                    {"path": "/r", "pathType": "Prefix", "backend": {"resource": {"kind": "Bucket", "name": "b"}}}
                ]}}, {"host": "b"}]
            }),
        ));
        assert_eq!(
            object["spec"],
            json!({
                "defaultBackend": {"service": {"name": "fallback", "port": {"name": "http"}}},
                "rules": [{"host": "a", "http": {"paths": [
                    {"path": "/", "pathType": "ImplementationSpecific",
                        "backend": {"service": {"name": "web", "port": {"number": 80}}}},
                    {"path": "/r", "pathType": "Prefix", "backend": {"resource": {"kind": "Bucket", "name": "b"}}}
                ]}}, {"host": "b"}]
            })
        );
        assert!(
            warning.starts_with(&format!("converted from {old} to networking.k8s.io/v1, because")),
            "{warning}"
        );
    }
}

#[test]
fn budgets_and_jobs() {
    let (object, warning) = converted(of(
        "policy/v1beta1",
        "PodDisruptionBudget",
        json!({"selector": {}, "minAvailable": 1}),
    ));
    assert_eq!(object["spec"], json!({"minAvailable": 1}));
    assert!(warning.contains("empty selector"), "{warning}");
    let selector = json!({"selector": {"matchLabels": {"a": "b"}}});
    let (object, _) = converted(of("policy/v1beta1", "PodDisruptionBudget", selector.clone()));
    assert_eq!(object["spec"], selector);
    let (object, _) = converted(of("batch/v1beta1", "CronJob", json!({"schedule": "@daily"})));
    assert_eq!(object, of("batch/v1", "CronJob", json!({"schedule": "@daily"})));
}

#[test]
fn autoscalers() {
    let (object, _) = converted(of(
        "autoscaling/v2beta1",
        "HorizontalPodAutoscaler",
        json!({"maxReplicas": 5, "metrics": [
            {"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": 80}},
            {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "c", "targetAverageValue": "1Gi"}},
            {"type": "Pods", "pods": {"metricName": "rps", "targetAverageValue": "10", "selector": {"matchLabels": {"a": "b"}}}},
            {"type": "Object", "object": {"metricName": "hits", "target": {"kind": "Service", "name": "s"}, "targetValue": "5"}},
            {"type": "External", "external": {"metricName": "queue", "metricSelector": {}, "targetAverageValue": "3"}}
        ]}),
    ));
    assert_eq!(
        object["spec"]["metrics"],
        json!([
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}},
            {"type": "ContainerResource", "containerResource": {"name": "memory", "container": "c",
                "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
            {"type": "Pods", "pods": {"metric": {"name": "rps", "selector": {"matchLabels": {"a": "b"}}},
                "target": {"type": "AverageValue", "averageValue": "10"}}},
            {"type": "Object", "object": {"metric": {"name": "hits"}, "describedObject": {"kind": "Service", "name": "s"},
                "target": {"type": "Value", "value": "5"}}},
            {"type": "External", "external": {"metric": {"name": "queue", "selector": {}},
                "target": {"type": "AverageValue", "averageValue": "3"}}}
        ])
    );
    let mut served_one = of(
        "autoscaling/v1",
        "HorizontalPodAutoscaler",
        json!({"maxReplicas": 1}),
    );
    let before = served_one.clone();
    let settled = served().settle(&mut served_one);
    assert!(matches!(settled, Settled::AsIs(Some(api)) if api.version == "v1"));
    assert_eq!(served_one, before, "a version that is served is not converted");
}

#[test]
fn workloads_get_the_selector_that_they_implied() {
    let template = json!({"metadata": {"labels": {"app": "x"}}});
    let (object, warning) = converted(of(
        "extensions/v1beta1",
        "Deployment",
        json!({"template": template, "rollbackTo": {"revision": 1}}),
    ));
    assert_eq!(
        object["spec"],
        json!({"template": template, "selector": {"matchLabels": {"app": "x"}}})
    );
    assert!(
        warning.contains("selector") && warning.contains("rollback"),
        "{warning}"
    );
    let mut bare = of("extensions/v1beta1", "Deployment", json!({"template": {}}));
    assert!(matches!(served().settle(&mut bare), Settled::Impossible(_)));
}

#[test]
fn definitions_have_a_schema_for_each_version() {
    let (object, warning) = converted(of(
        "apiextensions.k8s.io/v1beta1",
        "CustomResourceDefinition",
        json!({
            "group": "example.io", "version": "v1", "names": {"plural": "widgets"},
            "versions": [
                {"name": "v1", "served": true, "storage": true},
                {"name": "v2", "served": true, "storage": false, "schema": {"openAPIV3Schema": {"type": "object"}}}
            ],
            "validation": {"openAPIV3Schema": {"properties": {"spec": {"type": "object"}}}},
            "subresources": {"status": {}},
            "additionalPrinterColumns": [{"name": "Age", "type": "date", "JSONPath": ".metadata.creationTimestamp"}],
            "conversion": {"strategy": "Webhook", "webhookClientConfig": {"url": "https://x"}},
            "preserveUnknownFields": false
        }),
    ));
    let columns = json!([{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]);
    assert_eq!(
        object["spec"],
        json!({
            "group": "example.io", "names": {"plural": "widgets"},
            "versions": [
                {"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}},
                    "additionalPrinterColumns": columns},
                {"name": "v2", "served": true, "storage": false, "subresources": {"status": {}},
                    "schema": {"openAPIV3Schema": {"type": "object"}}, "additionalPrinterColumns": columns}
            ],
            "conversion": {"strategy": "Webhook",
                "webhook": {"clientConfig": {"url": "https://x"}, "conversionReviewVersions": ["v1beta1"]}}
        })
    );
    assert!(!warning.contains("schema"), "{warning}");
    let (object, warning) = converted(of(
        "apiextensions.k8s.io/v1beta1",
        "CustomResourceDefinition",
        json!({"version": "v1"}),
    ));
    assert_eq!(
        object["spec"]["versions"],
        json!([{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema":
            {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}])
    );
    assert!(warning.contains("take any field"), "{warning}");
}

#[test]
fn the_smaller_ones() {
    let mut slice = of("discovery.k8s.io/v1beta1", "EndpointSlice", json!({}));
    slice["endpoints"] = json!([{"addresses": ["1.1.1.1"], "topology": {
        "kubernetes.io/hostname": "n1", "topology.kubernetes.io/zone": "z", "rack": "r"}}]);
    let (slice, _) = converted(slice);
    assert_eq!(
        slice["endpoints"],
        json!([{"addresses": ["1.1.1.1"], "nodeName": "n1", "zone": "z", "deprecatedTopology": {"rack": "r"}}])
    );
    let (class, _) = converted(of(
        "node.k8s.io/v1alpha1",
        "RuntimeClass",
        json!({"runtimeHandler": "runsc"}),
    ));
    assert_eq!(class["handler"], "runsc");
    assert!(class.get("spec").is_none());
    let (level, _) = converted(of(
        "flowcontrol.apiserver.k8s.io/v1beta2",
        "PriorityLevelConfiguration",
        json!({"type": "Limited", "limited": {"assuredConcurrencyShares": 3}}),
    ));
    assert_eq!(level["spec"]["limited"], json!({"nominalConcurrencyShares": 3}));
    let mut hooks = of(
        "admissionregistration.k8s.io/v1beta1",
        "ValidatingWebhookConfiguration",
        json!(null),
    );
    hooks["webhooks"] = json!([{"name": "w", "sideEffects": "Unknown", "failurePolicy": "Fail"}]);
    let (hooks, warning) = converted(hooks);
    assert_eq!(
        hooks["webhooks"],
        json!([{"name": "w", "sideEffects": "None", "failurePolicy": "Fail", "admissionReviewVersions": ["v1beta1"],
            "matchPolicy": "Exact", "timeoutSeconds": 30}])
    );
    assert!(warning.contains("sideEffects of w"), "{warning}");
}

#[test]
fn what_has_no_rule_is_said() {
    let mut widget = of("example.io/v1", "Widget", json!({}));
    match served().settle(&mut widget) {
        Settled::Impossible(reason) => assert!(reason.contains("it serves v2"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let mut unknown = of("other.io/v1", "Thing", json!({}));
    assert_eq!(served().settle(&mut unknown), Settled::AsIs(None));
    assert!(removed(&GroupResource::parse("podsecuritypolicies.policy")).is_some());
    assert_eq!(removed(&GroupResource::parse("pods")), None);
    assert_eq!(
        moved(&GroupResource::parse("ingresses.extensions")),
        Some(GroupResource::parse("ingresses.networking.k8s.io"))
    );
}

/// The table that `docs/velero-compat.md` shows is this one.
#[test]
fn the_documented_table_is_the_real_one() {
    let lines: Vec<String> = RULES
        .iter()
        .map(|rule| {
            let group = if rule.group.is_empty() { "core" } else { rule.group };
            let old = rule.versions.join(", ");
            let kinds = rule.kinds.join(", ");
            format!("| {kinds} | {group} {old} | {} {} |", rule.to.0, rule.to.1)
        })
        .collect();
    let page = include_str!("../../../../docs/api-conversion.md");
    for line in lines {
        assert!(page.contains(&line), "docs/api-conversion.md lacks\n{line}");
    }
}

proptest! {
    #[test]
    fn no_object_panics(rest in any_json(true)) {
        let kinds = served();
        for rule in RULES {
            for version in rule.versions {
                for kind in rule.kinds {
                    let mut object = json!({
                        "apiVersion": format!("{}/{version}", rule.group), "kind": kind, "spec": rest,
                        "webhooks": rest, "endpoints": rest});
                    let _ = kinds.settle(&mut object);
                }
            }
        }
    }
}
