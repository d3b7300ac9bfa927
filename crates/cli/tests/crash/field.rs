//! Where servers are killed: three namespaces full of small objects, a location, and what of both can be looked at.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::Read as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use refloat_cluster::{Cluster, ConnectOptions, apply::WriteOptions};
use refloat_model::{GroupResource, ObjectName, resource::ApiResource};
use refloat_testkit::velero;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

use super::scene::{Scene, program};

/// How long a backup or restore may take that was killed.
const SOON: Duration = Duration::from_secs(60);
/// Annotation of a backup: the checksum of its tarball.
const CHECKSUM: &str = "refloat.io/contents-sha256";

/// Objects of each kind in each of the three namespaces.
pub(crate) struct Size {
    pub(crate) config_maps: usize,
    pub(crate) secrets: usize,
    pub(crate) widgets: usize,
}

/// Where backups are kept.
pub(crate) enum Bucket {
    Minio(String),
    Folder(PathBuf),
}

/// Everything that a test of crashes needs.
pub(crate) struct Field {
    pub(crate) scene: Scene,
    pub(crate) bucket: Bucket,
    /// The namespaces with the objects.
    pub(crate) sources: [String; 3],
    runtime: Runtime,
    api: Cluster,
    group: String,
}

/// A server as a process; killed at the latest when it is dropped.
pub(crate) struct Server(Child);

impl Server {
    /// Ends it as a lost node would.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.0.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn kind(resource: &str, group: &str, version: &str, kind: &str) -> ApiResource {
    ApiResource {
        group_resource: GroupResource::new(resource, group),
        version: version.into(),
        kind: kind.into(),
        namespaced: true,
        aliases: Vec::new(),
        verbs: Vec::new(),
    }
}

impl Field {
    /// A field for the test `name`, with its objects and the location `default`.
    pub(crate) fn new(name: &str, size: &Size, on_disk: bool) -> Self {
        let scene = Scene::new(name);
        scene.install_definitions();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let connect = ConnectOptions {
            kubeconfig: Some(scene.cluster.kubeconfig_path()),
            ..ConnectOptions::default()
        };
        let api = runtime.block_on(Cluster::connect(&connect)).unwrap();
        let group = format!("{}.example.com", scene.namespace);
        let sources = ["a", "b", "c"].map(|end| format!("{}-{end}", scene.namespace));
        let bucket = if on_disk {
            let folder = scene.file("backups");
            fs::create_dir(&folder).unwrap();
            Bucket::Folder(folder)
        } else {
            scene.cluster.create_bucket(&scene.namespace).unwrap();
            Bucket::Minio(scene.namespace.clone())
        };
        let field = Self {
            scene,
            bucket,
            sources,
            runtime,
            api,
            group,
        };
        field.configure();
        field.fill(size);
        field
    }

    fn configure(&self) {
        let own = &self.scene.namespace;
        let minio = self.scene.cluster.minio().unwrap();
        let mut location = velero::location(own, "default", minio, own, "");
        match &self.bucket {
            Bucket::Minio(_) => location["spec"]["credential"] = json!({ "name": "cloud", "key": "cloud" }),
            Bucket::Folder(folder) => {
                location["spec"] = json!({ "provider": "filesystem", "objectStorage": { "bucket": folder } });
            }
        }
        location["spec"]["default"] = true.into();
        let versions = json!([{
            "name": "v1", "served": true, "storage": true,
            "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
        }]);
        let mut objects = vec![
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": own } }),
            json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "cloud", "namespace": own },
                "stringData": { "cloud": velero::credentials_file(minio) },
            }),
            location,
            json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": { "name": format!("widgets.{}", self.group) },
                "spec": {
                    "group": self.group, "scope": "Namespaced", "versions": versions,
                    "names": { "kind": "Widget", "plural": "widgets", "singular": "widget", "listKind": "WidgetList" },
                },
            }),
        ];
        for name in &self.sources {
            self.scene.goes_too(name);
            objects.push(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }));
        }
        self.scene.apply(&objects);
        let definition = format!("crd/widgets.{}", self.group);
        let established = [
            "wait",
            "--for=condition=Established",
            "--timeout=30s",
            &definition,
        ];
        self.scene.cluster.kubectl(&established).unwrap();
        for name in &self.sources {
            let path = format!("/api/v1/namespaces/{name}");
            self.scene.until("the namespace has its defaults", || {
                ["serviceaccounts/default", "configmaps/kube-root-ca.crt"]
                    .iter()
                    .all(|object| self.read(&format!("{path}/{object}")).is_some())
            });
        }
    }

    fn fill(&self, size: &Size) {
        let kinds = [
            (kind("configmaps", "", "v1", "ConfigMap"), size.config_maps),
            (kind("secrets", "", "v1", "Secret"), size.secrets),
            (kind("widgets", &self.group, "v1", "Widget"), size.widgets),
        ];
        let all = self.sources.iter().flat_map(|namespace| {
            kinds
                .iter()
                .flat_map(move |(kind, count)| (0..*count).map(move |n| (namespace, kind, n)))
        });
        let creating = stream::iter(all).map(|(namespace, kind, n)| {
            let name = format!("o-{n:04}");
            let mut object = json!({
                "apiVersion": kind.gvk().api_version(), "kind": kind.kind,
                "metadata": { "name": name, "namespace": namespace, "labels": { "n": n.to_string() } },
            });
            match &*kind.kind {
                "Widget" => object["spec"] = json!({ "n": n, "text": "x".repeat(n % 97) }),
                "Secret" => object["stringData"] = json!({ "word": format!("hush {n}") }),
                _ => object["data"] = json!({ "n": n.to_string(), "text": "y".repeat(n % 89) }),
            }
            let name = ObjectName::new(namespace.as_str(), name);
            async move {
                let body = Bytes::from(object.to_string());
                self.api.create(kind, &name, body, WriteOptions::default()).await
            }
        });
        let created = self
            .runtime
            .block_on(creating.buffer_unordered(24).try_collect::<Vec<_>>())
            .unwrap();
        assert_eq!(
            created.len(),
            3 * (size.config_maps + size.secrets + size.widgets)
        );
    }

    /// What the API server answers at a path; `None` where there is nothing.
    pub(crate) fn read(&self, path: &str) -> Option<Value> {
        match self.runtime.block_on(self.api.get_bytes("look", path)) {
            Ok(bytes) => Some(serde_json::from_slice(&bytes).unwrap()),
            Err(error) if error.is_not_found() => None,
            Err(error) => panic!("{path}: {error:?}"),
        }
    }

    /// Starts a server. The same `identity` need not wait for a lease that a killed server held.
    pub(crate) fn serve(&self, identity: &str) -> Server {
        self.serve_with(identity, &[])
    }

    /// Starts a server with further arguments.
    pub(crate) fn serve_with(&self, identity: &str, arguments: &[&str]) -> Server {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.scene.file("server.log"))
            .unwrap();
        let mut command = self.scene.command(program());
        command.args([
            "server",
            "--metrics-address=127.0.0.1:0",
            "--download-address=127.0.0.1:0",
        ]);
        command.args(["--default-backup-storage-location=", "-n", &self.scene.namespace]);
        command
            .arg(format!("--lease-identity={identity}"))
            .args(arguments);
        Server(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }

    fn own(&self, resource: &str, name: &str) -> String {
        format!(
            "/apis/velero.io/v1/namespaces/{}/{resource}/{name}",
            self.scene.namespace
        )
    }

    /// A custom resource of Velero's as it is now.
    pub(crate) fn resource(&self, resource: &str, name: &str) -> Value {
        self.read(&self.own(resource, name)).unwrap_or_default()
    }

    /// Its phase.
    pub(crate) fn phase(&self, resource: &str, name: &str) -> String {
        self.resource(resource, name)["status"]["phase"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Who holds the leader lease.
    pub(crate) fn leader(&self) -> String {
        let namespace = &self.scene.namespace;
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/refloat-server");
        let lease = self.read(&path).unwrap_or_default();
        lease["spec"]["holderIdentity"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Waits until the location can be used.
    pub(crate) fn wait_available(&self) {
        self.scene.until("the location is available", || {
            self.phase("backupstoragelocations", "default") == "Available"
        });
    }

    fn create(&self, resource: &str, of: &str, name: &str, spec: &Value) {
        let object =
            json!({ "apiVersion": "velero.io/v1", "kind": of, "metadata": { "name": name }, "spec": spec });
        let kind = kind(resource, "velero.io", "v1", of);
        let place = ObjectName::new(self.scene.namespace.as_str(), name);
        let body = Bytes::from(object.to_string());
        self.runtime
            .block_on(self.api.create(&kind, &place, body, WriteOptions::default()))
            .unwrap();
    }

    /// Asks for a backup of the sources.
    pub(crate) fn ask_backup(&self, name: &str) {
        self.create(
            "backups",
            "Backup",
            name,
            &json!({ "includedNamespaces": self.sources }),
        );
    }

    /// Asks for a restore into namespaces of its own, and hands out their names.
    pub(crate) fn ask_restore(&self, name: &str, backup: &str) -> [String; 3] {
        let targets = self.targets(name);
        let mapping: BTreeMap<_, _> = self.sources.iter().zip(&targets).collect();
        self.create(
            "restores",
            "Restore",
            name,
            &json!({ "backupName": backup, "namespaceMapping": mapping }),
        );
        targets
    }

    /// The namespaces of a restore, which go with the scene.
    pub(crate) fn targets(&self, restore: &str) -> [String; 3] {
        let targets = self.sources.clone().map(|source| format!("{source}-{restore}"));
        targets.iter().for_each(|name| self.scene.goes_too(name));
        targets
    }

    /// Waits until a backup or restore is being worked on, or is over.
    #[track_caller]
    pub(crate) fn wait_begun(&self, resource: &str, name: &str) {
        self.scene.until("the work has begun", || {
            !matches!(
                &*self.phase(resource, name),
                "" | "New" | "Queued" | "ReadyToStart"
            )
        });
    }

    /// Waits for the end of a backup or restore, which must be a good one.
    #[track_caller]
    pub(crate) fn wait_completed(&self, resource: &str, name: &str) -> Value {
        let deadline = Instant::now() + SOON;
        loop {
            let object = self.resource(resource, name);
            let phase = object["status"]["phase"].as_str().unwrap_or_default();
            if phase == "Completed" {
                return object;
            }
            let over = !matches!(phase, "" | "New" | "Queued" | "ReadyToStart" | "InProgress");
            if over || Instant::now() > deadline {
                let log = fs::read_to_string(self.scene.file("server.log")).unwrap_or_default();
                panic!("{resource} {name} is not Completed: {object}; the server said:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// An object of the bucket.
    pub(crate) fn stored(&self, key: &str) -> Option<Vec<u8>> {
        match &self.bucket {
            Bucket::Folder(folder) => fs::read(folder.join(key)).ok(),
            Bucket::Minio(bucket) => {
                let minio = self.scene.cluster.minio().unwrap();
                let answer = minio
                    .request("GET", &format!("/{bucket}/{key}"), "", &[], b"")
                    .unwrap();
                assert!(matches!(answer.status, 200 | 404), "{key}: {}", answer.status);
                (answer.status == 200).then_some(answer.body)
            }
        }
    }

    /// Writes an object into the bucket unless it is there; whether it was not.
    pub(crate) fn store_once(&self, key: &str, content: &[u8]) -> bool {
        let minio = self.scene.cluster.minio().unwrap();
        let path = format!("/{}/{key}", self.scene.namespace);
        let answer = minio
            .request("PUT", &path, "", &[("if-none-match", "*")], content)
            .unwrap();
        assert!(matches!(answer.status, 200 | 412), "{key}: {}", answer.status);
        answer.status == 200
    }

    /// The names of the files of a backup or restore, without what its name adds to them.
    fn files(&self, folder: &str, name: &str) -> BTreeSet<String> {
        let names: Vec<String> = match &self.bucket {
            Bucket::Folder(root) => fs::read_dir(root.join(folder).join(name))
                .into_iter()
                .flatten()
                .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
                .collect(),
            Bucket::Minio(bucket) => {
                let minio = self.scene.cluster.minio().unwrap();
                let query = format!("list-type=2&prefix={folder}%2F{name}%2F");
                let answer = minio
                    .request("GET", &format!("/{bucket}"), &query, &[], b"")
                    .unwrap();
                let text = String::from_utf8(answer.body).unwrap();
                let keys = text
                    .split("<Key>")
                    .skip(1)
                    .filter_map(|rest| rest.split('<').next());
                keys.filter_map(|key| key.rsplit('/').next())
                    .map(str::to_owned)
                    .collect()
            }
        };
        names.iter().map(|file| file.replace(name, "*")).collect()
    }

    /// What a backup holds, after checking that nothing about it is half: `None` where there is none.
    #[track_caller]
    pub(crate) fn contents(&self, name: &str) -> Option<Contents> {
        let text = self.stored(&format!("backups/{name}/velero-backup.json"))?;
        let backup: Value = serde_json::from_slice(&text).expect("the description is whole");
        assert_eq!(backup["metadata"]["name"], name);
        assert_eq!(backup["status"]["phase"], "Completed", "{backup}");
        let tarball = self
            .stored(&format!("backups/{name}/{name}.tar.gz"))
            .expect("what is listed has a tarball");
        let checksum: String = Sha256::digest(&tarball)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(
            backup["metadata"]["annotations"][CHECKSUM], checksum,
            "{name} has another tarball"
        );
        let mut entries = BTreeMap::new();
        let mut archive = tar::Archive::new(MultiGzDecoder::new(tarball.as_slice()));
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            assert!(
                entries.insert(path.clone(), content).is_none(),
                "{path} is there twice"
            );
        }
        let list: Value = json_gz(
            &self
                .stored(&format!("backups/{name}/{name}-resource-list.json.gz"))
                .unwrap(),
        );
        let items = backup["status"]["progress"]["itemsBackedUp"].clone();
        let files = self.files("backups", name);
        Some(Contents {
            entries,
            list,
            items,
            files,
        })
    }

    /// All objects of a namespace that a restore must bring back as they were, by kind and name.
    pub(crate) fn objects(&self, namespace: &str) -> BTreeMap<String, Value> {
        let mut found = BTreeMap::new();
        let widgets = format!("/apis/{}/v1", self.group);
        for (prefix, resource) in [
            ("/api/v1", "configmaps"),
            ("/api/v1", "secrets"),
            (&widgets, "widgets"),
        ] {
            let list = self
                .read(&format!("{prefix}/namespaces/{namespace}/{resource}"))
                .unwrap();
            for item in list["items"].as_array().unwrap() {
                let mut item = item.clone();
                let name = format!("{resource}/{}", item["metadata"]["name"].as_str().unwrap());
                let mut metadata = item["metadata"].take();
                if let Some(labels) = metadata["labels"].as_object_mut() {
                    labels.retain(|label, _| !label.starts_with("velero.io/"));
                }
                item["metadata"] =
                    json!({ "labels": metadata["labels"], "annotations": metadata["annotations"] });
                if !name.ends_with("/kube-root-ca.crt") {
                    assert!(found.insert(name, item).is_none());
                }
            }
        }
        found
    }

    /// What a restore says that it did with each object, with the sources' names for its namespaces.
    /// What the cluster itself puts into every namespace may be there before the restore.
    pub(crate) fn done(&self, restore: &str) -> BTreeMap<String, String> {
        let key = format!("restores/{restore}/restore-{restore}-resource-list.json.gz");
        let list: Value = json_gz(&self.stored(&key).expect("a restore has a list"));
        let mut done = BTreeMap::new();
        for (kind, names) in list.as_object().unwrap() {
            for name in names.as_array().unwrap() {
                let (name, fate) = name
                    .as_str()
                    .unwrap()
                    .trim_end_matches(')')
                    .rsplit_once('(')
                    .unwrap();
                let own = ["kube-root-ca.crt", "default"]
                    .iter()
                    .any(|end| name.ends_with(&format!("/{end}")));
                // A namespace is the one thing that bears no mark of the restore that made it.
                let fate = if own || kind == "v1/Namespace" {
                    "there"
                } else {
                    fate
                };
                let name = format!("{kind} {}", name.replace(&format!("-{restore}"), ""));
                assert!(
                    done.insert(name.clone(), fate.to_owned()).is_none(),
                    "{name} is listed twice"
                );
            }
        }
        done
    }
}

/// A backup that was found to be whole.
#[derive(PartialEq)]
pub(crate) struct Contents {
    /// Its tarball.
    pub(crate) entries: BTreeMap<String, Vec<u8>>,
    list: Value,
    items: Value,
    files: BTreeSet<String>,
}

impl Contents {
    /// Fails the test unless this is what `other` is, with the first difference.
    #[track_caller]
    pub(crate) fn must_equal(&self, other: &Self) {
        let mine: BTreeSet<_> = self.entries.keys().collect();
        let differ: Vec<_> = mine
            .symmetric_difference(&other.entries.keys().collect())
            .take(5)
            .copied()
            .collect();
        assert!(differ.is_empty(), "only in one: {differ:?}");
        for (path, content) in &self.entries {
            assert!(other.entries[path] == *content, "{path} differs");
        }
        assert_eq!(self.files, other.files);
        assert_eq!(self.items, other.items);
        assert!(self.list == other.list, "the resource lists differ");
    }
}

fn json_gz(packed: &[u8]) -> Value {
    serde_json::from_reader(MultiGzDecoder::new(packed)).unwrap()
}
