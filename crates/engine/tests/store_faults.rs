//! Faults in the store at every call in turn: errors that pass and that stay, time limits, slowness,
//! reads that are cut, answers that are lost. A backup is there whole or not at all, nothing hangs,
//! and the same call works once the store does.

#[path = "peers/scene.rs"]
mod scene;
#[path = "peers/tarball.rs"]
mod tarball;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures::TryStreamExt;
use refloat_engine::{EngineError, Location, backup::CONTENTS_SHA256, catalog, run_backup, run_restore};
use refloat_model::{
    BackupPhase, BackupSpec, ObjectName, RestorePhase, RestoreSpec,
    layout::{self, BackupFile},
};
use refloat_store::testing::{Fault, FaultKind, FaultStore};
use serde_json::json;
use sha2::{Digest, Sha256};

use scene::{Scene, Target, backup_job, of_namespaces, restore_job, run};

/// Longer than any run with a fault takes, shorter than anyone waits.
const LIMIT: Duration = Duration::from_secs(30);

/// The length of the longest text.
const LONG: usize = 400_000;

/// A namespace with a few objects, and the names of them.
struct Small {
    scene: Scene,
    names: Vec<String>,
}

impl Small {
    fn set_up(name: &str) -> Result<Self> {
        let scene = Scene::new(name)?;
        scene.namespace(&scene.id)?;
        let names: Vec<String> = (0..4).map(|number| format!("map-{number}")).collect();
        run(async {
            for name in &names {
                // One is enough for several blocks of the tarball.
                let long = if name == "map-0" { LONG } else { 1 };
                let data = json!({"name": name, "long": "x".repeat(long)});
                let metadata = json!({"name": name, "namespace": scene.id, "labels": {"faults": "yes"}});
                let map =
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data});
                scene.create(&map.to_string()).await?;
            }
            Ok::<_, anyhow::Error>(())
        })?;
        Ok(Self { scene, names })
    }

    fn spec(&self) -> BackupSpec {
        BackupSpec {
            included_resources: vec!["configmaps".into(), "namespaces".into()],
            ..of_namespaces(&[&self.scene.id])
        }
    }

    /// A memory store with a good backup `b`, as a list of files to make more of them.
    async fn good(&self) -> Result<Files> {
        let location = Location::from_url("memory://test").await?;
        self.scene.backup(&location, "b", self.spec()).await?;
        Files::of(&location).await
    }

    /// Fails unless the location has the backup `b` whole, or nothing that looks like one.
    async fn whole_or_absent(&self, location: &Location) -> Result<bool> {
        let listed = catalog::list_backups(location).await?;
        if listed.is_empty() {
            let there = location.store().exists(&layout::backup_metadata("b")).await?;
            ensure!(!there, "velero-backup.json is there, but not listed");
            ensure!(matches!(
                catalog::read_backup(location, "b").await,
                Err(EngineError::BackupNotFound { .. })
            ));
            return Ok(false);
        }
        ensure!(listed == ["b"], "{listed:?}");
        let backup = catalog::read_backup(location, "b").await?;
        let status = backup.status.context("a status")?;
        ensure!(
            status.phase == BackupPhase::Completed && status.errors == 0,
            "{status:?}"
        );
        for file in [
            BackupFile::Contents,
            BackupFile::Log,
            BackupFile::PodVolumeBackups,
            BackupFile::VolumeSnapshots,
            BackupFile::ItemOperations,
            BackupFile::ResourceList,
            BackupFile::CsiVolumeSnapshotClasses,
            BackupFile::Results,
            BackupFile::VolumeInfo,
        ] {
            ensure!(
                location.store().exists(&file.key("b")).await?,
                "{file:?} is missing"
            );
        }
        let packed = location
            .store()
            .get(&BackupFile::Contents.key("b"), u64::MAX)
            .await?;
        let hash: String = Sha256::digest(&packed)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let annotations = backup.metadata.annotations.unwrap_or_default();
        ensure!(
            annotations.get(CONTENTS_SHA256) == Some(&hash),
            "the tarball is not the one that was written"
        );
        let list = tarball::document(location, &BackupFile::ResourceList.key("b")).await?;
        let objects = tarball::objects(location, "b").await?;
        for name in &self.names {
            let full = format!("{}/{name}", self.scene.id);
            ensure!(
                list["v1/ConfigMap"]
                    .as_array()
                    .is_some_and(|all| all.contains(&full.clone().into()))
            );
            let path = format!("resources/configmaps/namespaces/{full}.json");
            ensure!(
                objects
                    .get(&path)
                    .is_some_and(|object| object["data"]["name"] == **name),
                "{path}"
            );
        }
        Ok(true)
    }
}

/// The files of a store, to be put into others.
struct Files(Vec<(String, bytes::Bytes)>);

impl Files {
    async fn of(location: &Location) -> Result<Self> {
        let store = location.store();
        let mut files = Vec::new();
        for entry in store.list("").try_collect::<Vec<_>>().await? {
            files.push((entry.key.clone(), store.get(&entry.key, u64::MAX).await?));
        }
        Ok(Self(files))
    }

    async fn copy(&self) -> Result<Location> {
        let location = Location::from_url("memory://test").await?;
        for (key, bytes) in &self.0 {
            location.store().put_once(key, bytes.clone()).await?;
        }
        Ok(location)
    }
}

/// The store with a fault, and the location over it.
fn faulty(inner: &Location, fault: Fault, pause: Duration) -> (Arc<FaultStore>, Location) {
    let store = Arc::new(FaultStore::with_pause(inner.store().clone(), Some(fault), pause));
    let location = Location::over(store.clone(), "the faulty store");
    (store, location)
}

/// Every kind of fault once, and two of them for good.
fn faults() -> impl Iterator<Item = (FaultKind, bool)> {
    let once = FaultKind::ALL.into_iter().map(|kind| (kind, false));
    once.chain([
        (FaultKind::ErrorPermanent, true),
        (FaultKind::ErrorAfterSuccess, true),
    ])
}

const SHORT: Duration = Duration::from_millis(5);

#[test]
fn a_backup_is_whole_or_absent_whichever_call_fails() -> Result<()> {
    let small = Small::set_up("fault-b")?;
    run(async {
        for (kind, lasting) in faults() {
            for at in 1.. {
                let inner = Location::from_url("memory://test").await?;
                let (store, location) = faulty(&inner, Fault { at, kind, lasting }, SHORT);
                let what = format!("{kind:?} at call {at} (lasting: {lasting})");
                let running = small.scene.backup(&location, "b", small.spec());
                let result = tokio::time::timeout(LIMIT, running)
                    .await
                    .context(format!("{what}: hangs"))?;
                let there = small
                    .whole_or_absent(&inner)
                    .await
                    .with_context(|| what.clone())?;
                match &result {
                    Ok(_) => ensure!(there, "{what}: the backup is said to be there"),
                    Err(error) => ensure!(error.to_string().len() > 20, "{what}: {error}"),
                }
                let harmless = kind == FaultKind::Slow || !store.fired();
                ensure!(result.is_ok() || !harmless, "{what}: {result:?}");
                match small.scene.backup(&inner, "b", small.spec()).await {
                    Ok(_) => ensure!(!there, "{what}: a backup was written twice"),
                    Err(EngineError::AlreadyExists { .. }) => ensure!(there, "{what}: not there, but exists"),
                    Err(error) => bail!("{what}: the next try fails: {error:?}"),
                }
                ensure!(
                    small.whole_or_absent(&inner).await?,
                    "{what}: the next try left nothing"
                );
                if !store.fired() {
                    ensure!(at > 12, "only {at} calls");
                    break;
                }
            }
        }
        Ok(())
    })
}

#[test]
fn a_restore_creates_all_or_says_so_whichever_call_fails() -> Result<()> {
    let small = Small::set_up("fault-r")?;
    let scene = &small.scene;
    let back = format!("{}-back", scene.id);
    scene.namespace(&back)?;
    run(async {
        let api = scene.kind("v1", "ConfigMap").await?;
        let target = |name: &String| Target {
            api: api.clone(),
            name: ObjectName::new(back.as_str(), name.as_str()),
        };
        let targets: Vec<Target> = small.names.iter().map(target).collect();
        let spec = || RestoreSpec {
            namespace_mapping: [(scene.id.clone(), back.clone())].into(),
            included_resources: vec!["configmaps".into()],
            ..RestoreSpec::default()
        };
        let spec = || RestoreSpec {
            label_selector: serde_json::from_value(json!({"matchLabels": {"faults": "yes"}})).ok(),
            ..spec()
        };
        let good = small.good().await?;
        for (kind, lasting) in faults() {
            for at in 1.. {
                let inner = good.copy().await?;
                let (store, location) = faulty(&inner, Fault { at, kind, lasting }, SHORT);
                let what = format!("{kind:?} at call {at} (lasting: {lasting})");
                let running = scene.restore(&location, "b", "r", spec());
                let result = tokio::time::timeout(LIMIT, running)
                    .await
                    .context(format!("{what}: hangs"))?;
                let there = restored(scene, &targets).await?;
                match &result {
                    Ok(report) => {
                        let phase = report.restore.status.as_ref().map(|status| status.phase);
                        ensure!(
                            there == targets.len() && phase == Some(RestorePhase::Completed),
                            "{what}: {report:?}"
                        );
                    }
                    Err(_) => ensure!(there == 0 || there == targets.len(), "{what}: {there} objects"),
                }
                ensure!(
                    result.is_ok() || (kind != FaultKind::Slow && store.fired()),
                    "{what}: {result:?}"
                );
                let again = scene
                    .restore(&inner, "b", "r", spec())
                    .await
                    .with_context(|| what.clone())?;
                scene::nothing_to_report(&again.results).with_context(|| what.clone())?;
                ensure!(
                    restored(scene, &targets).await? == targets.len(),
                    "{what}: not all after the next try"
                );
                ensure!(catalog::read_restore(&inner, "r").await.is_ok(), "{what}");
                scene.delete(&targets).await?;
                if !store.fired() {
                    ensure!(at > 8, "only {at} calls");
                    break;
                }
            }
        }
        Ok(())
    })
}

/// How many of the objects are there; each must be right.
async fn restored(scene: &Scene, targets: &[Target]) -> Result<usize> {
    let mut there = 0;
    for target in targets {
        if let Some(object) = scene.get(target).await? {
            ensure!(
                object["data"]["name"] == *target.name.name,
                "{target} is not what it was"
            );
            let long = object["data"]["long"].as_str().map_or(0, str::len);
            let expected = if target.name.name == "map-0" { LONG } else { 1 };
            ensure!(long == expected, "{target} is cut");
            there += 1;
        }
    }
    Ok(there)
}

#[test]
fn the_catalog_lies_at_no_fault() -> Result<()> {
    let small = Small::set_up("fault-c")?;
    run(async {
        let mut good = small.good().await?;
        // A half backup beside it: never listed.
        good.0.push((
            BackupFile::Contents.key("half"),
            bytes::Bytes::from_static(b"cut"),
        ));
        for (kind, lasting) in faults() {
            for at in 1.. {
                let what = format!("{kind:?} at call {at} (lasting: {lasting})");
                let (list_fired, read_fired) = (
                    list(&good, at, kind, lasting).await,
                    read(&good, at, kind, lasting).await,
                );
                let list_fired = list_fired.with_context(|| what.clone())?;
                let read_fired = read_fired.with_context(|| what.clone())?;
                let delete_fired = delete(&small, &good, at, kind, lasting)
                    .await
                    .with_context(|| what.clone())?;
                if !list_fired && !read_fired && !delete_fired {
                    break;
                }
            }
        }
        Ok(())
    })
}

async fn list(good: &Files, at: u64, kind: FaultKind, lasting: bool) -> Result<bool> {
    let (store, location) = faulty(&good.copy().await?, Fault { at, kind, lasting }, SHORT);
    match tokio::time::timeout(LIMIT, catalog::list_backups(&location)).await? {
        Ok(names) => ensure!(names == ["b"], "{names:?}"),
        Err(_) => ensure!(
            store.fired() && kind != FaultKind::Slow,
            "an error without a fault"
        ),
    }
    Ok(store.fired())
}

async fn read(good: &Files, at: u64, kind: FaultKind, lasting: bool) -> Result<bool> {
    let (store, location) = faulty(&good.copy().await?, Fault { at, kind, lasting }, SHORT);
    match tokio::time::timeout(LIMIT, catalog::read_backup(&location, "b")).await? {
        Ok(backup) => ensure!(backup.metadata.name.as_deref() == Some("b")),
        Err(EngineError::BackupNotFound { .. }) => bail!("an existing backup is said to be missing"),
        Err(_) => ensure!(
            store.fired() && kind != FaultKind::Slow,
            "an error without a fault"
        ),
    }
    Ok(store.fired())
}

async fn delete(small: &Small, good: &Files, at: u64, kind: FaultKind, lasting: bool) -> Result<bool> {
    let inner = good.copy().await?;
    inner.store().delete_prefix("backups/half/").await?;
    let (store, location) = faulty(&inner, Fault { at, kind, lasting }, SHORT);
    let result = tokio::time::timeout(LIMIT, catalog::delete_backup(&location, "b")).await?;
    let there = small.whole_or_absent(&inner).await?;
    ensure!(result.is_err() || !there, "the backup is said to be deleted");
    ensure!(
        result.is_ok() || (store.fired() && kind != FaultKind::Slow),
        "{result:?}"
    );
    catalog::delete_backup(&inner, "b").await?;
    let left: BTreeSet<_> = inner
        .store()
        .list("")
        .map_ok(|entry| entry.key)
        .try_collect()
        .await?;
    ensure!(left.is_empty(), "{left:?}");
    Ok(store.fired())
}

#[test]
fn a_store_that_never_answers_can_be_walked_away_from() -> Result<()> {
    const NEVER: Duration = Duration::from_secs(3600);
    let small = Small::set_up("fault-h")?;
    let scene = &small.scene;
    run(async {
        let good = small.good().await?;
        for at in 1.. {
            let fault = Fault {
                at,
                kind: FaultKind::Slow,
                lasting: false,
            };
            let inner = Location::from_url("memory://test").await?;
            let (store, location) = faulty(&inner, fault, NEVER);
            let job = backup_job(&scene.cluster, &location, "b", small.spec());
            let cancel = job.cancel.clone();
            let backup = cancelled_when_stuck(&store, cancel, run_backup(job)).await;
            let backup = backup.with_context(|| format!("a backup stuck at call {at}"))?;
            let stuck = store.fired();
            ensure!(
                matches!(backup, Err(EngineError::Cancelled)) || !stuck,
                "{backup:?}"
            );
            ensure!(
                !small.whole_or_absent(&inner).await? || !stuck,
                "a backup that was stopped is there"
            );

            let inner = good.copy().await?;
            let (store, location) = faulty(&inner, fault, NEVER);
            let backup = catalog::read_backup(&inner, "b").await?;
            let job = restore_job(&scene.cluster, &location, backup, "r", RestoreSpec::default());
            let cancel = job.cancel.clone();
            let restore = cancelled_when_stuck(&store, cancel, run_restore(job)).await;
            let restore = restore.with_context(|| format!("a restore stuck at call {at}"))?;
            ensure!(
                matches!(restore, Err(EngineError::Cancelled)) || !store.fired(),
                "{restore:?}"
            );
            if !stuck && !store.fired() {
                ensure!(at > 12, "only {at} calls");
                break;
            }
        }
        Ok(())
    })
}

/// Cancels the work once the store hangs; it must end soon.
async fn cancelled_when_stuck<T: Send + 'static>(
    store: &FaultStore,
    cancel: tokio_util::sync::CancellationToken,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T> {
    let work = tokio::spawn(work);
    while !store.fired() && !work.is_finished() {
        tokio::time::sleep(SHORT).await;
    }
    // What goes on beside the call that hangs may end first.
    tokio::time::sleep(SHORT).await;
    cancel.cancel();
    Ok(tokio::time::timeout(LIMIT, work)
        .await
        .context("does not end")??)
}
