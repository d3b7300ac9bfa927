//! Taking a cluster down without a trace, whatever state it is in.
//!
//! Nothing here trusts what was written down to be complete: a process is found by its id in `state.json`, by
//! the marker in its environment, or by the cgroup it is in; mounts by the folder they are in.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;

use super::{MARKER, network, state};
use crate::process::{self, ProcessId};

const CGROUPS: &str = "/sys/fs/cgroup";

/// Removes the cluster in `folder` and the folder itself.
pub(super) fn down(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    let name = folder
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let cgroup = cgroup_name(&name);
    let recorded: Vec<_> = state::load(folder)
        .into_iter()
        .flat_map(|state| state.processes.into_values())
        .collect();
    kill_all(&recorded, folder, &cgroup)?;
    remove_shim_sockets(folder);
    unmount_all(folder)?;
    network::remove_bridge(&name)?;
    remove_network_results(folder);
    remove_links_into(Path::new("/var/log/containers"), folder);
    remove_cgroups(&cgroup)?;
    ensure!(
        mounts_below(folder)?.is_empty(),
        "something was mounted anew below {}",
        folder.display()
    );
    fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))
}

/// The cgroup below which all pods of the cluster `name` are, in every hierarchy.
pub(super) fn cgroup_name(name: &str) -> String {
    format!("refloat-{name}")
}

/// Kills until nothing is left: a parent may have started another child before its turn came.
fn kill_all(recorded: &[ProcessId], folder: &Path, cgroup: &str) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let mut alive: Vec<_> = recorded
            .iter()
            .filter(|process| process.is_alive())
            .cloned()
            .collect();
        alive.extend(process::with_environment(MARKER, folder));
        alive.extend(processes_in(cgroup));
        if alive.is_empty() {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "these processes do not end, though they were killed: {alive:?}"
        );
        for process in &alive {
            process.signal(Signal::KILL)?;
        }
        for process in &alive {
            process.wait_gone(Duration::from_secs(1));
        }
    }
}

/// A shim's socket lies in a folder of all containerds; its path is in the file `address` of the container.
fn remove_shim_sockets(folder: &Path) {
    let tasks = folder.join("containerd/state/io.containerd.runtime.v2.task/k8s.io");
    for entry in fs::read_dir(tasks).into_iter().flatten().flatten() {
        if let Ok(address) = fs::read_to_string(entry.path().join("address")) {
            let _ = fs::remove_file(address.trim().trim_start_matches("unix://"));
        }
    }
}

fn unmount_all(folder: &Path) -> Result<()> {
    // The newest first: a mount may lie in another.
    for path in mounts_below(folder)?.into_iter().rev() {
        match unmount(&path, UnmountFlags::DETACH) {
            Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
            Err(e) => return Err(e).with_context(|| format!("unmounting {}", path.display())),
        }
    }
    Ok(())
}

/// Everything mounted in `folder` or below it, in the order of mounting.
pub(super) fn mounts_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let table = fs::read_to_string("/proc/self/mountinfo").context("reading the list of mounts")?;
    Ok(table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|path| PathBuf::from(path.replace("\\040", " ")))
        .filter(|path| path.starts_with(&folder))
        .collect())
}

/// The roots of all cgroup hierarchies: one for version 2, one for each controller for version 1.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(CGROUPS);
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    let folders = fs::read_dir(root).into_iter().flatten().flatten();
    // Version 1 has links for controllers that share a hierarchy; `file_type` does not follow them.
    folders
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Creates the cgroup `name` in every hierarchy, ready to have children.
pub(super) fn create_cgroups(name: &str) -> Result<()> {
    for hierarchy in hierarchies() {
        let folder = hierarchy.join(name);
        fs::create_dir_all(&folder).with_context(|| format!("creating the cgroup {}", folder.display()))?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            // Version 1 leaves a new cpuset empty, and nothing can run in an empty one.
            let parent = hierarchy.join(file);
            if hierarchy.ends_with("cpuset") && parent.exists() {
                fs::write(folder.join(file), fs::read(parent)?).context("setting up a cpuset")?;
            }
        }
        if hierarchy == Path::new(CGROUPS) {
            // Version 2 hands controllers down only where asked. One that the kernel lacks is the kubelet's to miss.
            for controller in ["cpu", "cpuset", "memory", "pids", "io", "hugetlb"] {
                let _ = fs::write(hierarchy.join("cgroup.subtree_control"), format!("+{controller}"));
            }
            let controllers = fs::read_to_string(folder.join("cgroup.controllers"))?;
            let all: Vec<_> = controllers
                .split_whitespace()
                .map(|name| format!("+{name}"))
                .collect();
            fs::write(folder.join("cgroup.subtree_control"), all.join(" "))
                .context("enabling controllers")?;
        }
    }
    Ok(())
}

fn cgroup_folders(name: &str) -> Vec<PathBuf> {
    hierarchies()
        .into_iter()
        .map(|hierarchy| hierarchy.join(name))
        .filter(|folder| folder.exists())
        .collect()
}

fn processes_in(cgroup: &str) -> Vec<ProcessId> {
    fn collect(folder: &Path, pids: &mut BTreeSet<u32>) {
        let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
        pids.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        for child in children(folder) {
            collect(&child, pids);
        }
    }
    let mut pids = BTreeSet::new();
    for folder in cgroup_folders(cgroup) {
        collect(&folder, &mut pids);
    }
    pids.into_iter().filter_map(ProcessId::of).collect()
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn remove_cgroups(name: &str) -> Result<()> {
    fn remove(folder: &Path, deadline: Instant) -> Result<()> {
        for child in children(folder) {
            remove(&child, deadline)?;
        }
        loop {
            match fs::remove_dir(folder) {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
                // A killed process leaves its cgroup a moment after it is gone.
                Err(e) if e.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(e) => bail!("removing the cgroup {}: {e}", folder.display()),
            }
        }
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    cgroup_folders(name)
        .iter()
        .try_for_each(|folder| remove(folder, deadline))
}

/// The network plugins note each pod's addresses in a folder of the whole machine. A note names the pod's network
/// namespace, which lies in the cluster's folder.
fn remove_network_results(folder: &Path) {
    let needle = folder.as_os_str().as_encoded_bytes();
    for entry in fs::read_dir("/var/lib/cni/results")
        .into_iter()
        .flatten()
        .flatten()
    {
        let bytes = fs::read(entry.path()).unwrap_or_default();
        if bytes.windows(needle.len()).any(|window| window == needle) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn remove_links_into(folder: &Path, target: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if fs::read_link(entry.path()).is_ok_and(|to| to.starts_with(target)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}
