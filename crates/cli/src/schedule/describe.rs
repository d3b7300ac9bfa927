//! `schedule describe`.

use anyhow::Result;
use clap::Args;
use refloat_model::{Schedule, schedule::SchedulePhase};

use crate::{
    backup::sections,
    exit::Outcome,
    flags::ListFlags,
    output::{
        self,
        describe::{Description, Tone},
        when,
    },
    select,
    session::Session,
};

/// Flags of `schedule describe`.
#[derive(Args, Clone, Debug)]
pub struct DescribeFlags {
    #[command(flatten)]
    list: ListFlags,
}

impl DescribeFlags {
    /// Prints descriptions.
    ///
    /// # Errors
    /// Where a schedule does not exist or the server cannot be asked.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        let cluster = session.cluster().await?;
        let schedules = select::listed(&cluster.objects::<Schedule>(&session.namespace), &self.list).await?;
        for (index, schedule) in schedules.iter().enumerate() {
            let apart = if index == 0 { "" } else { "\n\n" };
            output::print(&format!("{apart}{}", describe(session, schedule)))?;
        }
        Ok(Outcome::Done)
    }
}

/// The description of a schedule.
#[must_use]
pub fn describe(session: &Session, schedule: &Schedule) -> String {
    let mut out = Description::new(session.colour);
    let status = schedule.status.clone().unwrap_or_default();
    out.metadata(&schedule.metadata);
    out.blank();
    let tone = match status.phase {
        SchedulePhase::Enabled => Tone::Good,
        SchedulePhase::FailedValidation => Tone::Bad,
        SchedulePhase::New => Tone::Plain,
    };
    let phase = out.toned(format_args!("{:?}", status.phase), tone);
    out.field("Phase", phase);
    sections::policies(&mut out, &schedule.spec.template);
    out.validation_errors(&status.validation_errors);
    out.blank();
    out.field("Paused", schedule.spec.paused);
    out.blank();
    out.field("Schedule", &schedule.spec.schedule);
    out.blank();
    out.line("Backup Template:");
    out.indent("\t");
    sections::spec(&mut out, &schedule.spec.template);
    out.indent("");
    out.blank();
    out.field(
        "Last Backup",
        when::point(status.last_backup.as_ref(), &session.zone, "<never>"),
    );
    out.finish()
}
