//! What each test has to itself: a namespace, a bucket, a storage location, and servers.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use refloat_cluster::{Cluster, ConnectOptions};
use refloat_controllers::{ControllerError, DownloadUrlPolicy, ServerOptions};
use refloat_testkit::cluster::Cluster as TestCluster;
use serde_json::{Value, json};
use tokio::{runtime::Runtime, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Where a process finds the scene that it is to serve.
const SERVE: &str = "REFLOAT_TEST_SERVE";

/// How long anything may take that happens by itself.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A namespace with a storage location `default` in a bucket of its own.
pub(crate) struct Scene {
    pub(crate) cluster: &'static TestCluster,
    pub(crate) namespace: String,
    pub(crate) bucket: String,
    runtime: Runtime,
    servers: Mutex<Vec<Serving>>,
}

struct Serving {
    stop: CancellationToken,
    end: JoinHandle<Result<(), ControllerError>>,
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}

fn log_to_stderr() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env();
        let filter = filter.unwrap_or_else(|_| "warn,refloat=info".into());
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
        drop(builder.with_writer(std::io::stderr).try_init());
    });
}

/// Applies Velero's custom resource definitions, once for all tests.
fn install_crds(cluster: &TestCluster) -> Result<()> {
    static DONE: Mutex<bool> = Mutex::new(false);
    let mut done = DONE
        .lock()
        .map_err(|_| anyhow::anyhow!("another test panicked"))?;
    if !*done {
        let items = refloat_model::crds::all()?;
        let names: Vec<_> = items.iter().filter_map(|crd| crd.metadata.name.clone()).collect();
        cluster.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string())?;
        for name in names {
            let condition = [
                "wait",
                "--for=condition=Established",
                "--timeout=30s",
                "crd",
                &name,
            ];
            cluster.kubectl(&condition)?;
        }
        *done = true;
    }
    Ok(())
}

impl Scene {
    /// A scene of its own for the test `name`.
    pub(crate) fn new(name: &str) -> Result<Self> {
        log_to_stderr();
        let cluster = TestCluster::shared(0)?;
        install_crds(cluster)?;
        let own = format!("t-{name}-{}", std::process::id());
        cluster.create_bucket(&own)?;
        let scene = Self {
            cluster,
            namespace: own.clone(),
            bucket: own,
            runtime: runtime()?,
            servers: Mutex::default(),
        };
        let namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": scene.namespace } });
        cluster.apply(&namespace.to_string())?;
        let minio = cluster.minio()?;
        let credentials = format!(
            "[default]\naws_access_key_id={}\naws_secret_access_key={}\n",
            minio.access_key, minio.secret_key
        );
        scene.apply(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": "cloud" }, "stringData": { "cloud": credentials },
        }))?;
        scene.apply(scene.location("default", &scene.bucket.clone()))?;
        Ok(scene)
    }

    /// A storage location in a bucket of the cluster's MinIO.
    pub(crate) fn location(&self, name: &str, bucket: &str) -> Value {
        let minio = self.cluster.minio().expect("the cluster has a MinIO");
        json!({
            "apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
            "metadata": { "name": name },
            "spec": {
                "provider": "aws",
                "objectStorage": { "bucket": bucket },
                "credential": { "name": "cloud", "key": "cloud" },
                "config": { "region": minio.region, "s3Url": minio.endpoint, "s3ForcePathStyle": "true" },
            },
        })
    }

    /// Applies an object in the scene's namespace.
    pub(crate) fn apply(&self, mut object: Value) -> Result<()> {
        object["metadata"]["namespace"] = self.namespace.clone().into();
        self.cluster.apply(&object.to_string())
    }

    /// `kubectl -n <namespace> …`.
    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<String> {
        let all: Vec<&str> = ["-n", &self.namespace].iter().chain(args).copied().collect();
        self.cluster.kubectl(&all)
    }

    /// An object of the scene's namespace; `None` where there is none.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        let text = self.kubectl(&["get", kind, name, "-o", "json", "--ignore-not-found"])?;
        if text.trim().is_empty() {
            Ok(None)
        } else {
            Ok(Some(serde_json::from_str(&text)?))
        }
    }

    /// The unmodified `velero` 1.18 with the scene's namespace; its output, or an error with it.
    pub(crate) fn velero(&self, args: &[&str]) -> Result<String> {
        let mut command = Command::new(self.cluster.velero_cli("1.18")?);
        command
            .arg("--kubeconfig")
            .arg(self.cluster.kubeconfig_path())
            .args(["--colorized=false", "-n", &self.namespace])
            .args(args)
            // Its own settings and caches must not come from the machine.
            .env("HOME", self.cluster.folder());
        let output = command.output().context("running velero")?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        ensure!(output.status.success(), "velero {}: {text}", args.join(" "));
        Ok(text)
    }

    /// A connection of our own.
    pub(crate) fn connect(&self) -> Result<Cluster> {
        self.runtime.block_on(connect(self.cluster.kubeconfig_path()))
    }

    /// Runs something asynchronous.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Options with free ports and short periods.
    pub(crate) fn options(&self) -> ServerOptions {
        options(&self.namespace)
    }

    /// Starts a server in this process; it ends with the scene.
    pub(crate) fn serve(&self, options: ServerOptions) -> Result<()> {
        let stop = CancellationToken::new();
        let server = refloat_controllers::run(options, self.connect()?, stop.clone());
        let end = self.runtime.spawn(server);
        self.servers
            .lock()
            .expect("no test panics with the lock")
            .push(Serving { stop, end });
        Ok(())
    }

    /// Stops the servers of this process and waits for their end.
    pub(crate) fn stop_servers(&self) -> Result<()> {
        let servers = std::mem::take(&mut *self.servers.lock().expect("no test panics with the lock"));
        for Serving { stop, end } in servers {
            stop.cancel();
            self.runtime.block_on(end)??;
        }
        Ok(())
    }

    /// Starts a server as a process of its own; it is killed when dropped.
    pub(crate) fn process(&self, identity: &str) -> Result<ServerProcess> {
        let told = json!({
            "kubeconfig": self.cluster.kubeconfig_path(),
            "namespace": self.namespace,
            "identity": identity,
        });
        let child = Command::new(std::env::current_exe()?)
            .args(["--exact", "serves_as_a_process_when_told", "--nocapture"])
            .env(SERVE, told.to_string())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(ServerProcess(child))
    }

    /// Waits until `check` hands out something.
    pub(crate) fn wait<T>(
        &self,
        what: &str,
        limit: Duration,
        mut check: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let end = Instant::now() + limit;
        loop {
            if let Some(found) = check()? {
                return Ok(found);
            }
            if Instant::now() >= end {
                bail!("{what}: not within {} s", limit.as_secs());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until an object's field (a JSON pointer) has a value.
    pub(crate) fn wait_field(&self, kind: &str, name: &str, field: &str, value: &str) -> Result<Value> {
        let mut last = Value::Null;
        let what = format!("{kind} {name} {field} = {value}");
        let found = self.wait(&what, SOON, || {
            last = self.get(kind, name)?.unwrap_or_default();
            Ok((last.pointer(field).and_then(Value::as_str) == Some(value)).then(|| last.clone()))
        });
        found.with_context(|| format!("last seen: {last}"))
    }

    /// Writes an object into the scene's bucket.
    pub(crate) fn put(&self, key: &str, body: &[u8]) -> Result<()> {
        let path = format!("/{}/{key}", self.bucket);
        let answer = self.cluster.minio()?.request("PUT", &path, "", &[], body)?;
        ensure!(answer.status == 200, "{key}: {}", answer.status);
        Ok(())
    }

    /// Whether the scene's bucket has an object.
    pub(crate) fn has(&self, key: &str) -> Result<bool> {
        let path = format!("/{}/{key}", self.bucket);
        let answer = self.cluster.minio()?.request("GET", &path, "", &[], b"")?;
        ensure!(matches!(answer.status, 200 | 404), "{key}: {}", answer.status);
        Ok(answer.status == 200)
    }

    /// Who holds the leader lease.
    pub(crate) fn leader(&self) -> Result<String> {
        let lease = self.get("lease", "refloat-server")?.unwrap_or_default();
        Ok(lease["spec"]["holderIdentity"]
            .as_str()
            .unwrap_or_default()
            .to_owned())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        drop(self.stop_servers());
        // A server may be gone that a finalizer waits for.
        let restores = self
            .kubectl(&["get", "restores.velero.io", "-o", "name"])
            .unwrap_or_default();
        for restore in restores.lines() {
            let none = r#"{"metadata":{"finalizers":null}}"#;
            drop(self.kubectl(&["patch", restore, "--type=merge", "-p", none]));
        }
        drop(
            self.cluster
                .kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]),
        );
    }
}

/// A server that can be killed.
pub(crate) struct ServerProcess(Child);

impl ServerProcess {
    /// Ends it at once, as a lost node would.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// Sends a signal by name, for example `STOP`.
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill")
            .args(["-s", name, &self.0.id().to_string()])
            .status()?;
        ensure!(status.success(), "cannot send {name}");
        Ok(())
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.0.try_wait()?.is_some())
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn connect(kubeconfig: PathBuf) -> Result<Cluster> {
    let options = ConnectOptions {
        kubeconfig: Some(kubeconfig),
        ..ConnectOptions::default()
    };
    Ok(Cluster::connect(&options).await?)
}

fn options(namespace: &str) -> ServerOptions {
    ServerOptions {
        namespace: namespace.to_owned(),
        metrics_address: SocketAddr::from(([127, 0, 0, 1], 0)),
        download_address: SocketAddr::from(([127, 0, 0, 1], 0)),
        download_url: DownloadUrlPolicy::Auto,
        backup_sync_period: Duration::from_secs(2),
        store_validation_frequency: Duration::from_secs(2),
        lease_duration: Duration::from_secs(4),
        lease_renew_deadline: Duration::from_secs(3),
        lease_retry_period: Duration::from_millis(500),
        ..ServerOptions::default()
    }
}

/// Serves the scene that the environment tells of, until it is killed.
pub(crate) fn serve_if_told() -> Result<()> {
    let Ok(told) = std::env::var(SERVE) else {
        tracing::info!("no scene to serve");
        return Ok(());
    };
    log_to_stderr();
    let told: Value = serde_json::from_str(&told)?;
    let text = |key: &str| {
        told[key]
            .as_str()
            .map(str::to_owned)
            .context("an incomplete scene")
    };
    let options = ServerOptions {
        lease_identity: text("identity")?,
        ..options(&text("namespace")?)
    };
    let kubeconfig = text("kubeconfig")?;
    runtime()?.block_on(async {
        let cluster = connect(kubeconfig.into()).await?;
        Ok(refloat_controllers::run(options, cluster, CancellationToken::new()).await?)
    })
}

/// GETs a URL of a server on this machine without TLS: status and body.
pub(crate) fn http_get(url: &str) -> Result<(u16, Vec<u8>)> {
    let rest = url.strip_prefix("http://").context("not a plain URL")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(SOON))?;
    write!(
        stream,
        "GET /{path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let split = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .context("not an HTTP answer")?;
    let head = String::from_utf8_lossy(&answer[..split]).into_owned();
    let status = head.split(' ').nth(1).context("not an HTTP answer")?.parse()?;
    Ok((status, answer[split + 4..].to_vec()))
}
