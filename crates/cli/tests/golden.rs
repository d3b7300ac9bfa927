//! What commands print and make of their flags, kept in files: Velero's users and their scripts read it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::process::{Command, Output};

use refloat_cli::{
    backup::{describe::Known, get, sections, structured::structured},
    command::GlobalFlags,
    flags::OutputFlags,
    restore, schedule,
    session::Session,
};
use refloat_model::{Backup, Restore, Schedule};
use serde_json::json;

/// Runs the program where there is no cluster and nobody's configuration. Arguments are separated by
/// blanks; what stands in quotes after a bar is one of them.
fn refloat(arguments: &str) -> Output {
    let words = arguments
        .split('|')
        .flat_map(|part| match part.strip_prefix('\'') {
            Some(quoted) => vec![quoted.trim_end_matches('\'')],
            None => part.split_whitespace().collect(),
        });
    Command::new(env!("CARGO_BIN_EXE_refloat"))
        .args(words)
        .env_clear()
        .env("TZ", "UTC")
        .env("HOME", "/nonexistent")
        .output()
        .unwrap()
}

fn printed(arguments: &str) -> String {
    let output = refloat(arguments);
    assert!(
        output.status.success(),
        "{arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.stderr.is_empty(),
        "{arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn refused(arguments: &str) -> (i32, String) {
    let output = refloat(arguments);
    assert!(output.stdout.is_empty());
    (
        output.status.code().unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

fn session() -> Session {
    Session {
        namespace: "velero".into(),
        colour: false,
        zone: jiff::tz::TimeZone::UTC,
        ..Session::new(GlobalFlags::default(), "velero".into())
    }
}

fn backup() -> Backup {
    serde_json::from_value(json!({
        "apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": {
            "name": "shop-20260805100000", "namespace": "velero", "creationTimestamp": "2026-08-05T10:00:00Z",
            "labels": { "velero.io/storage-location": "default", "velero.io/schedule-name": "shop" },
            "annotations": { "velero.io/source-cluster-k8s-gitversion": "v1.34.4" },
        },
        "spec": {
            "includedNamespaces": ["shop", "shop-data"], "excludedResources": ["events"], "storageLocation": "default",
            "labelSelector": { "matchLabels": { "app": "shop" }, "matchExpressions": [{ "key": "tier", "operator": "Exists" }] },
            "ttl": "720h0m0s", "csiSnapshotTimeout": "10m0s", "itemOperationTimeout": "4h0m0s", "snapshotVolumes": false,
            "orderedResources": { "pods": "shop/a,shop/b" }, "resourcePolicy": { "kind": "configmap", "name": "policies" },
            "hooks": { "resources": [{ "name": "freeze", "includedNamespaces": ["shop"], "pre": [
                { "exec": { "container": "db", "command": ["/bin/freeze", "now"], "onError": "Fail", "timeout": "30s" } }] }] },
        },
        "status": {
            "version": 1, "formatVersion": "1.1.0", "phase": "PartiallyFailed", "errors": 1, "warnings": 2,
            "startTimestamp": "2026-08-05T10:00:01Z", "completionTimestamp": "2026-08-05T10:00:04Z",
            "expiration": "2026-09-04T10:00:01Z", "progress": { "totalItems": 12, "itemsBackedUp": 11 },
            "hookStatus": { "hooksAttempted": 1 },
        },
    }))
    .unwrap()
}

fn restore() -> Restore {
    serde_json::from_value(json!({
        "apiVersion": "velero.io/v1", "kind": "Restore",
        "metadata": { "name": "shop-1", "namespace": "velero", "creationTimestamp": "2026-08-05T11:00:00Z" },
        "spec": {
            "backupName": "shop-20260805100000", "includedNamespaces": ["*"], "namespaceMapping": { "shop": "shop-copy" },
            "existingResourcePolicy": "update", "itemOperationTimeout": "4h0m0s", "preserveNodePorts": true,
        },
        "status": {
            "phase": "Completed", "startTimestamp": "2026-08-05T11:00:00Z", "completionTimestamp": "2026-08-05T11:00:02Z",
            "progress": { "totalItems": 11, "itemsRestored": 11 },
        },
    }))
    .unwrap()
}

#[test]
fn flags_of_a_backup_become_its_spec() {
    insta::assert_snapshot!(printed(
        "create backup nightly --include-namespaces shop,shop-* --exclude-namespaces kube-system --include-resources \
         deployments.apps,secrets --exclude-resources events --include-cluster-resources --labels a=b,c=d --annotations e=f \
         --storage-location disk --ttl 72h30m --snapshot-volumes=false --snapshot-move-data --data-mover other \
         --volume-snapshot-locations one,two --volume-snapshot-locations three --default-volumes-to-fs-backup \
         --csi-snapshot-timeout 5m --item-operation-timeout 1h --resource-policies-configmap policies \
         --parallel-files-upload 4 --volume-group-snapshot-label-key group --ordered-resources \
         pods=shop/a,shop/b;persistentvolumes=pv1 -n backups -o yaml --or-selector |'app=shop or tier in (db, cache),!test'"
    ));
}

#[test]
fn scoped_filters_of_a_backup_become_its_spec() {
    insta::assert_snapshot!(printed(
        "backup create scoped --include-cluster-scoped-resources storageclasses.storage.k8s.io \
         --exclude-cluster-scoped-resources nodes --include-namespace-scoped-resources * \
         --exclude-namespace-scoped-resources secrets -l app=shop -o json"
    ));
}

#[test]
fn flags_of_a_restore_become_its_spec() {
    insta::assert_snapshot!(printed(
        "restore create again --from-backup nightly --include-namespaces shop --exclude-namespaces test --namespace-mappings \
         shop:copy,db:db2 --namespace-mappings x:y --include-resources * --exclude-resources nodes \
         --include-cluster-resources=false --existing-resource-policy update --status-include-resources workflows \
         --status-exclude-resources pods --restore-volumes=false --preserve-nodeports --resource-modifier-configmap rules \
         --write-sparse-files --parallel-files-download 2 --item-operation-timeout 2h --labels a=b -l app=shop \
         --storage memory:// -o yaml"
    ));
}

#[test]
fn flags_of_a_schedule_become_its_spec() {
    insta::assert_snapshot!(printed(
        "create schedule nightly --include-namespaces shop --ttl 48h --paused --skip-immediately=true \
         --use-owner-references-in-backup -o yaml --schedule |'CRON_TZ=Europe/Berlin 0 3 * * *'"
    ));
}

#[test]
fn flags_of_a_location_become_its_spec() {
    insta::assert_snapshot!(printed(
        "backup-location create second --provider aws --bucket b --prefix p/q --config region=eu,s3ForcePathStyle=true \
         --credential cloud=key --access-mode ReadOnly --backup-sync-period 0s --validation-frequency 5m --default \
         --labels a=b -o yaml"
    ));
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (arguments, code, words) in [
        (
            "backup create x -l a=b --or-selector c=d",
            2,
            "'selector' or an 'or-selector'",
        ),
        (
            "backup create x --include-resources a --include-cluster-scoped-resources b",
            2,
            "cannot be used together",
        ),
        (
            "backup create x -l a!=b",
            2,
            "not a valid label selector operator",
        ),
        ("backup create x --ttl 5", 2, "is not a duration"),
        ("backup create", 2, "required"),
        ("restore create x", 2, "--from-backup"),
        (
            "restore create x --from-backup a --from-schedule b",
            2,
            "cannot be used with",
        ),
        (
            "restore create x --from-backup a --existing-resource-policy replace",
            2,
            "[possible values: none, update, recreate]",
        ),
        ("backup get --storage ftp://x", 2, "ftp"),
        (
            "install --provider aws --bucket b",
            2,
            "--secret-file or --no-secret",
        ),
        ("install --no-secret", 2, "--no-default-backup-location"),
        ("install --crds-only --dry-run -o table", 2, "not supported"),
        ("backup get", 2, "cannot connect to the cluster"),
    ] {
        let (found, text) = refused(arguments);
        assert_eq!(found, code, "{arguments}: {text}");
        assert!(text.contains(words), "{arguments}: {text}");
        assert!(!text.contains("panicked"), "{arguments}: {text}");
    }
}

#[test]
fn an_installation() {
    let text = printed(
        "install --provider aws --bucket b --prefix p --no-secret --use-node-agent --backup-location-config region=eu \
         --default-volumes-to-fs-backup --concurrent-backups 3 --pod-labels team=ops --dry-run -o yaml",
    );
    let (definitions, rest): (Vec<_>, Vec<_>) = text
        .split("---\n")
        .partition(|document| document.contains("kind: CustomResourceDefinition"));
    assert_eq!(definitions.len(), 14);
    insta::assert_snapshot!(rest.join("---\n"));
}

#[test]
fn tables() {
    let session = session();
    let flags = OutputFlags {
        show_labels: true,
        label_columns: vec!["velero.io/schedule-name".into()],
        ..OutputFlags::default()
    };
    let mut second = backup();
    second.metadata.name = Some("adhoc".into());
    second.metadata.labels = None;
    second.status = None;
    second.spec = refloat_model::BackupSpec::default();
    let mut first = backup();
    // What expires is told relative to now, which a file cannot hold.
    first.status.as_mut().unwrap().expiration = None;
    first.spec.ttl = refloat_model::GoDuration::default();
    let schedule: Schedule = serde_json::from_value(json!({
        "apiVersion": "velero.io/v1", "kind": "Schedule", "metadata": { "name": "shop", "creationTimestamp": "2026-08-01T00:00:00Z" },
        "spec": { "schedule": "@every 6h", "template": { "ttl": "48h0m0s" } }, "status": { "phase": "Enabled" },
    }))
    .unwrap();
    let text = [
        get::table(&session, &[first, second]).render(&flags),
        get::table(&session, &[]).render(&OutputFlags::default()),
        restore::get::table(&session, &[restore()]).render(&OutputFlags::default()),
        schedule::get::table(&session, &[schedule]).render(&OutputFlags::default()),
    ];
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn a_description_of_a_backup() {
    let known = Known {
        backup: backup(),
        results: Some(Ok(Some(
            serde_json::from_value(json!({
                "errors": { "namespaces": { "shop": ["pods \"a\" is gone"] } },
                "warnings": { "velero": ["one"], "cluster": ["two", "three"] },
            }))
            .unwrap(),
        ))),
        volumes: Ok(Some(
            serde_json::from_value(json!([
                { "backupMethod": "CSISnapshot", "pvcName": "data", "pvcNamespace": "shop", "preserveLocalSnapshot": true,
                  "result": "succeeded", "csiSnapshotInfo": { "vscName": "vsc", "snapshotHandle": "h", "size": 10, "driver": "d" } },
            ]))
            .unwrap(),
        )),
        resources: Some(Ok(Some(
            [("v1/Pod".to_owned(), vec!["shop/a".to_owned(), "shop/b".to_owned()]), ("v1/Namespace".to_owned(), vec!["shop".to_owned()])]
                .into(),
        ))),
        operations: None,
        pod_volumes: Vec::new(),
        deletions: Vec::new(),
    };
    insta::assert_snapshot!(sections::describe(&session(), &known, true));
    insta::assert_snapshot!(
        "a_description_of_a_backup_for_programs",
        structured(&session(), &known, true).unwrap()
    );
}
