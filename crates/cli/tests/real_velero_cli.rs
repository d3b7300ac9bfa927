//! The unmodified `velero` CLI against our server: each verb's output and exit code, for both versions
//! that it claims to serve. Where our own CLI has the same verb, both must say the same.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[allow(dead_code, reason = "each test program uses its part")]
#[path = "scene/scene.rs"]
mod scene;

use flate2::read::GzDecoder;
use scene::Scene;
use serde_json::{Value, json};

/// The versions, with the full one that the CLI calls itself.
const VERSIONS: [(&str, &str); 2] = [("1.18", "v1.18."), ("1.17", "v1.17.")];

/// A backup `one` of a workload, made by that CLI.
fn with_backup(scene: &Scene, version: &str) -> String {
    let workload = scene.workload("app");
    let out = scene
        .velero(
            version,
            &[
                "backup",
                "create",
                "one",
                "--include-namespaces",
                &workload,
                "--labels",
                "a=b",
                "--wait",
            ],
        )
        .ended(0);
    assert!(
        out.contains("Backup request \"one\" submitted successfully."),
        "{out}"
    );
    assert!(out.contains("Backup completed with status: Completed."), "{out}");
    workload
}

fn names_in(tarball: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(GzDecoder::new(tarball));
    archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect()
}

#[test]
fn version() {
    for (version, full) in VERSIONS {
        let scene = Scene::with_server(&format!("version-{}", version.replace('.', "")));
        let out = scene.velero(version, &["version"]).ended(0);
        assert!(out.contains(&format!("Client:\n\tVersion: {full}")), "{out}");
        assert!(out.contains("Server:\n\tVersion: v1.18."), "{out}");
        assert_eq!(out.contains("WARNING"), version != "1.18", "{out}");
        let out = scene.velero(version, &["plugin", "get"]).ended(0);
        assert!(
            out.contains("velero.io/aws") && out.contains("ObjectStore"),
            "{out}"
        );
        let out = scene.velero(version, &["version", "--client-only"]).ended(0);
        assert!(!out.contains("Server"), "{out}");
        let ours = scene.refloat(&["version"]).ended(0);
        assert!(
            ours.contains("Client:\n\tVersion: v1.18.") && ours.contains("Server:\n\tVersion: v1.18."),
            "{ours}"
        );
        assert!(
            scene
                .refloat(&["plugin", "get"])
                .ended(0)
                .contains("velero.io/aws")
        );
    }
}

#[test]
fn backups_are_created_and_listed() {
    for (version, _) in VERSIONS {
        let scene = Scene::with_server(&format!("get-{}", version.replace('.', "")));
        with_backup(&scene, version);
        let table = scene.velero(version, &["backup", "get"]).ended(0);
        let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(&row[..4], ["one", "Completed", "0", "0"], "{table}");
        assert!(table.contains(" 29d ") && table.contains(" default "), "{table}");
        if version == "1.18" {
            assert_eq!(table, scene.refloat(&["backup", "get"]).ended(0));
            let labels = ["backup", "get", "--show-labels"];
            assert_eq!(
                scene.velero(version, &labels).ended(0),
                scene.refloat(&labels).ended(0)
            );
        }
        let object: Value = serde_json::from_str(
            &scene
                .velero(version, &["get", "backup", "one", "-o", "json"])
                .ended(0),
        )
        .unwrap();
        assert_eq!(object["status"]["phase"], "Completed");
        assert_eq!(object["status"]["formatVersion"], "1.1.0");
        let said = scene.velero(version, &["backup", "get", "none"]);
        assert!(
            said.err.contains("backups.velero.io \"none\" not found"),
            "{}",
            said.err
        );
        said.ended(1);
        let said = scene.velero(
            version,
            &["backup", "create", "two", "--storage-location", "none"],
        );
        assert!(said.err.contains("\"none\" not found"), "{}", said.err);
        said.ended(1);
        // A name that is taken, and a backup that cannot be.
        assert_eq!(scene.velero(version, &["backup", "create", "one"]).code, 1);
        let missing = json!({
            "apiVersion": "velero.io/v1", "kind": "Backup", "metadata": { "name": "bad", "namespace": scene.namespace },
            "spec": { "storageLocation": "none" },
        });
        scene.apply(&[missing]);
        scene.until("the backup is refused", || {
            scene.value(&scene.namespace, "backup/bad", ".status.phase") == "FailedValidation"
        });
        let description = scene.refloat(&["backup", "describe", "bad"]).ended(0);
        assert!(description.contains("Validation errors:"), "{description}");
    }
}

#[test]
fn backups_are_described() {
    for (version, _) in VERSIONS {
        let scene = Scene::with_server(&format!("describe-{}", version.replace('.', "")));
        let workload = with_backup(&scene, version);
        for details in [false, true] {
            let mut arguments = vec!["backup", "describe", "one"];
            if details {
                arguments.push("--details");
            }
            let said = scene.velero(version, &arguments);
            assert_eq!(said.err, "");
            let theirs = said.ended(0);
            for part in [
                "Name:         one",
                "Phase:  Completed",
                "Total items to be backed up:",
                "Backup Volumes:",
            ] {
                assert!(theirs.contains(part), "{part} is not in {theirs}");
            }
            assert!(!theirs.contains("<error"), "{theirs}");
            assert_eq!(
                theirs.contains(&format!("- {workload}/settings")),
                details,
                "{theirs}"
            );
            let ours = scene.refloat(&arguments).ended(0);
            if version == "1.18" {
                assert_eq!(theirs, ours);
            }
        }
        for details in [false, true] {
            let mut arguments = vec!["backup", "describe", "one", "-o", "json"];
            if details {
                arguments.push("--details");
            }
            let read = |text: String| serde_json::from_str::<Value>(&text).unwrap();
            let theirs = read(scene.velero(version, &arguments).ended(0));
            assert_eq!(theirs["phase"], "Completed");
            let mut ours = read(scene.refloat(&arguments).ended(0));
            // Velero says nothing of filters by scope, which each backup has by default.
            let resources = ours["spec"]["resources"].as_object_mut().unwrap();
            for scope in ["ClusterScoped", "NamespaceScoped"] {
                assert!(resources.remove(&format!("excluded{scope}")).is_some());
            }
            if version == "1.18" {
                assert_eq!(theirs, ours);
            }
        }
    }
}

#[test]
fn backups_have_logs_and_contents() {
    for (version, _) in VERSIONS {
        let scene = Scene::with_server(&format!("logs-{}", version.replace('.', "")));
        let workload = with_backup(&scene, version);
        let log = scene.velero(version, &["backup", "logs", "one"]).ended(0);
        assert!(
            log.lines().count() > 1 && log.lines().all(|line| line.starts_with("time=\"")),
            "{log}"
        );
        assert!(log.contains(&format!("backup={}/one", scene.namespace)), "{log}");
        assert_eq!(log, scene.refloat(&["backup", "logs", "one"]).ended(0));
        let said = scene.velero(version, &["backup", "logs", "none"]);
        assert!(
            said.err.contains("backup \"none\" does not exist"),
            "{}",
            said.err
        );
        said.ended(1);
        let out = scene
            .velero(version, &["backup", "download", "one", "-o", "theirs.tar.gz"])
            .ended(0);
        assert!(
            out.contains("Backup one has been successfully downloaded to"),
            "{out}"
        );
        scene
            .refloat(&["backup", "download", "one", "-o", "ours.tar.gz"])
            .ended(0);
        let theirs = std::fs::read(scene.file("theirs.tar.gz")).unwrap();
        assert_eq!(theirs, std::fs::read(scene.file("ours.tar.gz")).unwrap());
        let names = names_in(&theirs);
        assert_eq!(names[0], "metadata/version");
        let settings = format!("resources/configmaps/namespaces/{workload}/settings.json");
        assert!(names.contains(&settings), "{names:?}");
        let requests = [
            "-n",
            &scene.namespace,
            "get",
            "downloadrequests.velero.io",
            "-o",
            "name",
        ];
        let left = scene.cluster.kubectl(&requests).unwrap();
        // Velero's own CLI leaves its requests to the server; ours takes them away.
        assert!(left.lines().count() <= 2, "{left}");
    }
}

#[test]
fn backups_are_deleted() {
    for (version, _) in VERSIONS {
        let scene = Scene::with_server(&format!("delete-{}", version.replace('.', "")));
        with_backup(&scene, version);
        let said = scene.velero(version, &["backup", "delete", "none", "--confirm"]);
        assert!(said.ended(0).contains("No backups found"));
        let out = scene
            .velero(version, &["backup", "delete", "one", "--confirm"])
            .ended(0);
        assert!(
            out.contains("Request to delete backup \"one\" submitted successfully."),
            "{out}"
        );
        scene.until("the backup is gone", || {
            let query = [
                "-n",
                &scene.namespace,
                "get",
                "backups.velero.io,deletebackuprequests.velero.io",
                "-o",
                "name",
            ];
            scene.cluster.kubectl(&query).unwrap().is_empty()
        });
        let minio = scene.cluster.minio().unwrap();
        let (status, listing) = list(minio, &scene.namespace);
        assert_eq!(status, 200);
        assert!(!listing.contains("<Key>backups/"), "{listing}");
        let said = scene.refloat(&["backup", "delete", "one", "--confirm"]);
        assert!(said.err.contains("\"one\""), "{}", said.err);
        said.ended(2);
    }
}

/// What is in a bucket, as S3 tells it.
fn list(minio: &refloat_testkit::s3::Minio, bucket: &str) -> (u16, String) {
    let answer = minio
        .request("GET", &format!("/{bucket}"), "list-type=2", &[], b"")
        .unwrap();
    (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
}

#[test]
fn restores_are_created_described_and_deleted() {
    for (version, _) in VERSIONS {
        let scene = Scene::with_server(&format!("restore-{}", version.replace('.', "")));
        let workload = with_backup(&scene, version);
        let copy = format!("{workload}-copy");
        scene.goes_too(&copy);
        let mapping = format!("{workload}:{copy}");
        let create = [
            "restore",
            "create",
            "back",
            "--from-backup",
            "one",
            "--namespace-mappings",
            &mapping,
            "--wait",
        ];
        let out = scene.velero(version, &create).ended(0);
        assert!(out.contains("Restore completed with status: Completed."), "{out}");
        assert_eq!(scene.value(&copy, "configmap/settings", ".data.colour"), "blue");
        let table = scene.velero(version, &["restore", "get"]).ended(0);
        let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(&row[..3], ["back", "one", "Completed"], "{table}");
        assert_eq!(table, scene.refloat(&["restore", "get"]).ended(0));
        for details in [&[][..], &["--details"]] {
            let arguments = [&["restore", "describe", "back"][..], details].concat();
            let theirs = scene.velero(version, &arguments).ended(0);
            assert!(
                theirs.contains("Backup:  one") && !theirs.contains("<error"),
                "{theirs}"
            );
            assert_eq!(
                theirs.contains(&format!("- {copy}/settings(created)")),
                !details.is_empty(),
                "{theirs}"
            );
            if version == "1.18" {
                assert_eq!(theirs, scene.refloat(&arguments).ended(0));
            }
        }
        let log = scene.velero(version, &["restore", "logs", "back"]).ended(0);
        assert!(
            log.contains(&format!("restore={}/back", scene.namespace)),
            "{log}"
        );
        assert_eq!(log, scene.refloat(&["restore", "logs", "back"]).ended(0));
        let out = scene
            .velero(version, &["restore", "delete", "back", "--confirm"])
            .ended(0);
        assert!(
            out.contains("Request to delete restore \"back\" submitted successfully."),
            "{out}"
        );
        scene.until("the restore is gone", || {
            scene
                .value(&scene.namespace, "restore/back", ".metadata.name")
                .is_empty()
        });
        let (_, listing) = list(scene.cluster.minio().unwrap(), &scene.namespace);
        assert!(!listing.contains("<Key>restores/back/"), "{listing}");
        assert_eq!(
            scene.value(&copy, "configmap/settings", ".data.colour"),
            "blue",
            "what was restored stays"
        );
        let said = scene.velero(version, &["restore", "create", "--from-backup", "none"]);
        assert!(said.err.contains("\"none\" not found"), "{}", said.err);
        said.ended(1);
    }
}

#[test]
fn locations_are_created_changed_and_deleted() {
    for (version, _) in VERSIONS {
        let scene = Scene::with_server(&format!("bsl-{}", version.replace('.', "")));
        let minio = scene.cluster.minio().unwrap();
        let config = format!(
            "region={},s3ForcePathStyle=true,s3Url={}",
            minio.region, minio.endpoint
        );
        let create = [
            "backup-location",
            "create",
            "second",
            "--provider",
            "aws",
            "--bucket",
            &scene.namespace,
            "--prefix",
            "second",
            "--config",
            &config,
            "--credential",
            "cloud=cloud",
            "--access-mode",
            "ReadOnly",
        ];
        let out = scene.velero(version, &create).ended(0);
        assert!(
            out.contains("Backup storage location \"second\" configured successfully."),
            "{out}"
        );
        scene.until("the location is available", || {
            scene.value(&scene.namespace, "bsl/second", ".status.phase") == "Available"
        });
        let table = scene
            .velero(version, &["backup-location", "get", "second"])
            .ended(0);
        let row: Vec<_> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(
            row[..4],
            [
                "second",
                "aws",
                &format!("{}/second", scene.namespace),
                "Available"
            ],
            "{table}"
        );
        assert!(table.contains("ReadOnly"), "{table}");
        let ours = scene.refloat(&["backup-location", "get", "second"]).ended(0);
        assert_eq!(table.lines().next(), ours.lines().next());
        let said = scene.velero(
            version,
            &["backup", "create", "x", "--storage-location", "second", "--wait"],
        );
        assert!(
            said.ended(0).contains("FailedValidation"),
            "a read-only location takes no backups"
        );
        scene
            .velero(version, &["backup-location", "set", "default", "--default=false"])
            .ended(0);
        let out = scene
            .velero(version, &["backup-location", "set", "second", "--default"])
            .ended(0);
        assert!(out.contains("configured successfully"), "{out}");
        scene.until("the second is the default", || {
            scene.value(&scene.namespace, "bsl/second", ".spec.default") == "true"
        });
        let said = scene.refloat(&["backup-location", "set", "default", "--default"]);
        assert!(
            said.err.contains("second is the default backup storage location"),
            "{}",
            said.err
        );
        said.ended(2);
        let out = scene
            .velero(version, &["backup-location", "delete", "second", "--confirm"])
            .ended(0);
        assert!(
            out.contains("Backup storage location \"second\" deleted successfully."),
            "{out}"
        );
        let said = scene.velero(version, &["backup-location", "get", "second"]);
        assert!(said.err.contains("not found"), "{}", said.err);
        said.ended(1);
    }
}

#[test]
fn our_cli_drives_our_server() {
    let scene = Scene::with_server("own");
    let workload = scene.workload("app");
    let create = [
        "create",
        "backup",
        "one",
        "--include-namespaces",
        &workload,
        "--wait",
    ];
    let said = scene.refloat(&create);
    assert!(said.err.contains("Backing up one:"), "{}", said.err);
    assert!(said.ended(0).contains("Backup completed with status: Completed."));
    let said = scene.refloat(&create);
    assert!(said.err.contains("already exists"), "{}", said.err);
    said.ended(2);
    let overlapping = [
        "backup",
        "create",
        "bad",
        "--include-namespaces",
        "a",
        "--exclude-namespaces",
        "a",
    ];
    let said = scene.refloat(&overlapping);
    assert!(said.err.contains("specification is invalid"), "{}", said.err);
    said.ended(2);
    let said = scene.refloat(&[
        "backup",
        "create",
        "bad",
        "--storage-location",
        "none",
        "--force",
        "--wait",
    ]);
    assert!(said.ended(1).contains("FailedValidation"));
    let copy = format!("{workload}-copy");
    scene.goes_too(&copy);
    let mapping = format!("{workload}:{copy}");
    let out = scene.refloat(&[
        "create",
        "restore",
        "back",
        "--from-backup",
        "one",
        "--namespace-mappings",
        &mapping,
        "-w",
    ]);
    assert!(out.ended(0).contains("Restore completed with status: Completed."));
    assert_eq!(scene.value(&copy, "configmap/settings", ".data.colour"), "blue");
    scene
        .refloat(&["restore", "delete", "--all", "--confirm"])
        .ended(0);
    scene
        .refloat(&["backup", "delete", "one", "none", "--confirm"])
        .ended(1);
    scene.until("the backup is gone", || {
        scene
            .value(&scene.namespace, "backup/one", ".metadata.name")
            .is_empty()
    });
    // A schedule is an object like the others.
    scene
        .refloat(&[
            "schedule",
            "create",
            "nightly",
            "--schedule",
            "@every 6h",
            "--paused",
        ])
        .ended(0);
    assert!(
        scene
            .refloat(&["schedule", "unpause", "nightly"])
            .ended(0)
            .contains("unpaused successfully")
    );
    assert!(
        scene
            .refloat(&["pause", "schedule", "nightly"])
            .ended(0)
            .contains("paused successfully")
    );
    assert_eq!(
        scene.refloat(&["schedule", "describe", "nightly"]).ended(0),
        scene
            .velero("1.18", &["schedule", "describe", "nightly"])
            .ended(0)
    );
    assert!(
        scene
            .refloat(&["schedule", "delete", "nightly", "--confirm"])
            .ended(0)
            .contains("Schedule deleted: nightly")
    );
}
