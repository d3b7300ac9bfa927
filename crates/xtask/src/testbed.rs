//! `cargo xtask testbed`: the real peers that tests run against.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::Subcommand;
use refloat_testkit::testbed::{self, Part};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Build every part that the cache does not have, and print where each is
    Build,
}

pub(crate) fn run(command: &Command) -> Result<()> {
    match command {
        Command::Build => Part::all()?.iter().try_for_each(|part| {
            let path = testbed::build(part)?;
            writeln!(io::stdout(), "{}", path.display()).context("printing a path")
        }),
    }
}
