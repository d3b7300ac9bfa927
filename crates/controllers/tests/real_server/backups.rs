//! Backups and restores from the CLI's `create` to their end, also when servers die.

use std::time::Duration;

use anyhow::{Result, ensure};
use refloat_controllers::DownloadUrlPolicy;
use serde_json::{Value, json};

use crate::scene::{SOON, Scene};

/// A namespace with some objects, to be backed up; it goes with the value.
struct Application<'a> {
    scene: &'a Scene,
    name: String,
}

impl<'a> Application<'a> {
    fn new(scene: &'a Scene, objects: usize) -> Result<Self> {
        let name = format!("{}-app", scene.namespace);
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        let maps = (0..objects).map(|n| {
            json!({
                "apiVersion": "v1", "kind": "ConfigMap",
                "metadata": { "name": format!("m{n}"), "namespace": name }, "data": { "n": n.to_string() },
            })
        });
        let items: Vec<Value> = std::iter::once(namespace).chain(maps).collect();
        scene
            .cluster
            .apply(&json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string())?;
        Ok(Self { scene, name })
    }

    fn maps(&self) -> Result<usize> {
        let names = self
            .scene
            .cluster
            .kubectl(&["get", "configmaps", "-n", &self.name, "-o", "name"])?;
        Ok(names
            .lines()
            .filter(|name| name.starts_with("configmap/m"))
            .count())
    }

    fn delete(&self) -> Result<()> {
        self.scene
            .cluster
            .kubectl(&["delete", "namespace", &self.name, "--timeout=60s"])
            .map(|_| ())
    }
}

impl Drop for Application<'_> {
    fn drop(&mut self) {
        drop(self.scene.cluster.kubectl(&[
            "delete",
            "namespace",
            &self.name,
            "--wait=false",
            "--ignore-not-found",
        ]));
    }
}

fn available(scene: &Scene) -> Result<()> {
    scene
        .wait_field("backupstoragelocation", "default", "/status/phase", "Available")
        .map(|_| ())
}

#[test]
fn what_the_cli_backs_up_it_can_restore() -> Result<()> {
    let scene = Scene::new("round")?;
    let mut options = scene.options();
    options.download_url = DownloadUrlPolicy::Server;
    scene.serve(options)?;
    available(&scene)?;
    let app = Application::new(&scene, 5)?;
    let text = scene.velero(&[
        "backup",
        "create",
        "b1",
        "--include-namespaces",
        &app.name,
        "--wait",
    ])?;
    ensure!(text.contains("Backup completed with status: Completed"), "{text}");
    let text = scene.velero(&["backup", "describe", "b1", "--details"])?;
    ensure!(
        text.contains("Phase:  Completed") && text.contains(&format!("{}/m0", app.name)),
        "{text}"
    );
    let text = scene.velero(&["backup", "logs", "b1"])?;
    ensure!(text.contains("level=info"), "{text}");

    app.delete()?;
    let text = scene.velero(&["restore", "create", "r1", "--from-backup", "b1", "--wait"])?;
    ensure!(
        text.contains("Restore completed with status: Completed"),
        "{text}"
    );
    ensure!(app.maps()? == 5, "{} are back", app.maps()?);
    let restore = scene.get("restore.velero.io", "r1")?.expect("it is there");
    ensure!(
        restore["metadata"]["finalizers"][0] == "restores.velero.io/external-resources-finalizer",
        "{restore}"
    );
    let text = scene.velero(&["restore", "describe", "r1", "--details"])?;
    ensure!(text.contains("Phase:") && text.contains("Completed"), "{text}");

    scene.velero(&["restore", "delete", "r1", "--confirm"])?;
    scene.wait("the restore goes", SOON, || {
        Ok(scene.get("restore.velero.io", "r1")?.is_none().then_some(()))
    })?;
    let query = "list-type=2&prefix=restores%2Fr1%2F";
    let listing = scene
        .cluster
        .minio()?
        .request("GET", &format!("/{}", scene.bucket), query, &[], b"")?;
    let listing = String::from_utf8_lossy(&listing.body).into_owned();
    ensure!(listing.contains("<KeyCount>0</KeyCount>"), "{listing}");
    Ok(())
}

#[test]
fn wrong_backups_and_restores_say_what_is_wrong() -> Result<()> {
    let scene = Scene::new("refused")?;
    scene.serve(scene.options())?;
    available(&scene)?;
    let mut read_only = scene.location("ro", &scene.bucket);
    read_only["spec"]["accessMode"] = "ReadOnly".into();
    scene.apply(read_only)?;
    for (name, location, part) in [("b1", "nowhere", "does not exist"), ("b2", "ro", "read-only")] {
        scene.apply(json!({
            "apiVersion": "velero.io/v1", "kind": "Backup",
            "metadata": { "name": name }, "spec": { "storageLocation": location },
        }))?;
        let backup = scene.wait_field("backup", name, "/status/phase", "FailedValidation")?;
        let error = backup["status"]["validationErrors"][0]
            .as_str()
            .unwrap_or_default();
        ensure!(error.contains(part), "{error}");
    }
    scene.apply(json!({
        "apiVersion": "velero.io/v1", "kind": "Restore",
        "metadata": { "name": "r1" }, "spec": { "backupName": "none" },
    }))?;
    let restore = scene.wait_field("restore.velero.io", "r1", "/status/phase", "FailedValidation")?;
    let error = restore["status"]["validationErrors"][0]
        .as_str()
        .unwrap_or_default();
    ensure!(error.contains("\"none\" does not exist"), "{error}");
    // They can be deleted although nothing of them is in the bucket.
    scene.velero(&["backup", "delete", "b1", "--confirm"])?;
    scene.wait("the refused backup goes", SOON, || {
        Ok(scene.get("backup", "b1")?.is_none().then_some(()))
    })?;
    Ok(())
}

#[test]
fn a_name_that_the_bucket_has_already_is_refused_and_its_deletion_harms_nothing() -> Result<()> {
    let scene = Scene::new("taken")?;
    let mut options = scene.options();
    options.backup_sync_period = Duration::ZERO;
    scene.serve(options)?;
    available(&scene)?;
    let app = Application::new(&scene, 1)?;
    scene.velero(&[
        "backup",
        "create",
        "b",
        "--include-namespaces",
        &app.name,
        "--wait",
    ])?;
    scene.kubectl(&["delete", "backup", "b"])?;
    let text = scene.velero(&[
        "backup",
        "create",
        "b",
        "--include-namespaces",
        &app.name,
        "--wait",
    ])?;
    ensure!(text.contains("Failed"), "{text}");
    let backup = scene.get("backup", "b")?.expect("it is there");
    ensure!(
        backup["status"]["failureReason"] == "backup already exists in object storage",
        "{backup}"
    );
    scene.velero(&["backup", "delete", "b", "--confirm"])?;
    scene.wait("the failed backup goes", SOON, || {
        Ok(scene.get("backup", "b")?.is_none().then_some(()))
    })?;
    let path = format!("/{}/backups/b/velero-backup.json", scene.bucket);
    let answer = scene.cluster.minio()?.request("GET", &path, "", &[], b"")?;
    ensure!(
        answer.status == 200,
        "the other backup of that name is still there"
    );
    Ok(())
}

#[test]
fn the_latest_backup_of_a_schedule_is_restored() -> Result<()> {
    let scene = Scene::new("schedule")?;
    scene.serve(scene.options())?;
    available(&scene)?;
    let app = Application::new(&scene, 1)?;
    for name in ["s-1", "s-2"] {
        let label = ["--labels", "velero.io/schedule-name=s"];
        scene.velero(&[
            "backup",
            "create",
            name,
            "--include-namespaces",
            &app.name,
            label[0],
            label[1],
            "--wait",
        ])?;
        std::thread::sleep(Duration::from_millis(1100));
    }
    scene.apply(json!({
        "apiVersion": "velero.io/v1", "kind": "Restore",
        "metadata": { "name": "r" }, "spec": { "scheduleName": "s" },
    }))?;
    let restore = scene.wait_field("restore.velero.io", "r", "/status/phase", "Completed")?;
    ensure!(restore["spec"]["backupName"] == "s-2", "{restore}");
    Ok(())
}

#[test]
fn a_backup_whose_server_is_killed_is_finished_by_another() -> Result<()> {
    let scene = Scene::new("succeeded")?;
    let app = Application::new(&scene, 300)?;
    let mut servers = vec![scene.process("s0")?];
    available(&scene)?;
    for round in 0..4 {
        let name = format!("b{round}");
        servers.push(scene.process(&format!("s{}", round + 1))?);
        scene.velero(&["backup", "create", &name, "--include-namespaces", &app.name])?;
        std::thread::sleep(Duration::from_millis(40 * round));
        servers.remove(0).kill()?;
        let backup = scene.wait_field("backup", &name, "/status/phase", "Completed")?;
        let items = backup["status"]["progress"]["itemsBackedUp"]
            .as_i64()
            .unwrap_or_default();
        ensure!(items >= 300, "{backup}");
    }
    app.delete()?;
    servers.push(scene.process("last")?);
    scene.velero(&["restore", "create", "r", "--from-backup", "b3"])?;
    scene.wait("the restore has begun", SOON, || {
        let restore = scene.get("restore.velero.io", "r")?.unwrap_or_default();
        Ok(restore["status"]["phase"].as_str().map(|_| ()))
    })?;
    servers.remove(0).kill()?;
    let restore = scene.wait_field("restore.velero.io", "r", "/status/phase", "Completed")?;
    ensure!(app.maps()? == 300, "{} of 300 are back: {restore}", app.maps()?);
    Ok(())
}

#[test]
fn a_backup_that_is_deleted_while_it_waits_leaves_nothing() -> Result<()> {
    let scene = Scene::new("withdrawn")?;
    let app = Application::new(&scene, 2)?;
    // One that is tried again and again, in a bucket that cannot be reached, holds the others back.
    let mut away = scene.location("away", &scene.bucket);
    away["spec"]["config"]["s3Url"] = "http://127.0.0.1:9".into();
    scene.apply(away)?;
    scene.apply(json!({
        "apiVersion": "velero.io/v1", "kind": "Backup", "metadata": { "name": "a" },
        "spec": { "storageLocation": "away", "includedNamespaces": [app.name] },
        "status": { "phase": "InProgress", "startTimestamp": "2026-01-01T00:00:00Z" },
    }))?;
    scene.serve(scene.options())?;
    available(&scene)?;
    for name in ["b", "c"] {
        scene.velero(&["backup", "create", name, "--include-namespaces", &app.name])?;
        scene.wait_field("backup", name, "/status/phase", "Queued")?;
    }
    scene.kubectl(&["delete", "backup", "b"])?;
    scene.kubectl(&["delete", "backup", "a"])?;
    scene.wait_field("backup", "c", "/status/phase", "Completed")?;
    ensure!(scene.get("backup", "b")?.is_none(), "the deleted Backup is back");
    for (name, status) in [("b", 404), ("c", 200)] {
        let path = format!("/{}/backups/{name}/velero-backup.json", scene.bucket);
        let answer = scene.cluster.minio()?.request("GET", &path, "", &[], b"")?;
        ensure!(answer.status == status, "{name}: {}", answer.status);
    }
    Ok(())
}

#[test]
fn a_backup_that_was_published_before_the_server_died_is_taken_over() -> Result<()> {
    let scene = Scene::new("published")?;
    let app = Application::new(&scene, 1)?;
    scene.apply(json!({
        "apiVersion": "velero.io/v1", "kind": "Backup", "metadata": { "name": "b" },
        "spec": { "storageLocation": "default", "includedNamespaces": [app.name] },
        "status": { "phase": "InProgress", "startTimestamp": "2026-01-01T00:00:00Z", "progress": { "totalItems": 1 } },
    }))?;
    let mut stored = scene.get("backup", "b")?.expect("it is there");
    stored["status"] =
        json!({ "phase": "PartiallyFailed", "errors": 3, "completionTimestamp": "2026-01-01T00:01:00Z" });
    let path = format!("/{}/backups/b/velero-backup.json", scene.bucket);
    let answer = scene
        .cluster
        .minio()?
        .request("PUT", &path, "", &[], stored.to_string().as_bytes())?;
    ensure!(answer.status == 200, "{}", answer.status);
    scene.serve(scene.options())?;
    let backup = scene.wait_field("backup", "b", "/status/phase", "PartiallyFailed")?;
    ensure!(backup["status"]["errors"] == 3, "{backup}");
    ensure!(
        backup["status"]["completionTimestamp"] == "2026-01-01T00:01:00Z",
        "{backup}"
    );
    let answer = scene.cluster.minio()?.request("GET", &path, "", &[], b"")?;
    ensure!(
        answer.body == stored.to_string().as_bytes(),
        "the file is as it was"
    );
    Ok(())
}

#[test]
fn a_failed_backup_is_restored_as_far_as_it_is_there() -> Result<()> {
    let scene = Scene::new("failed")?;
    scene.serve(scene.options())?;
    available(&scene)?;
    let app = Application::new(&scene, 2)?;
    scene.velero(&[
        "backup",
        "create",
        "b",
        "--include-namespaces",
        &app.name,
        "--wait",
    ])?;
    let failed = r#"{"status":{"phase":"Failed","failureReason":"the server ended"}}"#;
    scene.kubectl(&["patch", "backup", "b", "--type=merge", "-p", failed])?;
    app.delete()?;
    scene.velero(&["restore", "create", "r", "--from-backup", "b", "--wait"])?;
    scene.wait_field("restore.velero.io", "r", "/status/phase", "Completed")?;
    ensure!(app.maps()? == 2, "{} are back", app.maps()?);
    scene.apply(json!({
        "apiVersion": "velero.io/v1", "kind": "Backup", "metadata": { "name": "nothing" },
        "spec": { "storageLocation": "default" },
        "status": { "phase": "Failed", "startTimestamp": "2026-01-01T00:00:00Z" },
    }))?;
    scene.velero(&["restore", "create", "r2", "--from-backup", "nothing"])?;
    let restore = scene.wait_field("restore.velero.io", "r2", "/status/phase", "Failed")?;
    let reason = restore["status"]["failureReason"].as_str().unwrap_or_default();
    ensure!(reason.contains("backups/nothing/velero-backup.json"), "{reason}");
    Ok(())
}

#[test]
fn a_restore_can_be_deleted_when_its_location_is_gone() -> Result<()> {
    let scene = Scene::new("no-location")?;
    scene.serve(scene.options())?;
    available(&scene)?;
    let app = Application::new(&scene, 1)?;
    scene.velero(&[
        "backup",
        "create",
        "b",
        "--include-namespaces",
        &app.name,
        "--wait",
    ])?;
    scene.velero(&["restore", "create", "r", "--from-backup", "b", "--wait"])?;
    scene.kubectl(&["delete", "backupstoragelocation", "default"])?;
    scene.kubectl(&["delete", "restore.velero.io", "r", "--timeout=20s"])?;
    Ok(())
}
