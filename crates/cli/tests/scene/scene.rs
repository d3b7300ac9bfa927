//! What each test has to itself: namespaces, a bucket, a folder, and where it wants one a server.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use refloat_testkit::{cluster::Cluster, velero};
use serde_json::{Value, json};

/// How long anything may take that happens by itself.
const SOON: Duration = Duration::from_secs(60);

/// A place for one test.
pub(crate) struct Scene {
    /// The cluster that all tests share.
    pub(crate) cluster: &'static Cluster,
    /// The namespace of the server and of the custom resources.
    pub(crate) namespace: String,
    /// A folder that goes with the scene.
    pub(crate) folder: tempfile::TempDir,
    workloads: Mutex<Vec<String>>,
    server: Option<Child>,
}

/// What a program said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    /// Its exit code.
    pub(crate) code: i32,
    /// Its standard output.
    pub(crate) out: String,
    /// Its standard error.
    pub(crate) err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Said {
    /// Fails the test unless the program ended with `code`, and hands out its standard output.
    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> String {
        assert_eq!(self.code, code, "out: {}\nerr: {}", self.out, self.err);
        self.out
    }
}

/// The program under test.
pub(crate) fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_refloat"))
}

impl Scene {
    /// A scene for the test `name`, without a server.
    pub(crate) fn new(name: &str) -> Self {
        Self::on(0, &format!("cli-{name}-{}", std::process::id()))
    }

    /// A scene in that namespace of a cluster with so many nodes, without a server.
    pub(crate) fn on(nodes: u32, namespace: &str) -> Self {
        let cluster = Cluster::shared(nodes).unwrap();
        let namespace = namespace.to_owned();
        let folder = tempfile::tempdir().unwrap();
        Self {
            cluster,
            namespace,
            folder,
            workloads: Mutex::default(),
            server: None,
        }
    }

    /// A scene with our server, working on a bucket of its own.
    pub(crate) fn with_server(name: &str) -> Self {
        Self::new(name).and_server()
    }

    /// The scene with our server, working on a bucket of its own.
    pub(crate) fn and_server(self) -> Self {
        let mut scene = self;
        scene.install_definitions();
        let bucket = scene.namespace.clone();
        scene.cluster.create_bucket(&bucket).unwrap();
        let minio = scene.cluster.minio().unwrap();
        let mut location = velero::location(&scene.namespace, "default", minio, &bucket, "");
        location["spec"]["credential"] = json!({ "name": "cloud", "key": "cloud" });
        location["spec"]["default"] = true.into();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "cloud", "namespace": scene.namespace },
            "stringData": { "cloud": velero::credentials_file(minio) },
        });
        let home =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": scene.namespace } });
        scene.apply(&[home, secret, location]);
        scene.start_server();
        let phase = [
            "-n",
            &scene.namespace,
            "get",
            "bsl",
            "default",
            "-o",
            "jsonpath={.status.phase}",
        ];
        scene.until("the location is available", || {
            scene
                .cluster
                .kubectl(&phase)
                .is_ok_and(|phase| phase == "Available")
        });
        scene
    }

    /// Ends the server, so that nothing acts on what is put there.
    pub(crate) fn stop_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    fn start_server(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("server.log"))
            .unwrap();
        let server = self
            .command(program())
            .args([
                "server",
                "--metrics-address=127.0.0.1:0",
                "--download-address=127.0.0.1:0",
                // Which location is the default is said by the locations themselves.
                "--default-backup-storage-location=",
                "-n",
                &self.namespace,
            ])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.server = Some(server);
    }

    /// Kills the server as a lost node would, and starts another.
    pub(crate) fn replace_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
        self.start_server();
    }

    /// Puts the custom resource definitions into the cluster, with the program under test.
    pub(crate) fn install_definitions(&self) {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap();
        self.refloat(&["install", "--crds-only"]).ended(0);
    }

    /// Applies objects.
    pub(crate) fn apply(&self, objects: &[Value]) {
        self.cluster
            .apply(&json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string())
            .unwrap();
    }

    /// A namespace with a few objects to back up. It goes with the scene.
    pub(crate) fn workload(&self, name: &str) -> String {
        let namespace = format!("{}-{name}", self.namespace);
        self.goes_too(&namespace);
        let metadata =
            |name: &str| json!({ "name": name, "namespace": namespace, "labels": { "app": "shop" } });
        self.apply(&[
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }),
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("settings"), "data": { "colour": "blue" } }),
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata("key"), "stringData": { "word": "hush" } }),
            json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata("web"),
                    "spec": { "ports": [{ "port": 80 }], "selector": { "app": "shop" } } }),
        ]);
        namespace
    }

    /// Has a namespace deleted at the end.
    pub(crate) fn goes_too(&self, namespace: &str) {
        self.workloads.lock().unwrap().push(namespace.to_owned());
    }

    /// The value that a JSON path finds in an object of the cluster; empty where there is none.
    pub(crate) fn value(&self, namespace: &str, object: &str, path: &str) -> String {
        let path = format!("jsonpath={{{path}}}");
        self.cluster
            .kubectl(&["-n", namespace, "get", object, "-o", &path, "--ignore-not-found"])
            .unwrap()
    }

    /// Where the scene's folder is, as a storage URL.
    pub(crate) fn storage(&self) -> String {
        let folder = self.folder.path().join("backups");
        std::fs::create_dir_all(&folder).unwrap();
        format!("file://{}", folder.display())
    }

    /// A file in the scene's folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the program under test in the scene's namespace.
    pub(crate) fn refloat(&self, arguments: &[&str]) -> Said {
        self.command(program())
            .args(["-n", &self.namespace])
            .args(arguments)
            .output()
            .unwrap()
            .into()
    }

    /// Runs the unmodified `velero` of that version in the scene's namespace. It would use colours even
    /// where there is no terminal.
    pub(crate) fn velero(&self, version: &str, arguments: &[&str]) -> Said {
        let program = self.cluster.velero_cli(version).unwrap();
        self.command(&program)
            .args(["--colorized=false", "-n", &self.namespace])
            .args(arguments)
            .output()
            .unwrap()
            .into()
    }

    /// A program that knows the cluster and nobody's configuration.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("KUBECONFIG", self.cluster.kubeconfig_path())
            .env("HOME", self.folder.path())
            .env("TZ", "UTC")
            .env_remove("VELERO_NAMESPACE")
            .current_dir(self.folder.path())
            .stdin(Stdio::null());
        command
    }

    /// Waits until something is so.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        let deadline = Instant::now() + SOON;
        while !so() {
            let log = std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
            assert!(
                Instant::now() < deadline,
                "waited in vain until {what}; the server said:\n{log}"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop_server();
        // With the server gone nobody takes the finalizers off restores.
        let restores =
            self.cluster
                .kubectl(&["-n", &self.namespace, "get", "restores.velero.io", "-o", "name"]);
        for restore in restores.unwrap_or_default().lines() {
            let patch = [
                "-n",
                &self.namespace,
                "patch",
                restore,
                "--type=merge",
                "-p",
                r#"{"metadata":{"finalizers":null}}"#,
            ];
            let _ = self.cluster.kubectl(&patch);
        }
        let workloads = self
            .workloads
            .lock()
            .map(|names| names.clone())
            .unwrap_or_default();
        for namespace in workloads.iter().chain([&self.namespace]) {
            let _ = self.cluster.kubectl(&[
                "delete",
                "namespace",
                namespace,
                "--wait=false",
                "--ignore-not-found",
            ]);
        }
    }
}
