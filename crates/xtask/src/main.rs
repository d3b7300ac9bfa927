//! The one door for developers: `cargo xtask …`. Each subcommand has a file of its own.

mod bench;
mod check;
mod cluster;
mod demo;
mod fuzz;
mod generate;
mod program;
mod test;
mod testbed;
mod tool;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Everything a developer of Refloat does, besides cargo itself"
)]
struct Xtask {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start, find and remove real clusters on this machine
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// The real peers that tests run against
    #[command(subcommand)]
    Testbed(testbed::Command),
    /// Run all tests, on a cluster that is started for them
    Test(test::Arguments),
    /// Back up a small application, destroy it and bring it back
    Demo(demo::Arguments),
    /// Measure how fast Refloat is
    #[command(subcommand)]
    Bench(bench::Command),
    /// Check the source: format, clippy, layers, sizes, licences, generated files
    Check(check::Arguments),
    /// Write the files that the code decides: custom resource definitions, the command line's reference
    Generate(generate::Arguments),
    /// Run the fuzz targets
    Fuzz(fuzz::Arguments),
}

fn main() -> ExitCode {
    let result = match Xtask::parse().command {
        Command::Cluster(command) => cluster::run(command).map(|()| ExitCode::SUCCESS),
        Command::Testbed(command) => testbed::run(&command).map(|()| ExitCode::SUCCESS),
        Command::Test(arguments) => test::run(arguments),
        Command::Demo(arguments) => demo::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Bench(command) => bench::run(command).map(|()| ExitCode::SUCCESS),
        Command::Check(arguments) => check::run(&arguments),
        Command::Generate(arguments) => generate::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
    };
    result.unwrap_or_else(|e| {
        report(&e);
        ExitCode::FAILURE
    })
}

#[expect(
    clippy::print_stderr,
    reason = "the error of a command belongs on the terminal"
)]
fn report(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
