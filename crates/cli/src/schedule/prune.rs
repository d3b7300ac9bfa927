//! `schedule prune`: what a retention policy keeps of the backups of schedules and what goes, and with
//! consent its deletion, at once.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use refloat_cluster::{Cluster, typed::Object as _};
use refloat_model::{Backup, DeleteBackupRequest, Schedule, labels};
use refloat_plan::{
    retention::{Policy, RetentionPlan, plan_retention, policy_in_force, zone_of},
    schedule::of_schedule,
};
use serde_json::{Value, json};

use crate::{
    exit::{self, Outcome},
    flags::{Format, OutputFlags, SelectFlags},
    output::{self, describe::joined, encode, say, table::Table, when},
    select,
    session::{self, Session},
};

/// Flags of `schedule prune`.
#[derive(Args, Clone, Debug)]
pub struct PruneFlags {
    #[command(flatten)]
    select: SelectFlags,
    /// Show what would go and what stays and why, and delete nothing
    #[arg(long)]
    dry_run: bool,
    /// The policy to go by, for example keep-last=3,daily=7,monthly=12 [default: the schedule's own]
    #[arg(long, value_name = "RULE=COUNT,…", value_parser = policy)]
    policy: Option<Policy>,
    /// Do not ask
    #[arg(long)]
    confirm: bool,
    #[command(flatten)]
    output: OutputFlags,
}

/// What a policy makes of the backups of one schedule.
struct Pruning {
    schedule: String,
    policy: Policy,
    backups: Vec<Backup>,
    plan: RetentionPlan,
}

impl PruneFlags {
    /// Shows the plans; then, unless told to only look, asks and has the backups deleted.
    ///
    /// # Errors
    /// Where the server cannot be asked, or a schedule has no policy.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        let cluster = session.cluster().await?;
        let schedules = cluster.objects::<Schedule>(&session.namespace);
        let selected = select::selected(&schedules, &self.select).await?;
        if selected.objects.is_empty() {
            say("No schedules found")?;
        }
        let mut prunings = Vec::new();
        for schedule in &selected.objects {
            prunings.extend(self.plan(session, &cluster, schedule).await?);
        }
        if let Some(format) = self.output.output.filter(|format| *format != Format::Table) {
            output::print(&document(&prunings, format)?)?;
            return Ok(select::outcome(prunings.len(), selected.failures));
        }
        for (index, pruning) in prunings.iter().enumerate() {
            let apart = if index == 0 { "" } else { "\n" };
            output::print(&format!("{apart}{}", pruning.describe(session, &self.output)))?;
        }
        let going: usize = prunings.iter().map(|pruning| pruning.plan.going().count()).sum();
        if self.dry_run || self.output.output.is_some() || going == 0 {
            return Ok(select::outcome(prunings.len(), selected.failures));
        }
        if !self.confirm && !session::confirmed(&format!("{going} backups will be deleted. "))? {
            return Ok(Outcome::Done);
        }
        let (done, failures) = delete(session, &cluster, &prunings).await?;
        Ok(select::outcome(done, failures + selected.failures))
    }

    /// `None`: there is no policy, and it is one of several schedules.
    async fn plan(
        &self,
        session: &Session,
        cluster: &Cluster,
        schedule: &Schedule,
    ) -> Result<Option<Pruning>> {
        let name = schedule.object_name();
        let selector = of_schedule(name);
        let backups = cluster
            .objects::<Backup>(&session.namespace)
            .list(Some(&selector))
            .await?;
        let own = || {
            policy_in_force(Some(schedule), &backups)
                .with_context(|| format!("cannot prune schedule {name:?}"))
        };
        let policy = match self.policy {
            Some(policy) => policy,
            None => match own()? {
                Some(policy) => policy,
                None if self.select.names.is_empty() => return Ok(None),
                None => bail!(
                    "schedule {name:?} has no retention policy: annotate it with {}=daily=7,monthly=12 or the \
                     like, or give --policy",
                    labels::RETENTION
                ),
            },
        };
        Ok(Some(Pruning {
            schedule: name.to_owned(),
            plan: plan_retention(&policy, &backups, &zone_of(Some(schedule))),
            policy,
            backups,
        }))
    }
}

/// Reads a policy as a flag's value.
///
/// # Errors
/// What is wrong with it.
pub fn policy(text: &str) -> Result<Policy, String> {
    text.parse()
        .map_err(|error: refloat_plan::PlanError| error.to_string())
}

async fn delete(session: &Session, cluster: &Cluster, prunings: &[Pruning]) -> Result<(usize, usize)> {
    let requests = cluster.objects::<DeleteBackupRequest>(&session.namespace);
    let (mut done, mut failures) = (0, 0);
    for pruning in prunings {
        for backup in pruning.going() {
            let name = backup.object_name();
            match requests.create(&DeleteBackupRequest::for_backup(backup)).await {
                Ok(_) => {
                    done += 1;
                    say(&format!(
                        "Request to delete backup {name:?} submitted successfully."
                    ))?;
                }
                Err(error) => {
                    failures += 1;
                    exit::complain(&format!("error: {}", exit::chain(&error.into())));
                }
            }
        }
    }
    Ok((done, failures))
}

impl Pruning {
    fn backup(&self, name: &str) -> Option<&Backup> {
        self.backups.iter().find(|backup| backup.object_name() == name)
    }

    fn going(&self) -> impl Iterator<Item = &Backup> {
        self.plan.going().filter_map(|name| self.backup(name))
    }

    fn describe(&self, session: &Session, flags: &OutputFlags) -> String {
        let mut table = Table::new(&["NAME", "STATUS", "CREATED", "VERDICT", "KEPT BY"]);
        for verdict in &self.plan.verdicts {
            let Some(backup) = self.backup(&verdict.backup) else {
                continue;
            };
            let why: Vec<_> = verdict.kept.iter().map(ToString::to_string).collect();
            let time = verdict
                .time
                .map(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time);
            table.push(
                vec![
                    verdict.backup.clone(),
                    phase(backup),
                    when::point(time.as_ref(), &session.zone, "<nil>"),
                    said(verdict.goes()).to_owned(),
                    joined(&why, ""),
                ],
                &backup.metadata,
            );
        }
        let going = self.plan.going().count();
        format!(
            "Schedule {}, policy {}: {going} of {} backups go.\n{}",
            self.schedule,
            self.policy,
            self.plan.verdicts.len(),
            table.render(flags)
        )
    }

    fn value(&self) -> Value {
        let verdicts: Vec<Value> = self
            .plan
            .verdicts
            .iter()
            .map(|verdict| {
                json!({
                    "backup": verdict.backup, "time": verdict.time, "verdict": said(verdict.goes()),
                    "keptBy": verdict.kept, "phase": self.backup(&verdict.backup).map(phase),
                })
            })
            .collect();
        json!({ "schedule": self.schedule, "policy": self.policy.to_string(), "backups": verdicts })
    }
}

fn phase(backup: &Backup) -> String {
    let phase = backup.status.as_ref().map(|status| status.phase);
    format!("{:?}", phase.unwrap_or_default())
}

const fn said(goes: bool) -> &'static str {
    if goes { "delete" } else { "keep" }
}

/// One plan by itself, any other number as a list.
fn document(prunings: &[Pruning], format: Format) -> Result<String> {
    let values: Vec<Value> = prunings.iter().map(Pruning::value).collect();
    let value = match <[Value; 1]>::try_from(values) {
        Ok([value]) => value,
        Err(values) => Value::Array(values),
    };
    encode::document(&value, format)
}
