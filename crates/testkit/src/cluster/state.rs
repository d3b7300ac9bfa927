//! What is written down about a cluster, so that any process can find it, use it and take it down.
//!
//! A cluster is a folder: `<clusters>/<name>` with `state.json` in it. Creating the folder takes the name;
//! removing it is the last step of taking the cluster down.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::network;
use crate::pki::write_private;
use crate::process::ProcessId;
use crate::s3::Minio;
use crate::testbed::user_cache;

/// The environment entry by which every process of a cluster is known: its value is the cluster's folder.
pub(crate) const MARKER: &str = "REFLOAT_CLUSTER_DIR";

/// The contents of `state.json`. It holds MinIO's secret, so the file is for its owner only.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) name: String,
    pub(crate) nodes: u32,
    pub(crate) kubernetes: String,
    /// The second byte of the cluster's network, `10.SUBNET.0.0/16`.
    pub(crate) subnet: u8,
    /// Port of each part, by the part's name.
    pub(crate) ports: BTreeMap<String, u16>,
    /// Every process started, in no order, by the part's name.
    pub(crate) processes: BTreeMap<String, ProcessId>,
    pub(crate) minio: Option<Minio>,
    /// Whether everything was ready once.
    pub(crate) ready: bool,
}

impl State {
    /// The address that pods know this machine by, and the only one besides loopback that a server binds.
    pub(crate) fn gateway(&self) -> String {
        format!("10.{}.0.1", self.subnet)
    }

    /// Where the servers that pods must reach listen: the bridge if there is a node, else loopback.
    pub(crate) fn server_address(&self) -> String {
        if self.nodes == 0 {
            "127.0.0.1".to_owned()
        } else {
            self.gateway()
        }
    }

    /// The addresses that pods get.
    pub(crate) fn pod_range(&self) -> String {
        format!("10.{}.0.0/17", self.subnet)
    }

    /// The addresses that services get.
    pub(crate) fn service_range(&self) -> String {
        format!("10.{}.128.0/17", self.subnet)
    }

    /// The address of the service `kubernetes`, the first of the range.
    pub(crate) fn kubernetes_service(&self) -> String {
        format!("10.{}.128.1", self.subnet)
    }

    /// The port of `part`.
    pub(crate) fn port(&self, part: &str) -> Result<u16> {
        self.ports
            .get(part)
            .copied()
            .with_context(|| format!("the cluster has no port for {part}"))
    }
}

/// The folder that holds all clusters: `$REFLOAT_CLUSTERS`, or `refloat/clusters` in the user's cache folder.
pub(crate) fn clusters_root() -> PathBuf {
    std::env::var_os("REFLOAT_CLUSTERS").map_or_else(|| user_cache().join("clusters"), PathBuf::from)
}

/// The folder of the cluster `name`, which need not exist.
///
/// # Errors
/// The name has other characters than `a-z 0-9 -` or is longer than 40: it becomes part of socket paths.
pub(crate) fn folder(name: &str) -> Result<PathBuf> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        !name.is_empty() && name.len() <= 40 && name.chars().all(fits),
        "`{name}` cannot be a cluster's name: use a-z, 0-9 and -, at most 40 characters"
    );
    Ok(clusters_root().join(name))
}

/// The names of all clusters, running or not.
pub(crate) fn names() -> Result<Vec<String>> {
    let root = clusters_root();
    let entries = match fs::read_dir(&root) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e).with_context(|| format!("listing {}", root.display())),
    };
    let mut names: Vec<_> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            entry
                .file_type()
                .ok()?
                .is_dir()
                .then(|| entry.file_name().to_string_lossy().into_owned())
        })
        .collect();
    names.sort();
    Ok(names)
}

/// Takes the name, a network and `ports`, all unused by any other cluster, and creates the folder.
///
/// # Errors
/// The name is taken.
pub(crate) fn create(name: &str, nodes: u32, kubernetes: &str, parts: &[&str]) -> Result<(PathBuf, State)> {
    let folder = folder(name)?;
    let _lock = lock()?;
    let others: Vec<State> = names()?
        .iter()
        .filter_map(|other| load(&clusters_root().join(other)).ok())
        .collect();
    if let Err(e) = fs::create_dir(&folder) {
        if e.kind() == ErrorKind::AlreadyExists {
            bail!(
                "there is a cluster `{name}` already; take it down with `cargo xtask cluster down --name {name}`"
            );
        }
        return Err(e).with_context(|| format!("creating {}", folder.display()));
    }
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
    let state = State {
        name: name.to_owned(),
        nodes,
        kubernetes: kubernetes.to_owned(),
        subnet: network::free_subnet(&others)?,
        ports: network::free_ports(parts, &others)?,
        processes: BTreeMap::new(),
        minio: None,
        ready: false,
    };
    save(&folder, &state)?;
    Ok((folder, state))
}

/// Reads the state of the cluster in `folder`.
pub(crate) fn load(folder: &Path) -> Result<State> {
    let path = folder.join("state.json");
    let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("understanding {}", path.display()))
}

/// Changes the state on disk, one process at a time, and returns the new one.
pub(crate) fn update(folder: &Path, change: impl FnOnce(&mut State)) -> Result<State> {
    let _lock = lock()?;
    let mut state = load(folder)?;
    change(&mut state);
    save(folder, &state)?;
    Ok(state)
}

/// Ports for `parts` (further servers of a running cluster), written down in its state.
pub(crate) fn reserve_ports(folder: &Path, parts: &[&str]) -> Result<BTreeMap<String, u16>> {
    let _lock = lock()?;
    let all: Vec<State> = names()?
        .iter()
        .filter_map(|name| load(&clusters_root().join(name)).ok())
        .collect();
    let ports = network::free_ports(parts, &all)?;
    let mut state = load(folder)?;
    state.ports.extend(ports.clone());
    save(folder, &state)?;
    Ok(ports)
}

fn save(folder: &Path, state: &State) -> Result<()> {
    let partial = folder.join("state.json.new");
    write_private(&partial, serde_json::to_string_pretty(state)?.as_bytes())?;
    fs::rename(&partial, folder.join("state.json")).context("writing the cluster's state")
}

fn lock() -> Result<File> {
    let root = clusters_root();
    fs::create_dir_all(&root).with_context(|| format!("creating {}", root.display()))?;
    let file =
        File::create(root.join("lock")).with_context(|| format!("opening a lock in {}", root.display()))?;
    file.lock()
        .context("waiting for the lock on the list of clusters")?;
    Ok(file)
}
