//! The workspace's own programs, built for a command that runs them.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::tool::{cargo, workspace};

/// How to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build.
    Dev,
    /// Quick to run.
    Release,
}

/// Builds a package on its own, with the features that it has when it is shipped, and returns the path of its
/// program. Errors and warnings of the compiler go to standard error.
pub(crate) fn build(profile: Profile, package: &str, program: &str) -> Result<PathBuf> {
    let mut command = cargo();
    command.args([
        "build",
        "--quiet",
        "--locked",
        "--message-format=json-render-diagnostics",
    ]);
    command.args(["--package", package, "--bin", program]);
    command.args((profile == Profile::Release).then_some("--release"));
    let output = command
        .current_dir(workspace())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("starting `cargo build`")?;
    ensure!(
        output.status.success(),
        "`cargo build --package {package}` failed, see above"
    );
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let messages = messages.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    let mut paths = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
    paths
        .next_back()
        .with_context(|| format!("the package {package} has no program `{program}`"))
}
