//! Storage locations are probed, one is the default, and what is in the bucket becomes Backups.

use anyhow::{Result, ensure};
use refloat_controllers::ServerOptions;
use serde_json::{Value, json};

use crate::scene::{SOON, Scene};

#[test]
fn a_good_location_becomes_available_and_the_default() -> Result<()> {
    let scene = Scene::new("default")?;
    scene.serve(scene.options())?;
    let location = scene.wait_field("backupstoragelocation", "default", "/status/phase", "Available")?;
    ensure!(location["status"]["lastValidationTime"].is_string(), "{location}");
    scene.wait("it is the default", SOON, || {
        let location = scene.get("backupstoragelocation", "default")?.unwrap_or_default();
        Ok((location["spec"]["default"] == true).then_some(()))
    })?;
    let table = scene.velero(&["backup-location", "get"])?;
    ensure!(table.contains("Available") && table.contains("true"), "{table}");
    Ok(())
}

#[test]
fn the_default_is_chosen_at_the_start_only() -> Result<()> {
    let scene = Scene::new("chosen")?;
    scene.serve(scene.options())?;
    let is_default = || -> Result<bool> {
        Ok(scene.get("backupstoragelocation", "default")?.unwrap_or_default()["spec"]["default"] == true)
    };
    scene.wait("it is the default", SOON, || Ok(is_default()?.then_some(())))?;
    scene.velero(&["backup-location", "set", "default", "--default=false"])?;
    let validated = || -> Result<Value> {
        let location = scene.get("backupstoragelocation", "default")?.unwrap_or_default();
        Ok(location["status"]["lastValidationTime"].clone())
    };
    for _ in 0..2 {
        let before = validated()?;
        scene.wait("another probe", SOON, || {
            Ok((validated()? != before).then_some(()))
        })?;
    }
    ensure!(!is_default()?, "what the user took away came back");
    scene.stop_servers()?;
    scene.serve(scene.options())?;
    scene.wait(
        "it is the default again",
        SOON,
        || Ok(is_default()?.then_some(())),
    )?;
    Ok(())
}

#[test]
fn a_change_is_probed_although_probes_are_off() -> Result<()> {
    let scene = Scene::new("unprobed")?;
    let mut options = scene.options();
    options.store_validation_frequency = std::time::Duration::ZERO;
    scene.serve(options)?;
    scene.wait_field("backupstoragelocation", "default", "/status/phase", "Available")?;
    let patch = r#"{"spec":{"objectStorage":{"caCert":"eA==","caCertRef":{"name":"cloud","key":"cloud"}}}}"#;
    scene.kubectl(&[
        "patch",
        "backupstoragelocation",
        "default",
        "--type=merge",
        "-p",
        patch,
    ])?;
    let location = scene.wait_field("backupstoragelocation", "default", "/status/phase", "Unavailable")?;
    let message = location["status"]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("both caCert and caCertRef"), "{message}");
    Ok(())
}

#[test]
fn of_two_defaults_the_younger_stays() -> Result<()> {
    let scene = Scene::new("two-defaults")?;
    let mut first = scene.location("first", &scene.bucket);
    first["spec"]["default"] = true.into();
    scene.apply(first)?;
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let mut second = scene.location("second", &scene.bucket);
    second["spec"]["default"] = true.into();
    scene.apply(second)?;
    scene.serve(scene.options())?;
    scene.wait("one default", SOON, || {
        let is_default = |name: &str| -> Result<bool> {
            Ok(scene.get("backupstoragelocation", name)?.unwrap_or_default()["spec"]["default"] == true)
        };
        Ok((!is_default("first")? && is_default("second")? && !is_default("default")?).then_some(()))
    })?;
    Ok(())
}

#[test]
fn what_is_wrong_with_a_location_is_said_and_a_correction_is_seen_at_once() -> Result<()> {
    let scene = Scene::new("wrong")?;
    let mut options = scene.options();
    options.store_validation_frequency = std::time::Duration::from_secs(3600);
    scene.serve(options)?;
    scene.apply(scene.location("wrong", "no-such-bucket-anywhere"))?;
    let location = scene.wait_field("backupstoragelocation", "wrong", "/status/phase", "Unavailable")?;
    let message = location["status"]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("bucket"), "{message}");
    scene.apply(scene.location("wrong", &scene.bucket))?;
    let location = scene.wait_field("backupstoragelocation", "wrong", "/status/phase", "Available")?;
    ensure!(
        location["status"]
            .get("message")
            .is_none_or(|message| message == ""),
        "{location}"
    );
    let patch = r#"{"spec":{"credential":{"name":"none","key":"none"}}}"#;
    scene.kubectl(&[
        "patch",
        "backupstoragelocation",
        "wrong",
        "--type=merge",
        "-p",
        patch,
    ])?;
    let location = scene.wait_field("backupstoragelocation", "wrong", "/status/phase", "Unavailable")?;
    let message = location["status"]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("none"), "{message}");
    Ok(())
}

fn stored(name: &str, phase: &str) -> Value {
    json!({
        "apiVersion": "velero.io/v1", "kind": "Backup",
        "metadata": { "name": name, "namespace": "elsewhere", "uid": "1", "labels": { "k": "v" } },
        "spec": { "storageLocation": "other-name", "ttl": "720h0m0s" },
        "status": { "phase": phase, "version": 1, "formatVersion": "1.1.0" },
    })
}

#[test]
fn backups_in_the_bucket_become_objects_and_lost_ones_go() -> Result<()> {
    let scene = Scene::new("sync")?;
    for name in ["good", "other"] {
        let key = format!("backups/{name}/velero-backup.json");
        scene.put(&key, stored(name, "Completed").to_string().as_bytes())?;
    }
    scene.put("backups/broken/velero-backup.json", b"{ this is no JSON")?;
    scene.put("backups/half/half.tar.gz", b"x")?;
    // What a server would carry out, or still works on, is not taken over.
    scene.put(
        "backups/waiting/velero-backup.json",
        stored("waiting", "New").to_string().as_bytes(),
    )?;
    let mut expired = stored("expired", "Finalizing");
    expired["status"]["expiration"] = "2026-01-01T00:00:00Z".into();
    expired["spec"]["hooks"] = json!({ "resources": [{ "name": "h",
        "pre": [{ "exec": { "command": ["/bin/true"] } }] }] });
    scene.put(
        "backups/expired/velero-backup.json",
        expired.to_string().as_bytes(),
    )?;
    scene.put("backups/other/other.tar.gz", b"x")?;
    let unfinished = stored("unfinished", "Finalizing").to_string();
    scene.put("backups/unfinished/velero-backup.json", unfinished.as_bytes())?;
    // The expired one is to be looked at: it would be deleted at once.
    scene.serve(ServerOptions {
        disable_controllers: vec!["gc".to_owned()],
        ..scene.options()
    })?;
    let backup = scene.wait_field("backup", "good", "/status/phase", "Completed")?;
    scene.wait_field("backup", "other", "/status/phase", "Completed")?;
    ensure!(backup["spec"]["storageLocation"] == "default", "{backup}");
    ensure!(
        backup["metadata"]["labels"]["velero.io/storage-location"] == "default",
        "{backup}"
    );
    ensure!(backup["metadata"]["labels"]["k"] == "v", "{backup}");
    scene.wait("the sync is noted", SOON, || {
        let location = scene.get("backupstoragelocation", "default")?.unwrap_or_default();
        Ok(location["status"]["lastSyncedTime"].as_str().map(|_| ()))
    })?;
    scene.wait("the broken one is told of", SOON, || {
        let events = scene.kubectl(&["get", "events", "-o", "json"])?;
        Ok(events
            .contains("backup broken in the bucket cannot be used")
            .then_some(()))
    })?;
    let expired = scene.wait_field("backup", "expired", "/status/phase", "PartiallyFailed")?;
    ensure!(expired["spec"]["hooks"]["resources"].is_null(), "{expired}");
    for name in ["broken", "half", "unfinished", "waiting"] {
        ensure!(scene.get("backup", name)?.is_none(), "{name} is no backup");
    }
    let delete = |file: &str| -> Result<()> {
        let key = format!("/{}/backups/other/{file}", scene.bucket);
        let answer = scene.cluster.minio()?.request("DELETE", &key, "", &[], b"")?;
        ensure!(answer.status == 204, "{}", answer.status);
        Ok(())
    };
    let synced = || -> Result<Value> {
        let location = scene.get("backupstoragelocation", "default")?.unwrap_or_default();
        Ok(location["status"]["lastSyncedTime"].clone())
    };
    delete("velero-backup.json")?;
    for _ in 0..2 {
        let before = synced()?;
        scene.wait("another sync", SOON, || Ok((synced()? != before).then_some(())))?;
    }
    ensure!(scene.get("backup", "other")?.is_some(), "a file of it is left");
    delete("other.tar.gz")?;
    scene.wait("the Backup without files goes", SOON, || {
        Ok(scene.get("backup", "other")?.is_none().then_some(()))
    })?;
    ensure!(scene.get("backup", "good")?.is_some(), "the other stays");
    Ok(())
}
