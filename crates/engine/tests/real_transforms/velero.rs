//! The same restore by the unmodified Velero.

use std::time::Duration;

use anyhow::{Result, ensure};
use refloat_testkit::{
    process::run_command,
    velero::{VeleroOptions, VeleroServer},
};
use serde_json::json;

use crate::{
    Field, deployment,
    scene::{self, Scene, of_namespaces},
    spec,
};

const RULES: &str = r#"
version: v1
resourceModifierRules:
- conditions: {groupResource: deployments.apps, resourceNameRegex: "^web.*$"}
  patches:
  - {operation: replace, path: /spec/revisionHistoryLimit, value: "4"}
  - {operation: add, path: /metadata/annotations, value: '{"a": "\"1\""}'}
  - {operation: test, path: /spec/template/spec/containers/0/name, value: main}
  - {operation: copy, from: /metadata/labels/app, path: /metadata/labels/copied}
- conditions: {groupResource: "*", labelSelector: {matchLabels: {app: web}}}
  mergePatches:
  - patchData: '{"metadata":{"annotations":{"restored-for":"drill"}}}'
- conditions: {groupResource: deployments.apps}
  strategicPatches:
  - patchData: |
      spec: {template: {spec: {containers: [{name: main, env: [{name: B, value: "3"}]}, {name: side, image: s}]}}}
- conditions: {groupResource: configmaps, matches: [{path: /data/k, value: old}]}
  patches: [{operation: replace, path: /data/n, value: "\"2\""}, {operation: remove, path: /data/k}]
- conditions: {groupResource: services}
  patches: [{operation: remove, path: /spec/none}]
"#;

fn last_words(log: &std::path::Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(15).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// The unmodified Velero and we restore the same backup by the same rules and maps: the same objects come
/// of it, and the same counts.
#[test]
fn real_velero_changes_the_same() -> Result<()> {
    let scene = Scene::new("velero-rules")?;
    let test = scene.test;
    let (app, bucket) = (scene.id.clone(), scene.id.clone());
    test.create_bucket(&bucket)?;
    let location = scene.bucket(&bucket, "")?;
    scene.namespace(&app)?;
    let field = Field { scene, location };
    create_objects(&field, &app)?;
    field.backup("all", of_namespaces(&[&app]))?;
    let velero_namespace = format!("velero-{app}");
    let _ = field.scene.namespace_to_come(&velero_namespace);
    let mut options = VeleroOptions::new(&bucket);
    options.namespace.clone_from(&velero_namespace);
    options.args.push("--backup-sync-period=1s".to_owned());
    let server = VeleroServer::start(test, &options)?;
    let velero = |args: &[&str]| {
        let mut command = std::process::Command::new(test.velero_cli("1.18")?);
        command
            .env("KUBECONFIG", test.kubeconfig_path())
            .env("HOME", field.scene.folder());
        run_command(command.args(["-n", &velero_namespace]).args(args))
    };
    let began = std::time::Instant::now();
    while velero(&["backup", "get", "all"]).is_err() {
        ensure!(
            began.elapsed() < scene::SOON,
            "Velero does not find the backup; its last words:\n{}",
            last_words(&server.log_path())
        );
        std::thread::sleep(Duration::from_millis(300));
    }
    create_maps(&field, &[&app, &velero_namespace])?;
    let (theirs, ours) = (format!("{app}-theirs"), format!("{app}-ours"));
    for namespace in [&theirs, &ours] {
        let _ = field.scene.namespace_to_come(namespace);
    }
    let mapping = format!("{app}:{theirs}");
    // By label, because whether the cluster's own ConfigMap is there already is a matter of chance.
    velero(&[
        "restore",
        "create",
        "r",
        "--from-backup",
        "all",
        "--namespace-mappings",
        &mapping,
        "--resource-modifier-configmap",
        "rules",
        "--selector",
        "app in (web,db)",
        "--wait",
    ])?;
    let their_status = field.get("restores.velero.io", &velero_namespace, "r")?["status"].clone();
    let report = field.restore(
        "all",
        "ours",
        spec(json!({"namespaceMapping": {&app: ours}, "resourceModifier": {"kind": "configmap", "name": "rules"},
            "labelSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]}})),
    )?;
    let status = serde_json::to_value(report.restore.status)?;
    for counted in ["phase", "errors", "warnings"] {
        ensure!(
            status[counted] == their_status[counted],
            "{counted}: {their_status}\n{status}\n{:?}",
            report.results
        );
    }
    compare(&field, &theirs, &ours)?;
    server.stop()
}

fn create_objects(field: &Field, app: &str) -> Result<()> {
    field.apply(&deployment(app))?;
    for (kind, name, labels) in [
        ("Service", "web", json!({"app": "web"})),
        ("ConfigMap", "settings", json!({"app": "web"})),
        ("ConfigMap", "other", json!({"app": "db"})),
    ] {
        let mut object = json!({"apiVersion": "v1", "kind": kind,
            "metadata": {"name": name, "namespace": app, "labels": labels}});
        match kind {
            "Service" => object["spec"] = json!({"ports": [{"port": 80}], "selector": {"app": "web"}}),
            _ => object["data"] = json!({"k": "old", "n": "1"}),
        }
        field.apply(&object)?;
    }
    Ok(())
}

fn create_maps(field: &Field, namespaces: &[&str]) -> Result<()> {
    let images = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "old.example.io,new.example.io"},
        "metadata": {"name": "images", "labels": {
            "velero.io/plugin-config": "", "velero.io/change-image-name": "RestoreItemAction"}}});
    let document =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"r": RULES}, "metadata": {"name": "rules"}});
    for namespace in namespaces {
        for mut map in [images.clone(), document.clone()] {
            map["metadata"]["namespace"] = (*namespace).into();
            field.apply(&map)?;
        }
    }
    Ok(())
}

/// What either made is the same, in all that the rules change.
fn compare(field: &Field, theirs: &str, ours: &str) -> Result<()> {
    for (kind, name) in [
        ("deployment", "web"),
        ("service", "web"),
        ("configmap", "settings"),
        ("configmap", "other"),
    ] {
        let (their, our) = (field.get(kind, theirs, name)?, field.get(kind, ours, name)?);
        for part in [
            "/data",
            "/metadata/annotations",
            "/spec/template",
            "/spec/revisionHistoryLimit",
            "/metadata/labels/copied",
        ] {
            ensure!(
                their.pointer(part) == our.pointer(part),
                "{kind}/{name} {part}\nVelero: {:?}\nwe: {:?}",
                their.pointer(part),
                our.pointer(part)
            );
        }
    }
    Ok(())
}
