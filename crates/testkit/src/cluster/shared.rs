//! One cluster for all tests of a process, gone when the process is gone, however it ends.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::{Cluster, ClusterOptions, state};
use crate::process::{ProcessId, run_command, start_detached};

/// The name of a running cluster that tests are to use, instead of one of their own.
const SHARED: &str = "REFLOAT_TEST_CLUSTER";

type Started = Result<&'static Cluster, String>;

impl Cluster {
    /// The cluster for this process's tests, with at least `nodes` nodes: the running one that the environment
    /// variable `REFLOAT_TEST_CLUSTER` names, else one that is started at the first call and taken down when
    /// this process has ended, even if it is killed.
    ///
    /// Tests run at the same time and must therefore use namespaces and buckets of their own.
    ///
    /// # Errors
    /// The named cluster does not run or has too few nodes; a private one does not start.
    pub fn shared(nodes: u32) -> Result<&'static Self> {
        static STARTED: Mutex<BTreeMap<u32, Started>> = Mutex::new(BTreeMap::new());
        let mut started = STARTED
            .lock()
            .map_err(|_| anyhow!("another test panicked while starting the cluster"))?;
        // A failure is kept too: the next hundred tests would only fail the same way, slowly.
        started
            .entry(nodes)
            .or_insert_with(|| {
                open(nodes)
                    .map(|cluster| &*Box::leak(Box::new(cluster)))
                    .map_err(|e| format!("{e:#}"))
            })
            .clone()
            .map_err(|text| anyhow!(text))
    }

    /// Has this cluster taken down as soon as the calling process has ended.
    pub fn down_when_this_process_ends(name: &str) -> Result<()> {
        let me = ProcessId::of(std::process::id()).context("this process is not in /proc")?;
        fs::create_dir_all(state::clusters_root())?;
        let args = [
            "cluster",
            "reap",
            "--name",
            name,
            "--pid",
            &me.pid.to_string(),
            "--start",
            &me.start.to_string(),
        ];
        let none: [(&str, &str); 0] = [];
        start_detached(&xtask()?, args, none, Path::new("/dev/null"))?;
        Ok(())
    }
}

fn open(nodes: u32) -> Result<Cluster> {
    if let Ok(name) = std::env::var(SHARED) {
        let cluster =
            Cluster::attach(&name).with_context(|| format!("using the cluster that {SHARED} names"))?;
        ensure!(
            cluster.nodes() >= nodes,
            "the cluster `{name}` that {SHARED} names has no node; start one with `--nodes {nodes}`"
        );
        return Ok(cluster);
    }
    let name = format!("test-{}-{nodes}", std::process::id());
    Cluster::down_when_this_process_ends(&name)?;
    Cluster::up(&ClusterOptions::new(&name, nodes))
}

/// Waits until the process has ended, then takes the cluster `name` down. This is the body of the hidden
/// command `cargo xtask cluster reap`.
pub fn reap(name: &str, process: &ProcessId) -> Result<()> {
    let pid = i32::try_from(process.pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("0 is not a process id")?;
    if let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) {
        // A descriptor of a process is readable once it has ended. The start time guards against a new owner
        // of the id.
        while ProcessId::of(process.pid).as_ref() == Some(process) {
            let mut fds = [PollFd::new(&descriptor, PollFlags::IN)];
            match poll(&mut fds, None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e).context("waiting for a process to end"),
            }
        }
    }
    // The process may have been inside `up`, with children that still write to the folder.
    let down = Cluster::down(name);
    std::thread::sleep(Duration::from_millis(200));
    down.or_else(|_| Cluster::down(name))
}

/// The `xtask` program beside the calling test, built if it is not there yet.
fn xtask() -> Result<PathBuf> {
    let current = std::env::current_exe().context("finding this program's own path")?;
    let folder = current.parent().context("a program lies in a folder")?;
    let profile = if folder.ends_with("deps") {
        folder.parent().unwrap_or(folder)
    } else {
        folder
    };
    let program = profile.join("xtask");
    if !program.exists() {
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build
            .args(["build", "--quiet", "--locked", "--package", "xtask"])
            .stdin(Stdio::null());
        build.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
        run_command(&mut build).context("building xtask, which takes the test cluster down")?;
    }
    ensure!(
        program.exists(),
        "there is no {}; run the tests with cargo",
        program.display()
    );
    Ok(program)
}
