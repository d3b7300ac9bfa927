//! What a request to delete a backup does, and what it refuses.

use std::io::Write as _;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::scene::{SOON, Scene};

fn gzip(value: &Value) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(value.to_string().as_bytes())?;
    Ok(encoder.finish()?)
}

/// Puts a backup into the bucket with the files that Velero's server writes for a pod's volume that
/// kopia copied, and waits until it is a Backup.
fn velero_made(scene: &Scene, name: &str) -> Result<()> {
    let copy = json!({
        "kind": "PodVolumeBackup", "apiVersion": "velero.io/v1",
        "metadata": { "name": format!("{name}-x7v2k"), "namespace": "velero", "uid": "2",
            "labels": { "velero.io/backup-name": name, "velero.io/backup-uid": "1" } },
        "spec": { "node": "n1", "pod": { "kind": "Pod", "namespace": "shop", "name": "db-0" }, "volume": "data",
            "backupStorageLocation": "default", "repoIdentifier": "", "uploaderType": "kopia" },
        "status": { "phase": "Completed", "path": "/host_pods/x", "snapshotID": "a1b2c3" },
    });
    let volume = json!({
        "pvcName": "data", "pvcNamespace": "shop", "pvName": "pv1", "backupMethod": "PodVolumeBackup",
        "snapshotDataMoved": false, "preserveLocalSnapshot": false, "skipped": false, "result": "succeeded",
        "pvbInfo": { "snapshotHandle": "a1b2c3", "size": 7, "uploaderType": "kopia", "volumeName": "data",
            "podName": "db-0", "podNamespace": "shop", "nodeName": "n1" },
    });
    let backup = json!({
        "apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": { "name": name, "namespace": "velero", "uid": "1" },
        "spec": { "storageLocation": "default", "ttl": "720h0m0s" },
        "status": { "phase": "Completed", "version": 1, "formatVersion": "1.1.0" },
    });
    for (end, value) in [
        ("podvolumebackups", json!([copy])),
        ("volumeinfo", json!([volume])),
        ("volumesnapshots", json!(null)),
        ("itemoperations", json!(null)),
    ] {
        scene.put(&format!("backups/{name}/{name}-{end}.json.gz"), &gzip(&value)?)?;
    }
    scene.put(&format!("backups/{name}/{name}.tar.gz"), &gzip(&json!(null))?)?;
    let description = format!("backups/{name}/velero-backup.json");
    scene.put(&description, backup.to_string().as_bytes())?;
    scene.wait_field("backup", name, "/status/phase", "Completed")?;
    Ok(())
}

/// Waits until the request for a backup is processed, and hands out its errors.
fn refusal(scene: &Scene, backup: &str) -> Result<String> {
    let label = format!("velero.io/backup-name={backup}");
    scene.wait("the request is processed", SOON, || {
        let requests = scene.kubectl(&["get", "deletebackuprequest", "-l", &label, "-o", "json"])?;
        let requests: Value = serde_json::from_str(&requests)?;
        let status = &requests["items"][0]["status"];
        Ok((status["phase"] == "Processed").then(|| status["errors"].to_string()))
    })
}

#[test]
fn a_backup_that_refers_to_volume_data_is_not_deleted_by_itself() -> Result<()> {
    let scene = Scene::new("orphans")?;
    scene.serve(scene.options())?;
    for name in ["b1", "b2"] {
        velero_made(&scene, name)?;
    }
    scene.velero(&["backup", "delete", "b1", "--confirm"])?;
    let errors = refusal(&scene, "b1")?;
    for part in [
        "1 volumes with data (shop/data by PodVolumeBackup)",
        "1 file copies of pods' volumes (shop/db-0/data)",
        "refloat.io/orphan-volume-data=true",
    ] {
        ensure!(errors.contains(part), "{part} is not in {errors}");
    }
    let backup = scene.get("backup", "b1")?.expect("it is there");
    ensure!(backup["status"]["phase"] == "Completed", "{backup}");
    ensure!(scene.has("backups/b1/velero-backup.json")?, "its files are there");
    // Whoever knows what that means says so on the Backup …
    scene.kubectl(&["annotate", "backup", "b1", "refloat.io/orphan-volume-data=true"])?;
    scene.velero(&["backup", "delete", "b1", "--confirm"])?;
    // … or on the request.
    scene.apply(json!({
        "apiVersion": "velero.io/v1", "kind": "DeleteBackupRequest",
        "metadata": { "name": "r2", "annotations": { "refloat.io/orphan-volume-data": "true" } },
        "spec": { "backupName": "b2" },
    }))?;
    for name in ["b1", "b2"] {
        scene.wait("the backup goes", SOON, || {
            Ok(scene.get("backup", name)?.is_none().then_some(()))
        })?;
        for file in ["velero-backup.json", &format!("{name}-podvolumebackups.json.gz")] {
            ensure!(!scene.has(&format!("backups/{name}/{file}"))?, "{name}: {file}");
        }
    }
    Ok(())
}

#[test]
fn a_backup_that_waits_for_its_turn_can_be_deleted() -> Result<()> {
    let scene = Scene::new("waiting")?;
    // One that is tried again and again, in a bucket that cannot be reached, holds the other back.
    let mut away = scene.location("away", &scene.bucket);
    away["spec"]["config"]["s3Url"] = "http://127.0.0.1:9".into();
    scene.apply(away)?;
    scene.apply(json!({
        "apiVersion": "velero.io/v1", "kind": "Backup", "metadata": { "name": "a" },
        "spec": { "storageLocation": "away", "includedNamespaces": ["default"] },
        "status": { "phase": "InProgress", "startTimestamp": "2026-01-01T00:00:00Z" },
    }))?;
    // The bucket has a backup of the name of the one that waits.
    scene.put("backups/b/velero-backup.json", b"another's")?;
    scene.serve(scene.options())?;
    scene.wait_field("backupstoragelocation", "default", "/status/phase", "Available")?;
    scene.velero(&["backup", "create", "b", "--include-namespaces", "default"])?;
    scene.wait_field("backup", "b", "/status/phase", "Queued")?;
    scene.velero(&["backup", "delete", "a", "b", "--confirm"])?;
    scene.wait("the one that waits goes", SOON, || {
        Ok(scene.get("backup", "b")?.is_none().then_some(()))
    })?;
    ensure!(
        scene.has("backups/b/velero-backup.json")?,
        "another's files are there"
    );
    let errors = refusal(&scene, "a")?;
    ensure!(errors.contains("InProgress"), "{errors}");
    Ok(())
}

#[test]
fn what_the_bucket_refuses_is_told_and_the_backup_stays() -> Result<()> {
    let scene = Scene::new("undeletable")?;
    let mut options = scene.options();
    options.store_validation_frequency = std::time::Duration::from_secs(3600);
    options.backup_sync_period = std::time::Duration::ZERO;
    scene.serve(options)?;
    scene.wait_field("backupstoragelocation", "default", "/status/phase", "Available")?;
    scene.apply(json!({
        "apiVersion": "velero.io/v1", "kind": "Restore", "metadata": { "name": "r" },
        "spec": { "backupName": "b" }, "status": { "phase": "Completed" },
    }))?;
    scene.apply(json!({
        "apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": { "name": "b", "annotations": { "refloat.io/orphan-volume-data": "true" } },
        "spec": { "storageLocation": "default" },
        "status": { "phase": "Completed", "startTimestamp": "2026-01-01T00:00:00Z" },
    }))?;
    scene.apply(json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "cloud" },
        "stringData": { "cloud": "[default]\naws_access_key_id=wrong\naws_secret_access_key=wrong\n" },
    }))?;
    scene.velero(&["backup", "delete", "b", "--confirm"])?;
    let errors = refusal(&scene, "b")?;
    ensure!(errors.contains("cannot delete backup"), "{errors}");
    ensure!(
        scene.get("restore.velero.io", "r")?.is_none(),
        "the restore is gone"
    );
    let backup = scene.get("backup", "b")?.expect("it is there");
    ensure!(backup["status"]["phase"] == "Deleting", "{backup}");
    Ok(())
}
