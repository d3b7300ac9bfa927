//! Objects on their way back.
#![expect(clippy::needless_pass_by_value, reason = "literals read best without borrows")]

use proptest::prelude::*;
use refloat_model::RestoreSpec;
use serde_json::json;

use super::*;
use crate::fixture::{any_json, discovered};

fn context(spec: Value) -> RestoreContext {
    let mut spec: RestoreSpec = serde_json::from_value(spec).unwrap();
    spec.backup_name = "b1".into();
    let volumes = json!([
        {"pvName": "copied", "backupMethod": "PodVolumeBackup"},
        {"pvName": "skipped", "skipped": true}
    ]);
    RestoreContext::new(
        "r1",
        &spec,
        &discovered(),
        &serde_json::from_value::<Vec<_>>(volumes).unwrap(),
    )
    .unwrap()
}

fn prepared(ctx: &RestoreContext, kind: &str, object: Value) -> Prepared {
    let text = |key: &str| {
        json::text(&object, &["metadata", key])
            .unwrap_or_default()
            .to_owned()
    };
    let name = ObjectName::new(text("namespace"), text("name"));
    prepare(ctx, &GroupResource::parse(kind), &name, object)
}

fn created(ctx: &RestoreContext, kind: &str, object: Value) -> PreparedItem {
    match prepared(ctx, kind, object) {
        Prepared::Create(item) => *item,
        skipped @ Prepared::Skip { .. } => panic!("{skipped:?}"),
    }
}

/// An object with a name, and whatever else it is to have.
fn object(api_version: &str, kind: &str, rest: Value) -> Value {
    let mut object =
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x", "namespace": "n"}});
    json_patch::merge(&mut object, &rest);
    object
}

fn skipped(kind: &str, object: Value) -> (SkipLevel, bool) {
    match prepared(&context(json!({})), kind, object) {
        Prepared::Skip {
            level, reprovision, ..
        } => (level, reprovision),
        Prepared::Create(item) => panic!("{item:?}"),
    }
}

#[test]
fn an_ordinary_object_loses_its_former_life() {
    let map = object(
        "v1",
        "ConfigMap",
        json!({
            "metadata": {
                "uid": "u", "resourceVersion": "7", "generation": 3, "selfLink": "/x", "generateName": "x-",
                "creationTimestamp": "t", "deletionTimestamp": "t", "deletionGracePeriodSeconds": 3,
                "ownerReferences": [{"uid": "o"}], "finalizers": ["keep.example.io/me"],
                "labels": {"app": "web", "velero.io/restore-name": "older"}, "annotations": {"a": "b"},
                "managedFields": [{"manager": "kubectl", "operation": "Update"}]
            },
            "data": {"big": "1"}, "status": {"s": 1}
        }),
    );
    let item = created(
        &context(json!({"namespaceMapping": {"n": "m"}})),
        "configmaps",
        map,
    );
    assert_eq!(
        (item.namespace.as_str(), item.name.as_str(), item.status),
        ("m", "x", None)
    );
    assert_eq!(item.managed_fields, Carry::FieldManager("kubectl".into()));
    assert_eq!(
        item.object,
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {
                "name": "x", "namespace": "m", "finalizers": ["keep.example.io/me"],
                "labels": {"app": "web", "velero.io/restore-name": "r1", "velero.io/backup-name": "b1"},
                "annotations": {"a": "b"}
            },
            "data": {"big": "1"}
        })
    );
}

#[test]
fn numbers_do_not_change() {
    let text = r#"{"apiVersion":"example.io/v1","kind":"Widget","metadata":{"name":"x"},"spec":{"a":1.50,"b":12345678901234567890123,"c":1e+21,"d":-0.0}}"#;
    let item = created(
        &context(json!({})),
        "widgets.example.io",
        serde_json::from_str(text).unwrap(),
    );
    let spec = r#""spec":{"a":1.50,"b":12345678901234567890123,"c":1e+21,"d":-0.0}"#;
    assert!(item.object.to_string().contains(spec), "{}", item.object);
}

#[test]
fn what_is_no_object_of_its_place_is_refused() {
    let ctx = context(json!({}));
    let pods = GroupResource::parse("pods");
    let name = ObjectName::new("n", "x");
    for odd in [
        json!(null),
        json!([]),
        json!({"kind": "Pod", "metadata": {"name": "x"}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "y"}}),
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": []}),
    ] {
        let result = prepare(&ctx, &pods, &name, odd.clone());
        assert!(
            matches!(
                result,
                Prepared::Skip {
                    level: SkipLevel::Error,
                    ..
                }
            ),
            "{odd}"
        );
    }
}

#[test]
fn pods() {
    let pod = |rest: Value| object("v1", "Pod", rest);
    for left_out in [
        json!({"status": {"phase": "Succeeded"}}),
        json!({"status": {"phase": "Failed"}}),
        json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "h"}}}),
    ] {
        assert_eq!(skipped("pods", pod(left_out)), (SkipLevel::Silent, false));
    }
    let token = json!({"name": "sa-token-abc"});
    let item = created(
        &context(json!({})),
        "pods",
        pod(json!({
            "spec": {
                "serviceAccountName": "sa", "nodeName": "node1", "priority": 7, "ephemeralContainers": [{"name": "debug"}],
                "volumes": [{"name": "data"}, token], "priorityClassName": "high",
                "containers": [{"name": "c", "volumeMounts": [token, {"name": "data"}]}, "odd"],
                "initContainers": [{"name": "i", "volumeMounts": [token]}]
            },
            "status": {"phase": "Running"}
        })),
    );
    assert_eq!(
        item.object["spec"],
        json!({
            "serviceAccountName": "sa", "volumes": [{"name": "data"}], "priorityClassName": "high",
            "containers": [{"name": "c", "volumeMounts": [{"name": "data"}]}, "odd"],
            "initContainers": [{"name": "i", "volumeMounts": []}]
        })
    );
}

#[test]
fn jobs() {
    let job = |rest: Value| object("batch/v1", "Job", rest);
    assert_eq!(
        skipped("jobs.batch", job(json!({"status": {"completionTime": "t"}}))),
        (SkipLevel::Silent, false)
    );
    let labels = json!({"controller-uid": "u", "batch.kubernetes.io/controller-uid": "u", "job-name": "x"});
    let item = created(
        &context(json!({})),
        "jobs.batch",
        job(json!({
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}}
        })),
    );
    assert_eq!(
        item.object["spec"],
        json!({"selector": {"matchLabels": {"job-name": "x"}}, "template": {"metadata": {"labels": {"job-name": "x"}}}})
    );
}

/// A service's spec after its way back.
fn service(spec: Value, metadata: Value, restore: Value) -> Value {
    let service = object("v1", "Service", json!({"metadata": metadata, "spec": spec}));
    created(&context(restore), "services", service).object["spec"].take()
}

#[test]
fn services_get_new_addresses_and_ports() {
    let spec = json!({"type": "LoadBalancer", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
        "externalTrafficPolicy": "Local", "healthCheckNodePort": 31000,
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "nodePort": 30080},
                  {"port": 81, "protocol": "TCP", "nodePort": 30081}]});
    let bare = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}, {"port": 81, "protocol": "TCP"}]});
    assert_eq!(service(spec.clone(), json!({}), json!({})), bare);

    let kept = service(spec.clone(), json!({}), json!({"preserveNodePorts": true}));
    assert_eq!(
        (&kept["ports"], &kept["healthCheckNodePort"]),
        (&spec["ports"], &json!(31000))
    );
    assert_eq!(kept.get("clusterIP"), None);

    let applied = |ports: Value| {
        let text = json!({"spec": {"ports": ports, "healthCheckNodePort": 31000}}).to_string();
        json!({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": text}})
    };
    let named = service(
        spec.clone(),
        applied(json!([{"name": "http", "nodePort": 30080}])),
        json!({}),
    );
    assert_eq!(named["ports"][0]["nodePort"], json!(30080));
    assert_eq!(named["ports"][1].get("nodePort"), None);
    assert_eq!(named["healthCheckNodePort"], json!(31000));
    let unnamed = service(
        spec.clone(),
        applied(json!([{"nodePort": "30081"}, 7])),
        json!({}),
    );
    assert_eq!(unnamed["ports"][0].get("nodePort"), None);
    assert_eq!(unnamed["ports"][1]["nodePort"], json!(30081));

    let managed = json!({"managedFields": [{"manager": "x", "operation": "Apply", "fieldsV1": {"f:spec": {
        "f:healthCheckNodePort": {}, "f:ports": {r#"k:{"port":81,"protocol":"TCP"}"#: {"f:nodePort": {}},
        r#"k:{"port":80,"protocol":"TCP"}"#: {"f:port": {}}}}}}]});
    let managed = service(spec, managed, json!({}));
    assert_eq!(managed["ports"][0].get("nodePort"), None);
    assert_eq!(managed["ports"][1]["nodePort"], json!(30081));
    assert_eq!(managed["healthCheckNodePort"], json!(31000));
}

#[test]
fn headless_services_stay_headless_and_bad_annotations_do_no_harm() {
    let spec =
        json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 1, "nodePort": 30000}]});
    let annotations =
        json!({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{not json"}});
    let after = service(spec, annotations, json!({}));
    assert_eq!(
        after,
        json!({"clusterIP": "None", "clusterIPs": ["None"], "ports": [{"port": 1}]})
    );
}

#[test]
fn volumes_and_claims() {
    let volume = |name: &str, policy: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name,
                "annotations": {"pv.kubernetes.io/bound-by-controller": "yes", "pv.kubernetes.io/provisioned-by": "d"}},
            "spec": {"persistentVolumeReclaimPolicy": policy,
                "claimRef": {"namespace": "n", "name": "c", "uid": "u", "resourceVersion": "1"}}})
    };
    assert_eq!(
        skipped("persistentvolumes", volume("a", "Delete")),
        (SkipLevel::Silent, true)
    );
    assert_eq!(
        skipped("persistentvolumes", volume("skipped", "Delete")),
        (SkipLevel::Silent, true)
    );
    assert_eq!(
        skipped("persistentvolumes", volume("copied", "Retain")),
        (SkipLevel::Error, true)
    );
    let mut ctx = context(json!({"namespaceMapping": {"n": "m"}}));
    let kept = created(&ctx, "persistentvolumes", volume("a", "Retain")).object;
    assert_eq!(kept["spec"]["claimRef"], json!({"namespace": "m", "name": "c"}));
    assert_eq!(
        kept["metadata"]["annotations"],
        json!({"pv.kubernetes.io/provisioned-by": "d"})
    );

    let claim = object(
        "v1",
        "PersistentVolumeClaim",
        json!({
            "metadata": {"annotations": {"pv.kubernetes.io/bind-completed": "yes", "a": "b",
                "volume.beta.kubernetes.io/storage-provisioner": "d", "volume.kubernetes.io/selected-node": "n1"}},
            "spec": {"volumeName": "a", "storageClassName": "fast"}, "status": {"phase": "Bound"}
        }),
    );
    let related = related(&GroupResource::parse("persistentvolumeclaims"), &claim);
    assert_eq!(related[0].name.to_string(), "a");
    let bound = created(&ctx, "persistentvolumeclaims", claim.clone()).object;
    assert_eq!(bound["metadata"]["annotations"], json!({"a": "b"}));
    assert_eq!(bound["spec"]["volumeName"], "a");
    ctx.reprovisioned.insert("a".into());
    let fresh = created(&ctx, "persistentvolumeclaims", claim).object;
    assert_eq!(fresh["spec"], json!({"storageClassName": "fast"}));
}

#[test]
fn identities() {
    let secret = |name: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/service-account-token",
            "metadata": {"name": name, "namespace": "n", "annotations": {
                "kubernetes.io/service-account.name": "sa", "kubernetes.io/service-account.uid": "u"}},
            "data": {"token": "t", "ca.crt": "c", "namespace": "bg==", "extra": "x"}})
    };
    assert_eq!(
        skipped("secrets", secret("sa-token-x1")),
        (SkipLevel::Silent, false)
    );
    let asked_for = created(&context(json!({})), "secrets", secret("mine")).object;
    assert_eq!(asked_for["data"], json!({"namespace": "bg==", "extra": "x"}));
    assert_eq!(
        asked_for["metadata"]["annotations"],
        json!({"kubernetes.io/service-account.name": "sa"})
    );

    let account = object(
        "v1",
        "ServiceAccount",
        json!({"secrets": [{"name": "x-token-1"}, {"name": "other"}]}),
    );
    let account = created(&context(json!({})), "serviceaccounts", account).object;
    assert_eq!(account["secrets"], json!([{"name": "other"}]));

    let ctx = context(json!({"namespaceMapping": {"n": "m"}}));
    let subjects = json!({"subjects": [{"kind": "ServiceAccount", "namespace": "n"}, {"namespace": "o"}, 1]});
    for (kind, version) in [("rolebindings", "v1"), ("clusterrolebindings", "v1")] {
        let binding = object(
            &format!("rbac.authorization.k8s.io/{version}"),
            "Binding",
            subjects.clone(),
        );
        let binding = created(&ctx, &format!("{kind}.rbac.authorization.k8s.io"), binding).object;
        assert_eq!(
            binding["subjects"],
            json!([{"kind": "ServiceAccount", "namespace": "m"}, {"namespace": "o"}, 1])
        );
    }
}

#[test]
fn cluster_kinds() {
    let auto = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.", "labels": {"kube-aggregator.kubernetes.io/automanaged": "onstart"}}});
    assert_eq!(
        skipped("apiservices.apiregistration.k8s.io", auto),
        (SkipLevel::Silent, false)
    );
    let ctx = context(json!({}));
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "w"}, "spec": {"preserveUnknownFields": true,
            "versions": [{"schema": {"openAPIV3Schema": {"type": "object"}}}, {}]}});
    let definition = created(&ctx, "customresourcedefinitions.apiextensions.k8s.io", definition).object;
    assert_eq!(
        definition["spec"],
        json!({"preserveUnknownFields": false, "versions": [{"schema": {"openAPIV3Schema":
            {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}, {}]})
    );
    let hooks = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": "w"}, "webhooks": [{"sideEffects": "Unknown"}, {"sideEffects": "NoneOnDryRun"}]});
    let hooks = created(
        &ctx,
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        hooks,
    )
    .object;
    assert_eq!(
        hooks["webhooks"],
        json!([{"sideEffects": "None"}, {"sideEffects": "NoneOnDryRun"}])
    );
}

#[test]
fn namespaces_are_made_from_what_is_stored() {
    let ctx = context(json!({"namespaceMapping": {"n": "m"}}));
    let stored = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "n", "uid": "u", "labels": {"kubernetes.io/metadata.name": "n", "team": "a"},
            "annotations": {"a": "b"}, "managedFields": []},
        "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
    let expected = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "m", "labels": {"kubernetes.io/metadata.name": "m", "team": "a"}, "annotations": {"a": "b"}},
        "spec": {"finalizers": ["kubernetes"]}});
    assert_eq!(namespace_object(&ctx, "n", Some(stored.clone())), expected);
    let item = created(
        &ctx,
        "namespaces",
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n"}}),
    );
    assert_eq!((item.name.as_str(), item.namespace.as_str()), ("m", ""));
    let bare = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "o"}});
    assert_eq!(namespace_object(&ctx, "o", None), bare);
}

#[test]
fn status_comes_back_where_asked_for() {
    let widget = |annotation: Value| {
        object(
            "example.io/v1",
            "Widget",
            json!({"metadata": {"annotations": annotation}, "status": {"ready": true}}),
        )
    };
    let status = |restore: Value, annotation: Value| {
        created(&context(restore), "widgets.example.io", widget(annotation))
            .status
            .is_some()
    };
    let annotated = |value: &str| json!({"velero.io/restore-status": value});
    let wanted = json!({"restoreStatus": {"includedResources": ["widgets"]}});
    assert!(!status(json!({}), json!({})));
    assert!(status(wanted.clone(), json!({})));
    assert!(!status(wanted.clone(), annotated(" False")));
    assert!(status(json!({}), annotated("TRUE")));
    assert!(status(wanted, annotated("odd")));
    assert!(!status(
        json!({"restoreStatus": {"includedResources": ["*"], "excludedResources": ["widgets"]}}),
        json!({})
    ));
}

const KINDS: [&str; 15] = [
    "pods",
    "jobs.batch",
    "services",
    "persistentvolumes",
    "persistentvolumeclaims",
    "secrets",
    "serviceaccounts",
    "rolebindings.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "apiservices.apiregistration.k8s.io",
    "customresourcedefinitions.apiextensions.k8s.io",
    "mutatingwebhookconfigurations.admissionregistration.k8s.io",
    "namespaces",
    "deployments.apps",
    "widgets.example.io",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_json_is_survived(kind in prop::sample::select(&KINDS[..]), value in any_json(true), live in any_json(true)) {
        let mut ctx = context(json!({"namespaceMapping": {"default": "m"}, "existingResourcePolicy": "update"}));
        ctx.reprovisioned.insert("a".into());
        let kind = GroupResource::parse(kind);
        let mut object = value.clone();
        let _ = related(&kind, &value);
        let _ = crate::backup_action::act("b", &crate::backup_action::RbacIndex::default(), &kind, &mut object);
        let name = ObjectName::new("default", "a");
        let _ = prepare(&ctx, &kind, &name, value.clone());
        // The same with what every object must have, so that the rules are reached.
        let mut whole = value;
        if let Some(map) = whole.as_object_mut() {
            map.insert("apiVersion".into(), "v1".into());
            map.insert("kind".into(), "Any".into());
            json::ensure_object(map, "metadata").insert("name".into(), "a".into());
            if let Prepared::Create(item) = prepare(&ctx, &kind, &name, whole) {
                prop_assert_eq!(item.object.get("status"), None);
                for key in ["uid", "resourceVersion", "ownerReferences", "managedFields", "creationTimestamp", "generation"] {
                    prop_assert_eq!(json::get(&item.object, &["metadata", key]), None);
                }
                let _ = crate::existing::decide_existing(&ctx, &kind, &item.object, &live);
            }
        }
    }
}
