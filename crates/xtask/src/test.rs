//! `cargo xtask test`: all tests of the workspace, on one cluster with a node that is started for them.

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;
use refloat_testkit::cluster::{Cluster, ClusterOptions};
use refloat_testkit::testbed::{self, Part};

#[derive(Args)]
pub(crate) struct Arguments {
    /// What to pass on to `cargo test`; without `-p` it tests the whole workspace
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    cargo: Vec<String>,
}

pub(crate) fn run(arguments: Arguments) -> Result<ExitCode> {
    for part in Part::all()? {
        testbed::build(&part)?;
    }
    let name = format!("ci-{}", std::process::id());
    // Also when this process is killed, or stopped from the keyboard.
    Cluster::down_when_this_process_ends(&name)?;
    Cluster::up(&ClusterOptions::new(&name, 1)).with_context(|| format!("starting the cluster `{name}`"))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let some = arguments
        .cargo
        .iter()
        .any(|word| word == "-p" || word.starts_with("--package"));
    let status = Command::new(cargo)
        .args(["test", "--locked", "--no-fail-fast"])
        .args((!some).then_some("--workspace"))
        .args(arguments.cargo)
        .env("REFLOAT_TEST_CLUSTER", &name)
        .status()
        .context("running `cargo test`");
    Cluster::down(&name).with_context(|| format!("taking the cluster `{name}` down"))?;
    let code = status?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
