//! `backup-location create|get|set|delete`.

pub mod create;
pub mod delete;
pub mod get;
pub mod set;

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use clap::Subcommand;
use k8s_openapi::{ByteString, api::core::v1::SecretKeySelector};

use crate::{
    exit::Outcome,
    flags::{Pairs, merged},
    session::Session,
};

/// What to do with storage locations.
#[derive(Subcommand, Debug)]
pub enum BackupLocationVerb {
    /// Create a backup storage location
    Create(Box<create::CreateFlags>),
    /// Get backup storage locations
    Get(get::GetFlags),
    /// Change a backup storage location
    Set(set::SetFlags),
    /// Delete backup storage locations; what is in the bucket stays
    Delete(delete::DeleteFlags),
}

impl BackupLocationVerb {
    /// Does it.
    ///
    /// # Errors
    /// Why it could not run.
    pub async fn run(self, session: &Session) -> Result<Outcome> {
        match self {
            Self::Create(flags) => flags.run(session).await,
            Self::Get(flags) => flags.run(session).await,
            Self::Set(flags) => flags.run(session).await,
            Self::Delete(flags) => flags.run(session).await,
        }
    }
}

/// The secret and key of `--credential NAME=KEY`.
fn credential(flag: &[Pairs]) -> Result<Option<SecretKeySelector>> {
    let pairs = merged(flag);
    if pairs.len() > 1 {
        bail!("--credential can only contain 1 key/value pair");
    }
    Ok(pairs.into_iter().next().map(|(name, key)| SecretKeySelector {
        name,
        key,
        optional: None,
    }))
}

/// The bundle of `--cacert FILE`.
fn bundle(path: Option<&Path>) -> Result<Option<ByteString>> {
    let read =
        |path: &Path| std::fs::read(path).with_context(|| format!("cannot read --cacert {}", path.display()));
    Ok(path.map(read).transpose()?.map(ByteString))
}
