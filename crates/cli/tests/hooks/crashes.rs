//! A server that is killed while hooks run, and the one after it.

use serde_json::json;

use crate::{
    place::{counts, idle, pod, script, shell, troubles},
    scene::Scene,
};

#[test]
fn a_backup_that_starts_again_runs_its_hooks_again() {
    let mut scene = Scene::on(1, &format!("cli-again-{}", std::process::id())).and_server();
    let app = format!("{}-app", scene.namespace);
    let annotations = json!({
        "pre.hook.backup.velero.io/command":
            script("echo pre >> /data/order; [ -f /data/again ] || { touch /data/again; sleep 600; }"),
        "pre.hook.backup.velero.io/timeout": "10m",
        "post.hook.backup.velero.io/command": script("echo post >> /data/order"),
    });
    scene.run_pods(&app, &[pod(&app, "held", annotations, &[idle("c")])]);
    scene.ask_for("Backup", "one", &json!({ "includedNamespaces": [app] }));
    scene.until("the pod is held still", || {
        scene.inside(&app, "held", "c", "ls /data").contains("again")
    });
    scene.replace_server();
    let status = scene.status_when_ended("Backup", "one");
    assert_eq!(status["phase"], "Completed", "{status}");
    assert_eq!(counts(&status), [2, 0], "those of the last try count");
    let order = scene.inside(&app, "held", "c", "cat /data/order");
    assert_eq!(order, "pre\npre\npost\n");
}

#[test]
fn a_restore_that_goes_on_leaves_out_the_pods_that_are_done() {
    let mut scene = Scene::on(1, &format!("cli-goes-on-{}", std::process::id())).and_server();
    let app = format!("{}-app", scene.namespace);
    let note = |ready: &str| {
        json!({
            "post.hook.restore.velero.io/command": script("echo ran >> /data/runs"),
            "post.hook.restore.velero.io/wait-for-ready": ready,
        })
    };
    let mut late = shell("c", "sleep 86400");
    late["readinessProbe"] =
        json!({ "exec": { "command": ["test", "-f", "/data/ready"] }, "periodSeconds": 1 });
    scene.make_namespace(&app);
    scene.apply(&[
        pod(&app, "done", note("false"), &[idle("c")]),
        pod(&app, "late", note("true"), &[late]),
    ]);
    let status = scene.ended("Backup", "one", &json!({ "includedNamespaces": [app] }));
    assert_eq!(status["phase"], "Completed", "{status}");
    scene
        .cluster
        .kubectl(&["delete", "namespace", &app, "--timeout=90s"])
        .unwrap();
    scene.ask_for("Restore", "back", &json!({ "backupName": "one" }));
    let mark = ".metadata.annotations.refloat\\.io/restore-hooks";
    scene.until("the hook of one pod has run", || {
        !scene.value(&app, "pod/done", mark).is_empty()
    });
    scene.replace_server();
    scene.inside(&app, "late", "c", "touch /data/ready");
    let status = scene.status_when_ended("Restore", "back");
    assert_eq!(status["phase"], "Completed", "{status}");
    assert_eq!((counts(&status), troubles(&status)), ([2, 0], [0, 0]), "{status}");
    for pod in ["done", "late"] {
        assert_eq!(scene.inside(&app, pod, "c", "cat /data/runs"), "ran\n", "{pod}");
    }
}
