//! `schedule create|get|describe|delete|pause|unpause|prune`.

pub mod create;
pub mod delete;
pub mod describe;
pub mod get;
pub mod pause;
pub mod prune;

use anyhow::Result;
use clap::Subcommand;

use crate::{exit::Outcome, session::Session};

/// What to do with schedules.
#[derive(Subcommand, Debug)]
pub enum ScheduleVerb {
    /// Create a schedule
    Create(Box<create::CreateFlags>),
    /// Get schedules
    Get(get::GetFlags),
    /// Describe schedules
    Describe(describe::DescribeFlags),
    /// Delete schedules; their backups stay
    Delete(delete::DeleteFlags),
    /// Let schedules make no backups for a while
    Pause(pause::PauseFlags),
    /// Let paused schedules make backups again
    Unpause(pause::PauseFlags),
    /// Delete the backups that the retention policy of schedules does not keep, or show which
    Prune(prune::PruneFlags),
}

impl ScheduleVerb {
    /// Does it.
    ///
    /// # Errors
    /// Why it could not run.
    pub async fn run(self, session: &Session) -> Result<Outcome> {
        match self {
            Self::Create(flags) => flags.run(session).await,
            Self::Get(flags) => flags.run(session).await,
            Self::Describe(flags) => flags.run(session).await,
            Self::Delete(flags) => flags.run(session).await,
            Self::Pause(flags) => flags.run(session, true).await,
            Self::Unpause(flags) => flags.run(session, false).await,
            Self::Prune(flags) => flags.run(session).await,
        }
    }
}
