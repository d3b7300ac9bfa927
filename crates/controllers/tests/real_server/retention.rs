//! What expires, what a policy deletes, and what keeps a backup from either.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use refloat_controllers::ServerOptions;
use serde_json::{Value, json};

use crate::scene::{SOON, Scene};

const LONG_AGO: &str = "2026-01-01T00:00:00Z";

fn options(scene: &Scene) -> ServerOptions {
    ServerOptions {
        garbage_collection_frequency: Duration::from_secs(2),
        // Or it would take Backups away that have no files.
        backup_sync_period: Duration::ZERO,
        ..scene.options()
    }
}

/// A backup that has ended and expires at `expiration`.
fn backup(name: &str, location: &str, expiration: &str) -> Value {
    json!({
        "apiVersion": "velero.io/v1", "kind": "Backup", "metadata": { "name": name },
        "spec": { "storageLocation": location },
        "status": { "phase": "Completed", "startTimestamp": LONG_AGO, "expiration": expiration },
    })
}

/// A backup of the schedule `s` that began at `started` and expired long ago.
fn of_schedule(name: &str, phase: &str, started: &str) -> Value {
    let mut backup = backup(name, "default", LONG_AGO);
    backup["metadata"]["labels"] = json!({ "velero.io/schedule-name": "s" });
    backup["status"]["phase"] = phase.into();
    backup["status"]["startTimestamp"] = started.into();
    backup
}

fn names(scene: &Scene) -> Result<BTreeSet<String>> {
    let text = scene.kubectl(&["get", "backups.velero.io", "-o", "name"])?;
    let names = text.lines().filter_map(|line| line.rsplit('/').next());
    Ok(names.map(str::to_owned).collect())
}

/// Waits until exactly these backups are left, and looks a while later whether they still are.
fn left(scene: &Scene, expected: &[&str]) -> Result<()> {
    let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
    let wait = scene.wait("what is not kept goes", SOON, || {
        Ok((names(scene)? == expected).then_some(()))
    });
    wait.with_context(|| format!("{:?} instead of {expected:?}", names(scene)))?;
    std::thread::sleep(Duration::from_secs(5));
    let later = names(scene)?;
    ensure!(later == expected, "{later:?} instead of {expected:?}");
    Ok(())
}

#[test]
fn expired_backups_go_at_once_where_their_location_allows_it() -> Result<()> {
    let scene = Scene::new("expired")?;
    let mut read_only = scene.location("ro", &scene.bucket);
    read_only["spec"]["accessMode"] = "ReadOnly".into();
    scene.apply(read_only)?;
    scene.apply(scene.location("away", &format!("{}-none", scene.bucket)))?;
    let minio = scene.cluster.minio()?;
    let path = format!("/{}/backups/soon/velero-backup.json", scene.bucket);
    minio.request("PUT", &path, "", &[], b"{}")?;
    let mut options = options(&scene);
    options.garbage_collection_frequency = Duration::from_secs(3600);
    scene.serve(options)?;
    for location in ["default", "ro"] {
        scene.wait_field("backupstoragelocation", location, "/status/phase", "Available")?;
    }
    scene.wait_field("backupstoragelocation", "away", "/status/phase", "Unavailable")?;
    let soon = (Timestamp::now() + Duration::from_secs(4)).to_string();
    scene.apply(backup("soon", "default", &soon))?;
    scene.apply(backup("later", "default", "2099-01-01T00:00:00Z"))?;
    scene.apply(backup("in-ro", "ro", LONG_AGO))?;
    scene.apply(backup("in-away", "away", LONG_AGO))?;
    scene.apply(backup("nowhere", "none", LONG_AGO))?;
    let mut pinned = backup("pinned", "default", LONG_AGO);
    pinned["metadata"]["annotations"] = json!({ "refloat.io/pinned": "true" });
    scene.apply(pinned)?;
    let label = "/metadata/labels/velero.io~1gc-failure";
    for (name, why) in [
        ("in-ro", "BSLReadOnly"),
        ("in-away", "BSLUnavailable"),
        ("nowhere", "BSLNotFound"),
    ] {
        scene.wait_field("backup", name, label, why)?;
    }
    left(&scene, &["in-away", "in-ro", "later", "nowhere", "pinned"])?;
    ensure!(Timestamp::now().to_string() > soon, "not before its time");
    let answer = minio.request("GET", &path, "", &[], b"")?;
    ensure!(answer.status == 404, "its files are gone: {}", answer.status);
    scene.stop_servers()?;

    // Once the location is writable the backup goes with the next look.
    let writable = r#"{"spec":{"accessMode":"ReadWrite"}}"#;
    scene.kubectl(&["patch", "bsl", "ro", "--type=merge", "-p", writable])?;
    scene.kubectl(&["annotate", "backup", "pinned", "refloat.io/pinned-"])?;
    scene.serve(self::options(&scene))?;
    left(&scene, &["in-away", "later", "nowhere"])
}

#[test]
fn a_policy_decides_instead_of_the_ttl() -> Result<()> {
    let scene = Scene::new("policy")?;
    // Paused: only its policy is looked at.
    let schedule = |policy: &str| {
        json!({
            "apiVersion": "velero.io/v1", "kind": "Schedule",
            "metadata": { "name": "s", "annotations": { "refloat.io/retention": policy } },
            "spec": { "schedule": "CRON_TZ=Asia/Shanghai 30 2 * * *", "paused": true, "template": {} },
        })
    };
    let policy = "keep-last=1,daily=2,monthly=2";
    let mut all = vec![
        of_schedule("march", "Completed", "2026-03-31T10:00:00Z"),
        of_schedule("april", "Completed", "2026-04-30T10:00:00Z"),
        of_schedule("may-1", "Completed", "2026-05-01T10:00:00Z"),
        of_schedule("may-2-early", "Completed", "2026-05-02T01:00:00Z"),
        of_schedule("may-2", "Completed", "2026-05-02T10:00:00Z"),
        // In Shanghai it is the 3rd.
        of_schedule("may-2-late", "PartiallyFailed", "2026-05-02T20:00:00Z"),
        of_schedule("failed", "Failed", "2026-05-02T21:00:00Z"),
        backup("another", "default", "2099-01-01T00:00:00Z"),
    ];
    for object in &mut all {
        // What a schedule makes has its annotations.
        object["metadata"]["annotations"] = json!({ "refloat.io/retention": policy });
        scene.apply(object.clone())?;
    }
    // Without its schedule the policy that the newest took over keeps what the schedule's would, in UTC.
    scene.serve(options(&scene))?;
    left(&scene, &["another", "april", "may-1", "may-2", "may-2-late"])?;
    scene.apply(schedule("dayly=2"))?;
    scene.wait("an event about the policy", SOON, || {
        let events = scene.kubectl(&["get", "events", "-o", "json"])?;
        Ok((events.contains("BadRetentionPolicy") && events.contains("dayly")).then_some(()))
    })?;
    left(&scene, &["another", "april", "may-1", "may-2", "may-2-late"])?;
    scene.apply(schedule(policy))?;
    left(&scene, &["another", "april", "may-2", "may-2-late"])?;
    // The last good one stays although newer ones, which are not good, fill every rule.
    scene.apply(schedule("keep-last=1"))?;
    left(&scene, &["another", "may-2", "may-2-late"])?;
    // Without a policy the TTL is all there is.
    scene.kubectl(&["annotate", "schedule", "s", "refloat.io/retention-"])?;
    left(&scene, &["another"])
}
