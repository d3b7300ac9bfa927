//! Hooks of restored pods.

use serde_json::{Value, json};

use crate::{
    place::{counts, idle, pod, script, shell, troubles},
    scene::Scene,
};

/// A scene with a server and a backup `one` of these pods, which are gone again.
fn backed_up(name: &str, pods: impl Fn(&str) -> Vec<Value>) -> (Scene, String) {
    let scene = Scene::on(1, &format!("cli-{name}-{}", std::process::id())).and_server();
    let app = format!("{}-app", scene.namespace);
    scene.make_namespace(&app);
    scene.apply(&pods(&app));
    let status = scene.ended("Backup", "one", &json!({ "includedNamespaces": [app] }));
    assert_eq!(status["phase"], "Completed", "{status}");
    assert_eq!(counts(&status), [0, 0], "{status}");
    scene
        .cluster
        .kubectl(&["delete", "namespace", &app, "--timeout=90s"])
        .unwrap();
    (scene, app)
}

#[test]
fn init_containers_and_commands_by_annotation_and_by_spec() {
    let (scene, app) = backed_up("both", |app| {
        let annotated = json!({
            "init.hook.restore.velero.io/container-image": refloat_testkit::image::BUSYBOX,
            "init.hook.restore.velero.io/command": script("true"),
            "post.hook.restore.velero.io/command": script("echo by annotation >> /data/order; echo said"),
            "post.hook.restore.velero.io/container": "two",
            "post.hook.restore.velero.io/on-error": "Continue",
        });
        vec![
            pod(app, "annotated", annotated, &[idle("one"), idle("two")]),
            pod(app, "plain", json!({}), &[idle("one"), idle("two")]),
        ]
    });
    // The namespace is another one: that is what hooks are compared with.
    let target = format!("{app}-target");
    scene.goes_too(&target);
    let mut init = shell("prepare", "echo init >> /data/order");
    init["imagePullPolicy"] = "IfNotPresent".into();
    let exec = |container: &str, word: &str| {
        let command = format!("echo {word} >> /data/order");
        json!({ "exec": { "container": container, "command": ["/bin/sh", "-c", command], "waitTimeout": "1m" } })
    };
    let spec = json!({
        "backupName": "one", "namespaceMapping": { &app: target },
        "hooks": { "resources": [
            { "name": "mapped", "includedNamespaces": [target], "postHooks": [
                { "init": { "initContainers": [init] } }, exec("", "first"), exec("two", "other"), exec("", "second") ] },
            { "name": "unmapped", "includedNamespaces": [app], "postHooks": [exec("", "never")] },
        ] },
    });
    let status = scene.ended("Restore", "back", &spec);
    assert_eq!(status["phase"], "Completed", "{status}");
    assert_eq!((counts(&status), troubles(&status)), ([4, 0], [0, 0]), "{status}");
    let order = |pod: &str| scene.inside(&target, pod, "one", "cat /data/order");
    let plain = order("plain");
    let lines: Vec<_> = plain.lines().collect();
    assert_eq!(lines[0], "init", "{plain}");
    let position = |word: &str| lines.iter().position(|line| *line == word).unwrap();
    assert!(
        position("first") < position("second") && position("other") > 0,
        "{plain}"
    );
    assert_eq!((lines.len(), order("annotated").as_str()), (4, "by annotation\n"));
    let name = ".spec.initContainers[0].name";
    let generated = scene.value(&target, "pod/annotated", name);
    assert!(
        generated.starts_with("velero-restore-init-") && generated.len() == 28,
        "{generated}"
    );
    assert_eq!(scene.value(&target, "pod/plain", name), "prepare");
    let log = scene.refloat(&["restore", "logs", "back"]).ended(0);
    assert!(log.contains("stdout: said"), "{log}");
    let noted = scene.value(
        &target,
        "pod/plain",
        ".metadata.annotations.refloat\\.io/restore-hooks",
    );
    let noted: Value = serde_json::from_str(&noted).unwrap();
    assert_eq!((&noted["attempted"], &noted["failed"]), (&3.into(), &0.into()));
}

#[test]
fn a_hook_waits_until_its_container_is_ready() {
    let (scene, app) = backed_up("ready", |app| {
        let mut slow = shell("c", "sleep 10; touch /data/ready; sleep 86400");
        slow["readinessProbe"] =
            json!({ "exec": { "command": ["test", "-f", "/data/ready"] }, "periodSeconds": 1 });
        let annotations = |ready: &str| {
            json!({
                "post.hook.restore.velero.io/command": script("ls /data > /data/seen"),
                "post.hook.restore.velero.io/wait-for-ready": ready,
            })
        };
        vec![
            pod(app, "ready", annotations("true"), &[slow.clone()]),
            pod(app, "running", annotations("false"), &[slow]),
        ]
    });
    let status = scene.ended("Restore", "back", &json!({ "backupName": "one" }));
    assert_eq!((counts(&status), troubles(&status)), ([2, 0], [0, 0]), "{status}");
    let seen = |pod: &str| scene.inside(&app, pod, "c", "cat /data/seen");
    assert!(seen("ready").contains("ready"), "{}", seen("ready"));
    assert!(!seen("running").contains("ready"), "{}", seen("running"));
}

#[test]
fn failures_end_waits_and_the_rest() {
    let (scene, app) = backed_up("failures", |app| {
        let mut never = idle("c");
        never["readinessProbe"] =
            json!({ "exec": { "command": ["test", "-f", "/data/ready"] }, "periodSeconds": 1 });
        vec![
            pod(app, "a", json!({}), &[idle("c")]),
            pod(app, "b", json!({}), &[never]),
        ]
    });
    let exec = |fields: Value| {
        let mut exec = json!({ "command": ["/bin/false"] });
        for (key, value) in fields.as_object().unwrap() {
            exec[key] = value.clone();
        }
        json!({ "exec": exec })
    };
    let run = |name: &str, hooks: Value| {
        let target = format!("{app}-{name}");
        scene.goes_too(&target);
        let spec = json!({
            "backupName": "one", "namespaceMapping": { &app: target }, "hooks": { "resources": hooks },
        });
        scene.ended("Restore", name, &spec)
    };
    let set = |name: &str, app: &str, hooks: &[Value]| json!({ "name": name, "labelSelector": { "matchLabels": { "app": app } }, "postHooks": hooks });
    // All in one: a failure that lets the others go on, no such container, a command without end, and a
    // container that is never ready.
    let hooks = json!([
        set(
            "a",
            "a",
            &[
                exec(json!({ "onError": "Continue" })),
                exec(json!({ "container": "none" })),
                exec(json!({ "command": ["/bin/sleep", "600"], "execTimeout": "2s" })),
                exec(json!({ "command": ["/bin/true"] })),
            ]
        ),
        set(
            "b",
            "b",
            &[exec(
                json!({ "command": ["/bin/true"], "waitForReady": true, "waitTimeout": "6s" })
            )]
        ),
    ]);
    let status = run("continue", hooks);
    assert_eq!(status["phase"], "PartiallyFailed", "{status}");
    assert_eq!((counts(&status), troubles(&status)), ([5, 4], [4, 0]), "{status}");
    let log = scene.refloat(&["restore", "logs", "continue"]).ended(0);
    for part in [
        "pod has no such container; it has c",
        "timed out after 2s: its connection was closed",
        "failed with exit code 1",
        "did not run: its container was not ready within 6s",
    ] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    // One that lets nothing run after it, anywhere; the other pod would wait for ever.
    let hooks = json!([
        set("a", "a", &[exec(json!({ "onError": "Fail" })), exec(json!({}))]),
        set("b", "b", &[exec(json!({ "waitForReady": true }))]),
    ]);
    let status = run("fail", hooks);
    assert_eq!((counts(&status), troubles(&status)), ([3, 3], [3, 0]), "{status}");
    let log = scene.refloat(&["restore", "logs", "fail"]).ended(0);
    assert!(
        log.contains("did not run: another hook failed that says onError: Fail"),
        "{log}"
    );
}
