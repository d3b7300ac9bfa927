//! What each test has to itself: a connection to the real API server, names of its own, storage, and
//! the removal of all that it made.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{
    sync::{LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use refloat_cluster::{
    Cluster, ConnectOptions,
    apply::{PatchKind, WriteOptions},
};
use refloat_engine::{
    BackupJob, BackupOptions, BackupReport, EngineError, Location, RestoreJob, RestoreReport, catalog,
    run_backup, run_restore,
};
use refloat_model::{
    Backup, BackupSpec, GroupResource, ObjectName, Restore, RestoreSpec, resource::ApiResource,
};
use refloat_testkit::{cluster::Cluster as TestCluster, velero::credentials_file};
use serde_json::Value;
use tokio::runtime::Runtime;

/// How long anything may take that happens by itself.
pub(crate) const SOON: Duration = Duration::from_secs(90);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build();
    runtime.expect("threads can be started")
});

/// Runs what is asynchronous to its end.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    RUNTIME.block_on(future)
}

/// An object in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) api: ApiResource,
    pub(crate) name: ObjectName,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.api.group_resource, self.name)
    }
}

/// What one test has to itself.
pub(crate) struct Scene {
    pub(crate) test: &'static TestCluster,
    pub(crate) cluster: Cluster,
    /// Unique among tests that run at the same time: part of the names of all that is not in a namespace.
    pub(crate) id: String,
    folder: tempfile::TempDir,
    kinds: Mutex<Vec<ApiResource>>,
    made: Mutex<Vec<Target>>,
}

impl Scene {
    /// A scene for the test `name` (short: it becomes part of names).
    pub(crate) fn new(name: &str) -> Result<Self> {
        let test = TestCluster::shared(0)?;
        let cluster = run(connect(&test.kubeconfig_path()))?;
        Ok(Self {
            test,
            cluster,
            id: format!("{name}-{}", std::process::id()),
            folder: tempfile::tempdir()?,
            kinds: Mutex::new(Vec::new()),
            made: Mutex::new(Vec::new()),
        })
    }

    /// A folder of its own.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// A location in memory.
    pub(crate) fn memory(&self) -> Result<Location> {
        Ok(run(Location::from_url("memory://test"))?)
    }

    /// A location in a folder.
    pub(crate) fn disk(&self) -> Result<Location> {
        let path = self.folder().join("backups");
        Ok(run(Location::from_url(&format!("file://{}", path.display())))?)
    }

    /// A location in the cluster's MinIO, in a bucket that must exist.
    pub(crate) fn bucket(&self, bucket: &str, prefix: &str) -> Result<Location> {
        let minio = self.test.minio()?;
        let credentials = self.folder().join("credentials");
        std::fs::write(&credentials, credentials_file(minio))?;
        let url = format!(
            "s3://{bucket}/{prefix}?region={}&s3Url={}&s3ForcePathStyle=true&credentialsFile={}",
            minio.region,
            minio.endpoint,
            credentials.display()
        );
        Ok(run(Location::from_url(&url))?)
    }

    /// How the cluster serves a kind.
    pub(crate) async fn kind(&self, api_version: &str, kind: &str) -> Result<ApiResource> {
        let (group, _) = api_version.split_once('/').unwrap_or(("", api_version));
        let known = || {
            let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
            let found = kinds
                .iter()
                .find(|api| api.kind == kind && api.group_resource.group == group);
            found.cloned()
        };
        if let Some(api) = known() {
            return Ok(api);
        }
        let fresh = self.cluster.discover().await?.resources;
        *self.kinds.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        known().with_context(|| format!("the cluster does not serve {api_version} {kind}"))
    }

    /// Which object a manifest describes.
    pub(crate) async fn target(&self, manifest: &Value) -> Result<Target> {
        let text = |pointer: &str| {
            manifest
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let api = self.kind(text("/apiVersion"), text("/kind")).await?;
        let namespace = if api.namespaced {
            text("/metadata/namespace")
        } else {
            ""
        };
        let name = ObjectName::new(namespace, text("/metadata/name"));
        Ok(Target { api, name })
    }

    /// Creates an object from exactly these bytes, and has it removed at the end.
    pub(crate) async fn create(&self, json: &str) -> Result<Target> {
        let manifest: Value = serde_json::from_str(json)?;
        let target = self.target(&manifest).await?;
        let options = WriteOptions {
            field_manager: Some("refloat-test"),
            ..WriteOptions::default()
        };
        let body = Bytes::from(json.to_owned());
        let made = self
            .cluster
            .create(&target.api, &target.name, body, options)
            .await;
        made.with_context(|| {
            let start: String = json.chars().take(300).collect();
            format!("creating {target} from {start}")
        })?;
        self.remember(target.clone());
        if target.api.kind == "CustomResourceDefinition" {
            self.wait_served(&manifest).await?;
        }
        Ok(target)
    }

    /// Has an object removed at the end.
    pub(crate) fn remember(&self, target: Target) {
        self.made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(target);
    }

    /// Waits until objects of a new definition can be made.
    pub(crate) async fn wait_served(&self, definition: &Value) -> Result<()> {
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for version in spec["versions"].as_array().into_iter().flatten() {
            let (group, version) = (text(&spec["group"]), text(&version["name"]));
            let path = format!(
                "/apis/{group}/{version}/{}?limit=1",
                text(&spec["names"]["plural"])
            );
            let began = Instant::now();
            while self.cluster.get_bytes("wait for a kind", &path).await.is_err() {
                ensure!(began.elapsed() < SOON, "{path} is not served");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Ok(())
    }

    /// An object as the API server sends it; `None` where there is none.
    pub(crate) async fn get(&self, target: &Target) -> Result<Option<Value>> {
        match self.cluster.get(&target.api, &target.name).await {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// All objects of a kind in a namespace (empty: of the cluster).
    pub(crate) async fn list(&self, api: &ApiResource, namespace: &str) -> Result<Vec<Target>> {
        let place = (!namespace.is_empty()).then_some(namespace);
        let mut pages = self.cluster.list_pages(api, place, None, 500);
        let mut found = Vec::new();
        while let Some(json) = pages.next().await? {
            let object: Value = serde_json::from_slice(&json)?;
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            found.push(Target {
                api: api.clone(),
                name: ObjectName::new(namespace, name),
            });
        }
        Ok(found)
    }

    /// Merges a patch into an object.
    pub(crate) async fn patch(&self, target: &Target, patch: &Value) -> Result<()> {
        let body = Bytes::from(patch.to_string());
        let options = WriteOptions::default();
        let kind = PatchKind::Merge;
        let done = self
            .cluster
            .patch(&target.api, &target.name, None, kind, body, options);
        done.await.with_context(|| format!("patching {target}"))?;
        Ok(())
    }

    /// Deletes objects, whatever finalizers they have, and waits until they are gone.
    pub(crate) async fn delete(&self, targets: &[Target]) -> Result<()> {
        for target in targets {
            self.start_deleting(target).await?;
        }
        let began = Instant::now();
        for target in targets {
            while self.get(target).await?.is_some() {
                ensure!(began.elapsed() < SOON, "{target} is still there");
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
        }
        Ok(())
    }

    async fn start_deleting(&self, target: &Target) -> Result<()> {
        let Some(object) = self.get(target).await? else {
            return Ok(());
        };
        let free = serde_json::json!({"metadata": {"finalizers": null}});
        let finalizers = object.pointer("/metadata/finalizers");
        // A definition's finalizer deletes its objects; a claim's and a volume's would wait for each other.
        if finalizers.is_some() && target.api.kind != "CustomResourceDefinition" {
            self.patch(target, &free).await?;
        }
        Ok(self.cluster.delete(&target.api, &target.name).await?)
    }

    /// A namespace with nothing in it, removed at the end.
    pub(crate) fn namespace(&self, name: &str) -> Result<Target> {
        let manifest =
            serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        run(self.create(&manifest.to_string()))
    }

    /// Has a namespace removed at the end that a restore is to make.
    pub(crate) fn namespace_to_come(&self, name: &str) -> Target {
        let target = Target {
            api: namespaces(),
            name: ObjectName::new("", name),
        };
        self.remember(target.clone());
        target
    }

    /// Runs a backup of our own.
    pub(crate) async fn backup(
        &self,
        location: &Location,
        name: &str,
        spec: BackupSpec,
    ) -> Result<BackupReport, EngineError> {
        run_backup(backup_job(&self.cluster, location, name, spec)).await
    }

    /// Runs a restore of our own.
    pub(crate) async fn restore(
        &self,
        location: &Location,
        backup: &str,
        name: &str,
        spec: RestoreSpec,
    ) -> Result<RestoreReport, EngineError> {
        let backup = catalog::read_backup(location, backup).await?;
        run_restore(restore_job(&self.cluster, location, backup, name, spec)).await
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        run(async {
            for target in made.iter().rev() {
                // What cannot be removed here is gone with the cluster.
                let _ = self.start_deleting(target).await;
            }
        });
    }
}

/// A connection that tries again only as long as a test can wait.
pub(crate) async fn connect(kubeconfig: &std::path::Path) -> Result<Cluster> {
    let options = ConnectOptions {
        kubeconfig: Some(kubeconfig.to_owned()),
        tries: 4,
        ..ConnectOptions::default()
    };
    Ok(Cluster::connect(&options).await?)
}

/// The kind of namespaces.
pub(crate) fn namespaces() -> ApiResource {
    ApiResource {
        group_resource: GroupResource::new("namespaces", ""),
        version: "v1".into(),
        kind: "Namespace".into(),
        namespaced: false,
        aliases: Vec::new(),
        verbs: Vec::new(),
    }
}

/// What a backup needs, with small pages.
pub(crate) fn backup_job(cluster: &Cluster, location: &Location, name: &str, spec: BackupSpec) -> BackupJob {
    let mut backup = Backup::new(name, spec);
    backup.metadata.namespace = Some("velero".into());
    BackupJob {
        backup,
        location: location.clone(),
        cluster: cluster.clone(),
        options: BackupOptions {
            page_size: 7,
            ..BackupOptions::default()
        },
        progress: Default::default(),
        cancel: Default::default(),
    }
}

/// What a restore needs.
pub(crate) fn restore_job(
    cluster: &Cluster,
    location: &Location,
    backup: Backup,
    name: &str,
    mut spec: RestoreSpec,
) -> RestoreJob {
    spec.backup_name = backup.metadata.name.clone().unwrap_or_default();
    let mut restore = Restore::new(name, spec);
    restore.metadata.namespace = Some("velero".into());
    RestoreJob {
        restore,
        backup,
        location: location.clone(),
        cluster: cluster.clone(),
        options: Default::default(),
        progress: Default::default(),
        cancel: Default::default(),
    }
}

/// A backup of these namespaces, with what they refer to.
pub(crate) fn of_namespaces(names: &[&str]) -> BackupSpec {
    BackupSpec {
        included_namespaces: names.iter().map(|name| (*name).to_owned()).collect(),
        ..BackupSpec::default()
    }
}

/// Fails if a report has warnings or errors.
pub(crate) fn nothing_to_report(results: &refloat_model::Results) -> Result<()> {
    if *results != refloat_model::Results::default() {
        bail!("{}", serde_json::to_string_pretty(results)?);
    }
    Ok(())
}
