//! The workspace's own programs, built for a command that runs them.

use std::collections::BTreeMap;
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

/// Builds the packages and returns the paths of their programs by name. Errors and warnings of the compiler go
/// to standard error.
pub(crate) fn build(profile: Profile, packages: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let mut command = cargo();
    command.args([
        "build",
        "--quiet",
        "--locked",
        "--bins",
        "--message-format=json-render-diagnostics",
    ]);
    command.args((profile == Profile::Release).then_some("--release"));
    for package in packages {
        command.args(["--package", package]);
    }
    let output = command
        .current_dir(workspace())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("starting `cargo build`")?;
    ensure!(
        output.status.success(),
        "`cargo build --package {}` failed, see above",
        packages.join(" --package ")
    );
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let messages = messages.filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    Ok(messages.filter_map(|message| executable(&message)).collect())
}

fn executable(message: &Value) -> Option<(String, PathBuf)> {
    let path = message["executable"].as_str()?;
    Some((
        message["target"]["name"].as_str()?.to_owned(),
        PathBuf::from(path),
    ))
}
