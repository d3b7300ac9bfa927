//! `schedule get`: a table, or the objects themselves.

use anyhow::Result;
use clap::Args;
use refloat_model::Schedule;

use crate::{
    exit::Outcome,
    flags::{Format, ListFlags, OutputFlags},
    output::{self, encode, table::Table, when},
    select, selector,
    session::Session,
};

/// Flags of `schedule get`.
#[derive(Args, Clone, Debug)]
pub struct GetFlags {
    #[command(flatten)]
    list: ListFlags,
    #[command(flatten)]
    output: OutputFlags,
}

impl GetFlags {
    /// Prints schedules.
    ///
    /// # Errors
    /// Where one does not exist or the server cannot be asked.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        let cluster = session.cluster().await?;
        let schedules = select::listed(&cluster.objects::<Schedule>(&session.namespace), &self.list).await?;
        let text = match self.output.output.unwrap_or(Format::Table) {
            Format::Table => table(session, &schedules).render(&self.output),
            format => encode::objects("Schedule", &schedules, format)?,
        };
        output::print(&text)?;
        Ok(Outcome::Done)
    }
}

/// The schedules as a table.
#[must_use]
pub fn table(session: &Session, schedules: &[Schedule]) -> Table {
    let mut table = Table::new(&[
        "NAME",
        "STATUS",
        "CREATED",
        "SCHEDULE",
        "BACKUP TTL",
        "LAST BACKUP",
        "SELECTOR",
        "PAUSED",
    ]);
    let now = Session::now();
    for schedule in schedules {
        let status = schedule.status.clone().unwrap_or_default();
        table.push(
            vec![
                schedule.metadata.name.clone().unwrap_or_default(),
                format!("{:?}", status.phase),
                when::point(
                    schedule.metadata.creation_timestamp.as_ref(),
                    &session.zone,
                    when::GO_ZERO,
                ),
                schedule.spec.schedule.clone(),
                schedule.spec.template.ttl.to_string(),
                when::distance(status.last_backup.map(|time| time.0), now),
                selector::format(schedule.spec.template.label_selector.as_ref()),
                schedule.spec.paused.to_string(),
            ],
            &schedule.metadata,
        );
    }
    table
}
