//! What counts as a difference.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fixture::{any_json, discovered, strings};

fn diff(kind: &str, from: &Value, to: &Value) -> Vec<FieldChange> {
    let kind = GroupResource::parse(kind);
    let (mut from, mut to) = (from.clone(), to.clone());
    normalise(&kind, &mut from);
    normalise(&kind, &mut to);
    let mut changes = compare(&from, &to);
    conceal(&kind, &mut changes);
    changes
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {
            "name": "web", "namespace": "shop", "uid": "u1", "resourceVersion": "7", "generation": 3,
            "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"app": "web"},
            "annotations": {"deployment.kubernetes.io/revision": "4", "team": "a"},
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": {
            "replicas": 2,
            "template": {"spec": {
                "containers": [
                    {"name": "web", "image": "web:1", "args": ["-a", "-b", "-c"], "env": [{"name": "A", "value": "1"}]},
                    {"name": "log", "image": "log:1"},
                ],
                "tolerations": null,
            }},
        },
        "status": {"readyReplicas": 2},
    })
}

#[test]
fn what_the_server_makes_does_not_count() {
    let mut other = deployment();
    other["metadata"]["uid"] = "u2".into();
    other["metadata"]["resourceVersion"] = "900".into();
    other["metadata"]["generation"] = 9.into();
    other["metadata"]["creationTimestamp"] = "2027-01-01T00:00:00Z".into();
    other["metadata"]["managedFields"] = json!([{"manager": "helm"}, {"manager": "kcm"}]);
    other["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "5".into();
    other["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"] = "{}".into();
    other["metadata"]["labels"]["velero.io/restore-name"] = "r".into();
    other["metadata"]["labels"]["velero.io/backup-name"] = "b".into();
    other["status"] = json!({"readyReplicas": 0});
    other["spec"]["template"]["spec"]
        .as_object_mut()
        .unwrap()
        .remove("tolerations");
    assert_eq!(diff("deployments.apps", &deployment(), &other), []);
}

#[test]
fn fields_are_named_by_their_place() {
    let mut other = deployment();
    other["spec"]["replicas"] = 5.into();
    other["metadata"]["annotations"]["example.io/owner"] = "me".into();
    other["metadata"]["labels"] = json!({});
    let containers = &mut other["spec"]["template"]["spec"]["containers"];
    containers[0]["image"] = "web:2".into();
    containers[0]["args"] = json!(["-a", "-x", "-y", "-c"]);
    containers[0]["env"][0]["value"] = "2".into();
    containers.as_array_mut().unwrap().swap(0, 1);
    containers
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "new", "image": "n"}));
    let changes = diff("deployments.apps", &deployment(), &other);
    insta::assert_snapshot!(serde_json::to_string_pretty(&changes).unwrap());
}

#[test]
fn the_order_of_named_elements_is_told_if_nothing_else_differs() {
    let mut other = deployment();
    other["spec"]["template"]["spec"]["containers"]
        .as_array_mut()
        .unwrap()
        .swap(0, 1);
    let changes = diff("deployments.apps", &deployment(), &other);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].path, "spec.template.spec.containers (order)");
    assert_eq!(changes[0].to, Some(json!(["log", "web"])));
}

#[test]
fn each_kind_has_its_own_noise() {
    for (kind, from, to) in [
        (
            "services",
            json!({"spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": []}}),
            json!({"spec": {"clusterIP": "10.0.0.9", "clusterIPs": ["10.0.0.9"], "ports": []}}),
        ),
        (
            "persistentvolumes",
            json!({"spec": {"claimRef": {"name": "c", "uid": "1", "resourceVersion": "1"}}}),
            json!({"spec": {"claimRef": {"name": "c", "uid": "2"}}}),
        ),
        (
            "namespaces",
            json!({"metadata": {"name": "a", "labels": {"kubernetes.io/metadata.name": "a"}}, "spec": {"finalizers": ["kubernetes"]}}),
            json!({"metadata": {"name": "a"}}),
        ),
        (
            "secrets",
            json!({"type": "kubernetes.io/service-account-token", "data": {"token": "YQ==", "ca.crt": "YQ=="}}),
            json!({"type": "kubernetes.io/service-account-token", "data": {"token": "Yg=="}}),
        ),
        (
            "pods",
            json!({"spec": {"nodeName": "a", "volumes": [{"name": "kube-api-access-x1"}],
                "containers": [{"name": "c", "volumeMounts": [{"name": "kube-api-access-x1"}]}]}}),
            json!({"spec": {"nodeName": "b", "volumes": [], "containers": [{"name": "c", "volumeMounts": []}]}}),
        ),
        (
            "jobs.batch",
            json!({"spec": {"selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "1"}}}}),
            json!({"spec": {"selector": {"matchLabels": {"batch.kubernetes.io/controller-uid": "2"}}}}),
        ),
        (
            "replicasets.apps",
            json!({"metadata": {"ownerReferences": [{"name": "web", "uid": "1"}]}}),
            json!({"metadata": {"ownerReferences": [{"name": "web", "uid": "2"}]}}),
        ),
    ] {
        assert_eq!(diff(kind, &from, &to), [], "{kind}");
    }
    let headless = json!({"spec": {"clusterIP": "None"}});
    let changes = diff("services", &headless, &json!({"spec": {"clusterIP": "10.0.0.9"}}));
    assert_eq!(changes.len(), 1, "headless or not is a difference");
}

#[test]
fn what_a_secret_holds_is_not_told() {
    let from = json!({"data": {"a": "c2VjcmV0", "dotted.name": "eA=="}, "type": "Opaque"});
    let to = json!({"data": {"a": "b3RoZXI=", "b": "bmV3"}, "type": "Other"});
    let changes = diff("secrets", &from, &to);
    let text = serde_json::to_string(&changes).unwrap();
    assert_eq!(changes.len(), 4, "{text}");
    for word in ["c2VjcmV0", "b3RoZXI", "bmV3", "eA=="] {
        assert!(!text.contains(word), "{text}");
    }
    assert!(
        text.contains("(hidden, 8 characters)") && text.contains("Opaque"),
        "{text}"
    );
    let whole = diff("secrets", &json!({}), &to);
    assert!(!serde_json::to_string(&whole).unwrap().contains("bmV3"));
}

#[test]
fn the_scope_goes_by_kind_and_namespace() {
    let scope = |lists: ScopeLists| Scope::new(&lists, &discovered()).unwrap();
    let kind = GroupResource::parse;
    let all = scope(ScopeLists::default());
    for (name, expected) in [
        ("pods", true),
        ("events", false),
        ("leases.coordination.k8s.io", false),
        ("backups.velero.io", false),
    ] {
        assert_eq!(all.kind(&kind(name)), expected, "{name}");
    }
    assert!(all.object(
        &kind("storageclasses.storage.k8s.io"),
        &ObjectName::new("", "fast")
    ));
    let some = scope(ScopeLists {
        included_namespaces: strings(&["shop-*"]),
        included_resources: strings(&["deploy", "ns", "leases.coordination.k8s.io"]),
        ..ScopeLists::default()
    });
    assert!(
        some.kind(&kind("leases.coordination.k8s.io")),
        "asked for by name"
    );
    assert!(some.kind(&kind("deployments.apps")) && !some.kind(&kind("pods")));
    assert!(some.object(&kind("deployments.apps"), &ObjectName::new("shop-1", "a")));
    assert!(!some.object(&kind("deployments.apps"), &ObjectName::new("other", "a")));
    assert!(some.object(&kind("namespaces"), &ObjectName::new("", "shop-1")));
    assert!(!some.object(&kind("namespaces"), &ObjectName::new("", "other")));
}

proptest! {
    #[test]
    fn equal_objects_have_no_difference_and_unequal_ones_have(from in any_json(true), to in any_json(true)) {
        let kind = GroupResource::parse("pods");
        let (mut from, mut to) = (from, to);
        normalise(&kind, &mut from);
        normalise(&kind, &mut to);
        prop_assert_eq!(compare(&from, &from), vec![]);
        prop_assert_eq!(compare(&from, &to).is_empty(), from == to);
    }
}
