//! The programs that come from the distribution, not from `testbed/`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::run_command;
use crate::testbed::progress;

/// What a cluster without a node needs: a program, and the Debian package that has it.
const BASE: [(&str, &str); 1] = [("ip", "iproute2")];

/// What a node needs besides.
const NODE: [(&str, &str); 7] = [
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("conntrack", "conntrack"),
    ("socat", "socat"),
    ("busybox", "busybox-static"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
];

/// Makes sure that what a cluster needs is installed, with `apt-get` where something is missing.
///
/// # Errors
/// Something is missing and cannot be installed: not root, no `apt-get`, or the package server does not answer.
pub fn ensure_installed(nodes: u32) -> Result<()> {
    let wanted = BASE.iter().chain(NODE.iter().filter(|_| nodes > 0));
    let missing: Vec<_> = wanted
        .filter(|(program, _)| find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if find("apt-get").is_none() {
        bail!(
            "the test cluster needs {}, and there is no apt-get to install them with",
            missing.join(", ")
        );
    }
    progress(&format!("installing {}", missing.join(" ")));
    let apt = |args: &[&str]| {
        let mut command = Command::new("apt-get");
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive");
        run_command(&mut command)
            .with_context(|| format!("installing {} (are you root?)", missing.join(", ")))
    };
    apt(&["update", "-qq"])?;
    let install = ["install", "-qq", "-y", "--no-install-recommends"];
    apt(&install.iter().chain(&missing).copied().collect::<Vec<_>>())?;
    Ok(())
}

/// The full path of `program`, looked up in `PATH` and in the folders that a user's `PATH` often lacks.
pub(crate) fn find(program: &str) -> Option<std::path::PathBuf> {
    if program.starts_with('/') {
        return Path::new(program).exists().then(|| program.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(Into::into))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}
