//! `cargo xtask fuzz`: the fuzz targets of `fuzz/`, one after the other.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::tool::{FUZZ, workspace};

/// The most memory that a target may use: readers of foreign bytes are bounded.
const MEMORY_MIB: u32 = 1024;
/// The longest time that one input may take.
const SLOWEST_SECONDS: u32 = 20;

#[derive(Args)]
pub(crate) struct Arguments {
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// The longest input that is tried, in bytes
    #[arg(long, default_value_t = 16_384)]
    longest: u32,
    /// The targets; without any, all
    targets: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let folder = workspace().join("fuzz");
    let known = targets(&folder)?;
    for target in &arguments.targets {
        ensure!(
            known.contains(target),
            "there is no target `{target}`; there are: {}",
            known.join(", ")
        );
    }
    let chosen = if arguments.targets.is_empty() {
        &known
    } else {
        &arguments.targets
    };
    let program = FUZZ.path()?;
    // Instrumentation for coverage works with the stable compiler; the address sanitizer would not, and code
    // without `unsafe` gives it little to find.
    let cargo_fuzz = |verb: &str| {
        let mut command = Command::new(&program);
        command
            .args(["fuzz", verb, "--sanitizer", "none", "--fuzz-dir"])
            .arg(&folder);
        command
    };
    let built = cargo_fuzz("build").status().context("starting cargo-fuzz")?;
    ensure!(built.success(), "the fuzz targets do not build");
    let mut failed = Vec::new();
    for target in chosen {
        let corpus = folder.join("corpus").join(target);
        fs::create_dir_all(&corpus).with_context(|| format!("creating {}", corpus.display()))?;
        let started = Instant::now();
        let status = cargo_fuzz("run")
            .arg(target)
            .arg(&corpus)
            .arg(folder.join("seeds").join(target))
            .arg("--")
            .arg(format!("-max_total_time={}", arguments.seconds))
            .arg(format!("-max_len={}", arguments.longest))
            .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
            .arg(format!("-timeout={SLOWEST_SECONDS}"))
            .arg("-print_final_stats=1")
            .status()
            .context("starting cargo-fuzz")?;
        let result = if status.success() {
            "no finding"
        } else {
            "FINDING, see above"
        };
        writeln!(
            io::stdout(),
            "{target}: {result} after {} s",
            started.elapsed().as_secs()
        )?;
        if !status.success() {
            failed.push(target.as_str());
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(
        io::stdout(),
        "with findings: {}; the inputs are in fuzz/artifacts",
        failed.join(", ")
    )?;
    Ok(ExitCode::FAILURE)
}

/// The names of all targets, sorted: each is a file.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let folder = folder.join("targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry?.path();
        if let Some(name) = path
            .file_stem()
            .filter(|_| path.extension().is_some_and(|end| end == "rs"))
        {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
