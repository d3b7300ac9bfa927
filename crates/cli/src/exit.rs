//! How a run ends: exit codes, and the one line that tells what went wrong.

use std::{io::Write as _, process::ExitCode};

/// The section of `--help` about exit codes.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  it was done
  1  it ran, but did not wholly succeed: a backup or restore that was waited for (or ran without a
     server) ended PartiallyFailed, Failed or FailedValidation, or some of several objects failed;
     for backup diff: the two sides differ
  2  it could not run: bad usage, no connection, not found, refused
130  it was interrupted";

/// How a command that could run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it was done.
    Done,
    /// It ran, with errors that have been printed.
    Unsuccessful,
    /// Nothing of it was done; why has been printed.
    Nothing,
    /// The user stopped it.
    Interrupted,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::Unsuccessful => Self::from(1),
            Outcome::Nothing => Self::from(2),
            Outcome::Interrupted => Self::from(130),
        }
    }
}

/// Prints why a command could not run, with the remedy where one is known, and makes the exit code.
#[must_use]
pub fn failed(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    complain(&format!("error: {}", chain(error)));
    if let Some(remedy) = remedy(error) {
        complain(&format!("hint: {remedy}"));
    }
    ExitCode::from(2)
}

/// A line on standard error. There is nobody to tell if that is gone.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// The error and its causes in one line, each once: a library that repeats its cause in its own
/// text does not make it appear twice.
#[must_use]
pub fn chain(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Whether whoever read our output went away, as `head` does: no reason to complain.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

/// What to do about errors whose own text cannot know it.
fn remedy(error: &anyhow::Error) -> Option<&'static str> {
    let text = chain(error).to_lowercase();
    let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if any(&["connection refused"]) {
        Some(
            "is the cluster up, and does --kubeconfig (or $KUBECONFIG) with --kubecontext name the right one?",
        )
    } else if any(&[
        "no matches for kind",
        "the server could not find the requested resource",
        "404 page not found",
    ]) {
        Some(
            "are the custom resource definitions there? \"refloat install\" puts them and the server into the cluster",
        )
    } else if any(&["unknownissuer", "unknown issuer", "invalid peer certificate"]) {
        Some("--cacert names a PEM bundle to trust")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn causes_are_printed_once() {
        let error = anyhow!("connection refused")
            .context("cannot reach it: connection refused")
            .context("listing");
        assert_eq!(chain(&error), "listing: cannot reach it: connection refused");
        assert!(remedy(&error).unwrap().contains("--kubeconfig"));
    }
}
