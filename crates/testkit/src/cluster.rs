//! A real Kubernetes cluster on this machine: etcd, API server, controller-manager, scheduler, MinIO and, if
//! asked, one node that runs real pods.
//!
//! A cluster has a name, lives on when the process that started it ends, and is found again by name. Everything
//! it has lies in one folder, so that [`Cluster::down`] can remove all of it, even after a crash.

mod control_plane;
mod minio;
mod network;
mod node;
mod shared;
mod state;
mod teardown;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

pub(crate) use self::state::MARKER;
use self::state::State;
use crate::packages;
use crate::process::{ProcessId, run_command, start_detached};
use crate::s3::Minio;
use crate::testbed::{self, Part};

pub use self::minio::Certificate;
pub use self::shared::reap;

/// What kind of cluster to start.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Its name: `a-z 0-9 -`, unique on this machine.
    pub name: String,
    /// 0: no pods run. 1: containerd and a kubelet on this machine; needs root.
    pub nodes: u32,
    /// `major.minor`, one that has a folder `testbed/kubernetes-…`.
    pub kubernetes: String,
    /// Whether to start MinIO.
    pub minio: bool,
    /// Further arguments of the API server; they win over the usual ones.
    pub api_server_args: Vec<String>,
}

impl ClusterOptions {
    /// The default Kubernetes with MinIO.
    pub fn new(name: &str, nodes: u32) -> Self {
        Self {
            name: name.to_owned(),
            nodes,
            kubernetes: testbed::DEFAULT_KUBERNETES.to_owned(),
            minio: true,
            api_server_args: Vec::new(),
        }
    }
}

/// A running cluster. Dropping it does nothing: see [`Cluster::down`].
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    state: State,
}

/// Where etcd is and the files to reach it with (TLS with client certificates, as kubeadm sets it up).
#[derive(Debug, Clone)]
pub struct EtcdAccess {
    /// For example `https://127.0.0.1:20000`.
    pub endpoint: String,
    /// The authority's certificate.
    pub ca: PathBuf,
    /// A client's certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The folder of etcd's own files.
    pub data: PathBuf,
}

/// One line of `cargo xtask cluster status`.
#[derive(Debug, Clone)]
pub struct PartStatus {
    /// For example `kube-apiserver`.
    pub part: String,
    /// The process id it was started with.
    pub pid: u32,
    /// Whether that process still runs.
    pub alive: bool,
    /// The port it listens on, if it has one.
    pub port: Option<u16>,
}

impl Cluster {
    /// Starts a cluster and waits until it is ready: the API server answers, the namespace `default` is usable,
    /// MinIO takes requests, the node is Ready. What fails to start is taken down again.
    ///
    /// # Errors
    /// The name is taken, a program cannot be built or installed, or a part ends or is not ready in time; the
    /// error then has the last lines of its log.
    pub fn up(options: &ClusterOptions) -> Result<Self> {
        ensure!(
            options.nodes <= 1,
            "a test cluster has 0 or 1 nodes, not {}",
            options.nodes
        );
        packages::ensure_installed(options.nodes)?;
        control_plane::build(options)?;
        let (folder, state) = state::create(
            &options.name,
            options.nodes,
            &options.kubernetes,
            &control_plane::ports(options),
        )?;
        let mut cluster = Self { folder, state };
        if let Err(e) = cluster.start(options) {
            Self::down(&options.name).context("taking down a cluster that did not start")?;
            return Err(e);
        }
        Ok(cluster)
    }

    /// The running cluster of that name.
    ///
    /// # Errors
    /// There is none, it is not ready yet, or a part of it has ended.
    pub fn attach(name: &str) -> Result<Self> {
        let folder = state::folder(name)?;
        ensure!(
            folder.exists(),
            "there is no cluster `{name}`; start it with `cargo xtask cluster up --name {name}`"
        );
        let cluster = Self {
            state: state::load(&folder)?,
            folder,
        };
        ensure!(
            cluster.state.ready,
            "the cluster `{name}` is still starting, or its start was interrupted"
        );
        if let Some(dead) = cluster.core_status().find(|part| !part.alive) {
            bail!(
                "the cluster `{name}` has no running {}; take it down with `cargo xtask cluster down --name {name}`",
                dead.part
            );
        }
        Ok(cluster)
    }

    /// Takes a cluster down, however much of it is left: processes, pods, mounts, network, cgroups, folder. A
    /// cluster that is not there is no error.
    pub fn down(name: &str) -> Result<()> {
        teardown::down(&state::folder(name)?)
    }

    /// The names of all clusters on this machine.
    pub fn names() -> Result<Vec<String>> {
        state::names()
    }

    /// Every process that was started for the cluster `name`, also of one that is half dead.
    pub fn status(name: &str) -> Result<Vec<PartStatus>> {
        let folder = state::folder(name)?;
        ensure!(folder.exists(), "there is no cluster `{name}`");
        Ok(Self {
            state: state::load(&folder)?,
            folder,
        }
        .all_status()
        .collect())
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// How many nodes it has.
    pub fn nodes(&self) -> u32 {
        self.state.nodes
    }

    /// The folder of everything the cluster has. Tests may put files of their own under `tests/` in it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A kubeconfig with all rights (group `system:masters`).
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Writes a kubeconfig for another user and returns its path; RBAC decides what that user may do.
    pub fn kubeconfig_for(&self, user: &str, group: &str) -> Result<PathBuf> {
        let path = self.folder.join(format!("kubeconfig-{user}"));
        let pki = crate::pki::Pki::open(&self.pki_folder())?;
        pki.kubeconfig(&path, &self.api_server()?, &format!("user-{user}"), user, group)?;
        Ok(path)
    }

    /// The URL of the API server; from pods it is `https://kubernetes.default.svc` by its service address.
    pub fn api_server(&self) -> Result<String> {
        Ok(format!(
            "https://{}:{}",
            self.state.server_address(),
            self.state.port("kube-apiserver")?
        ))
    }

    /// The address of this machine that pods can reach; `None` without a node. Servers that a test wants pods
    /// to reach bind it.
    pub fn gateway(&self) -> Option<String> {
        (self.state.nodes > 0).then(|| self.state.gateway())
    }

    /// Runs `kubectl` with all rights and returns its output.
    pub fn kubectl<A: AsRef<std::ffi::OsStr>>(&self, args: &[A]) -> Result<String> {
        run_command(self.kubectl_command()?.args(args))
    }

    /// Creates or updates the objects in `manifests` (YAML or JSON) by server-side apply.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        use std::io::Write;
        let mut child = self
            .kubectl_command()?
            .args(["apply", "--server-side", "--force-conflicts", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting kubectl")?;
        child
            .stdin
            .take()
            .context("kubectl has no standard input")?
            .write_all(manifests.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "kubectl apply: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    /// `kubectl` with the cluster's kubeconfig, for callers that need its streams.
    pub fn kubectl_command(&self) -> Result<Command> {
        let mut command = Command::new(testbed::build(&Part::kubernetes(
            &self.state.kubernetes,
            "kubectl",
        ))?);
        command
            .env("KUBECONFIG", self.kubeconfig_path())
            // Its discovery cache is shared by host and port, which another cluster may have had before.
            .arg(format!(
                "--cache-dir={}",
                self.folder.join("kubectl-cache").display()
            ));
        Ok(command)
    }

    /// The cluster's MinIO.
    ///
    /// # Errors
    /// It was started without.
    pub fn minio(&self) -> Result<&Minio> {
        self.state
            .minio
            .as_ref()
            .with_context(|| format!("the cluster `{}` has no MinIO", self.state.name))
    }

    /// Creates a bucket in the cluster's MinIO.
    pub fn create_bucket(&self, name: &str) -> Result<()> {
        self.minio()?.create_bucket(name, false)
    }

    /// How to reach etcd.
    pub fn etcd(&self) -> Result<EtcdAccess> {
        let pki = self.pki_folder();
        Ok(EtcdAccess {
            endpoint: format!("https://127.0.0.1:{}", self.state.port("etcd")?),
            ca: pki.join("ca.crt"),
            certificate: pki.join("etcd.crt"),
            key: pki.join("etcd.key"),
            data: self.folder.join("etcd"),
        })
    }

    /// The unmodified `velero` program of that version (`1.18`, `1.17`), to be run with this kubeconfig.
    pub fn velero_cli(&self, version: &str) -> Result<PathBuf> {
        testbed::build(&Part::Velero(version.to_owned()))
    }

    /// Makes an image from plain files known to the node under `name` (with registry and tag). Pods that use it
    /// say `imagePullPolicy: Never` or `IfNotPresent`.
    pub fn import_image(&self, name: &str, image: &crate::image::Image) -> Result<()> {
        ensure!(
            self.state.nodes > 0,
            "the cluster `{}` has no node to import an image into",
            self.state.name
        );
        node::import_image(&self.folder, name, image)
    }

    /// The process of a part, for measuring or killing it.
    pub fn process(&self, part: &str) -> Result<ProcessId> {
        let state = state::load(&self.folder)?;
        state
            .processes
            .get(part)
            .cloned()
            .with_context(|| format!("the cluster has no process `{part}`"))
    }

    /// Starts a further program as a part of the cluster: it dies with it. `ports` are found by
    /// [`Cluster::reserve_ports`].
    pub fn start_program<A: AsRef<std::ffi::OsStr>>(
        &self,
        part: &str,
        program: &Path,
        args: &[A],
        env: &[(&str, &std::ffi::OsStr)],
    ) -> Result<ProcessId> {
        let marker = (MARKER, self.folder.as_os_str());
        let env = env.iter().copied().chain([marker]);
        let process = start_detached(program, args, env, &self.log_path(part))?;
        state::update(&self.folder, |state| {
            // Programs of tests that have ended are forgotten; an ended part of the cluster itself is news.
            state
                .processes
                .retain(|part, process| control_plane::is_core(part) || process.is_alive());
            state.processes.insert(part.to_owned(), process.clone());
        })?;
        Ok(process)
    }

    /// Free ports for further programs of this cluster, one for each name.
    pub fn reserve_ports(&self, names: &[&str]) -> Result<std::collections::BTreeMap<String, u16>> {
        state::reserve_ports(&self.folder, names)
    }

    /// Where a part's output goes.
    pub fn log_path(&self, part: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{part}.log"))
    }

    /// The last lines of a part's log, for an error.
    pub fn log_tail(&self, part: &str) -> String {
        let text = fs::read(self.log_path(part)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    fn pki_folder(&self) -> PathBuf {
        self.folder.join("pki")
    }

    fn all_status(&self) -> impl Iterator<Item = PartStatus> {
        self.state.processes.iter().map(|(part, process)| PartStatus {
            part: part.clone(),
            pid: process.pid,
            alive: process.is_alive(),
            port: self.state.ports.get(part).copied(),
        })
    }

    /// The parts without which it is no cluster; programs added by tests come and go.
    fn core_status(&self) -> impl Iterator<Item = PartStatus> {
        self.all_status()
            .filter(|part| control_plane::is_core(&part.part))
    }

    fn start(&mut self, options: &ClusterOptions) -> Result<()> {
        fs::create_dir(self.folder.join("logs"))?;
        control_plane::write_credentials(self)?;
        if self.state.nodes > 0 {
            network::create_bridge(&self.state)?;
        }
        control_plane::start(self, options)?;
        if self.state.nodes > 0 {
            node::wait_ready(self)?;
        }
        self.state = state::update(&self.folder, |state| state.ready = true)?;
        Ok(())
    }

    /// Polls `ready` until it is true, as long as the process of `part` lives.
    fn wait_for(&self, part: &str, limit: Duration, mut ready: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + limit;
        let process = self.process(part)?;
        while !ready() {
            ensure!(
                process.is_alive(),
                "{part} ended while starting; its last words:\n{}",
                self.log_tail(part)
            );
            ensure!(
                Instant::now() < deadline,
                "{part} was not ready within {} s; its last words:\n{}",
                limit.as_secs(),
                self.log_tail(part)
            );
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}
