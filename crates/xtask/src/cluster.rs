//! `cargo xtask cluster`: real clusters, by name.

use std::io::{self, Write};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use refloat_testkit::cluster::{self, Cluster, ClusterOptions};
use refloat_testkit::process::ProcessId;
use refloat_testkit::testbed::DEFAULT_KUBERNETES;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Start a cluster and wait until it is ready; it runs on until it is taken down
    Up(Up),
    /// Take a cluster down, whatever is left of it
    Down(Name),
    /// Show what runs, of one cluster or of all
    Status {
        /// Only this cluster
        #[arg(long)]
        name: Option<String>,
    },
    /// Print the path of a cluster's kubeconfig
    Kubeconfig(Name),
    /// Take a cluster down as soon as a process has ended
    #[command(hide = true)]
    Reap {
        #[arg(long)]
        name: String,
        #[arg(long)]
        pid: u32,
        #[arg(long)]
        start: u64,
    },
}

#[derive(Args)]
pub(crate) struct Name {
    /// The cluster's name
    #[arg(long, default_value = "dev")]
    name: String,
}

#[derive(Args)]
pub(crate) struct Up {
    #[command(flatten)]
    name: Name,
    /// 0: objects only, no pod runs; 1: pods run on this machine
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1))]
    nodes: u32,
    /// Kubernetes version, one that has a folder in testbed/
    #[arg(long, default_value = DEFAULT_KUBERNETES)]
    kubernetes: String,
    /// Leave MinIO out
    #[arg(long)]
    no_minio: bool,
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Up(up) => start(&up),
        Command::Down(Name { name }) => {
            Cluster::down(&name).with_context(|| format!("taking the cluster `{name}` down"))
        }
        Command::Status { name } => name
            .map_or_else(Cluster::names, |name| Ok(vec![name]))?
            .iter()
            .try_for_each(|name| status(name)),
        Command::Kubeconfig(Name { name }) => {
            let path = Cluster::attach(&name)?.kubeconfig_path();
            writeln!(io::stdout(), "{}", path.display()).context("printing a path")
        }
        Command::Reap { name, pid, start } => cluster::reap(&name, &ProcessId { pid, start }),
    }
}

fn start(up: &Up) -> Result<()> {
    let name = &up.name.name;
    let options = ClusterOptions {
        kubernetes: up.kubernetes.clone(),
        minio: !up.no_minio,
        ..ClusterOptions::new(name, up.nodes)
    };
    let mut out = io::stdout();
    let started = Instant::now();
    let cluster = Cluster::up(&options).with_context(|| format!("starting the cluster `{name}`"))?;
    writeln!(
        out,
        "The cluster `{name}` is ready after {:.1} s.",
        started.elapsed().as_secs_f32()
    )?;
    writeln!(out, "  export KUBECONFIG={}", cluster.kubeconfig_path().display())?;
    if let Ok(minio) = cluster.minio() {
        let state = cluster.folder().join("state.json");
        writeln!(out, "  MinIO: {} (keys: {})", minio.endpoint, state.display())?;
    }
    Ok(())
}

fn status(name: &str) -> Result<()> {
    let parts = Cluster::status(name)?;
    let mut out = io::stdout();
    writeln!(out, "{name}")?;
    writeln!(out, "  {:<26} {:>8} {:>6}  STATE", "PART", "PID", "PORT")?;
    for part in parts {
        let port = part.port.map_or_else(|| "-".to_owned(), |port| port.to_string());
        let state = if part.alive { "running" } else { "ended" };
        writeln!(out, "  {:<26} {:>8} {port:>6}  {state}", part.part, part.pid)?;
    }
    Ok(())
}
