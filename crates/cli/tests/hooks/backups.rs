//! Hooks before and after backups.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    place::{counts, idle, pod, pods_in, script, shell, troubles},
    scene::{self, Scene},
};

/// Whether a stored pod was ready.
fn was_ready(pod: &serde_json::Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().unwrap();
    let ready = conditions.iter().find(|one| one["type"] == "Ready").unwrap();
    ready["status"] == "True"
}

/// A container that is ready while `/data/ready` is there.
fn probed() -> serde_json::Value {
    let mut container = shell("app", "touch /data/ready; sleep 86400");
    container["readinessProbe"] = json!({
        "exec": { "command": ["test", "-f", "/data/ready"] }, "periodSeconds": 1, "failureThreshold": 1,
    });
    container
}

#[test]
fn a_pod_is_read_between_its_hooks_without_a_server() {
    let scene = Scene::on(1, &format!("cli-between-{}", std::process::id()));
    let app = format!("{}-app", scene.namespace);
    let annotations = json!({
        // Takes long enough for the probe to see it.
        "pre.hook.backup.velero.io/command":
            script("echo pre >> /data/order; rm /data/ready; sleep 4; echo out; echo err >&2"),
        "post.hook.backup.velero.io/command": script("echo post >> /data/order; touch /data/ready"),
    });
    scene.run_pods(
        &app,
        &[
            pod(&app, "held", annotations, &[probed()]),
            pod(&app, "plain", json!({}), &[idle("c")]),
        ],
    );
    let storage = scene.storage();
    let create = [
        "backup",
        "create",
        "one",
        "--include-namespaces",
        &app,
        "--storage",
        &storage,
    ];
    let out = scene.refloat(&create).ended(0);
    assert!(out.contains("Completed (0 warnings, 0 errors)"), "{out}");
    assert_eq!(
        scene.inside(&app, "held", "app", "cat /data/order"),
        "pre\npost\n"
    );
    let pods = pods_in(&scene.file("backups/backups/one/one.tar.gz"));
    assert_eq!(pods.len(), 2);
    assert!(
        !was_ready(&pods[&format!("{app}/held")]),
        "it was not read after its first hook and before its last"
    );
    let description = scene
        .refloat(&["backup", "describe", "one", "--storage", &storage])
        .ended(0);
    assert!(
        description.contains("HooksAttempted:  2") && description.contains("HooksFailed:     0"),
        "{description}"
    );
    let log = scene
        .refloat(&["backup", "logs", "one", "--storage", &storage])
        .ended(0);
    for part in [
        format!("hook <from-annotation> in container app of pod {app}/held: stdout: out\\n"),
        format!("hook <from-annotation> in container app of pod {app}/held: stderr: err\\n"),
    ] {
        assert!(log.contains(&part), "{part} is not in {log}");
    }
}

#[test]
fn failures_by_mode_a_hook_without_end_and_containers() {
    let scene = Scene::on(1, &format!("cli-modes-{}", std::process::id())).and_server();
    let app = format!("{}-app", scene.namespace);
    let failing = |mode: &str| {
        let mut annotations = json!({
            "pre.hook.backup.velero.io/command": script("exit 3"),
            "post.hook.backup.velero.io/command": script("touch /data/post"),
        });
        if !mode.is_empty() {
            annotations["pre.hook.backup.velero.io/on-error"] = mode.into();
        }
        annotations
    };
    let endless = json!({
        "pre.hook.backup.velero.io/command": script("echo begun; sleep 3600"),
        "pre.hook.backup.velero.io/timeout": "2s", "pre.hook.backup.velero.io/on-error": "Continue",
    });
    let second = json!({
        "hook.backup.velero.io/command": "/bin/hostname", "hook.backup.velero.io/container": "two",
        "post.hook.backup.velero.io/command": script("touch /tmp/first"),
    });
    let missing = json!({
        "pre.hook.backup.velero.io/command": "/bin/true", "pre.hook.backup.velero.io/container": "three",
        "pre.hook.backup.velero.io/on-error": "Continue", "pre.hook.backup.velero.io/timeout": "soon",
    });
    let two = [idle("one"), idle("two")];
    scene.run_pods(
        &app,
        &[
            pod(&app, "fails", failing("Fail"), &two),
            pod(&app, "continues", failing("Continue"), &two),
            pod(&app, "says-nothing", failing(""), &two),
            pod(&app, "endless", endless, &two),
            pod(&app, "second", second, &two),
            pod(&app, "missing", missing, &two),
        ],
    );
    let began = Instant::now();
    let status = scene.ended("Backup", "one", &json!({ "includedNamespaces": [app] }));
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "a hook was not ended in time"
    );
    assert_eq!(status["phase"], "PartiallyFailed", "{status}");
    // fails: 1 of 1, continues and says-nothing: 1 of 2, endless and missing: 1 of 1, second: 0 of 2.
    assert_eq!(counts(&status), [9, 5], "{status}");
    // Errors: fails and its being left out, says-nothing. Warnings: continues, endless, missing, its timeout.
    assert_eq!(troubles(&status), [3, 4], "{status}");
    let pods = scene.pods_in("one");
    let names: Vec<_> = pods.keys().map(|name| name.rsplit('/').next().unwrap()).collect();
    assert_eq!(
        names,
        ["continues", "endless", "missing", "says-nothing", "second"]
    );
    let left = |pod: &str| scene.inside(&app, pod, "one", "ls /data /tmp");
    assert!(
        !left("fails").contains("post"),
        "a last hook ran although the first had failed"
    );
    assert!(left("continues").contains("post") && left("says-nothing").contains("post"));
    assert!(
        left("second").contains("first"),
        "the first container is the default"
    );
    let log = scene.refloat(&["backup", "logs", "one"]).ended(0);
    for part in [
        format!("in container one of pod {app}/fails failed with exit code 3"),
        format!("pod {app}/fails: it is not backed up, because a hook failed that says onError: Fail"),
        format!("in container one of pod {app}/endless: stdout: begun"),
        format!("in container one of pod {app}/endless timed out after 2s: its connection was closed"),
        format!("in container two of pod {app}/second: stdout: second"),
        format!(
            "in container three of pod {app}/missing did not run: the pod has no such container; it has one, two"
        ),
        format!("pod {app}/missing: annotation pre.hook.backup.velero.io/timeout is not used"),
    ] {
        assert!(log.contains(&part), "{part} is not in {log}");
    }
    // The process is left to the container, as it says.
    assert!(scene.inside(&app, "endless", "one", "ps").contains("sleep 3600"));
}

/// Two pods mount one claim: they are held still together, and the claim with its volume is written then.
#[test]
fn pods_that_share_a_claim_and_an_order() {
    let scene = Scene::on(1, &format!("cli-share-{}", std::process::id())).and_server();
    let app = format!("{}-app", scene.namespace);
    let folder = scene.folder.path().join("volume");
    std::fs::create_dir_all(&folder).unwrap();
    let volume = format!("volume-{}", std::process::id());
    let claim = json!({ "name": "shared", "namespace": app });
    let size = json!({ "storage": "1Mi" });
    let mut objects = vec![
        json!({ "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": volume }, "spec": {
            "capacity": size, "accessModes": ["ReadWriteMany"], "storageClassName": "", "claimRef": claim,
            "hostPath": { "path": folder } } }),
        json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": claim, "spec": {
            "accessModes": ["ReadWriteMany"], "storageClassName": "", "volumeName": volume,
            "resources": { "requests": size } } }),
    ];
    let note = |word: &str, name: &str| script(&format!("echo {word} {name} >> /data/order"));
    let mut add = |name: &str, shares: bool| {
        let annotations = json!({
            "pre.hook.backup.velero.io/command": note("pre", name),
            "post.hook.backup.velero.io/command": note("post", name),
        });
        let mut object = pod(&app, name, annotations, &[idle("c")]);
        if shares {
            object["spec"]["volumes"][0] =
                json!({ "name": "data", "persistentVolumeClaim": { "claimName": "shared" } });
        }
        objects.push(object);
    };
    add("a", true);
    add("b", false);
    add("c", true);
    scene.run_pods(&app, &objects);
    let order = || {
        let text = scene.inside(&app, "a", "c", "cat /data/order; rm /data/order");
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let status = scene.ended("Backup", "one", &json!({ "includedNamespaces": [app] }));
    assert_eq!((counts(&status), troubles(&status)), ([6, 0], [0, 0]), "{status}");
    assert_eq!(order(), ["pre a", "pre c", "post a", "post c"]);
    assert_eq!(scene.inside(&app, "b", "c", "cat /data/order"), "pre b\npost b\n");
    let spec =
        json!({ "includedNamespaces": [app], "orderedResources": { "pods": format!("{app}/c,{app}/a") } });
    let status = scene.ended("Backup", "two", &spec);
    assert_eq!((counts(&status), troubles(&status)), ([6, 0], [0, 0]), "{status}");
    assert_eq!(order(), ["pre c", "pre a", "post c", "post a"]);
    // Each object is in it once, also those that were written between hooks.
    let list = scene
        .refloat(&["backup", "describe", "two", "--details"])
        .ended(0);
    for item in [
        format!("    - {app}/shared\n"),
        format!("    - {volume}\n"),
        format!("    - {app}/a\n"),
    ] {
        assert_eq!(list.matches(&item).count(), 1, "{item:?} in {list}");
    }
    let _ = scene.cluster.kubectl(&["delete", "pv", &volume, "--wait=false"]);
}

/// Nobody else would let the application go on: when the backup is stopped, the last hooks still run.
#[test]
fn a_backup_that_is_stopped_lets_go_of_what_it_holds() {
    let scene = Scene::on(1, &format!("cli-stopped-{}", std::process::id()));
    let app = format!("{}-app", scene.namespace);
    let annotations = json!({
        "pre.hook.backup.velero.io/command": script("touch /data/frozen; sleep 600"),
        "pre.hook.backup.velero.io/timeout": "10m",
        "post.hook.backup.velero.io/command": script("rm /data/frozen; touch /data/thawed"),
    });
    scene.run_pods(&app, &[pod(&app, "held", annotations, &[idle("c")])]);
    let storage = scene.storage();
    let mut backup = scene
        .command(scene::program())
        .args([
            "-n",
            &scene.namespace,
            "backup",
            "create",
            "one",
            "--include-namespaces",
            &app,
        ])
        .args(["--storage", &storage])
        .spawn()
        .unwrap();
    let look = || scene.inside(&app, "held", "c", "ls /data");
    scene.until("the pod is held still", || look().contains("frozen"));
    scene
        .command(std::path::Path::new("kill"))
        .args(["-INT", &backup.id().to_string()])
        .status()
        .unwrap();
    let began = Instant::now();
    backup.wait().unwrap();
    assert!(began.elapsed() < Duration::from_secs(20));
    let left = look();
    assert!(left.contains("thawed") && !left.contains("frozen"), "{left}");
    let said = scene.refloat(&["backup", "get", "one", "--storage", &storage]);
    assert!(said.err.contains("there is no backup"), "{}", said.err);
}
