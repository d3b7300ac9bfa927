//! The same hooks by real Velero and by us: phases, counts, and which pods are in the backup.

use std::{collections::BTreeMap, path::Path};

use refloat_testkit::{
    cluster::Cluster,
    velero::{VeleroOptions, VeleroServer},
};
use serde_json::{Value, json};

use crate::{
    place::{counts, idle, pod, pods_in, script, shell, troubles},
    scene::Scene,
};

/// What is compared of a backup or restore.
#[derive(Debug, PartialEq)]
struct Outcome {
    phase: String,
    hooks: [i64; 2],
    errors: i64,
    pods: Vec<String>,
}

fn workload(app: &str) -> Vec<Value> {
    let two = [idle("one"), idle("two")];
    let pre = |text: &str, mode: &str| {
        json!({
            "pre.hook.backup.velero.io/command": script(text), "pre.hook.backup.velero.io/on-error": mode,
            "post.hook.backup.velero.io/command": script("echo post >> /data/order"),
        })
    };
    let mut unset = pre("exit 1", "");
    unset
        .as_object_mut()
        .unwrap()
        .remove("pre.hook.backup.velero.io/on-error");
    let mut missing = pre("true", "Fail");
    missing["pre.hook.backup.velero.io/container"] = "three".into();
    let mut slow = pre("sleep 60", "Fail");
    slow["pre.hook.backup.velero.io/timeout"] = "1s".into();
    let post = json!({
        "post.hook.backup.velero.io/command": script("exit 1"), "post.hook.backup.velero.io/on-error": "Fail",
    });
    let mut ended = pod(app, "ended", pre("true", "Fail"), &[shell("c", "true")]);
    ended["spec"]["restartPolicy"] = "Never".into();
    let restored = |text: &str| json!({ "post.hook.restore.velero.io/command": script(text) });
    vec![
        pod(app, "works", pre("true", "Fail"), &two),
        pod(app, "fails", pre("exit 1", "Fail"), &two),
        pod(app, "says-nothing", unset, &two),
        pod(app, "missing", missing, &two),
        pod(app, "slow", slow, &two),
        pod(app, "post", post, &two),
        pod(app, "by-spec", json!({}), &two),
        pod(app, "restore-works", restored("true"), &two),
        pod(app, "restore-fails", restored("exit 1"), &two),
        ended,
    ]
}

fn backup_spec(app: &str) -> Value {
    let exec = |command: &str, mode: Option<&str>| {
        let mut exec = json!({ "command": ["/bin/sh", "-c", command], "container": "two" });
        if let Some(mode) = mode {
            exec["onError"] = mode.into();
        }
        json!({ "exec": exec })
    };
    json!({
        "includedNamespaces": [app], "storageLocation": "default", "snapshotVolumes": false,
        "hooks": { "resources": [{
            "name": "set", "labelSelector": { "matchLabels": { "app": "by-spec" } },
            "pre": [exec("true", Some("Fail")), exec("exit 1", None), exec("exit 2", Some("Fail")), exec("true", None)],
            "post": [exec("true", None)],
        }] },
    })
}

fn outcome(status: &Value, pods: Vec<String>) -> Outcome {
    Outcome {
        phase: status["phase"].as_str().unwrap().to_owned(),
        hooks: counts(status),
        errors: troubles(status)[0],
        pods,
    }
}

/// The pods of a backup, as the unmodified `velero` downloads it.
fn pods_of(scene: &Scene, backup: &str) -> Vec<String> {
    let file = scene.file(&format!("{backup}.tar.gz"));
    let path = file.display().to_string();
    scene
        .velero("1.18", &["backup", "download", backup, "-o", &path])
        .ended(0);
    let all: BTreeMap<_, _> = pods_in(Path::new(&path));
    all.into_keys().collect()
}

fn backed_up(scene: &Scene, name: &str, spec: &Value) -> Outcome {
    let status = scene.ended("Backup", name, spec);
    outcome(&status, pods_of(scene, name))
}

fn restored(scene: &Scene, backup: &str, app: &str, pod: &str) -> Outcome {
    let target = format!("{}-{pod}", scene.namespace);
    // With an account: it does not come along with a single pod.
    scene.make_namespace(&target);
    let spec = json!({
        "backupName": backup, "namespaceMapping": { app: target }, "labelSelector": { "matchLabels": { "app": pod } },
    });
    outcome(&scene.ended("Restore", pod, &spec), Vec::new())
}

#[test]
fn the_outcomes_are_veleros() {
    let id = std::process::id();
    let ours = Scene::on(1, &format!("cli-ours-{id}")).and_server();
    let app = format!("{}-app", ours.namespace);
    let theirs = Scene::on(1, &format!("cli-theirs-{id}"));
    let cluster: &'static Cluster = ours.cluster;
    let bucket = theirs.namespace.clone();
    cluster.create_bucket(&bucket).unwrap();
    let options = VeleroOptions {
        namespace: theirs.namespace.clone(),
        ..VeleroOptions::new(&bucket)
    };
    let velero = VeleroServer::start(cluster, &options).unwrap();
    ours.make_namespace(&app);
    ours.apply(&workload(&app));
    ours.until("the pods run, and one has ended", || {
        let phases = ours.value(&app, "pods", ".items[*].status.phase");
        phases.matches("Running").count() == 9 && phases.contains("Succeeded")
    });
    let spec = backup_spec(&app);
    let expected = backed_up(&theirs, "hooks", &spec);
    assert_eq!(backed_up(&ours, "hooks", &spec), expected);
    // The comparison has something to compare.
    assert_eq!(expected.phase, "PartiallyFailed");
    assert!(expected.hooks[1] >= 6 && expected.pods.len() == 6, "{expected:?}");

    let continued = json!({
        "includedNamespaces": [app], "storageLocation": "default", "snapshotVolumes": false,
        "labelSelector": { "matchLabels": { "app": "restore-works" } },
        "hooks": { "resources": [{ "name": "set", "pre": [
            { "exec": { "command": ["/bin/false"], "onError": "Continue" } }] }] },
    });
    let (theirs_continued, ours_continued) = (
        backed_up(&theirs, "continue", &continued),
        backed_up(&ours, "continue", &continued),
    );
    assert_eq!(ours_continued.hooks, theirs_continued.hooks);
    assert_eq!(ours_continued.pods, theirs_continued.pods);
    // The difference on purpose: what is said to be acceptable is a warning of ours and an error of Velero's.
    assert_eq!(
        (&*theirs_continued.phase, theirs_continued.errors),
        ("PartiallyFailed", 1)
    );
    assert_eq!((&*ours_continued.phase, ours_continued.errors), ("Completed", 0));

    for pod in ["restore-works", "restore-fails"] {
        let expected = restored(&theirs, "hooks", &app, pod);
        assert_eq!(restored(&ours, "hooks", &app, pod), expected, "{pod}");
        assert_eq!(expected.hooks, [1, i64::from(pod == "restore-fails")], "{pod}");
    }
    velero.stop().unwrap();
}
