//! Schedules and retention by the unmodified `velero` CLI, both versions, and by our own: what they
//! make, show and start.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[allow(dead_code, reason = "each test program uses its part")]
#[path = "scene/scene.rs"]
mod scene;

use refloat_model::{BackupSpec, schedule::ScheduleSpec};
use scene::Scene;
use serde_json::{Value, json};

const VERSIONS: [&str; 2] = ["1.18", "1.17"];

/// The flags of `schedule create`, each with another value than its default.
const FLAGS: &str = "--include-namespaces shop,till --exclude-namespaces kube-system --include-resources pods,secrets \
    --exclude-resources events --selector app=shop --ttl 48h0m0s --include-cluster-resources=true \
    --snapshot-volumes=false --snapshot-move-data=true --data-mover velero --default-volumes-to-fs-backup=true \
    --ordered-resources pods=shop/a,shop/b --csi-snapshot-timeout 20m --item-operation-timeout 6h \
    --resource-policies-configmap policies --parallel-files-upload 3 --storage-location default \
    --labels tier=0 --paused --skip-immediately=true --use-owner-references-in-backup";

fn object(scene: &Scene, kind: &str, name: &str) -> Value {
    let text = scene
        .cluster
        .kubectl(&["-n", &scene.namespace, "get", kind, name, "-o", "json"])
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn the_same_flags_make_the_same_schedule() {
    for version in VERSIONS {
        let scene = Scene::with_server(&format!("flags-{}", version.replace('.', "")));
        for (name, program) in [("theirs", version), ("ours", "")] {
            let schedule = "CRON_TZ=Asia/Shanghai 30 2 * * *";
            let mut arguments = vec!["schedule", "create", name, "--schedule", schedule];
            arguments.extend(FLAGS.split_whitespace());
            let said = match program {
                "" => scene.refloat(&arguments),
                version => scene.velero(version, &arguments),
            };
            let out = said.ended(0);
            assert_eq!(out, format!("Schedule {name:?} created successfully.\n"));
        }
        let (theirs, ours) = (
            object(&scene, "schedule", "theirs"),
            object(&scene, "schedule", "ours"),
        );
        // Go writes empty structs and nulls that mean nothing.
        let spec = |object: &Value| serde_json::from_value::<ScheduleSpec>(object["spec"].clone()).unwrap();
        assert_eq!(spec(&theirs), spec(&ours));
        assert_eq!(theirs["metadata"]["labels"], ours["metadata"]["labels"]);
        for verb in ["describe", "get"] {
            let shown = ["schedule", verb, "theirs"];
            let theirs = scene.velero(version, &shown).ended(0);
            assert!(
                theirs.contains("theirs") && theirs.contains("Asia/Shanghai 30 2 * * *"),
                "{theirs}"
            );
            if version == "1.18" {
                assert_eq!(theirs, scene.refloat(&shown).ended(0));
            }
        }
        let said = scene.velero(version, &["schedule", "get", "none"]);
        assert!(said.err.contains("\"none\" not found"), "{}", said.err);
        for (flags, words) in [
            (["--schedule", "61 * * * *"], "minute"),
            (["--schedule", "@daily"], "\"none\""),
        ] {
            let said = scene.refloat(
                &[
                    &["schedule", "create", "bad", "--storage-location", "none"][..],
                    &flags,
                ]
                .concat(),
            );
            assert!(said.err.contains(words), "{}", said.err);
            said.ended(2);
        }
    }
}

#[test]
fn schedules_are_paused_unpaused_and_deleted() {
    for version in VERSIONS {
        let scene = Scene::with_server(&format!("pause-{}", version.replace('.', "")));
        let workload = scene.workload("app");
        let create = [
            "schedule",
            "create",
            "often",
            "--schedule",
            "@every 1s",
            "--include-namespaces",
            &workload,
            "--paused",
        ];
        scene.velero(version, &create).ended(0);
        std::thread::sleep(std::time::Duration::from_secs(3));
        let count = || {
            let selector = "velero.io/schedule-name=often";
            let names = [
                "-n",
                &scene.namespace,
                "get",
                "backups.velero.io",
                "-l",
                selector,
                "-o",
                "name",
            ];
            scene.cluster.kubectl(&names).unwrap().lines().count()
        };
        assert_eq!(count(), 0, "it is paused");
        let out = scene.velero(version, &["schedule", "unpause", "often"]).ended(0);
        assert_eq!(out, "Schedule often unpaused successfully\n");
        scene.until("there are two backups", || count() >= 2);
        let out = scene.velero(version, &["schedule", "pause", "often"]).ended(0);
        assert_eq!(out, "Schedule often paused successfully\n");
        let out = scene.velero(version, &["schedule", "pause", "often"]).ended(0);
        assert_eq!(out, "Schedule often is already paused, skip\n");
        std::thread::sleep(std::time::Duration::from_secs(2));
        let made = count();
        std::thread::sleep(std::time::Duration::from_secs(3));
        assert_eq!(count(), made, "it is paused again");
        for arguments in [["schedule", "describe", "often"], ["schedule", "get", "often"]] {
            let theirs = scene.velero(version, &arguments).ended(0);
            assert!(theirs.contains("Enabled"), "{theirs}");
            // The age of the last backup may have become another between the two.
            if version == "1.18" && arguments[1] == "describe" {
                assert_eq!(theirs, scene.refloat(&arguments).ended(0));
            }
        }
        let out = scene
            .velero(version, &["schedule", "delete", "often", "--confirm"])
            .ended(0);
        assert!(out.contains("often"), "{out}");
        assert_eq!(count(), made, "its backups stay");
    }
}

#[test]
fn a_backup_is_made_from_a_schedule() {
    for version in VERSIONS {
        let scene = Scene::with_server(&format!("from-{}", version.replace('.', "")));
        let workload = scene.workload("app");
        let create = [
            "schedule",
            "create",
            "daily",
            "--schedule",
            "0 2 * * *",
            "--include-namespaces",
            &workload,
            "--ttl",
            "24h",
            "--labels",
            "tier=0",
            "--use-owner-references-in-backup",
        ];
        scene.velero(version, &create).ended(0);
        let from = ["backup", "create", "--from-schedule", "daily", "--wait"];
        let theirs = scene.velero(version, &from).ended(0);
        assert!(
            theirs.contains("Creating backup from schedule, all other filters are ignored."),
            "{theirs}"
        );
        assert!(theirs.contains("completed with status: Completed"), "{theirs}");
        scene
            .velero(
                version,
                &["backup", "create", "theirs", "--from-schedule", "daily"],
            )
            .ended(0);
        scene
            .refloat(&["backup", "create", "ours", "--from-schedule", "daily", "--wait"])
            .ended(0);
        let named = theirs.split('"').nth(1).unwrap();
        let (stem, digits) = named.rsplit_once('-').unwrap();
        assert!(
            stem == "daily" && digits.len() == 14 && digits.bytes().all(|byte| byte.is_ascii_digit()),
            "{named}"
        );
        scene.until("both have ended", || {
            ["theirs", "ours"].iter().all(|name| {
                let phase = scene.value(&scene.namespace, &format!("backup/{name}"), ".status.phase");
                phase == "Completed"
            })
        });
        let (theirs, ours) = (
            object(&scene, "backup", "theirs"),
            object(&scene, "backup", "ours"),
        );
        let spec = |object: &Value| serde_json::from_value::<BackupSpec>(object["spec"].clone()).unwrap();
        assert_eq!(spec(&theirs), spec(&ours));
        for field in ["labels", "ownerReferences"] {
            assert_eq!(theirs["metadata"][field], ours["metadata"][field]);
        }
        assert_eq!(ours["metadata"]["labels"]["velero.io/schedule-name"], "daily");
        let out = scene.velero(
            version,
            &["restore", "create", "back", "--from-schedule", "daily", "--wait"],
        );
        assert!(out.ended(0).contains("Completed"));
        let last = scene.value(&scene.namespace, "schedule/daily", ".status.lastBackup");
        assert_eq!(last, "", "what is made by hand does not move its clock");
    }
}

/// A finished backup of the schedule `daily`.
fn backup(scene: &Scene, name: &str, started: &str) -> Value {
    json!({
        "apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": { "name": name, "namespace": scene.namespace, "labels": { "velero.io/schedule-name": "daily" } },
        "spec": { "storageLocation": "default" },
        "status": { "phase": "Completed", "startTimestamp": started, "expiration": "2099-01-01T00:00:00Z" },
    })
}

#[test]
fn pruning_shows_what_goes_and_why_the_rest_stays() {
    let mut scene = Scene::with_server("prune");
    scene
        .refloat(&["schedule", "create", "daily", "--schedule", "@yearly", "--paused"])
        .ended(0);
    let prune = ["schedule", "prune", "daily", "--dry-run"];
    let said = scene.refloat(&prune);
    assert!(said.err.contains("refloat.io/retention"), "{}", said.err);
    said.ended(2);
    scene
        .refloat(&["schedule", "prune", "--all", "--dry-run"])
        .ended(0);
    let said = scene.refloat(&[&prune[..], &["--policy", "daily=x"]].concat());
    assert!(said.err.contains("\"x\" is no count"), "{}", said.err);
    scene.stop_server();
    scene.apply(&[
        backup(&scene, "b1", "2026-03-01T10:00:00Z"),
        backup(&scene, "b2", "2026-03-01T11:00:00Z"),
        backup(&scene, "b3", "2026-03-02T10:00:00Z"),
        backup(&scene, "b4", "2026-03-03T10:00:00Z"),
    ]);
    scene.refloat(&["backup", "pin", "b1"]).ended(0);
    assert_eq!(
        object(&scene, "backup", "b1")["metadata"]["annotations"]["refloat.io/pinned"],
        "true"
    );
    let trial = [&prune[..], &["--policy", "keep-last=1,daily=2"]].concat();
    let rows: Vec<String> = scene
        .refloat(&trial)
        .ended(0)
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        rows,
        [
            "Schedule daily, policy keep-last=1,daily=2: 1 of 4 backups go.",
            "NAME STATUS CREATED VERDICT KEPT BY",
            "b4 Completed 2026-03-03 10:00:00 +0000 UTC keep keep-last, daily, last-good",
            "b3 Completed 2026-03-02 10:00:00 +0000 UTC keep daily",
            "b2 Completed 2026-03-01 11:00:00 +0000 UTC delete",
            "b1 Completed 2026-03-01 10:00:00 +0000 UTC keep pinned",
        ]
    );
    let out = scene.refloat(&[&trial[..], &["-o", "json"]].concat()).ended(0);
    let plan: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(plan["policy"], "keep-last=1,daily=2");
    assert_eq!(
        plan["backups"][3],
        json!({ "backup": "b1", "time": "2026-03-01T10:00:00Z", "verdict": "keep", "keptBy": ["pinned"], "phase": "Completed" })
    );
    assert_eq!(plan["backups"][2]["verdict"], "delete");
    let requests = || {
        let query = [
            "-n",
            &scene.namespace,
            "get",
            "deletebackuprequests.velero.io",
            "-o",
            "jsonpath={.items[*].spec.backupName}",
        ];
        scene.cluster.kubectl(&query).unwrap()
    };
    assert_eq!(requests(), "", "so far only words");
    let said = scene.refloat(&["schedule", "prune", "daily", "--policy", "keep-last=1,daily=2"]);
    assert!(said.err.contains("1 backups will be deleted"), "{}", said.err);
    said.ended(2);
    let confirmed = [
        "prune",
        "schedule",
        "daily",
        "--policy",
        "keep-last=1,daily=2",
        "--confirm",
    ];
    scene.refloat(&confirmed).ended(0);
    assert_eq!(requests(), "b2");
    scene.refloat(&["unpin", "backup", "b1"]).ended(0);
    let rows = scene.refloat(&trial).ended(0);
    assert!(rows.contains("2 of 4 backups go"), "{rows}");
}
