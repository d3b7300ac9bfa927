//! `cargo xtask generate`: files that the code decides, written out for readers and for `kubectl apply`.
//!
//! What is in them comes from the crates themselves, run as programs, so that this program stays light.

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::tool::{cargo, workspace};

/// Where the custom resource definitions are.
const CRDS: &str = "deploy/crds";
/// Where the command line is described.
const REFERENCE: &str = "docs/reference/cli.md";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Write nothing; fail if something would change
    #[arg(long)]
    check: bool,
}

/// A file as it should be.
struct Generated {
    path: String,
    text: String,
}

/// What a comparison found.
pub(crate) struct Stale {
    /// Files that are missing, different, or too much.
    pub files: Vec<String>,
    /// How many there should be.
    pub looked_at: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut out = io::stdout();
    if arguments.check {
        let stale = stale()?;
        for file in &stale.files {
            writeln!(
                out,
                "{file} is not what the code says; `cargo xtask generate` writes it"
            )?;
        }
        return Ok(if stale.files.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let generated = generate()?;
    for path in compare(&generated)? {
        let file = workspace().join(&path);
        match generated.iter().find(|one| one.path == path) {
            Some(one) => {
                fs::create_dir_all(file.with_file_name(""))
                    .with_context(|| format!("creating the folder of {path}"))?;
                fs::write(&file, &one.text).with_context(|| format!("writing {path}"))?;
                writeln!(out, "wrote {path}")?;
            }
            None => {
                fs::remove_file(&file).with_context(|| format!("removing {path}"))?;
                writeln!(out, "removed {path}")?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Compares the files that are there with what they should be.
pub(crate) fn stale() -> Result<Stale> {
    let generated = generate()?;
    Ok(Stale {
        files: compare(&generated)?,
        looked_at: generated.len(),
    })
}

/// The paths of files that are missing, different or too much, sorted.
fn compare(generated: &[Generated]) -> Result<Vec<String>> {
    let root = workspace();
    let differs =
        |one: &&Generated| fs::read_to_string(root.join(&one.path)).ok().as_ref() != Some(&one.text);
    let mut paths: Vec<String> = generated
        .iter()
        .filter(differs)
        .map(|one| one.path.clone())
        .collect();
    if let Ok(entries) = fs::read_dir(root.join(CRDS)) {
        for entry in entries {
            let path = format!(
                "{CRDS}/{}",
                entry
                    .context("listing deploy/crds")?
                    .file_name()
                    .to_string_lossy()
            );
            if !generated.iter().any(|one| one.path == path) {
                paths.push(path);
            }
        }
    }
    paths.sort();
    Ok(paths)
}

fn generate() -> Result<Vec<Generated>> {
    let mut files = Vec::new();
    let definitions = run_cargo(&["--package", "refloat-model", "--example", "crds"])?;
    for document in definitions
        .split("---\n")
        .filter(|document| !document.trim().is_empty())
    {
        let name = document.lines().find_map(|line| line.strip_prefix("  name: "));
        let name = name.context("a definition has no name")?;
        let kind = name.split('.').next().unwrap_or(name);
        files.push(Generated {
            path: format!("{CRDS}/{kind}.yaml"),
            text: document.to_owned(),
        });
    }
    let reference = run_cargo(&["--package", "refloat-cli", "--example", "reference"])?;
    files.push(Generated {
        path: REFERENCE.to_owned(),
        text: reference,
    });
    Ok(files)
}

/// What one of our programs prints.
fn run_cargo(arguments: &[&str]) -> Result<String> {
    let output = cargo()
        .args(["run", "--quiet", "--locked"])
        .args(arguments)
        .current_dir(workspace())
        .output()
        .context("starting `cargo run`")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "`cargo run {}` failed: {}",
        arguments.join(" "),
        errors.trim()
    );
    String::from_utf8(output.stdout).context("reading what a program of ours printed")
}
