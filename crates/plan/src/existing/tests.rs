//! Objects that are there already.
#![expect(clippy::needless_pass_by_value, reason = "literals read best without borrows")]

use refloat_model::{ObjectName, RestoreSpec};
use serde_json::json;

use super::*;
use crate::restore_item::{Prepared, prepare};

fn context(policy: &str) -> RestoreContext {
    let spec = json!({"backupName": "b1", "existingResourcePolicy": policy});
    let spec: RestoreSpec = serde_json::from_value(spec).unwrap();
    RestoreContext::new("r1", &spec, &[], &[]).unwrap()
}

fn decide(ctx: &RestoreContext, kind: &str, stored: &Value, live: &Value) -> Existing {
    let kind = GroupResource::parse(kind);
    let name = path::text(stored, &["metadata", "name"]).unwrap();
    match prepare(ctx, &kind, &ObjectName::new("n", name), stored.clone()) {
        Prepared::Create(item) => decide_existing(ctx, &kind, &item.object, live),
        skipped @ Prepared::Skip { .. } => panic!("{skipped:?}"),
    }
}

fn map(rest: Value) -> Value {
    let mut map = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "x", "namespace": "n", "uid": "u1", "resourceVersion": "1"}, "data": {"a": "1"}});
    json_patch::merge(&mut map, &rest);
    map
}

fn labels_of_restore() -> Value {
    json!({"metadata": {"labels": {"velero.io/backup-name": "b1", "velero.io/restore-name": "r1"}}})
}

#[test]
fn the_same_object_in_another_life_is_the_same() {
    let live = map(
        json!({"metadata": {"uid": "u2", "resourceVersion": "9", "creationTimestamp": "t",
        "labels": {"velero.io/restore-name": "earlier", "velero.io/backup-name": "b0"},
        "managedFields": [{"manager": "x"}], "ownerReferences": []}}),
    );
    for policy in ["", "none"] {
        let decision = decide(&context(policy), "configmaps", &map(json!({})), &live);
        assert_eq!(decision, Existing::Same { labels: None }, "{policy}");
    }
    let decision = decide(&context("update"), "configmaps", &map(json!({})), &live);
    assert_eq!(
        decision,
        Existing::Same {
            labels: Some(labels_of_restore())
        }
    );
}

#[test]
fn a_different_object_stays_or_is_patched() {
    let stored = map(json!({"data": {"a": "1", "b": "2"}}));
    let live = map(json!({"data": {"a": "changed", "extra": "3"}, "metadata": {"labels": {"k": "v"}}}));
    for (policy, what) in [("", "ConfigMap:x"), ("none", "ConfigMap \"x\"")] {
        let warning = format!(
            "could not restore, {what} already exists. Warning: the in-cluster version is different than the backed-up version"
        );
        assert_eq!(
            decide(&context(policy), "configmaps", &stored, &live),
            Existing::Conflict { warning }
        );
    }
    let Existing::Patch {
        patch,
        labels,
        recreate: false,
    } = decide(&context("update"), "configmaps", &stored, &live)
    else {
        panic!("no patch")
    };
    assert_eq!(
        patch,
        json!({"metadata": {"labels": {"k": null, "velero.io/backup-name": "b1", "velero.io/restore-name": "r1"}},
            "data": {"extra": null, "a": "1", "b": "2"}})
    );
    assert_eq!(labels, labels_of_restore());
}

#[test]
fn what_an_earlier_try_created_is_ours_unless_it_is_older() {
    let mut live =
        map(json!({"data": {"a": "other"}, "metadata": {"creationTimestamp": "2026-01-02T00:00:00Z"}}));
    json_patch::merge(&mut live, &labels_of_restore());
    let mut ctx = context("");
    assert_eq!(decide(&ctx, "configmaps", &map(json!({})), &live), Existing::Ours);
    ctx.not_before = Some("2026-01-02T00:00:00Z".parse().unwrap());
    assert_eq!(decide(&ctx, "configmaps", &map(json!({})), &live), Existing::Ours);
    ctx.not_before = Some("2026-01-02T00:00:01Z".parse().unwrap());
    assert!(matches!(
        decide(&ctx, "configmaps", &map(json!({})), &live),
        Existing::Conflict { .. }
    ));
}

#[test]
fn service_accounts_only_gain() {
    let account = |rest: Value| {
        let mut account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": "sa", "namespace": "n"}});
        json_patch::merge(&mut account, &rest);
        account
    };
    let stored = account(
        json!({"metadata": {"labels": {"a": "backup", "b": "new"}, "annotations": {"c": "d"}},
        "secrets": [{"name": "one"}, {"name": "two"}], "imagePullSecrets": [{"name": "pull"}]}),
    );
    let live = account(json!({"metadata": {"labels": {"a": "cluster"}},
        "secrets": [{"name": "two"}, {"name": "sa-token-live"}]}));
    let patch = json!({"secrets": [{"name": "two"}, {"name": "sa-token-live"}, {"name": "one"}],
        "imagePullSecrets": [{"name": "pull"}], "metadata": {"labels": {"b": "new"}, "annotations": {"c": "d"}}});
    assert_eq!(
        decide(&context(""), "serviceaccounts", &stored, &live),
        Existing::MergeServiceAccount(patch)
    );
    assert_eq!(
        decide(&context(""), "serviceaccounts", &account(json!({})), &live),
        Existing::Same { labels: None }
    );
}

#[test]
fn what_the_cluster_assigns_is_no_difference() {
    let service = |ip: &str, port: u16| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"},
            "spec": {"type": "NodePort", "clusterIP": ip, "clusterIPs": [ip],
                "ports": [{"port": 80, "protocol": "TCP", "nodePort": port}]}})
    };
    let decision = decide(
        &context(""),
        "services",
        &service("10.0.0.1", 30001),
        &service("10.0.0.2", 30002),
    );
    assert_eq!(decision, Existing::Same { labels: None });

    let claim = |volume: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "c", "namespace": "n"},
            "spec": {"volumeName": volume, "storageClassName": "fast"}})
    };
    let mut ctx = context("");
    assert!(matches!(
        decide(&ctx, "persistentvolumeclaims", &claim("a"), &claim("b")),
        Existing::Conflict { .. }
    ));
    ctx.reprovisioned.insert("a".into());
    assert_eq!(
        decide(&ctx, "persistentvolumeclaims", &claim("a"), &claim("b")),
        Existing::Same { labels: None }
    );

    let deployment = |stamp: Value| {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "namespace": "n"},
            "spec": {"template": {"metadata": stamp}}})
    };
    let (old, new) = (
        deployment(json!({"creationTimestamp": null})),
        deployment(json!({})),
    );
    assert_eq!(
        decide(&context(""), "deployments.apps", &old, &new),
        Existing::Same { labels: None }
    );
}

#[test]
fn by_recreate_what_cannot_be_patched_is_created_again_but_not_what_holds_others() {
    let of = |kind: &str, value: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "x", "namespace": "n"}, "spec": {"a": value}});
    for (kind, resource, expected) in [
        ("Job", "jobs.batch", true),
        ("Service", "services", true),
        ("PersistentVolumeClaim", "persistentvolumeclaims", false),
        ("PersistentVolume", "persistentvolumes", false),
        ("Namespace", "namespaces", false),
        (
            "CustomResourceDefinition",
            "customresourcedefinitions.apiextensions.k8s.io",
            false,
        ),
    ] {
        let decided = decide_existing(
            &context("recreate"),
            &GroupResource::parse(resource),
            &of(kind, "new"),
            &of(kind, "old"),
        );
        assert!(
            matches!(decided, Existing::Patch { recreate, .. } if recreate == expected),
            "{decided:?}"
        );
        let mut going = of(kind, "old");
        going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        let kind = GroupResource::parse(resource);
        let decided = decide_existing(&context("recreate"), &kind, &of("x", "new"), &going);
        assert_eq!(decided == Existing::AwaitDeletion, expected);
        let decided = decide_existing(&context("update"), &kind, &of("x", "new"), &going);
        assert_ne!(decided, Existing::AwaitDeletion);
    }
}
