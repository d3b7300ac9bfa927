//! Every verb without a server, on a folder, against a real API server.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[allow(dead_code, reason = "each test program uses its part")]
#[path = "scene/scene.rs"]
mod scene;

use scene::Scene;
use serde_json::Value;

/// A backup `one` of a workload in the scene's folder.
fn with_backup(scene: &Scene) -> (String, String) {
    let workload = scene.workload("app");
    let storage = scene.storage();
    let out = scene.refloat(&[
        "backup",
        "create",
        "one",
        "--include-namespaces",
        &workload,
        "--storage",
        &storage,
        "--labels",
        "a=b",
    ]);
    assert!(out.err.contains("Backing up one:"), "{}", out.err);
    let out = out.ended(0);
    assert!(
        out.contains("Backup one completed with status: Completed (0 warnings, 0 errors)."),
        "{out}"
    );
    (workload, storage)
}

#[test]
fn a_backup_is_listed_described_and_read() {
    let scene = Scene::new("read");
    let (workload, storage) = with_backup(&scene);
    let storage = ["--storage", &storage];
    let with = |arguments: &[&str]| {
        // No cluster is needed for what follows.
        let mut command = scene.command(scene::program());
        command
            .env("KUBECONFIG", "/nonexistent")
            .args(arguments)
            .args(storage);
        scene::Said::from(command.output().unwrap())
    };
    let table = with(&["get", "backups"]).ended(0);
    assert!(
        table.starts_with("NAME   STATUS      ERRORS   WARNINGS   CREATED "),
        "{table}"
    );
    assert!(
        table
            .lines()
            .nth(1)
            .unwrap()
            .starts_with("one    Completed   0        0          20"),
        "{table}"
    );
    assert_eq!(with(&["backup", "get", "-l", "a=c"]).ended(0).lines().count(), 1);
    assert_eq!(with(&["backup", "get", "-l", "a=b"]).ended(0).lines().count(), 2);
    let object: Value =
        serde_json::from_str(&with(&["backup", "get", "one", "-o", "json"]).ended(0)).unwrap();
    assert_eq!(object["status"]["phase"], "Completed");
    let description = with(&["backup", "describe", "one", "--details"]).ended(0);
    for part in [
        "Phase:  Completed",
        "TTL:  720h0m0s",
        "  v1/ConfigMap:",
        &format!("    - {workload}/settings"),
        "Backup Volumes:",
    ] {
        assert!(description.contains(part), "{part} is not in {description}");
    }
    let structured: Value =
        serde_json::from_str(&with(&["backup", "describe", "one", "-o", "json"]).ended(0)).unwrap();
    assert_eq!(structured["phase"], "Completed");
    assert!(with(&["backup", "logs", "one"]).ended(0).starts_with("time=\""));
    for verb in ["get", "describe", "logs", "download"] {
        let said = with(&["backup", verb, "none"]);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{}", said.err);
        assert!(
            said.err
                .starts_with("error: there is no backup \"none\" in file://"),
            "{}",
            said.err
        );
    }
}

#[test]
fn a_download_is_whole_or_not_there() {
    let scene = Scene::new("download");
    let (_, storage) = with_backup(&scene);
    let out = scene
        .refloat(&["backup", "download", "one", "--storage", &storage])
        .ended(0);
    assert!(
        out.contains("successfully downloaded to one-data.tar.gz"),
        "{out}"
    );
    let bytes = std::fs::read(scene.file("one-data.tar.gz")).unwrap();
    assert_eq!(
        bytes,
        std::fs::read(scene.file("backups/backups/one/one.tar.gz")).unwrap()
    );
    std::fs::write(scene.file("x"), "mine").unwrap();
    let said = scene.refloat(&["backup", "download", "one", "-o", "x", "--storage", &storage]);
    assert!(
        said.err.contains("x exists already; --force overwrites it"),
        "{}",
        said.err
    );
    said.ended(2);
    assert_eq!(std::fs::read(scene.file("x")).unwrap(), b"mine");
    scene
        .refloat(&[
            "backup",
            "download",
            "one",
            "-o",
            "x",
            "--force",
            "--storage",
            &storage,
        ])
        .ended(0);
    assert_eq!(std::fs::read(scene.file("x")).unwrap(), bytes);
    let left = std::fs::read_dir(scene.folder.path()).unwrap().filter(|entry| {
        entry
            .as_ref()
            .unwrap()
            .file_name()
            .to_string_lossy()
            .starts_with(".refloat-download")
    });
    assert_eq!(left.count(), 0, "a temporary file was left");
}

#[test]
fn a_restore_is_done_listed_described_and_deleted() {
    let scene = Scene::new("restore");
    let (workload, storage) = with_backup(&scene);
    let storage = ["--storage", &storage];
    let with = |arguments: &[&str]| scene.refloat(&[arguments, &storage].concat());
    let copy = format!("{workload}-copy");
    scene.goes_too(&copy);
    let mapping = format!("{workload}:{copy}");
    let out = with(&[
        "restore",
        "create",
        "back",
        "--from-backup",
        "one",
        "--namespace-mappings",
        &mapping,
    ])
    .ended(0);
    assert!(
        out.contains("Restore back completed with status: Completed"),
        "{out}"
    );
    assert_eq!(scene.value(&copy, "configmap/settings", ".data.colour"), "blue");
    assert_eq!(
        scene.value(
            &copy,
            "configmap/settings",
            r".metadata.labels.velero\.io/restore-name"
        ),
        "back"
    );
    assert!(
        with(&["get", "restores"])
            .ended(0)
            .lines()
            .nth(1)
            .unwrap()
            .starts_with("back   one      Completed   20")
    );
    let description = with(&["restore", "describe", "back", "--details"]).ended(0);
    for part in [
        "Backup:  one",
        &format!("Namespace mappings:  {workload}={copy}"),
        &format!("    - {copy}/settings(created)"),
    ] {
        assert!(description.contains(part), "{part} is not in {description}");
    }
    assert!(with(&["restore", "logs", "back"]).ended(0).contains("restore="));
    let again = with(&["restore", "create", "back", "--from-backup", "one"]);
    assert!(
        again.err.contains("restore \"back\" already exists"),
        "{}",
        again.err
    );
    again.ended(2);
    with(&["restore", "delete", "back", "--confirm"]).ended(0);
    assert_eq!(with(&["restore", "get"]).ended(0).lines().count(), 1);
    let missing = with(&["restore", "delete", "back", "--confirm"]);
    assert!(
        missing.err.contains("there is no restore \"back\""),
        "{}",
        missing.err
    );
    missing.ended(2);
    // A name is made of the backup's and the time.
    let out = with(&[
        "restore",
        "create",
        "--from-backup",
        "one",
        "--namespace-mappings",
        &mapping,
    ])
    .ended(0);
    let name = out.split_whitespace().nth(1).unwrap();
    let stamp = name.strip_prefix("one-").unwrap();
    assert!(
        stamp.len() == 14 && stamp.bytes().all(|byte| byte.is_ascii_digit()),
        "{name}"
    );
    assert_eq!(with(&["restore", "create", "--from-backup", "none"]).code, 2);
}

#[test]
fn a_restore_with_errors_ends_with_1() {
    let scene = Scene::new("errors");
    let (workload, storage) = with_backup(&scene);
    // The target namespace refuses what is restored into it.
    let full = format!("{workload}-full");
    scene.goes_too(&full);
    scene.apply(&[
        serde_json::json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": full } }),
        serde_json::json!({ "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none", "namespace": full },
            "spec": { "hard": { "services": "0" } } }),
    ]);
    scene.until("the quota is in force", || {
        scene.value(&full, "resourcequota/none", ".status.hard.services") == "0"
    });
    let mapping = format!("{workload}:{full}");
    let arguments = [
        "restore",
        "create",
        "r",
        "--from-backup",
        "one",
        "--namespace-mappings",
        &mapping,
        "--storage",
        &storage,
    ];
    let out = scene.refloat(&arguments).ended(1);
    assert!(out.contains("completed with status: PartiallyFailed"), "{out}");
    let description = scene
        .refloat(&["restore", "describe", "r", "--storage", &storage])
        .ended(0);
    assert!(
        description.contains("Errors:") && description.contains("exceeded quota"),
        "{description}"
    );
}

#[test]
fn a_backup_is_deleted_only_when_that_is_wanted() {
    let scene = Scene::new("delete");
    let (_, storage) = with_backup(&scene);
    let storage = ["--storage", &storage];
    let with = |arguments: &[&str]| scene.refloat(&[arguments, &storage].concat());
    let unanswered = with(&["backup", "delete", "one"]);
    assert!(
        unanswered.err.contains("--confirm answers yes beforehand"),
        "{}",
        unanswered.err
    );
    unanswered.ended(2);
    assert_eq!(with(&["backup", "get"]).ended(0).lines().count(), 2);
    let out = with(&["delete", "backup", "one", "--confirm"]).ended(0);
    assert!(out.contains("Backup \"one\" deleted."), "{out}");
    assert_eq!(with(&["backup", "get"]).ended(0).lines().count(), 1);
    assert_eq!(with(&["backup", "delete", "one", "--confirm"]).code, 2);
    assert!(
        with(&["backup", "delete", "--all", "--confirm"])
            .ended(0)
            .contains("No backups found")
    );
}

#[test]
fn a_backup_that_refers_to_volume_data_is_deleted_only_when_that_is_said() {
    let scene = Scene::new("orphans");
    let (_, storage) = with_backup(&scene);
    let file = scene.file("backups/backups/one/one-volumesnapshots.json.gz");
    let snapshots = br#"[{"spec":{"persistentVolumeName":"pv1"},"status":{"providerSnapshotID":"snap-1"}}]"#;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, snapshots).unwrap();
    std::fs::write(&file, encoder.finish().unwrap()).unwrap();
    let delete = ["backup", "delete", "one", "--confirm", "--storage", &storage];
    let said = scene.refloat(&delete);
    for part in ["pv1: snap-1", "--orphan-volume-data"] {
        assert!(said.err.contains(part), "{}", said.err);
    }
    said.ended(2);
    assert!(file.exists());
    std::fs::write(&file, "damaged").unwrap();
    let said = scene.refloat(&delete);
    assert!(said.err.contains("cannot tell whether"), "{}", said.err);
    said.ended(2);
    scene
        .refloat(&[&delete[..], &["--orphan-volume-data"]].concat())
        .ended(0);
    assert!(!file.exists());
}

#[test]
fn what_cannot_run_says_why() {
    let scene = Scene::new("wrong");
    let storage = scene.storage();
    let mut nowhere = scene.command(scene::program());
    let config = scene.file("config");
    std::fs::write(
        &config,
        r#"{"apiVersion":"v1","kind":"Config","current-context":"a","contexts":[{"name":"a","context":{"cluster":"a","user":"a"}}],
            "clusters":[{"name":"a","cluster":{"server":"http://127.0.0.1:1"}}],"users":[{"name":"a","user":{}}]}"#,
    )
    .unwrap();
    nowhere
        .env("KUBECONFIG", &config)
        .args(["backup", "create", "x", "--storage", &storage]);
    let said = scene::Said::from(nowhere.output().unwrap());
    assert!(
        said.err.contains("Connection refused") && said.err.contains("hint: is the cluster up"),
        "{}",
        said.err
    );
    said.ended(2);
    for (arguments, words) in [
        (
            vec!["backup", "create", "UPPER", "--storage", &storage],
            "cannot be used as a name",
        ),
        (
            vec!["backup", "create", "x", "--storage", "file:///proc/nowhere"],
            "/proc/nowhere",
        ),
        (
            vec![
                "backup",
                "create",
                "x",
                "--include-namespaces",
                "a",
                "--exclude-namespaces",
                "a",
                "--storage",
                &storage,
            ],
            "invalid",
        ),
        (
            vec![
                "backup",
                "create",
                "x",
                "--kubecontext",
                "other",
                "--storage",
                &storage,
            ],
            "other",
        ),
    ] {
        let said = scene.refloat(&arguments);
        assert_eq!(
            (said.code, said.out.as_str()),
            (2, ""),
            "{arguments:?}: {}",
            said.err
        );
        assert!(
            said.err.contains(words) && said.err.starts_with("error: "),
            "{arguments:?}: {}",
            said.err
        );
    }
}

#[test]
fn whoever_stops_waiting_leaves_the_backup_running() {
    use std::io::Read as _;

    let scene = Scene::new("left");
    scene.install_definitions();
    scene.apply(&[serde_json::json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": scene.namespace },
    })]);
    // No server runs, so this would wait for ever.
    let mut waiting = scene
        .command(scene::program())
        .args(["-n", &scene.namespace, "backup", "create", "one", "--wait"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = String::new();
    let mut stdout = waiting.stdout.take().unwrap();
    let mut byte = [0];
    while !out.contains("background.\n") && stdout.read(&mut byte).unwrap() == 1 {
        out.push(char::from(byte[0]));
    }
    assert!(
        out.contains("Backup request \"one\" submitted successfully."),
        "{out}"
    );
    // It listens for Ctrl-C as soon as it waits, which is right after it said so.
    std::thread::sleep(std::time::Duration::from_millis(500));
    let interrupt = std::process::Command::new("kill")
        .args(["-INT", &waiting.id().to_string()])
        .status();
    assert!(interrupt.unwrap().success());
    let said = scene::Said::from(waiting.wait_with_output().unwrap());
    assert!(
        said.err.contains("No longer waiting; backup one goes on."),
        "{}",
        said.err
    );
    said.ended(130);
    assert_eq!(
        scene.value(&scene.namespace, "backup/one", ".metadata.name"),
        "one"
    );
}
