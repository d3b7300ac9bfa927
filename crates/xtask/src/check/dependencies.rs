//! Licences, sources and banned crates, as `deny.toml` has them.

use std::process::Command;

use anyhow::Result;

use super::{Outcome, output};
use crate::tool::DENY;

pub(super) fn check() -> Result<Outcome> {
    let arguments = [
        "--locked",
        "--log-level",
        "error",
        "check",
        "licenses",
        "bans",
        "sources",
    ];
    let output = output(Command::new(DENY.path()?).args(arguments))?;
    let problems = if output.success {
        Vec::new()
    } else {
        vec![output.text.trim().to_owned()]
    };
    Ok(Outcome::of(problems, "licenses, bans, sources".to_owned()))
}
