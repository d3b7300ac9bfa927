//! `restore plan`: what a restore would do with each object; and `restore create --plan`, which applies
//! that and nothing else.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use refloat_cluster::typed::Object as _;
use refloat_engine::{
    EngineError, Location, PlanReport, Progress, RestoreJob, RestoreOptions, catalog,
    plans::{find_plan, is_meant, write_plan},
    run_plan, stream_plan,
};
use refloat_model::{
    Backup, Restore, RestorePlan, labels,
    restore_plan::{PlanLine, PlanObject, PlanTotals, RestorePlanPhase, RestorePlanSpec, RestorePlanStatus},
};
use refloat_plan::restore::objects;
use serde_json::{Value, json};

use super::create::CreateFlags;
use crate::{
    backup::local::followed,
    exit::{self, Outcome},
    flags::Format,
    output::{changes, encode, print, say},
    progress::Counts,
    session::Session,
    storage,
    wait::{self, Interruption, Waited},
};

/// Flags of `restore plan`: those of `restore create`, with `NAME` as the plan's name.
#[derive(Args, Clone, Debug)]
#[command(mut_arg("wait", |arg| arg.hide(true)), mut_arg("plan", |arg| arg.hide(true)))]
pub struct PlanFlags {
    #[command(flatten)]
    create: CreateFlags,
}

impl PlanFlags {
    /// Makes the plan and prints it.
    ///
    /// # Errors
    /// Why there is no plan.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        if self.create.plan.is_some() {
            bail!("a plan is made of a backup: use --from-backup or --from-schedule");
        }
        let mut restore = self.create.restore(session);
        if self.create.name.is_none() {
            let source = self
                .create
                .from_schedule
                .as_ref()
                .or(self.create.from_backup.as_ref());
            let source = source.map(String::as_str).unwrap_or_default();
            restore.metadata.name = Some(format!("{source}-plan-{}", session.stamp()));
        }
        let (location, plan) = match &self.create.storage.storage {
            Some(url) => {
                if self.create.from_schedule.is_some() {
                    let partly = self.create.allow_partially_failed == Some(true);
                    super::local::latest_of_schedule(url, &mut restore, partly).await?;
                }
                match without_server(session, url, restore).await? {
                    Some(made) => made,
                    None => return Ok(Outcome::Interrupted),
                }
            }
            None => match self.by_server(session, restore).await? {
                Some(made) => made,
                None => return Ok(Outcome::Interrupted),
            },
        };
        let status = plan.status.clone().unwrap_or_default();
        if status.phase == RestorePlanPhase::Failed {
            bail!("the plan could not be made: {}", status.failure_reason);
        }
        show(session, &location, &plan, self.create.output.output).await?;
        Ok(if status.totals.blocked > 0 {
            Outcome::Unsuccessful
        } else {
            Outcome::Done
        })
    }

    /// Has the server make it, and waits.
    async fn by_server(
        &self,
        session: &Session,
        mut restore: Restore,
    ) -> Result<Option<(Location, RestorePlan)>> {
        let cluster = session.cluster().await?;
        self.create.resolve(session, &cluster, &mut restore).await?;
        if restore.spec.backup_name.is_empty() {
            let schedule = &restore.spec.schedule_name;
            let label = format!("{}={schedule}", labels::SCHEDULE_NAME);
            let backups = cluster
                .objects::<Backup>(&session.namespace)
                .list(Some(&label))
                .await?;
            let latest = super::create::latest(backups, true);
            let latest = latest.with_context(|| format!("no backups found for the schedule {schedule}"))?;
            restore.spec.backup_name = latest.object_name().to_owned();
            restore.spec.schedule_name.clear();
        }
        let plans = cluster.objects::<RestorePlan>(&session.namespace);
        let plan = plan_of(&restore)?;
        plans.create(&plan).await.map_err(|error| match error.is_not_found() {
            true => anyhow::anyhow!(
                "the cluster does not have the custom resource RestorePlan; `{} install --crds-only` puts it there (then \
                 restart the server), or --storage makes the plan without a server",
                session.program
            ),
            false => error.into(),
        })?;
        let name = plan.object_name();
        let ended = |plan: &RestorePlan| plan.status.as_ref().is_some_and(|status| status.phase.is_final());
        let counts = |plan: &RestorePlan| {
            let totals = plan
                .status
                .as_ref()
                .map(|status| status.totals)
                .unwrap_or_default();
            let done = u64::try_from(totals.all()).unwrap_or_default();
            Counts {
                done,
                total: done,
                bytes: None,
            }
        };
        match wait::for_end(&plans, name, &format!("Planning {name}"), ended, counts).await? {
            Waited::Ended(plan) => {
                let backup = cluster
                    .objects::<Backup>(&session.namespace)
                    .get(&plan.spec.restore.backup_name)
                    .await?;
                let location = storage::open(session, &cluster, &backup.spec.storage_location).await?;
                Ok(Some((location, plan)))
            }
            Waited::Gone => bail!("plan {name:?} was deleted before it was made"),
            Waited::Left => Ok(None),
        }
    }
}

/// The custom resource of a plan.
fn plan_of(restore: &Restore) -> Result<RestorePlan> {
    let picked =
        objects::of_annotations(restore.metadata.annotations.as_ref()).map_err(anyhow::Error::msg)?;
    let spec = RestorePlanSpec {
        restore: restore.spec.clone(),
        objects: picked
            .into_iter()
            .flatten()
            .map(|object| object.to_string())
            .collect(),
    };
    let mut plan = RestorePlan::new(restore.object_name(), spec);
    plan.metadata.namespace.clone_from(&restore.metadata.namespace);
    plan.metadata.labels.clone_from(&restore.metadata.labels);
    Ok(plan)
}

/// Makes a plan in this process; `None`: the user stopped it.
async fn without_server(
    session: &Session,
    url: &str,
    restore: Restore,
) -> Result<Option<(Location, RestorePlan)>> {
    let problems = refloat_plan::validation::validate_restore(&restore.spec);
    if !problems.is_empty() {
        bail!("the restore's specification is invalid: {}", problems.join("; "));
    }
    let location = Session::location(url).await?;
    let name = restore.object_name().to_owned();
    let backup = catalog::read_backup(&location, &restore.spec.backup_name).await?;
    let (cluster, _) = session.cluster_for_work().await?;
    let mut plan = plan_of(&restore)?;
    let began = Session::now();
    let progress = Progress::default();
    let interruption = Interruption::listen();
    let job = RestoreJob {
        restore,
        backup,
        location: location.clone(),
        cluster,
        options: RestoreOptions::default(),
        progress: progress.clone(),
        cancel: interruption.once.clone(),
    };
    let what = format!("Planning {name}");
    let ran = followed(Box::pin(run_plan(job)), &progress, &what, &interruption).await;
    let PlanReport {
        hash,
        totals,
        listing,
        attention,
    } = match ran {
        Some(Ok(report)) => report,
        Some(Err(EngineError::Cancelled)) | None => return Ok(None),
        Some(Err(error)) => return Err(error).context("cannot plan the restore"),
    };
    plan.metadata.creation_timestamp = Some(Time(began));
    plan.status = Some(RestorePlanStatus {
        phase: RestorePlanPhase::Ready,
        hash,
        totals,
        listing,
        attention,
        start_timestamp: Some(Time(began)),
        completion_timestamp: Some(Time(Session::now())),
        ..RestorePlanStatus::default()
    });
    write_plan(&location, &plan).await?;
    Ok(Some((location, plan)))
}

/// Prints every object of a plan as it is read, then what it comes to.
async fn show(
    session: &Session,
    location: &Location,
    plan: &RestorePlan,
    format: Option<Format>,
) -> Result<()> {
    let name = plan.object_name();
    let backup = &plan.spec.restore.backup_name;
    let mut lines = stream_plan(location, name).await?;
    let mut first = true;
    match format {
        Some(Format::Json) => {
            let head = json!({ "plan": name, "backup": backup }).to_string();
            print(&format!("{},\"objects\":[", head.trim_end_matches('}')))?;
        }
        Some(Format::Yaml) => print(&encode::yaml(&json!({ "backup": backup, "plan": name }))?)?,
        _ => {}
    }
    while let Some(line) = lines.recv().await {
        match line? {
            PlanLine::Head(_) => {}
            PlanLine::Object(object) => {
                print(&one(session, &object, format, first)?)?;
                first = false;
            }
            PlanLine::End(end) => conclude(session, plan, &end.hash, &end.totals, format, first)?,
        }
    }
    Ok(())
}

fn one(session: &Session, object: &PlanObject, format: Option<Format>, first: bool) -> Result<String> {
    Ok(match format {
        Some(Format::Json) => {
            let comma = if first { "\n" } else { ",\n" };
            format!("{comma}{}", serde_json::to_string(object)?)
        }
        Some(Format::Yaml) => {
            let head = if first { "objects:\n" } else { "" };
            format!("{head}{}", encode::yaml(&json!([object]))?)
        }
        _ => {
            let reason = match (object.checked, object.reason.as_str()) {
                (_, "") => String::new(),
                (_, reason) => format!("  ({reason})"),
            };
            let mut text = format!("{:<10}{}{reason}\n", object.action.word(), object.title());
            for line in changes::render_fields(&object.fields, session.colour).lines() {
                text.push_str(&format!("          {line}\n"));
            }
            text
        }
    })
}

fn conclude(
    session: &Session,
    plan: &RestorePlan,
    hash: &str,
    totals: &PlanTotals,
    format: Option<Format>,
    none: bool,
) -> Result<()> {
    match format {
        Some(Format::Json) => print(&format!(
            "\n],\"hash\":{},\"totals\":{}}}\n",
            Value::from(hash),
            serde_json::to_string(totals)?
        )),
        Some(Format::Yaml) => {
            let objects = if none { "objects: []\n" } else { "" };
            let end = encode::yaml(&json!({ "hash": hash, "totals": totals }))?;
            print(&format!("{objects}{end}"))
        }
        _ => {
            let name = plan.object_name();
            say(&format!(
                "\nPlan {name}: {} to create, {} the same, {} to patch, {} in conflict, {} blocked, {} left out\nHash: {hash}",
                totals.create, totals.same, totals.patch, totals.conflict, totals.blocked, totals.skip
            ))?;
            exit::complain(&format!(
                "`{} restore create --plan {name}` does exactly this, or nothing if the cluster has changed.",
                session.program
            ));
            Ok(())
        }
    }
}

/// Puts a plan's restore in the place of what the flags describe.
///
/// # Errors
/// Where there is no such plan, or it is not ready.
pub(super) async fn apply(
    session: &Session,
    storage: Option<&str>,
    wanted: &str,
    named: bool,
    restore: &mut Restore,
) -> Result<()> {
    let plan = match storage {
        Some(url) => find_plan(&Session::location(url).await?, wanted).await?,
        None => {
            let cluster = session.cluster().await?;
            let plans = cluster
                .objects::<RestorePlan>(&session.namespace)
                .list(None)
                .await?;
            let plan = plans.into_iter().find(|plan| is_meant(plan, wanted));
            plan.with_context(|| {
                format!(
                    "there is no restore plan with the name or hash {wanted:?} in namespace {}; `{} restore plan \
                     --from-backup …` makes one",
                    session.namespace, session.program
                )
            })?
        }
    };
    let name = plan.object_name();
    let status = plan.status.clone().unwrap_or_default();
    if status.phase != RestorePlanPhase::Ready {
        bail!(
            "plan {name:?} is {:?}, not Ready; {}",
            status.phase,
            status.failure_reason
        );
    }
    restore.spec = plan.spec.restore.clone();
    if !named {
        let backup = &plan.spec.restore.backup_name;
        restore.metadata.name = Some(format!("{backup}-{}", session.stamp()));
    }
    if restore.object_name() == name {
        bail!("the restore cannot have the name of its plan, {name:?}; choose another");
    }
    let annotations = restore.metadata.annotations.get_or_insert_default();
    annotations.insert(labels::PLAN.to_owned(), name.to_owned());
    annotations.insert(labels::PLAN_HASH.to_owned(), status.hash);
    if !plan.spec.objects.is_empty() {
        let objects = Value::from(plan.spec.objects.clone()).to_string();
        annotations.insert(labels::OBJECTS.to_owned(), objects);
    }
    Ok(())
}
