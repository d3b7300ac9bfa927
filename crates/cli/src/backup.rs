//! `backup create|get|describe|logs|download|diff|find|cancel|delete|pin|unpin`.

pub mod cancel;
pub mod create;
pub mod delete;
pub mod describe;
pub mod diff;
pub mod download;
pub mod find;
pub mod get;
pub mod local;
pub mod logs;
pub mod pin;
pub mod scope;
pub mod sections;
pub mod structured;

use anyhow::Result;
use clap::Subcommand;

use crate::{exit::Outcome, session::Session};

/// What to do with backups.
#[derive(Subcommand, Debug)]
pub enum BackupVerb {
    /// Create a backup
    Create(Box<create::CreateFlags>),
    /// Get backups
    Get(get::GetFlags),
    /// Describe backups
    Describe(describe::DescribeFlags),
    /// Get a backup's log
    Logs(logs::LogsFlags),
    /// Download all Kubernetes manifests of a backup, without the contents of volumes
    Download(download::DownloadFlags),
    /// Compare a backup with another one or with the cluster
    Diff(Box<diff::DiffFlags>),
    /// Find objects in all backups, and when they changed
    Find(Box<find::FindFlags>),
    /// Stop backups that are going on or wait; nothing of them remains
    Cancel(cancel::CancelFlags),
    /// Delete backups with all their data
    Delete(delete::DeleteFlags),
    /// Keep backups although they expire or a retention policy does not keep them
    Pin(pin::PinFlags),
    /// Let pinned backups go like others
    Unpin(pin::PinFlags),
}

impl BackupVerb {
    /// Does it.
    ///
    /// # Errors
    /// Why it could not run.
    pub async fn run(self, session: &Session) -> Result<Outcome> {
        match self {
            Self::Create(flags) => Box::pin(flags.run(session)).await,
            Self::Get(flags) => flags.run(session).await,
            Self::Describe(flags) => Box::pin(flags.run(session)).await,
            Self::Logs(flags) => flags.run(session).await,
            Self::Download(flags) => flags.run(session).await,
            Self::Diff(flags) => Box::pin(flags.run(session)).await,
            Self::Find(flags) => Box::pin(flags.run(session)).await,
            Self::Cancel(flags) => flags.run(session).await,
            Self::Delete(flags) => flags.run(session).await,
            Self::Pin(flags) => flags.run(session, true).await,
            Self::Unpin(flags) => flags.run(session, false).await,
        }
    }
}
