//! `cargo xtask check`: all that can be said of the source without running it. Each step stands in a table,
//! and what it found below it.

mod dependencies;
mod fences;
mod sizes;
mod sources;

use std::io::{self, Write};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::generate;
use crate::tool::{cargo, workspace};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Only these steps
    steps: Vec<String>,
}

/// What a step has to say.
enum Outcome {
    /// All is well; with a word on what was looked at.
    Fine(String),
    /// What is wrong, line by line.
    Wrong(Vec<String>),
}

impl Outcome {
    fn of(problems: Vec<String>, fine: String) -> Self {
        if problems.is_empty() {
            Self::Fine(fine)
        } else {
            Self::Wrong(problems)
        }
    }
}

type Step = (&'static str, fn() -> Result<Outcome>);

/// Cheap ones first.
const STEPS: [Step; 7] = [
    ("format", format),
    ("sources", sources::check),
    ("sizes", sizes::check),
    ("fences", fences::check),
    ("generated", generated),
    ("dependencies", dependencies::check),
    ("clippy", clippy),
];

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let known = STEPS.map(|(name, _)| name);
    for step in &arguments.steps {
        ensure!(
            known.contains(&step.as_str()),
            "there is no step `{step}`; there are: {}",
            known.join(", ")
        );
    }
    let mut out = io::stdout();
    let mut failed = false;
    for (name, step) in STEPS {
        if !arguments.steps.is_empty() && !arguments.steps.iter().any(|wanted| wanted == name) {
            continue;
        }
        let started = Instant::now();
        // A step that cannot be done is one that failed; the others are still of interest.
        let outcome = step().unwrap_or_else(|error| Outcome::Wrong(vec![format!("{error:#}")]));
        let seconds = started.elapsed().as_secs_f32();
        match outcome {
            Outcome::Fine(word) => writeln!(out, "{name:<14} ok      {seconds:>6.1} s  {word}")?,
            Outcome::Wrong(problems) => {
                failed = true;
                writeln!(out, "{name:<14} FAILED  {seconds:>6.1} s")?;
                for problem in problems {
                    writeln!(out, "    {}", problem.replace('\n', "\n    "))?;
                }
            }
        }
    }
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn format() -> Result<Outcome> {
    let output = output(cargo().args(["fmt", "--all", "--check", "--", "-l"]))?;
    let root = workspace().canonicalize().context("finding the workspace")?;
    let relative = |line: &str| {
        line.strip_prefix(&*root.to_string_lossy())
            .unwrap_or(line)
            .trim_matches('/')
            .to_owned()
    };
    let mut files: Vec<String> = output
        .text
        .lines()
        .map(relative)
        .filter(|line| !line.is_empty())
        .collect();
    files.dedup();
    if !files.is_empty() {
        files.push("`cargo fmt --all` puts them right".to_owned());
    }
    ensure!(
        output.success || !files.is_empty(),
        "`cargo fmt` failed and says nothing"
    );
    Ok(Outcome::of(files, String::new()))
}

fn clippy() -> Result<Outcome> {
    let arguments = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ];
    let output = output(cargo().args(arguments))?;
    let problems = if output.success {
        Vec::new()
    } else {
        vec![output.text.trim().to_owned()]
    };
    Ok(Outcome::of(problems, "no warning".to_owned()))
}

fn generated() -> Result<Outcome> {
    let stale = generate::stale()?;
    let mut problems: Vec<_> = stale
        .files
        .iter()
        .map(|file| format!("{file} is not what the code says"))
        .collect();
    if !problems.is_empty() {
        problems.push("`cargo xtask generate` writes them".to_owned());
    }
    Ok(Outcome::of(problems, format!("{} files", stale.looked_at)))
}

/// What a command printed, in both streams.
struct Output {
    success: bool,
    text: String,
}

fn output(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .current_dir(workspace())
        .output()
        .with_context(|| format!("starting {name}"))?;
    let text = [output.stdout, output.stderr].concat();
    Ok(Output {
        success: output.status.success(),
        text: String::from_utf8_lossy(&text).into_owned(),
    })
}
