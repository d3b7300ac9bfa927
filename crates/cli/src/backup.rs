//! `backup create|get|describe|logs|download|delete|pin|unpin`.

pub mod create;
pub mod delete;
pub mod describe;
pub mod download;
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
            Self::Delete(flags) => flags.run(session).await,
            Self::Pin(flags) => flags.run(session, true).await,
            Self::Unpin(flags) => flags.run(session, false).await,
        }
    }
}
