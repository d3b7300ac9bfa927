//! The manifest `data/hooks.yaml`, as it is, driven by the unmodified `velero`.

use serde_json::json;

use crate::{
    place::{counts, idle, pod, shell},
    scene::Scene,
};

const MANIFEST: &str = include_str!("../data/hooks.yaml");

#[test]
fn the_manifest_does_what_it_says() {
    let scene = Scene::on(1, "velero").and_server();
    let labelled = |name: &str, app: &str, container| {
        let mut object = pod("databases", name, json!({}), &[container]);
        object["metadata"]["labels"] = json!({ "app": app });
        object
    };
    let psql =
        r#"printf '#!/bin/sh\necho "$@" >> /tmp/psql.log' > /bin/psql; chmod +x /bin/psql; sleep 86400"#;
    let (manifest_backup, manifest_pod) = MANIFEST.split_once("\n---\n").unwrap();
    scene.run_pods(
        "databases",
        &[
            labelled("pg", "postgresql", shell("postgresql", psql)),
            labelled("pg-without-program", "postgresql", idle("postgresql")),
            labelled("mysql", "mysql", idle("mysql")),
            labelled("redis", "redis", idle("redis")),
        ],
    );
    scene.cluster.apply(manifest_pod).unwrap();
    scene.wait_ready("databases");
    scene.cluster.apply(manifest_backup).unwrap();
    let status = scene.status_when_ended("Backup", "databases");
    assert_eq!(status["phase"], "PartiallyFailed", "{status}");
    // pg: 2, the one without its program: 1, failed; mysql: 1, failed; redis: 1, failed; annotated: 2.
    assert_eq!(counts(&status), [7, 3], "{status}");
    let pods = scene.pods_in("databases");
    let names: Vec<_> = pods.keys().map(|name| name.rsplit('/').next().unwrap()).collect();
    assert_eq!(
        names,
        ["annotated", "mysql", "pg", "redis"],
        "Fail keeps the pod out, Continue does not"
    );
    assert_eq!(
        scene.inside("databases", "pg", "postgresql", "cat /tmp/psql.log /tmp/hook.log"),
        "-U postgres -c CHECKPOINT\ndone\n"
    );
    assert_eq!(scene.inside("databases", "annotated", "main", "ls /data"), "");
    for version in ["1.18", "1.17"] {
        let said = scene
            .velero(version, &["backup", "describe", "databases"])
            .ended(0);
        for part in [
            "HooksAttempted:  7",
            "HooksFailed:     3",
            "checkpoint-postgresql:",
            "Pre Exec Hook:",
            "Command:    /bin/sh -c psql -U postgres -c CHECKPOINT",
        ] {
            assert!(said.contains(part), "{part} is not in {said}");
        }
    }
    let ours = scene.refloat(&["backup", "describe", "databases"]).ended(0);
    assert_eq!(
        ours.replace("`refloat backup logs", "`velero backup logs"),
        scene
            .velero("1.18", &["backup", "describe", "databases"])
            .ended(0)
    );
    let logs = scene.velero("1.18", &["backup", "logs", "databases"]).ended(0);
    assert!(logs.contains("timed out after 2s"), "{logs}");

    scene
        .cluster
        .kubectl(&["delete", "namespace", "databases", "--timeout=90s"])
        .unwrap();
    let said = scene
        .velero(
            "1.18",
            &[
                "restore",
                "create",
                "back",
                "--from-backup",
                "databases",
                "--wait",
            ],
        )
        .ended(0);
    assert!(
        said.contains("Restore completed with status: Completed."),
        "{said}"
    );
    let status = scene.status_when_ended("Restore", "back");
    assert_eq!(counts(&status), [1, 0], "{status}");
    assert_eq!(
        scene.inside("databases", "annotated", "main", "ls /data"),
        "restored\n"
    );
    let said = scene.velero("1.18", &["restore", "describe", "back"]).ended(0);
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("HooksAttempted: 1 HooksFailed: 0"), "{said}");
    assert_eq!(said, scene.refloat(&["restore", "describe", "back"]).ended(0));
}
