//! `restore create|plan|get|describe|logs|cancel|delete`.

pub mod cancel;
pub mod create;
pub mod delete;
pub mod describe;
pub mod get;
pub mod local;
pub mod logs;
pub mod plan;

use anyhow::Result;
use clap::Subcommand;

use crate::{exit::Outcome, session::Session};

/// What to do with restores.
#[derive(Subcommand, Debug)]
pub enum RestoreVerb {
    /// Create a restore
    Create(Box<create::CreateFlags>),
    /// See what a restore would do with each object, before it does it
    Plan(Box<plan::PlanFlags>),
    /// Get restores
    Get(get::GetFlags),
    /// Describe restores
    Describe(describe::DescribeFlags),
    /// Get a restore's log
    Logs(logs::LogsFlags),
    /// Stop restores that are going on; what they restored stays
    Cancel(cancel::CancelFlags),
    /// Delete restores; what they restored stays
    Delete(delete::DeleteFlags),
}

impl RestoreVerb {
    /// Does it.
    ///
    /// # Errors
    /// Why it could not run.
    pub async fn run(self, session: &Session) -> Result<Outcome> {
        match self {
            Self::Create(flags) => Box::pin(flags.run(session)).await,
            Self::Plan(flags) => Box::pin(flags.run(session)).await,
            Self::Get(flags) => flags.run(session).await,
            Self::Describe(flags) => Box::pin(flags.run(session)).await,
            Self::Logs(flags) => flags.run(session).await,
            Self::Cancel(flags) => flags.run(session).await,
            Self::Delete(flags) => flags.run(session).await,
        }
    }
}
