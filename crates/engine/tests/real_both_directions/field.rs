//! The namespace with one object of each kind, real Velero beside it, and the bucket between them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use refloat_engine::Location;
use refloat_model::{BackupSpec, ObjectName};
use refloat_testkit::{
    cluster::Cluster as TestCluster,
    process::run_command,
    velero::{VeleroOptions, VeleroServer},
};
use serde_json::Value;

use crate::scene::{SOON, Scene, Target, of_namespaces, run};

const DEFINITIONS: &str = include_str!("definitions.yaml");
const OBJECTS: &str = include_str!("objects.yaml");

/// Objects by kind and name.
pub(crate) type State = BTreeMap<String, (Target, Value)>;

/// The scene with Velero in it.
pub(crate) struct Field {
    pub(crate) scene: Scene,
    pub(crate) location: Location,
    /// The namespace with the objects.
    pub(crate) shop: String,
    velero: VeleroServer<'static>,
    velero_namespace: String,
}

impl Field {
    /// Starts Velero and creates all objects.
    pub(crate) fn set_up() -> Result<Self> {
        let scene = Scene::new("both")?;
        let test: &'static TestCluster = scene.test;
        let (bucket, velero_namespace) = (scene.id.clone(), format!("velero-{}", scene.id));
        test.create_bucket(&bucket)?;
        let location = scene.bucket(&bucket, "")?;
        let shop = scene.id.clone();
        scene.namespace(&shop)?;
        let label = format!("both={shop}");
        test.kubectl(&["label", "namespace", &shop, &label])?;
        let unique = shop.clone();
        let fill = |text: &str| text.replace("$id", &unique).replace("$ns", &unique);
        test.apply(&fill(DEFINITIONS))?;
        test.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=30s",
            "crd",
            "-l",
            &label,
        ])?;
        let began = Instant::now();
        // A new kind is served a moment after its definition is established.
        while let Err(error) = test.apply(&fill(OBJECTS)) {
            ensure!(began.elapsed() < Duration::from_secs(20), error);
            std::thread::sleep(Duration::from_millis(500));
        }
        // Only now: Velero would not see the new kinds for up to five minutes, because it caches discovery.
        let _ = scene.namespace_to_come(&velero_namespace);
        let mut options = VeleroOptions::new(&bucket);
        options.namespace.clone_from(&velero_namespace);
        options.args.push("--backup-sync-period=1s".to_owned());
        let velero = VeleroServer::start(test, &options)?;
        Ok(Self {
            scene,
            location,
            shop,
            velero,
            velero_namespace,
        })
    }

    /// The whole namespace, without and with its cluster-scoped companions by label.
    pub(crate) fn plain_spec(&self) -> BackupSpec {
        BackupSpec {
            snapshot_volumes: Some(false),
            ..of_namespaces(&[&self.shop])
        }
    }

    /// All that has the label, in the namespace and in the cluster.
    pub(crate) fn labelled_spec(&self) -> BackupSpec {
        let selector = LabelSelector {
            match_labels: Some([("both".to_owned(), self.shop.clone())].into()),
            ..LabelSelector::default()
        };
        BackupSpec {
            include_cluster_resources: Some(true),
            label_selector: Some(selector),
            ..self.plain_spec()
        }
    }

    /// Runs the unmodified `velero` program.
    pub(crate) fn velero(&self, args: &[&str]) -> Result<String> {
        let mut command = std::process::Command::new(self.scene.test.velero_cli("1.18")?);
        command
            .env("KUBECONFIG", self.scene.test.kubeconfig_path())
            .env("HOME", self.scene.folder());
        run_command(command.args(["-n", &self.velero_namespace]).args(args))
    }

    /// Has Velero back up; fails unless it is Completed.
    pub(crate) fn velero_backup(&self, name: &str, spec: &BackupSpec) -> Result<()> {
        let mut backup = refloat_model::Backup::new(name, spec.clone());
        backup.metadata.namespace = Some(self.velero_namespace.clone());
        backup.spec.storage_location = "default".to_owned();
        self.scene.test.apply(&serde_json::to_string(&backup)?)?;
        self.completed("backup", name)
    }

    /// Has Velero restore a backup that it finds in the bucket.
    pub(crate) fn velero_restore(&self, backup: &str, name: &str) -> Result<()> {
        let began = Instant::now();
        while self.velero(&["backup", "get", backup]).is_err() {
            ensure!(
                began.elapsed() < SOON,
                "Velero does not find the backup {backup} in the bucket"
            );
            std::thread::sleep(Duration::from_millis(300));
        }
        self.velero(&["restore", "create", name, "--from-backup", backup])?;
        self.completed("restore", name)
    }

    fn completed(&self, kind: &str, name: &str) -> Result<()> {
        let began = Instant::now();
        loop {
            let resource = format!("{kind}s.velero.io");
            let text = self.scene.test.kubectl(&[
                "-n",
                &self.velero_namespace,
                "get",
                &resource,
                name,
                "-o",
                "json",
            ])?;
            let object: Value = serde_json::from_str(&text)?;
            let status = &object["status"];
            match status["phase"].as_str().unwrap_or_default() {
                "Completed" if status["warnings"].is_null() && status["errors"].is_null() => return Ok(()),
                "Completed" | "PartiallyFailed" | "Failed" | "FailedValidation" => {
                    let words = self.velero(&[kind, "describe", name, "--details"])?;
                    anyhow::bail!("Velero's {kind} {name}: {status}\n{words}");
                }
                _ => ensure!(
                    began.elapsed() < SOON,
                    "Velero's {kind} {name} does not end: {status}"
                ),
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// All objects of the namespace and those of the cluster with the label.
    pub(crate) fn state(&self) -> Result<State> {
        run(async {
            let mut state = State::new();
            let label = format!("both={}", self.shop);
            for api in self.scene.cluster.discover().await?.resources {
                // Events come and go by themselves, and are never restored.
                let event = api.group_resource.resource == "events";
                if event || !api.can(&["list", "create", "get", "delete"]) {
                    continue;
                }
                let (place, selector) = match api.namespaced {
                    true => (Some(self.shop.as_str()), None),
                    false => (None, Some(label.as_str())),
                };
                let mut pages = self.scene.cluster.list_pages(&api, place, selector, 500);
                while let Some(json) = pages.next().await? {
                    let mut object: Value = serde_json::from_slice(&json)?;
                    object["apiVersion"] = api.gvk().api_version().into();
                    object["kind"] = api.kind.clone().into();
                    let name = object["metadata"]["name"].as_str().context("a name")?;
                    let name = ObjectName::new(place.unwrap_or_default(), name);
                    let target = Target {
                        api: api.clone(),
                        name,
                    };
                    state.insert(target.to_string(), (target, object));
                }
            }
            Ok(state)
        })
    }

    /// Waits until the controllers are done with what was created: nothing but a status changes any more.
    pub(crate) fn settled(&self) -> Result<State> {
        let began = Instant::now();
        let quiet = |state: &State| -> Vec<(String, u64)> {
            let generation = |object: &Value| object.pointer("/metadata/generation").and_then(Value::as_u64);
            let keyed = state.iter();
            keyed
                .map(|(key, (_, object))| (key.clone(), generation(object).unwrap_or_default()))
                .collect()
        };
        let mut last = self.state()?;
        loop {
            std::thread::sleep(Duration::from_millis(1500));
            let state = self.state()?;
            let bound = state.iter().all(|(key, (_, object))| {
                !key.ends_with("/data")
                    || object
                        .pointer("/status/phase")
                        .is_none_or(|phase| phase == "Bound")
            });
            if bound && quiet(&state) == quiet(&last) {
                return Ok(state);
            }
            ensure!(began.elapsed() < SOON, "the controllers do not come to rest");
            last = state;
        }
    }

    /// Has what is in no namespace removed at the end, whatever happens.
    pub(crate) fn remember(&self, state: &State) {
        for (target, _) in state.values().filter(|(target, _)| !target.api.namespaced) {
            self.scene.remember(target.clone());
        }
    }

    /// Deletes the namespace and all that belongs to it.
    pub(crate) fn delete(&self, state: &State) -> Result<()> {
        run(async {
            let held = |object: &Value| object.pointer("/metadata/finalizers").is_some();
            let free = serde_json::json!({"metadata": {"finalizers": null}});
            for (target, _) in state
                .values()
                .filter(|(target, object)| target.api.namespaced && held(object))
            {
                self.scene.patch(target, &free).await?;
            }
            let outer = state
                .values()
                .map(|(target, _)| target.clone())
                .filter(|target| !target.api.namespaced);
            self.scene.delete(&outer.collect::<Vec<_>>()).await
        })
    }

    /// Ends Velero.
    pub(crate) fn tear_down(self) -> Result<()> {
        self.velero.stop()
    }
}
