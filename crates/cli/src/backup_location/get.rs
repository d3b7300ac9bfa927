//! `backup-location get`: a table, or the objects themselves.

use anyhow::Result;
use clap::Args;
use refloat_model::BackupStorageLocation;

use crate::{
    exit::Outcome,
    flags::{Format, ListFlags, OutputFlags},
    output::{self, encode, table::Table, when},
    select,
    session::Session,
};

/// Flags of `backup-location get`.
#[derive(Args, Clone, Debug)]
pub struct GetFlags {
    #[command(flatten)]
    list: ListFlags,
    /// Only the default one
    #[arg(long)]
    default: bool,
    #[command(flatten)]
    output: OutputFlags,
}

impl GetFlags {
    /// Prints locations.
    ///
    /// # Errors
    /// Where one does not exist or the server cannot be asked.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        let cluster = session.cluster().await?;
        let mut locations = select::listed(
            &cluster.objects::<BackupStorageLocation>(&session.namespace),
            &self.list,
        )
        .await?;
        if self.default {
            locations.retain(|location| location.spec.default);
        }
        let text = match self.output.output.unwrap_or(Format::Table) {
            Format::Table => table(session, &locations).render(&self.output),
            format => encode::objects("BackupStorageLocation", &locations, format)?,
        };
        output::print(&text)?;
        Ok(Outcome::Done)
    }
}

/// The locations as a table.
#[must_use]
pub fn table(session: &Session, locations: &[BackupStorageLocation]) -> Table {
    let mut table = Table::new(&[
        "NAME",
        "PROVIDER",
        "BUCKET/PREFIX",
        "PHASE",
        "LAST VALIDATED",
        "ACCESS MODE",
        "DEFAULT",
    ]);
    for location in locations {
        let (spec, status) = (&location.spec, location.status.clone().unwrap_or_default());
        let storage = &spec.object_storage;
        let place = if storage.prefix.is_empty() {
            storage.bucket.clone()
        } else {
            format!("{}/{}", storage.bucket, storage.prefix)
        };
        table.push(
            vec![
                location.metadata.name.clone().unwrap_or_default(),
                spec.provider.clone(),
                place,
                status
                    .phase
                    .map_or_else(|| "Unknown".into(), |phase| format!("{phase:?}")),
                when::point(status.last_validation_time.as_ref(), &session.zone, "Unknown"),
                format!("{:?}", spec.access_mode.unwrap_or_default()),
                if spec.default {
                    "true".into()
                } else {
                    String::new()
                },
            ],
            &location.metadata,
        );
    }
    table
}
