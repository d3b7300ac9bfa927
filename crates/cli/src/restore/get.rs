//! `restore get`: a table, or the objects themselves.

use anyhow::Result;
use clap::Args;
use refloat_model::Restore;

use crate::{
    exit::Outcome,
    flags::{Format, ListFlags, OutputFlags, StorageFlags},
    output::{self, encode, table::Table, when},
    restore::local,
    select, selector,
    session::Session,
};

/// Flags of `restore get`.
#[derive(Args, Clone, Debug)]
pub struct GetFlags {
    #[command(flatten)]
    list: ListFlags,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    storage: StorageFlags,
}

impl GetFlags {
    /// Prints restores.
    ///
    /// # Errors
    /// Where one does not exist or the server or storage cannot be asked.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        let restores = match &self.storage.storage {
            Some(url) => local::listed(&Session::location(url).await?, &self.list).await?,
            None => {
                let cluster = session.cluster().await?;
                select::listed(&cluster.objects::<Restore>(&session.namespace), &self.list).await?
            }
        };
        let text = match self.output.output.unwrap_or(Format::Table) {
            Format::Table => table(session, &restores).render(&self.output),
            format => encode::objects("Restore", &restores, format)?,
        };
        output::print(&text)?;
        Ok(Outcome::Done)
    }
}

/// The restores as a table.
#[must_use]
pub fn table(session: &Session, restores: &[Restore]) -> Table {
    let mut table = Table::new(&[
        "NAME",
        "BACKUP",
        "STATUS",
        "STARTED",
        "COMPLETED",
        "ERRORS",
        "WARNINGS",
        "CREATED",
        "SELECTOR",
    ]);
    for restore in restores {
        let status = restore.status.clone().unwrap_or_default();
        table.push(
            vec![
                restore.metadata.name.clone().unwrap_or_default(),
                restore.spec.backup_name.clone(),
                format!("{:?}", status.phase),
                when::point(status.start_timestamp.as_ref(), &session.zone, "<nil>"),
                when::point(status.completion_timestamp.as_ref(), &session.zone, "<nil>"),
                status.errors.to_string(),
                status.warnings.to_string(),
                when::point(
                    restore.metadata.creation_timestamp.as_ref(),
                    &session.zone,
                    when::GO_ZERO,
                ),
                selector::format(restore.spec.label_selector.as_ref()),
            ],
            &restore.metadata,
        );
    }
    table
}
