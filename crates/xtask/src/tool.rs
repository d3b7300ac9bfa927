//! Cargo's own tools at pinned versions, installed once beside the test bed's cache.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use refloat_testkit::testbed;

/// A program from crates.io.
pub(crate) struct Tool {
    /// The package, which is also the program.
    pub name: &'static str,
    /// The version that is installed.
    pub version: &'static str,
}

/// Checks licences, sources and banned crates.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
};
/// Builds and runs fuzz targets.
pub(crate) const FUZZ: Tool = Tool {
    name: "cargo-fuzz",
    version: "0.13.2",
};

impl Tool {
    /// Where the program is; installs it first if it is not there, which takes minutes.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        let root = testbed::cache_root()
            .with_file_name("tools")
            .join(format!("{}-{}", self.name, self.version));
        let path = root.join("bin").join(self.name);
        if !path.exists() {
            let status = cargo()
                .args([
                    "install",
                    "--quiet",
                    "--locked",
                    "--version",
                    self.version,
                    "--root",
                ])
                .arg(&root)
                .arg(self.name)
                .status()
                .with_context(|| format!("starting `cargo install {}`", self.name))?;
            ensure!(
                status.success(),
                "{} {} could not be installed; see above",
                self.name,
                self.version
            );
        }
        Ok(path)
    }
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
