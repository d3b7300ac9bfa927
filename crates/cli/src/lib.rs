//! The command line: what `refloat`, `velero` and `kubectl refloat` do.
//!
//! Data goes to standard output, everything else to standard error; exit codes are in
//! [`exit::EXIT_CODES`]. Each noun has a module, each of its verbs a module below that, and what a
//! verb does without a server is in the noun's `local` module.

pub mod argv;
pub mod backup;
pub mod backup_location;
pub mod cancel;
pub mod command;
pub mod completion;
pub mod exit;
pub mod files;
pub mod flags;
pub mod install;
pub mod logging;
pub mod node_agent;
pub mod output;
pub mod plugin;
pub mod progress;
pub mod query;
pub mod repo;
pub mod restore;
pub mod rules_file;
pub mod schedule;
pub mod select;
pub mod selector;
pub mod server;
pub mod session;
pub mod storage;
pub mod uninstall;
pub mod version;
pub mod volumes;
pub mod wait;

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::FromArgMatches as _;

use crate::{
    command::{Command, CommandLine},
    exit::Outcome,
    session::Session,
};

/// Does what the arguments say and tells how it ended. The first argument is the program's name.
pub async fn run(args: Vec<OsString>) -> ExitCode {
    let program = argv::program(args.first());
    let args = argv::in_noun_verb_order(args);
    let parser = command::parser()
        .bin_name(program.clone())
        .display_name(program.clone());
    let line = parser
        .try_get_matches_from(args)
        .and_then(|matches| CommandLine::from_arg_matches(&matches));
    let line = match line {
        Ok(line) => line,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let session = Session::new(line.global, program);
    if !matches!(line.command, Command::Server(_) | Command::NodeAgent(_)) {
        logging::start_for_command(session.global.verbosity);
    }
    match Box::pin(dispatch(line.command, &session)).await {
        Ok(outcome) => outcome.into(),
        Err(error) => exit::failed(&error),
    }
}

async fn dispatch(command: Command, session: &Session) -> Result<Outcome> {
    match command {
        Command::Backup(verb) => verb.run(session).await,
        Command::Restore(verb) => verb.run(session).await,
        Command::Schedule(verb) => verb.run(session).await,
        Command::BackupLocation(verb) => verb.run(session).await,
        Command::Repo(verb) => verb.run(session).await,
        Command::Plugin(verb) => verb.run(session).await,
        Command::Install(flags) => flags.run(session).await,
        Command::Uninstall(flags) => flags.run(session).await,
        Command::Version(flags) => flags.run(session).await,
        Command::Completion(flags) => flags.run(session),
        Command::Server(flags) => flags.run(session).await,
        Command::NodeAgent(verb) => verb.run(session).await,
    }
}
