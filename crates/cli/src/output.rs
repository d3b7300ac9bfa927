//! How objects are shown: tables, descriptions, JSON and YAML, laid out as Velero lays them out.

pub mod changes;
pub mod describe;
pub mod encode;
pub mod table;
pub mod when;

use std::io::Write as _;

use anyhow::Result;

/// Writes to standard output and flushes, so that a reader sees it at once.
///
/// # Errors
/// What the operating system reports, for example that the reader is gone.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes a line to standard output.
///
/// # Errors
/// As [`print`].
pub fn say(line: &str) -> Result<()> {
    print(&format!("{line}\n"))
}

/// Lays text out whose columns are separated by tabs: a column is as wide as its widest cell in
/// adjacent lines.
#[must_use]
pub(crate) fn aligned(text: &str, at_least: usize, apart: usize) -> String {
    let mut writer = tabwriter::TabWriter::new(Vec::new())
        .minwidth(at_least)
        .padding(apart)
        .ansi(true);
    let laid_out = writer
        .write_all(text.as_bytes())
        .ok()
        .and_then(|()| writer.into_inner().ok());
    laid_out
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_else(|| text.to_owned())
}
