//! `repo get`: volume repositories.

use anyhow::Result;
use clap::{Args, Subcommand};
use refloat_model::repository::BackupRepository;

use crate::{
    exit::Outcome,
    flags::{Format, ListFlags, OutputFlags},
    output::{self, encode, table::Table, when},
    select,
    session::Session,
};

/// What to do with repositories.
#[derive(Subcommand, Debug)]
pub enum RepoVerb {
    /// Get repositories
    Get(GetFlags),
}

/// Flags of `repo get`.
#[derive(Args, Clone, Debug)]
pub struct GetFlags {
    #[command(flatten)]
    list: ListFlags,
    #[command(flatten)]
    output: OutputFlags,
}

impl RepoVerb {
    /// Prints repositories.
    ///
    /// # Errors
    /// Where one does not exist or the server cannot be asked.
    pub async fn run(self, session: &Session) -> Result<Outcome> {
        let Self::Get(flags) = self;
        let cluster = session.cluster().await?;
        let repositories = select::listed(
            &cluster.objects::<BackupRepository>(&session.namespace),
            &flags.list,
        )
        .await?;
        let text = match flags.output.output.unwrap_or(Format::Table) {
            Format::Table => table(session, &repositories).render(&flags.output),
            format => encode::objects("BackupRepository", &repositories, format)?,
        };
        output::print(&text)?;
        Ok(Outcome::Done)
    }
}

fn table(session: &Session, repositories: &[BackupRepository]) -> Table {
    let mut table = Table::new(&["NAME", "STATUS", "LAST MAINTENANCE"]);
    for repository in repositories {
        let status = repository.status.clone().unwrap_or_default();
        table.push(
            vec![
                repository.metadata.name.clone().unwrap_or_default(),
                format!("{:?}", status.phase),
                when::point(status.last_maintenance_time.as_ref(), &session.zone, "<never>"),
            ],
            &repository.metadata,
        );
    }
    table
}
