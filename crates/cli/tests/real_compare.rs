//! Comparing, finding, planning and bringing back single objects, against a real API server.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[allow(dead_code, reason = "each test program uses its part")]
#[path = "scene/scene.rs"]
mod scene;

use scene::Scene;
use serde_json::{Value, json};

fn backup(scene: &Scene, name: &str, workload: &str, storage: &str) {
    let arguments = [
        "backup",
        "create",
        name,
        "--include-namespaces",
        workload,
        "--storage",
        storage,
    ];
    scene.refloat(&arguments).ended(0);
}

/// Changes one object, adds one and takes one away.
fn change(scene: &Scene, workload: &str) {
    let metadata = |name: &str| json!({ "name": name, "namespace": workload, "labels": { "app": "shop" } });
    scene.apply(&[
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("settings"), "data": { "colour": "red" } }),
        json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata("key"), "stringData": { "word": "psst" } }),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("new"), "data": {} }),
    ]);
    scene
        .cluster
        .kubectl(&["-n", workload, "delete", "service", "web"])
        .unwrap();
}

#[test]
fn two_backups_and_the_cluster_are_compared() {
    let scene = Scene::new("diff");
    let (workload, storage) = (scene.workload("app"), scene.storage());
    backup(&scene, "one", &workload, &storage);
    let diff = |arguments: &[&str]| {
        let all = [&["backup", "diff"], arguments, &["--storage", &storage]].concat();
        scene.refloat(&all)
    };
    let same = diff(&["one", "--live"]);
    assert!(
        same.err.contains("0 changed, 0 added, 0 removed"),
        "{}\n{}",
        same.err,
        same.out
    );
    assert_eq!(same.ended(0), "");
    change(&scene, &workload);
    backup(&scene, "two", &workload, &storage);
    for other in [&["one", "two"][..], &["one", "--live"]] {
        let said = diff(other);
        assert!(
            said.err.contains("2 changed, 1 added, 1 removed"),
            "{}\n{}",
            said.err,
            said.out
        );
        let text = said.ended(1);
        for part in [
            format!("configmaps {workload}/settings\n@@ data.colour @@\n-blue\n+red\n"),
            format!(
                "+++ {}: configmaps {workload}/new\n+(the whole object)\n",
                if other[1] == "two" { "two" } else { "live" }
            ),
            format!("--- one: services {workload}/web\n+++ /dev/null\n"),
            "@@ data.word @@\n-(hidden, 8 characters)\n+(hidden, 8 characters)\n".to_owned(),
        ] {
            assert!(text.contains(&part), "{part} is not in {text}");
        }
        assert!(!text.contains('\u{1b}') && !text.contains("aHVzaA"), "{text}");
    }
    assert!(
        diff(&["one", "two", "--show-secrets"])
            .ended(1)
            .contains("-aHVzaA==")
    );
    let text = diff(&["one", "two", "-o", "json", "--include-resources", "cm,Secret"]).ended(1);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["totals"]["changed"], 2, "{text}");
    assert_eq!(value["differences"][0]["change"], "added");
    assert_eq!(value["differences"][0]["namespace"], workload.as_str());
    diff(&["two", "--live"]).ended(0);
    diff(&[
        "one",
        "two",
        "--include-resources",
        "services",
        "--include-namespaces",
        "other",
    ])
    .ended(0);
    let said = diff(&["one", "none"]);
    assert!(said.err.contains("there is no backup \"none\""), "{}", said.err);
    said.ended(2);
    let said = diff(&["one", "two", "--include-resources", "ghosts"]);
    assert!(
        said.err.contains("kind \"ghosts\" is on neither side"),
        "{}",
        said.err
    );
    said.ended(2);
}

#[test]
fn an_object_is_found_in_all_backups_and_brought_back() {
    let scene = Scene::new("find");
    let (workload, storage) = (scene.workload("app"), scene.storage());
    backup(&scene, "one", &workload, &storage);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    backup(&scene, "two", &workload, &storage);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    change(&scene, &workload);
    backup(&scene, "three", &workload, &storage);
    let find = |arguments: &[&str]| {
        let all = [&["backup", "find"], arguments, &["--storage", &storage]].concat();
        scene.refloat(&all)
    };
    let changes = |text: &str| -> Vec<String> {
        let rows = text.lines().skip(1);
        rows.map(|row| {
            let cells: Vec<&str> = row.split_whitespace().collect();
            format!("{} {} {}", cells[0], cells[5], cells[6])
        })
        .collect()
    };
    let table = find(&["kind=Secret,name=k*"]).ended(0);
    let name = format!("{workload}/key");
    assert_eq!(
        changes(&table),
        [
            format!("one {name} first"),
            format!("two {name} same"),
            format!("three {name} changed")
        ],
        "{table}"
    );
    assert!(
        find(&["kind=svc"]).ended(0).lines().count() == 3,
        "gone from the third"
    );
    assert_eq!(
        find(&["kind=cm", "-l", "app=shop"]).ended(0).lines().count(),
        1 + 4
    );
    assert_eq!(find(&["kind=cm", "-l", "app=none"]).ended(0), "");
    let text = find(&["", "--value", "hush", "-o", "json"]).ended(0);
    let value: Value = serde_json::from_str(&text).unwrap();
    let found = value["found"].as_array().unwrap();
    assert_eq!(found.len(), 2, "{text}");
    assert_eq!(
        (&found[1]["backup"], &found[1]["field"]),
        (&json!("two"), &json!("data.word"))
    );
    assert!(!text.contains("hush") && !text.contains("aHVzaA"), "{text}");
    let said = find(&["Secret"]);
    assert!(said.err.contains("kind=Secret"), "{}", said.err);
    said.ended(2);
    // As Velero's backups are: without an index, by the resource list.
    std::fs::remove_file(scene.file("backups/backups/two/two-refloat-index.jsonl.gz")).unwrap();
    let said = find(&["kind=Secret,name=key"]);
    assert!(said.err.contains("two have no index"), "{}", said.err);
    assert_eq!(changes(&said.ended(0))[1], format!("two {name} ?"));
    assert_eq!(
        find(&["kind=Secret", "--value", "hush"]).ended(0).lines().count(),
        3
    );

    // Only the one object comes back.
    let into = format!("{workload}-back");
    scene.goes_too(&into);
    let mapping = format!("{workload}:{into}");
    let object = format!("Secret/{workload}/key");
    let restore = |name: &str, object: &str| {
        scene.refloat(&[
            "restore",
            "create",
            name,
            "--from-backup",
            "one",
            "--object",
            object,
            "--namespace-mappings",
            &mapping,
            "--storage",
            &storage,
        ])
    };
    restore("back", &object).ended(0);
    assert_eq!(scene.value(&into, "secret/key", ".data.word"), "aHVzaA==");
    let others = scene
        .cluster
        .kubectl(&["-n", &into, "get", "cm,svc", "-l", "app=shop", "-o", "name"])
        .unwrap();
    assert_eq!(others, "");
    let said = restore("nothing", "secrets/shop/none");
    assert!(
        said.err.contains("has no object secrets/shop/none"),
        "{}",
        said.err
    );
    said.ended(2);
}

#[test]
fn a_plan_is_shown_and_applied_without_a_server() {
    let scene = Scene::new("plan");
    let (workload, storage) = (scene.workload("app"), scene.storage());
    backup(&scene, "one", &workload, &storage);
    change(&scene, &workload);
    let plan = |name: &str, more: &[&str]| {
        let all = [
            "restore",
            "plan",
            name,
            "--from-backup",
            "one",
            "--storage",
            &storage,
        ];
        scene.refloat(&[&all, more].concat())
    };
    let policy = ["--existing-resource-policy", "update"];
    let text = plan("p1", &policy).ended(0);
    for part in [
        format!(
            "patch     configmaps {workload}/settings\n          @@ data.colour @@\n          -red\n          +blue\n"
        ),
        format!("create    services {workload}/web\n"),
        format!("same      namespaces {workload}\n"),
        "+(hidden, 8 characters)".to_owned(),
        "Hash: ".to_owned(),
    ] {
        assert!(text.contains(&part), "{part} is not in {text}");
    }
    let hash = text.rsplit("Hash: ").next().unwrap().trim().to_owned();
    for format in ["json", "yaml"] {
        let text = plan(&format!("p-{format}"), &["-o", format]).ended(0);
        let value: Value = if format == "json" {
            serde_json::from_str(&text).unwrap()
        } else {
            serde_saphyr::from_str(&text).unwrap()
        };
        assert_eq!(value["backup"], "one", "{text}");
        let objects = value["objects"].as_array().unwrap();
        let settings = objects.iter().find(|one| one["name"] == "settings").unwrap();
        assert_eq!(settings["action"], "conflict", "{text}");
        assert_eq!(value["totals"]["patch"], 0);
    }
    let apply =
        |wanted: &str| scene.refloat(&["restore", "create", "r1", "--plan", wanted, "--storage", &storage]);
    let said = apply("nosuchplan");
    assert!(
        said.err.contains("no restore plan \"nosuchplan\""),
        "{}",
        said.err
    );
    said.ended(2);
    // Somebody comes between.
    scene
        .cluster
        .kubectl(&["-n", &workload, "label", "configmap", "settings", "x=y"])
        .unwrap();
    let said = apply(&hash[..12]);
    assert!(
        said.err.contains(&format!("configmaps {workload}/settings")) && said.err.contains("plan again"),
        "{}",
        said.err
    );
    said.ended(2);
    assert_eq!(
        scene.value(&workload, "configmap/settings", ".data.colour"),
        "red"
    );
    plan("p2", &policy).ended(0);
    apply("p2").ended(0);
    assert_eq!(
        scene.value(&workload, "configmap/settings", ".data.colour"),
        "blue"
    );
    assert_eq!(scene.value(&workload, "service/web", ".spec.ports[0].port"), "80");
}

#[test]
fn a_server_compares_finds_plans_and_applies() {
    let scene = Scene::with_server("planner");
    let workload = scene.workload("app");
    scene
        .refloat(&[
            "backup",
            "create",
            "one",
            "--include-namespaces",
            &workload,
            "--wait",
        ])
        .ended(0);
    change(&scene, &workload);
    let said = scene.refloat(&["backup", "diff", "one", "--live"]);
    assert!(
        said.err.contains("2 changed, 1 added, 1 removed"),
        "{}\n{}",
        said.err,
        said.out
    );
    said.ended(1);
    assert_eq!(
        scene
            .refloat(&["backup", "find", "name=settings"])
            .ended(0)
            .lines()
            .count(),
        2
    );
    let text = scene
        .refloat(&[
            "restore",
            "plan",
            "p",
            "--from-backup",
            "one",
            "--existing-resource-policy",
            "update",
        ])
        .ended(0);
    assert!(
        text.contains(&format!("create    services {workload}/web")),
        "{text}"
    );
    let hash = text.rsplit("Hash: ").next().unwrap().trim().to_owned();
    assert_eq!(
        scene.value(&scene.namespace, "restoreplan/p", ".status.hash"),
        hash
    );
    assert_eq!(
        scene.value(&scene.namespace, "restoreplan/p", ".status.phase"),
        "Ready"
    );
    scene
        .cluster
        .kubectl(&["-n", &workload, "label", "configmap", "settings", "x=y"])
        .unwrap();
    let said = scene.refloat(&["restore", "create", "r1", "--plan", &hash, "--wait"]);
    assert_eq!(said.code, 1, "{} {}", said.out, said.err);
    let reason = scene.value(&scene.namespace, "restore.velero.io/r1", ".status.failureReason");
    assert!(
        reason.contains(&format!("configmaps {workload}/settings")) && reason.contains("plan again"),
        "{reason}"
    );
    assert_eq!(
        scene.value(&workload, "service/web", ".metadata.name"),
        "",
        "nothing was written"
    );
    scene
        .cluster
        .kubectl(&["-n", &workload, "label", "configmap", "settings", "x-"])
        .unwrap();
    let said = scene.refloat(&["restore", "create", "r2", "--plan", &hash[..10], "--wait"]);
    assert_eq!(said.code, 0, "{} {}", said.out, said.err);
    assert_eq!(
        scene.value(&workload, "configmap/settings", ".data.colour"),
        "blue"
    );
    assert_eq!(scene.value(&workload, "service/web", ".metadata.name"), "web");
    let said = scene.refloat(&["restore", "plan", "--from-backup", "none"]);
    assert!(said.err.contains("none"), "{}", said.err);
    said.ended(2);
}

#[test]
fn what_is_cancelled_ends_failed_and_leaves_nothing() {
    let scene = Scene::with_server("cancel");
    let workload = scene.workload("app");
    let maps: Vec<Value> = (0..400)
        .map(|n| json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("m{n}"), "namespace": workload } }))
        .collect();
    scene.apply(&maps);
    scene
        .refloat(&[
            "backup",
            "create",
            "whole",
            "--include-namespaces",
            &workload,
            "--wait",
        ])
        .ended(0);
    let said = scene.refloat(&["backup", "cancel", "whole"]);
    assert!(said.err.contains("is Completed already"), "{}", said.err);
    said.ended(2);
    let said = scene.refloat(&["backup", "cancel", "none"]);
    assert!(said.err.contains("none"), "{}", said.err);
    said.ended(2);
    // Of two backups of one namespace the second waits; both are cancelled as soon as they are there.
    let mut cancelled = 0;
    for round in 0..5 {
        let names = [format!("a{round}"), format!("b{round}")];
        for name in &names {
            scene
                .refloat(&["backup", "create", name, "--include-namespaces", &workload])
                .ended(0);
        }
        let said = scene.refloat(&["backup", "cancel", &names[1], &names[0]]);
        assert!(said.code <= 2, "{}", said.err);
        for name in &names {
            let phase = || scene.value(&scene.namespace, &format!("backup/{name}"), ".status.phase");
            scene.until("the backup has ended", || {
                ["Completed", "Failed"].contains(&phase().as_str())
            });
            let path = format!("backups/{name}/");
            let files = scene.cluster.minio().unwrap().request(
                "GET",
                &format!("/{}", scene.namespace),
                &format!("list-type=2&prefix={}", path.replace('/', "%2F")),
                &[],
                b"",
            );
            let listing = String::from_utf8_lossy(&files.unwrap().body).into_owned();
            if phase() == "Failed" {
                cancelled += 1;
                let reason = scene.value(
                    &scene.namespace,
                    &format!("backup/{name}"),
                    ".status.failureReason",
                );
                assert!(reason.starts_with("cancelled by "), "{reason}");
                assert!(listing.contains("<KeyCount>0</KeyCount>"), "{listing}");
            } else {
                assert!(listing.contains("velero-backup.json"), "{listing}");
            }
        }
    }
    assert!(cancelled > 0, "each backup was faster than its cancellation");
    // A restore that is cancelled says so, and what it had done stays.
    let mapping = format!("{workload}:{workload}-copy");
    scene.goes_too(&format!("{workload}-copy"));
    scene
        .refloat(&[
            "restore",
            "create",
            "r",
            "--from-backup",
            "whole",
            "--namespace-mappings",
            &mapping,
        ])
        .ended(0);
    let said = scene.refloat(&["restore", "cancel", "r"]);
    let phase = || scene.value(&scene.namespace, "restore.velero.io/r", ".status.phase");
    scene.until("the restore has ended", || {
        ["Completed", "Failed"].contains(&phase().as_str())
    });
    if said.code == 0 && phase() == "Failed" {
        let reason = scene.value(&scene.namespace, "restore.velero.io/r", ".status.failureReason");
        assert!(reason.starts_with("cancelled by "), "{reason}");
    }
}
