//! `schedule create`.

use anyhow::{Result, bail};
use clap::Args;
use refloat_model::{Schedule, labels::RETENTION, schedule::ScheduleSpec};
use refloat_plan::{retention::Policy, validation::validate_schedule};

use crate::{
    backup::{create::check_locations, scope::Scope},
    exit::Outcome,
    flags::{Format, OutputFlags, Pairs, Said, merged},
    output::{encode, say},
    schedule::{get, prune},
    session::Session,
};

/// Flags of `schedule create`.
#[derive(Args, Clone, Debug)]
pub struct CreateFlags {
    /// The schedule's name
    name: String,
    /// When: five cron fields in UTC, "CRON_TZ=Europe/Berlin" and five fields, "@daily", or "@every 6h"
    #[arg(long, value_name = "CRON")]
    schedule: String,
    /// Whether backups are deleted together with the schedule
    #[arg(long)]
    use_owner_references_in_backup: bool,
    /// Make no backups until it is unpaused
    #[arg(long)]
    paused: bool,
    /// Whether to wait for the first time instead of making a backup at once
    #[arg(long, value_name = "BOOL")]
    skip_immediately: Option<Said>,
    #[command(flatten)]
    scope: Scope,
    /// Labels of the schedule and its backups
    #[arg(long, value_name = "KEY=VALUE,…")]
    labels: Vec<Pairs>,
    /// Annotations of the schedule and its backups
    #[arg(long, value_name = "KEY=VALUE,…")]
    annotations: Vec<Pairs>,
    /// What is kept of its backups instead of their TTL, for example keep-last=3,daily=7,monthly=12; the
    /// rules are keep-last, hourly, daily, weekly, monthly, yearly
    #[arg(long, value_name = "RULE=COUNT,…", value_parser = prune::policy)]
    retention: Option<Policy>,
    #[command(flatten)]
    output: OutputFlags,
}

impl CreateFlags {
    /// Creates the schedule.
    ///
    /// # Errors
    /// Why it could not be created.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        let schedule = self.schedule(session)?;
        if let Some(format) = self.output.output {
            let text = match format {
                Format::Table => get::table(session, std::slice::from_ref(&schedule)).render(&self.output),
                _ => encode::objects("Schedule", &[schedule], format)?,
            };
            crate::output::print(&text)?;
            return Ok(Outcome::Done);
        }
        let cluster = session.cluster().await?;
        check_locations(&cluster, &session.namespace, &schedule.spec.template).await?;
        cluster
            .objects::<Schedule>(&session.namespace)
            .create(&schedule)
            .await?;
        say(&format!("Schedule {:?} created successfully.", self.name))?;
        Ok(Outcome::Done)
    }

    fn schedule(&self, session: &Session) -> Result<Schedule> {
        let spec = ScheduleSpec {
            template: self.scope.spec()?,
            schedule: self.schedule.clone(),
            use_owner_references_in_backup: Some(self.use_owner_references_in_backup),
            paused: self.paused,
            skip_immediately: self.skip_immediately.map(|said| said.0),
        };
        let problems = validate_schedule(&spec);
        if !problems.is_empty() {
            bail!("the schedule's specification is invalid: {}", problems.join("; "));
        }
        let mut schedule = Schedule::new(&self.name, spec);
        schedule.metadata.namespace = Some(session.namespace.clone());
        schedule.metadata.labels = Some(merged(&self.labels)).filter(|labels| !labels.is_empty());
        let mut annotations = merged(&self.annotations);
        annotations.extend(
            self.retention
                .map(|policy| (RETENTION.to_owned(), policy.to_string())),
        );
        schedule.metadata.annotations = Some(annotations).filter(|annotations| !annotations.is_empty());
        Ok(schedule)
    }
}
