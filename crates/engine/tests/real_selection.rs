//! What a backup by label holds besides what has the label, and what it leaves out all the same:
//! compared with the backup that real Velero makes by the same spec of the same objects.

#[path = "peers/scene.rs"]
mod scene;
#[path = "peers/tarball.rs"]
mod tarball;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use refloat_cluster::apply::{PatchKind, WriteOptions};
use refloat_engine::{BackupReport, Location};
use refloat_model::{Backup, BackupPhase, BackupSpec};
use refloat_testkit::velero::{VeleroOptions, VeleroServer};
use serde_json::{Value, json};

use scene::{SOON, Scene, of_namespaces, run};

/// The label that the backup selects by.
const LABEL: (&str, &str) = ("app", "x");

/// Objects that refer to each other, and real Velero beside them.
struct Field {
    scene: Scene,
    location: Location,
    velero: VeleroServer<'static>,
    velero_namespace: String,
}

impl Field {
    fn set_up(name: &str) -> Result<Self> {
        let scene = Scene::new(name)?;
        scene.test.create_bucket(&scene.id)?;
        let location = scene.bucket(&scene.id, "")?;
        scene.namespace(&scene.id)?;
        let velero_namespace = format!("velero-{}", scene.id);
        let _ = scene.namespace_to_come(&velero_namespace);
        let mut options = VeleroOptions::new(&scene.id);
        options.namespace.clone_from(&velero_namespace);
        let velero = VeleroServer::start(scene.test, &options)?;
        Ok(Self {
            scene,
            location,
            velero,
            velero_namespace,
        })
    }

    async fn create(&self, object: Value) -> Result<()> {
        self.scene.create(&object.to_string()).await.map(|_| ())
    }

    /// A claim that is bound to a volume of its own.
    async fn claim(&self, name: &str, labels: Value) -> Result<()> {
        let namespace = &self.scene.id;
        let volume = format!("{namespace}-{name}");
        self.create(json!({
            "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume},
            "spec": {"capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteMany"],
                "hostPath": {"path": "/nowhere"}, "claimRef": {"namespace": namespace, "name": name}}
        }))
        .await?;
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"accessModes": ["ReadWriteMany"], "storageClassName": "", "volumeName": volume,
                "resources": {"requests": {"storage": "1Mi"}}}
        });
        self.create(claim.clone()).await?;
        let target = self.scene.target(&claim).await?;
        let began = Instant::now();
        loop {
            let found = self.scene.get(&target).await?.unwrap_or_default();
            if found["status"]["phase"] == "Bound" {
                return Ok(());
            }
            ensure!(began.elapsed() < SOON, "{target} is not bound: {found}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// A pod that mounts claims, and runs if that is said.
    async fn pod(&self, metadata: Value, claims: &[&str], runs: bool) -> Result<()> {
        let volumes = claims
            .iter()
            .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}));
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": {"automountServiceAccountToken": false, "volumes": volumes.collect::<Vec<_>>(),
                "containers": [{"name": "c", "image": "none"}]}
        });
        pod["metadata"]["namespace"] = self.scene.id.clone().into();
        if runs {
            pod["spec"]["nodeName"] = self.scene.id.clone().into();
        }
        let began = Instant::now();
        // The account that pods need is there a moment after the namespace.
        while let Err(error) = self.create(pod.clone()).await {
            ensure!(began.elapsed() < SOON, error);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        if runs {
            let target = self.scene.target(&pod).await?;
            let body = Bytes::from(json!({"status": {"phase": "Running"}}).to_string());
            let (kind, options) = (PatchKind::Merge, WriteOptions::default());
            let cluster = &self.scene.cluster;
            let done = cluster.patch(&target.api, &target.name, Some("status"), kind, body, options);
            done.await.context("setting the pod's status")?;
        }
        Ok(())
    }

    async fn fill(&self) -> Result<()> {
        let namespace = &self.scene.id;
        let (key, value) = LABEL;
        let mine = json!({key: value});
        // Pods of a node that does not exist are removed.
        self.create(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": namespace}}))
            .await?;
        self.claim("selected", json!({key: value, "velero.io/volume-group": "g"}))
            .await?;
        self.claim("grouped", json!({"velero.io/volume-group": "g"}))
            .await?;
        self.claim("beside", json!({})).await?;
        self.claim("far", json!({"velero.io/volume-group": "other"}))
            .await?;
        self.pod(json!({"name": "mounts"}), &["selected", "beside"], true)
            .await?;
        self.pod(json!({"name": "mounts-grouped"}), &["grouped"], true)
            .await?;
        self.pod(json!({"name": "mounts-far"}), &["far"], true).await?;
        self.pod(json!({"name": "pending"}), &["selected"], false).await?;
        self.pod(json!({"name": "first", "labels": mine}), &[], false)
            .await?;
        self.pod(json!({"name": "ordered"}), &[], false).await?;
        self.pod(json!({"name": "lonely", "labels": mine}), &["nowhere"], false)
            .await?;
        let skip = json!({"velero.io/skip-from-backup": ""});
        self.pod(
            json!({"name": "skipped", "labels": mine, "annotations": skip}),
            &[],
            false,
        )
        .await?;
        let metadata = json!({"name": "kept", "namespace": namespace, "labels": mine, "annotations": skip});
        self.create(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}))
            .await
    }

    /// Has Velero back up, and hands out the status.
    fn velero_backup(&self, name: &str, spec: &BackupSpec) -> Result<Value> {
        let mut backup = Backup::new(name, spec.clone());
        backup.metadata.namespace = Some(self.velero_namespace.clone());
        backup.spec.storage_location = "default".to_owned();
        self.scene.test.apply(&serde_json::to_string(&backup)?)?;
        let began = Instant::now();
        loop {
            let namespace = &self.velero_namespace;
            let object = ["-n", namespace, "get", "backups.velero.io", name, "-o", "json"];
            let object: Value = serde_json::from_str(&self.scene.test.kubectl(&object)?)?;
            let phase = object["status"]["phase"].as_str().unwrap_or_default();
            if matches!(
                phase,
                "Completed" | "PartiallyFailed" | "Failed" | "FailedValidation"
            ) {
                return Ok(object["status"].clone());
            }
            ensure!(began.elapsed() < SOON, "{name} does not end: {object}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn our_backup(&self, name: &str, spec: &BackupSpec) -> Result<BackupReport> {
        let mut spec = spec.clone();
        refloat_plan::backup::add_default_excludes(&mut spec);
        Ok(run(self.scene.backup(&self.location, name, spec))?)
    }

    /// The objects of a backup, as `kind namespace/name`, without what comes and goes by itself.
    fn stored(&self, backup: &str) -> Result<BTreeSet<String>> {
        let objects = run(tarball::objects(&self.location, backup))?;
        let names = objects.keys().filter_map(|path| {
            let (kind, rest) = path.strip_prefix("resources/")?.split_once('/')?;
            let name = rest
                .strip_prefix("namespaces/")
                .or(rest.strip_prefix("cluster/"))?;
            let name = name.strip_suffix(".json")?;
            (!kind.starts_with("events")).then(|| format!("{kind} {name}"))
        });
        Ok(names.collect())
    }
}

fn warnings(report: &BackupReport) -> String {
    format!("{:?}", report.results.warnings)
}

#[test]
fn a_label_brings_along_what_velero_brings_along() -> Result<()> {
    let field = Field::set_up("selection")?;
    run(field.fill())?;
    let id = field.scene.id.clone();
    let selector = LabelSelector {
        match_labels: Some([(LABEL.0.to_owned(), LABEL.1.to_owned())].into()),
        ..LabelSelector::default()
    };
    let spec = BackupSpec {
        label_selector: Some(selector),
        ordered_resources: [("pods".to_owned(), format!("{id}/first,{id}/ordered,{id}/none"))].into(),
        snapshot_volumes: Some(false),
        volume_group_snapshot_label_key: "velero.io/volume-group".to_owned(),
        ..of_namespaces(&[&id])
    };
    let status = field.velero_backup("velero", &spec)?;
    ensure!(status["phase"] == "Completed", "{status}");
    let report = field.our_backup("ours", &spec)?;
    let ended = report.backup.status.clone().unwrap_or_default();
    ensure!(ended.phase == BackupPhase::Completed, "{ended:?}");
    let (velero, ours) = (field.stored("velero")?, field.stored("ours")?);
    ensure!(velero == ours, "Velero: {velero:#?}\nours: {ours:#?}");
    for name in ["mounts", "mounts-grouped", "first", "lonely"] {
        ensure!(ours.contains(&format!("pods {id}/{name}")), "{name}: {ours:#?}");
    }
    for name in ["pending", "ordered", "skipped", "mounts-far"] {
        ensure!(!ours.contains(&format!("pods {id}/{name}")), "{name}: {ours:#?}");
    }
    ensure!(ours.contains(&format!("configmaps {id}/kept")), "{ours:#?}");
    for name in ["selected", "grouped", "beside"] {
        ensure!(
            ours.contains(&format!("persistentvolumeclaims {id}/{name}")),
            "{name}"
        );
        ensure!(ours.contains(&format!("persistentvolumes {id}-{name}")), "{name}");
    }
    let said = warnings(&report);
    for part in [
        format!("pods {id}/ordered, which does not exist or is not selected"),
        format!("pods {id}/none, which does not exist or is not selected"),
        format!("persistentvolumeclaims {id}/nowhere is referred to but does not exist"),
    ] {
        ensure!(said.contains(&part), "{part} is not in {said}");
    }
    ensure!(ended.warnings == 3, "{said}");
    ensure!(status["warnings"].as_i64() >= Some(3), "{status}");
    let missing = format!("{id}-missing");
    let kinds_alone = BackupSpec {
        included_resources: vec!["configmaps".into()],
        ..of_namespaces(&[&id, &missing])
    };
    let status = field.velero_backup("velero-kinds", &kinds_alone)?;
    ensure!(status["phase"] == "Completed", "{status}");
    let report = field.our_backup("ours-kinds", &kinds_alone)?;
    let ended = report.backup.status.clone().unwrap_or_default();
    ensure!(ended.phase == BackupPhase::Completed, "{ended:?}");
    ensure!(warnings(&report).contains(&missing), "{}", warnings(&report));
    ensure!(field.stored("velero-kinds")? == field.stored("ours-kinds")?);
    field.velero.stop()
}
