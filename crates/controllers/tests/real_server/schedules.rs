//! Schedules by the real clock: runs, what keeps them back, and servers that die in between.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use refloat_model::BackupSpec;
use serde_json::{Value, json};

use crate::scene::{SOON, Scene};

const SCENARIO: &str = include_str!("scenarios/schedules.yaml");

/// A schedule whose backups hold next to nothing.
fn schedule(name: &str, times: &str, spec: Value) -> Value {
    let mut schedule = json!({
        "apiVersion": "velero.io/v1", "kind": "Schedule", "metadata": { "name": name },
        "spec": { "schedule": times, "template": { "includedNamespaces": ["kube-public"], "includedResources": ["configmaps"] } },
    });
    if let (Some(fields), Value::Object(more)) = (schedule["spec"].as_object_mut(), spec) {
        fields.extend(more);
    }
    schedule
}

/// The names of the backups of a schedule, with their phases.
fn backups(scene: &Scene, schedule: &str) -> Result<BTreeMap<String, String>> {
    let selector = format!("velero.io/schedule-name={schedule}");
    let text = scene.kubectl(&["get", "backups.velero.io", "-l", &selector, "-o", "json"])?;
    let list: Value = serde_json::from_str(&text)?;
    let items = list["items"].as_array().context("a list")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(items
        .iter()
        .map(|item| (text(&item["metadata"]["name"]), text(&item["status"]["phase"])))
        .collect())
}

/// The time at the end of a name.
fn stamp(name: &str) -> Result<Timestamp> {
    let (_, digits) = name.rsplit_once('-').context("a stamp")?;
    let wall = DateTime::strptime("%Y%m%d%H%M%S", digits)?;
    Ok(wall.to_zoned(TimeZone::UTC)?.timestamp())
}

/// The seconds between runs that follow each other.
fn gaps(names: &BTreeMap<String, String>) -> Result<Vec<i64>> {
    let times = names.keys().map(|name| stamp(name)).collect::<Result<Vec<_>>>()?;
    Ok(times
        .windows(2)
        .map(|pair| pair[1].as_second() - pair[0].as_second())
        .collect())
}

fn patch(scene: &Scene, name: &str, patch: &Value) -> Result<()> {
    let text = patch.to_string();
    scene
        .kubectl(&["patch", "schedule", name, "--type=merge", "-p", &text])
        .map(drop)
}

fn some_backups(scene: &Scene, schedule: &str, count: usize) -> Result<BTreeMap<String, String>> {
    scene.wait(&format!("{count} backups of {schedule}"), 2 * SOON, || {
        let names = backups(scene, schedule)?;
        Ok((names.len() >= count).then_some(names))
    })
}

#[test]
fn runs_come_when_due_and_what_was_missed_is_one_run() -> Result<()> {
    let scene = Scene::new("runs")?;
    scene.serve(scene.options())?;
    scene.wait_field("backupstoragelocation", "default", "/status/phase", "Available")?;
    let mut made = schedule("s", "@every 3s", json!({ "useOwnerReferencesInBackup": true }));
    made["metadata"]["labels"] = json!({ "tier": "0" });
    made["metadata"]["annotations"] = json!({ "note": "hello" });
    scene.apply(made)?;
    let names = some_backups(&scene, "s", 3)?;
    ensure!(gaps(&names)?.iter().all(|gap| *gap >= 3), "{names:?}");
    let first = names.keys().next().context("a backup")?;
    let backup = scene.wait_field("backup", first, "/status/phase", "Completed")?;
    let metadata = &backup["metadata"];
    let owner = &metadata["ownerReferences"][0];
    ensure!(
        metadata["labels"]["tier"] == "0"
            && metadata["annotations"]["note"] == "hello"
            && owner["kind"] == "Schedule"
            && owner["controller"] == true,
        "{metadata}"
    );
    ensure!(
        metadata["annotations"].get("refloat.io/run").is_none(),
        "{metadata}"
    );
    let status = scene.wait_field("schedule", "s", "/status/phase", "Enabled")?;
    ensure!(status["status"]["lastBackup"].is_string(), "{status}");
    ensure!(status["spec"]["skipImmediately"] == false, "{status}");

    scene.stop_servers()?;
    let before = backups(&scene, "s")?;
    std::thread::sleep(Duration::from_secs(10));
    ensure!(backups(&scene, "s")?.len() == before.len(), "nobody makes any");
    let restarted = Timestamp::now();
    scene.serve(scene.options())?;
    let after = some_backups(&scene, "s", before.len() + 2)?;
    let new: BTreeMap<_, _> = after
        .into_iter()
        .filter(|(name, _)| !before.contains_key(name))
        .collect();
    ensure!(gaps(&new)?.iter().all(|gap| *gap >= 3), "{new:?}");
    let first = stamp(new.keys().next().context("a backup")?)?;
    ensure!(
        first.as_second() >= restarted.as_second(),
        "{first} is not made up"
    );
    Ok(())
}

#[test]
fn one_backup_at_a_time() -> Result<()> {
    let scene = Scene::new("one")?;
    let mut options = scene.options();
    // So that the first backup stays as it is.
    options.disable_controllers = vec!["backup".into()];
    scene.serve(options)?;
    scene.apply(schedule("s", "@every 1s", json!({})))?;
    let names = some_backups(&scene, "s", 1)?;
    std::thread::sleep(Duration::from_secs(5));
    ensure!(backups(&scene, "s")? == names, "the first one is in the way");
    let name = names.keys().next().context("a backup")?;
    for phase in ["Queued", "InProgress"] {
        let status = json!({ "status": { "phase": phase } }).to_string();
        scene.kubectl(&["patch", "backup", name, "--type=merge", "-p", &status])?;
        std::thread::sleep(Duration::from_secs(3));
        ensure!(backups(&scene, "s")?.len() == 1, "{phase} is in the way");
    }
    let status = json!({ "status": { "phase": "Completed" } }).to_string();
    scene.kubectl(&["patch", "backup", name, "--type=merge", "-p", &status])?;
    some_backups(&scene, "s", 2)?;
    Ok(())
}

#[test]
fn paused_skipped_and_wrong_schedules() -> Result<()> {
    let scene = Scene::new("rests")?;
    scene.serve(scene.options())?;
    scene.apply(schedule("paused", "@every 1s", json!({ "paused": true })))?;
    scene.apply(schedule("wrong", "61 * * * *", json!({})))?;
    let wrong = scene.wait_field("schedule", "wrong", "/status/phase", "FailedValidation")?;
    let fault = wrong["status"]["validationErrors"][0]
        .as_str()
        .unwrap_or_default();
    ensure!(
        fault.contains("spec.schedule") && fault.contains("minute"),
        "{fault}"
    );
    let events = scene.kubectl(&["get", "events", "-o", "json"])?;
    ensure!(events.contains("\"FailedValidation\""), "{events}");
    patch(&scene, "wrong", &json!({ "spec": { "schedule": "@every 1h" } }))?;
    let mended = scene.wait_field("schedule", "wrong", "/status/phase", "Enabled")?;
    ensure!(mended["status"].get("validationErrors").is_none(), "{mended}");

    // Due since long, but skipped when it is made and when it is unpaused.
    let mut skipped = schedule("skipped", "0 0 1 1 *", json!({ "skipImmediately": true }));
    skipped["status"] = json!({ "lastBackup": "2020-01-01T00:00:00Z" });
    scene.apply(skipped)?;
    let skipped = scene.wait_field("schedule", "skipped", "/status/phase", "Enabled")?;
    ensure!(
        skipped["spec"]["skipImmediately"] == false && skipped["status"]["lastSkipped"].is_string(),
        "{skipped}"
    );
    std::thread::sleep(Duration::from_secs(2));
    ensure!(backups(&scene, "skipped")?.is_empty(), "it is skipped");
    ensure!(backups(&scene, "paused")?.is_empty(), "it is paused");
    let paused = scene.get("schedule", "paused")?.context("it is there")?;
    ensure!(paused.get("status").is_none(), "as Velero leaves it: {paused}");
    scene.velero(&["schedule", "unpause", "paused"])?;
    some_backups(&scene, "paused", 1)?;
    scene.stop_servers()?;

    let mut options = scene.options();
    options.schedule_skip_immediately = true;
    scene.serve(options)?;
    let mut unsaid = schedule("unsaid", "0 0 1 1 *", json!({}));
    unsaid["status"] = json!({ "lastBackup": "2020-01-01T00:00:00Z" });
    scene.apply(unsaid)?;
    let unsaid = scene.wait_field("schedule", "unsaid", "/status/phase", "Enabled")?;
    ensure!(unsaid["status"]["lastSkipped"].is_string(), "{unsaid}");
    ensure!(
        backups(&scene, "unsaid")?.is_empty(),
        "the server's default is to skip"
    );
    Ok(())
}

#[test]
fn no_run_is_made_twice_or_lost_when_leaders_are_killed() -> Result<()> {
    let scene = Scene::new("leaders")?;
    let mut servers = vec![scene.process("s0")?];
    scene.wait_field("backupstoragelocation", "default", "/status/phase", "Available")?;
    // Another at each second, so that there is always one that is being made.
    for name in ["a", "b", "c"] {
        scene.apply(schedule(name, "@every 3s", json!({})))?;
    }
    for round in 1..=5_u64 {
        servers.push(scene.process(&format!("s{round}"))?);
        let have: Vec<usize> = ["a", "b", "c"]
            .iter()
            .map(|name| Ok(backups(&scene, name)?.len()))
            .collect::<Result<_>>()?;
        for (name, have) in ["a", "b", "c"].iter().zip(have) {
            some_backups(&scene, name, have + 1)?;
        }
        std::thread::sleep(Duration::from_millis(350 * round));
        servers.remove(0).kill()?;
    }
    let killed = Instant::now();
    for name in ["a", "b", "c"] {
        let have = backups(&scene, name)?.len();
        let names = some_backups(&scene, name, have + 2)?;
        ensure!(
            gaps(&names)?.iter().all(|gap| *gap >= 3),
            "two runs for one time: {names:?}"
        );
        let last = names.keys().next_back().context("a backup")?;
        scene.wait("the run is written down", SOON, || {
            let schedule = scene.get("schedule", name)?.unwrap_or_default();
            let written = schedule["status"]["lastBackup"]
                .as_str()
                .and_then(|time| time.parse::<Timestamp>().ok());
            Ok((written >= Some(stamp(last)?)).then_some(()))
        })?;
    }
    ensure!(killed.elapsed() < 3 * SOON, "{:?}", killed.elapsed());
    Ok(())
}

#[test]
fn a_run_that_a_server_began_is_ended_by_the_next() -> Result<()> {
    let scene = Scene::new("begun")?;
    let mut options = scene.options();
    options.disable_controllers = vec!["backup".into()];
    let begun = |name: &str| {
        // Paused, so that nothing else is made.
        let mut schedule = schedule(name, "@every 1s", json!({ "paused": true }));
        schedule["metadata"]["annotations"] = json!({ "refloat.io/run": "2026-01-02T03:04:05Z" });
        schedule
    };
    for name in ["before", "between", "taken"] {
        scene.apply(begun(name))?;
    }
    for (name, schedule) in [("between", "between"), ("taken", "another")] {
        scene.apply(json!({
            "apiVersion": "velero.io/v1", "kind": "Backup",
            "metadata": { "name": format!("{name}-20260102030405"), "labels": { "velero.io/schedule-name": schedule } },
            "spec": {}, "status": { "phase": "Completed" },
        }))?;
    }
    let started = Timestamp::now();
    scene.serve(options)?;
    let closed = |name: &str| {
        scene.wait(&format!("{name} is closed"), SOON, || {
            let schedule = scene.get("schedule", name)?.unwrap_or_default();
            let open = schedule["metadata"]["annotations"]
                .get("refloat.io/run")
                .is_some();
            Ok((!open).then_some(schedule))
        })
    };
    let before = closed("before")?;
    let names: Vec<_> = backups(&scene, "before")?.into_keys().collect();
    ensure!(names == ["before-20260102030405"], "{names:?}");
    let last: Timestamp = before["status"]["lastBackup"]
        .as_str()
        .context("a time")?
        .parse()?;
    ensure!(last.as_second() >= started.as_second(), "made now: {before}");

    let between = closed("between")?;
    ensure!(backups(&scene, "between")?.len() == 1, "it was made before");
    ensure!(
        between["status"]["lastBackup"] == "2026-01-02T03:04:05Z",
        "{between}"
    );

    let taken = closed("taken")?;
    ensure!(
        taken["status"].get("lastBackup").is_none(),
        "it is not its own: {taken}"
    );
    ensure!(backups(&scene, "taken")?.is_empty(), "it is paused");
    Ok(())
}

#[test]
fn the_manifests_of_operators_do_what_they_say() -> Result<()> {
    let scene = Scene::new("operators")?;
    scene.serve(scene.options())?;
    scene.wait_field("backupstoragelocation", "default", "/status/phase", "Available")?;
    let manifests = SCENARIO.replace("namespace: velero", &format!("namespace: {}", scene.namespace));
    scene.cluster.apply(&manifests)?;
    for name in ["critical-hourly", "apps-daily"] {
        scene.wait_field("schedule", name, "/status/phase", "Enabled")?;
    }
    let daily = scene.get("schedule", "apps-daily")?.context("it is there")?;
    ensure!(daily["status"]["lastSkipped"].is_string(), "{daily}");
    std::thread::sleep(Duration::from_secs(1));
    for name in ["critical-hourly", "apps-daily", "full-weekly"] {
        ensure!(backups(&scene, name)?.is_empty(), "{name} is not due");
        // Now it is.
        let long_ago = json!({ "status": { "lastBackup": "2026-01-01T00:00:00Z", "lastSkipped": null } });
        patch(&scene, name, &long_ago)?;
    }
    std::thread::sleep(Duration::from_secs(1));
    ensure!(backups(&scene, "full-weekly")?.is_empty(), "it is paused");
    patch(&scene, "full-weekly", &json!({ "spec": { "paused": false } }))?;
    for (name, label, hours) in [
        ("critical-hourly", ("tier", "0"), 168),
        ("apps-daily", ("made-by", "apps-daily"), 720),
        ("full-weekly", ("velero.io/schedule-name", "full-weekly"), 2160),
    ] {
        let names = some_backups(&scene, name, 1)?;
        let backup = names.keys().next().context("a backup")?;
        let made = scene.wait(&format!("{backup} begins"), 2 * SOON, || {
            let backup = scene.get("backup", backup)?.unwrap_or_default();
            Ok(backup["status"]["startTimestamp"].is_string().then_some(backup))
        })?;
        ensure!(made["metadata"]["labels"][label.0] == label.1, "{made}");
        let time = |field: &str| -> Result<Timestamp> {
            Ok(made["status"][field].as_str().context("a time")?.parse()?)
        };
        let kept = time("expiration")?.duration_since(time("startTimestamp")?);
        ensure!(
            (kept.as_secs() - hours * 3600).abs() < 60,
            "{name} is kept for {kept:?}"
        );
        let owned = made["metadata"]["ownerReferences"].is_array();
        ensure!(owned == (name == "full-weekly"), "{made}");
        let template = scene.get("schedule", name)?.unwrap_or_default()["spec"]["template"].clone();
        for (field, value) in template.as_object().context("a template")? {
            // The server adds the snapshot kinds to what is excluded.
            if !field.starts_with("excluded") {
                // "20m" and "20m0s" are the same.
                let read =
                    |value: &Value| serde_json::from_value::<BackupSpec>(json!({ field.as_str(): value }));
                ensure!(
                    read(&made["spec"][field])? == read(value)?,
                    "{name} {field}: {made}"
                );
            }
        }
    }
    let scheduled = scene.get("schedule", "full-weekly")?.context("it is there")?;
    let last: Timestamp = scheduled["status"]["lastBackup"]
        .as_str()
        .context("a time")?
        .parse()?;
    ensure!(last > Timestamp::now() - Duration::from_secs(120), "{scheduled}");
    Ok(())
}
