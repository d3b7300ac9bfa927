//! RestorePlans: finds out for each new one what its restore would do, and writes the summary into its
//! status and every object into the bucket. Nothing else is written.

use refloat_cluster::typed::Object;
use refloat_engine::{EngineError, Progress, RestoreJob, RestoreOptions, catalog, run_plan};
use refloat_model::{
    Backup, BackupStorageLocation, Restore, RestorePlan, labels,
    restore_plan::{RestorePlanPhase, RestorePlanStatus},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    ControllerError,
    context::{Shared, now},
    controller::{Next, Reconciler},
    error::chain,
    events::Tone,
    patch::update,
    restore::check::{Facts, check},
};

/// The controller.
pub(crate) struct RestorePlanController {
    context: Shared,
}

impl RestorePlanController {
    pub(crate) fn new(context: Shared) -> Self {
        Self { context }
    }

    /// Makes the plan; the inner error is one that trying again does not mend.
    async fn plan(
        &self,
        plan: &RestorePlan,
        stop: &CancellationToken,
    ) -> Result<RestorePlanStatus, ControllerError> {
        let context = &self.context;
        let restore = restore_of(plan);
        let facts = Facts {
            backups: context.objects::<Backup>().list(None).await?,
            locations: context.objects::<BackupStorageLocation>().list(None).await?,
            options: &context.options,
        };
        let (checked, errors) = check(&restore, &facts);
        if !errors.is_empty() {
            return Ok(failed(errors.join("; ")));
        }
        let name = checked.spec.backup_name.clone();
        let known = facts.backups.iter().find(|backup| backup.object_name() == name);
        let resource = match known {
            Some(known) => context.location_of(known).await?,
            None => None,
        };
        let Some(resource) = resource else {
            return Ok(failed(format!(
                "the storage location of the backup {name:?} does not exist"
            )));
        };
        let location = context.open(&resource).await?;
        let backup = catalog::read_backup(&location, &name).await?;
        let job = RestoreJob {
            restore: checked,
            backup,
            location,
            cluster: context.cluster.clone(),
            options: RestoreOptions {
                priorities: context.priorities.clone(),
                terminating_timeout: context.options.terminating_resource_timeout,
                resource_timeout: context.options.resource_timeout,
                modifiers: None,
            },
            progress: Progress::default(),
            cancel: stop.clone(),
        };
        let report = Box::pin(run_plan(job)).await?;
        Ok(RestorePlanStatus {
            phase: RestorePlanPhase::Ready,
            hash: report.hash,
            totals: report.totals,
            listing: report.listing,
            attention: report.attention,
            ..RestorePlanStatus::default()
        })
    }
}

/// The restore that a plan is of, under the plan's name.
fn restore_of(plan: &RestorePlan) -> Restore {
    let mut restore = Restore::new(plan.object_name(), plan.spec.restore.clone());
    restore.metadata.namespace.clone_from(&plan.metadata.namespace);
    if !plan.spec.objects.is_empty() {
        let objects = serde_json::Value::from(plan.spec.objects.clone()).to_string();
        restore.metadata.annotations = Some([(labels::OBJECTS.to_owned(), objects)].into());
    }
    restore
}

fn failed(reason: String) -> RestorePlanStatus {
    RestorePlanStatus {
        phase: RestorePlanPhase::Failed,
        failure_reason: reason,
        ..RestorePlanStatus::default()
    }
}

impl Reconciler for RestorePlanController {
    type Object = RestorePlan;
    const NAME: &'static str = "restore-plan";

    async fn reconcile(&self, name: &str, stop: &CancellationToken) -> Result<Next, ControllerError> {
        let plans = self.context.objects::<RestorePlan>();
        let Some(plan) = plans.find(name).await? else {
            return Ok(Next::Done);
        };
        if !self.wants(&plan) {
            return Ok(Next::Done);
        }
        let began = now();
        let made = match self.plan(&plan, stop).await {
            Err(ControllerError::Engine(error)) if matches!(*error, EngineError::Cancelled) => {
                return Ok(Next::Done);
            }
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => failed(chain(&error)),
            Ok(status) => status,
        };
        let mut ended = plan.clone();
        ended.status = Some(RestorePlanStatus {
            start_timestamp: Some(began),
            completion_timestamp: Some(now()),
            ..made
        });
        let ended = match update(&plans, &plan, &ended).await {
            Err(ControllerError::Cluster(error)) if error.is_not_found() => return Ok(Next::Done),
            other => other?,
        };
        let status = ended.status.clone().unwrap_or_default();
        let events = &self.context.events;
        if status.phase == RestorePlanPhase::Failed {
            warn!(plan = %name, reason = %status.failure_reason, "the plan cannot be made");
            events
                .tell(&ended, Tone::Warning, "Plan", "Failed", &status.failure_reason)
                .await;
        } else {
            info!(plan = %name, hash = %status.hash, blocked = status.totals.blocked, "the plan is ready");
            let note = format!(
                "{} objects, {} blocked",
                status.totals.all(),
                status.totals.blocked
            );
            events.tell(&ended, Tone::Normal, "Plan", "Ready", &note).await;
        }
        Ok(Next::Done)
    }

    fn wants(&self, plan: &RestorePlan) -> bool {
        let phase = plan
            .status
            .as_ref()
            .map(|status| status.phase)
            .unwrap_or_default();
        plan.metadata.deletion_timestamp.is_none() && !phase.is_final()
    }
}
