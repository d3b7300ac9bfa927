//! The real Velero, beside a test cluster: its server runs as a process of this machine, where it can be
//! measured and killed, and its command line is the unmodified program.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::pki::write_private;
use crate::process::{ProcessId, run_command};
use crate::s3::Minio;
use crate::testbed::{self, Part};

/// How to run the server.
#[derive(Debug, Clone)]
pub struct VeleroOptions {
    /// `1.18` or `1.17`.
    pub version: String,
    /// Its namespace.
    pub namespace: String,
    /// The bucket of the location `default`. It must exist.
    pub bucket: String,
    /// The prefix inside the bucket; may be empty.
    pub prefix: String,
    /// Further arguments of `velero server`.
    pub args: Vec<String>,
}

impl VeleroOptions {
    /// The default version in the namespace `velero`, without further arguments.
    pub fn new(bucket: &str) -> Self {
        Self {
            version: testbed::DEFAULT_VELERO.to_owned(),
            namespace: "velero".to_owned(),
            bucket: bucket.to_owned(),
            prefix: String::new(),
            args: Vec::new(),
        }
    }
}

/// A running `velero server`. Dropping it ends the process; its objects stay in the cluster.
#[derive(Debug)]
pub struct VeleroServer<'a> {
    cluster: &'a Cluster,
    part: String,
    process: ProcessId,
}

impl<'a> VeleroServer<'a> {
    /// Installs what the server needs (see [`install`]), starts it and waits until it calls its location
    /// available.
    ///
    /// # Errors
    /// It ends or does not get there in a minute; the error has the last lines of its log.
    pub fn start(cluster: &'a Cluster, options: &VeleroOptions) -> Result<Self> {
        install(cluster, options)?;
        let part = format!("velero-{}", options.namespace);
        let ports = cluster.reserve_ports(&[&part, &format!("{part}-profile")])?;
        let [metrics, profile] = [part.clone(), format!("{part}-profile")].map(|name| ports[&name]);
        let folder = server_folder(cluster, options);
        let mut args = vec![
            "server".to_owned(),
            format!("--kubeconfig={}", cluster.kubeconfig_path().display()),
            format!("--namespace={}", options.namespace),
            format!("--plugin-dir={}", folder.join("plugins").display()),
            format!("--metrics-address=127.0.0.1:{metrics}"),
            format!("--profiler-address=127.0.0.1:{profile}"),
        ];
        args.extend(options.args.iter().cloned());
        let credentials = folder.join("aws-credentials");
        let env: [(&str, &OsStr); 4] = [
            ("AWS_SHARED_CREDENTIALS_FILE", credentials.as_os_str()),
            ("VELERO_NAMESPACE", options.namespace.as_ref()),
            ("HOME", folder.as_os_str()),
            ("TMPDIR", folder.as_os_str()),
        ];
        let program = testbed::build(&Part::Velero(options.version.clone()))?;
        let process = cluster.start_program(&part, &program, &args, &env)?;
        let server = Self {
            cluster,
            part,
            process,
        };
        server.wait_ready(options, metrics)?;
        Ok(server)
    }

    /// Its process, to measure or to kill.
    pub fn process(&self) -> &ProcessId {
        &self.process
    }

    /// Its log.
    pub fn log_path(&self) -> PathBuf {
        self.cluster.log_path(&self.part)
    }

    /// Ends the server and waits until it is gone.
    pub fn stop(self) -> Result<()> {
        self.process.stop(Duration::from_secs(10))
    }

    fn wait_ready(&self, options: &VeleroOptions, metrics: u16) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        let query = [
            "-n",
            &options.namespace,
            "get",
            "backupstoragelocation",
            "default",
        ];
        let query = [&query[..], &["-o", "jsonpath={.status.phase}"]].concat();
        loop {
            let listens = TcpStream::connect(("127.0.0.1", metrics)).is_ok();
            if listens
                && self
                    .cluster
                    .kubectl(&query)
                    .is_ok_and(|phase| phase == "Available")
            {
                return Ok(());
            }
            ensure!(
                self.process.is_alive() && Instant::now() < deadline,
                "Velero's server did not get ready; its last words:\n{}",
                self.cluster.log_tail(&self.part)
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for VeleroServer<'_> {
    fn drop(&mut self) {
        // What cannot be ended here ends with the cluster.
        let _ = self.process.stop(Duration::from_secs(5));
    }
}

/// Installs what `velero install` would, except that no server runs: the custom resource definitions, the
/// namespace, the secret `cloud-credentials`, the location `default` and a Deployment with no replicas, which
/// Velero's restores look for.
pub fn install(cluster: &Cluster, options: &VeleroOptions) -> Result<()> {
    install_crds(cluster, &options.version)?;
    let minio = cluster.minio()?;
    let credentials = credentials_file(minio);
    let folder = server_folder(cluster, options);
    let plugins = folder.join("plugins");
    fs::create_dir_all(&plugins)?;
    write_private(&folder.join("aws-credentials"), credentials.as_bytes())?;
    let plugin = testbed::build(&Part::VeleroPluginAws)?;
    let link = plugins.join("velero-plugin-for-aws");
    if !link.exists() {
        symlink(&plugin, &link).with_context(|| format!("linking {}", link.display()))?;
    }
    let mut items = vec![
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": options.namespace}}),
        json!({"apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "cloud-credentials", "namespace": options.namespace},
            "data": {"cloud": BASE64_STANDARD.encode(&credentials)}}),
        location(
            &options.namespace,
            "default",
            minio,
            &options.bucket,
            &options.prefix,
        ),
        deployment(&options.namespace),
    ];
    items[2]["spec"]["default"] = true.into();
    cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())
}

/// Installs the custom resource definitions of that Velero.
pub fn install_crds(cluster: &Cluster, version: &str) -> Result<()> {
    let program = testbed::build(&Part::Velero(version.to_owned()))?;
    let mut command = std::process::Command::new(program);
    command.args(["install", "--crds-only", "--dry-run", "-o", "yaml"]);
    command
        .env("KUBECONFIG", cluster.kubeconfig_path())
        .env("HOME", cluster.folder());
    let definitions = run_command(&mut command)?;
    cluster.apply(&definitions)?;
    cluster.kubectl(&[
        "wait",
        "--for=condition=Established",
        "--timeout=30s",
        "crd",
        "-l",
        "component=velero",
    ])?;
    Ok(())
}

/// A BackupStorageLocation in the cluster's MinIO.
pub fn location(namespace: &str, name: &str, minio: &Minio, bucket: &str, prefix: &str) -> Value {
    json!({
        "apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "provider": "aws",
            "objectStorage": {"bucket": bucket, "prefix": prefix},
            "config": {"region": minio.region, "s3ForcePathStyle": "true", "s3Url": minio.endpoint},
        },
    })
}

/// The contents of a credentials file in the form that Velero's S3 plugin reads.
pub fn credentials_file(minio: &Minio) -> String {
    format!(
        "[default]\naws_access_key_id={}\naws_secret_access_key={}\n",
        minio.access_key, minio.secret_key
    )
}

fn deployment(namespace: &str) -> Value {
    let labels = json!({"component": "velero", "deploy": "velero"});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "velero", "namespace": namespace, "labels": {"component": "velero"}},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"deploy": "velero"}},
            "template": {"metadata": {"labels": labels}, "spec": {
                "containers": [{"name": "velero", "image": "velero", "command": ["/velero"], "args": ["server"]}],
            }},
        },
    })
}

fn server_folder(cluster: &Cluster, options: &VeleroOptions) -> PathBuf {
    cluster.folder().join(format!("velero-{}", options.namespace))
}
