//! Runs a backup of API objects: list, write, describe, publish.
//!
//! # Order of writes
//! First the tarball, streamed while listing goes on; then the files that describe it; last
//! `velero-backup.json`, once, with the final phase. Until that is there the backup does not exist:
//! a process that dies before leaves files that nobody lists, and the next try of the same name
//! removes them. Each write is refused if the key exists, so of two writers one ends in an error.
//!
//! # Hooks
//! Pods with hooks are backed up between them, with what they mount; see [`hooks`]. A backup that is run again
//! after the death of its process runs all hooks again.
//!
//! # Memory
//! Objects pass through as the bytes that the API server sent, a bounded number of them at a time.
//! What grows with the cluster is the list of names, compressed (a few bytes per object).

mod claims;
mod collect;
mod files;
mod hooks;
mod index;
mod item;
mod related;
mod volumes;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use refloat_cluster::{Cluster, Discovery};
use refloat_model::{Backup, BackupPhase, Results, layout};
use refloat_plan::{
    PlanError,
    backup::{BackupPlan, names_group, plan_backup},
    hooks::BackupHookRules,
    resource_policy::ResourcePolicies,
};
use tokio_util::sync::CancellationToken;

use crate::{EngineError, Location, Progress, catalog, gaps, job_log::JobLog, rules};

pub(crate) use collect::namespace_facts;
pub(crate) use files::json_gz;
use hooks::{EndOnDrop, Hooks, Running};
pub(crate) use item::{Item, type_prefix};

/// What a backup needs.
#[derive(Debug)]
pub struct BackupJob {
    /// The custom resource: the spec with the server's defaults filled in, and in the status
    /// `startTimestamp` and `expiration` where they are known.
    pub backup: Backup,
    /// Where it goes.
    pub location: Location,
    /// What is backed up.
    pub cluster: Cluster,
    /// How.
    pub options: BackupOptions,
    /// Counters to follow.
    pub progress: Progress,
    /// Stops it at the next step; nothing is published then.
    pub cancel: CancellationToken,
}

/// How a backup is done.
#[derive(Clone, Debug)]
pub struct BackupOptions {
    /// Objects per LIST request.
    pub page_size: u32,
    /// Kinds listed at once.
    pub parallel_lists: usize,
    /// Pods (groups of pods that share a claim count as one) that are held still by hooks at once. One, as
    /// in Velero, never stops two replicas of an application at the same time.
    pub parallel_hooks: usize,
    /// Policies, in place of those that the spec names.
    pub policies: Option<ResourcePolicies>,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self {
            page_size: 500,
            parallel_lists: 4,
            parallel_hooks: 1,
            policies: None,
        }
    }
}

/// What became of a backup that was published.
#[derive(Clone, Debug)]
pub struct BackupReport {
    /// Exactly what `velero-backup.json` holds.
    pub backup: Backup,
    /// Warnings and errors about single objects.
    pub results: Results,
}

/// Annotation in `velero-backup.json`: the SHA-256 of the tarball as it is stored.
pub const CONTENTS_SHA256: &str = "refloat.io/contents-sha256";

/// Writes a backup. May be called again for the same name after a crash or an error: what an
/// earlier try left is removed first. Dropping the future leaves files but no backup.
///
/// # Errors
/// [`EngineError::AlreadyExists`] if the location has a backup of that name,
/// [`EngineError::Cancelled`], or what kept the backup from being written. The location has no
/// backup of that name then, unless the error is that its existence could not be found out.
pub async fn run_backup(job: BackupJob) -> Result<BackupReport, EngineError> {
    let name = job.backup.metadata.name.clone().unwrap_or_default();
    catalog::check_name(&name)?;
    job.location.writable()?;
    let cancel = job.cancel.clone();
    tokio::select! {
        () = cancel.cancelled() => return Err(EngineError::Cancelled),
        ready = prepare_location(&job.location, &name) => ready?,
    }
    job.progress.reset();
    let location = job.location.clone();
    let running = EndOnDrop(Running::default());
    let result = tokio::select! {
        () = cancel.cancelled() => Err(EngineError::Cancelled),
        result = write(job, &name, &running.0) => result,
    };
    running.0.end().await;
    if let Err(error) = &result {
        clean_up(&location, &name, error).await;
    }
    result
}

/// Refuses a name that is taken, and removes what an earlier try left.
async fn prepare_location(location: &Location, name: &str) -> Result<(), EngineError> {
    let doing = || format!("cannot prepare the location for backup {name:?}");
    let store = location.store();
    let taken = store.exists(&layout::backup_metadata(name)).await;
    if taken.map_err(|source| EngineError::store(doing(), source))? {
        return Err(EngineError::AlreadyExists {
            name: name.into(),
            location: location.name().into(),
        });
    }
    let removed = store.delete_prefix(&layout::backup_dir(name)).await;
    let removed = removed.map_err(|source| EngineError::store(doing(), source))?;
    if removed > 0 {
        tracing::info!(backup = name, removed, "removed what an earlier try had left");
    }
    Ok(())
}

/// After a failure: removes what was written, unless the backup was published after all.
async fn clean_up(location: &Location, name: &str, error: &EngineError) {
    if matches!(error, EngineError::AlreadyExists { .. }) {
        return;
    }
    let tidy = async {
        if location.store().exists(&layout::backup_metadata(name)).await? {
            return Ok(0);
        }
        location.store().delete_prefix(&layout::backup_dir(name)).await
    };
    match tokio::time::timeout(Duration::from_secs(60), tidy).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(backup = name, %error, "left files of a failed backup"),
        Err(_) => tracing::debug!(backup = name, "left files of a failed backup: the store is slow"),
    }
}

async fn write(job: BackupJob, name: &str, running: &Running) -> Result<BackupReport, EngineError> {
    let namespace = job.backup.metadata.namespace.clone().unwrap_or_default();
    let log = Arc::new(JobLog::new(format!("backup={namespace}/{name}")));
    let started = job
        .backup
        .status
        .as_ref()
        .and_then(|status| status.start_timestamp.clone());
    let started = started.map_or_else(Timestamp::now, |time| time.0);
    let policies = match &job.options.policies {
        Some(given) => Some(given.clone()),
        None => rules::resource_policies(&job.cluster, &namespace, &job.backup.spec).await?,
    };
    let plan = make_plan(&job, policies.as_ref(), &log).await?;
    log.info(&format!("{} kinds are listed", plan.plan.listings.len()));
    let rules = BackupHookRules::new(&job.backup.spec.hooks, &plan.discovery.resources).map_err(bad_plan)?;
    let hooks = Hooks::new(rules, job.options.parallel_hooks, running.clone());
    let contents = collect::write_contents(&job, name, started, plan, hooks, &log).await?;
    if job.cancel.is_cancelled() {
        return Err(EngineError::Cancelled);
    }
    let mut backup = job.backup.clone();
    describe(&mut backup, &contents, &log, started);
    let results = files::write_descriptions(&job.location, name, &log, contents).await?;
    if job.cancel.is_cancelled() {
        return Err(EngineError::Cancelled);
    }
    let completed = Timestamp::now();
    backup.status.get_or_insert_default().completion_timestamp = Some(seconds(completed));
    files::publish(&job.location, name, &backup).await?;
    Ok(BackupReport { backup, results })
}

/// Asks the cluster what there is and decides what is backed up.
async fn make_plan(
    job: &BackupJob,
    policies: Option<&ResourcePolicies>,
    log: &JobLog,
) -> Result<Planned, EngineError> {
    let failed = |source| EngineError::cluster("cannot find out what the cluster serves", source);
    let discovery = job.cluster.discover().await.map_err(failed)?;
    for api in &discovery.unavailable {
        let text = format!(
            "API group {}/{} does not answer: its objects are not in this backup",
            api.group, api.version
        );
        // Aggregated APIs mostly have nothing to back up (metrics), and are often away.
        if api.aggregated && !names_group(&job.backup.spec, &api.group) {
            log.warn("", &text);
        } else {
            log.error("", &text);
        }
    }
    let facts = collect::namespace_facts(&job.cluster, job.options.page_size).await?;
    let mut gaps = gaps::of_backup(&job.backup.spec);
    gaps.extend(policies.and_then(gaps::of_policies));
    let spec = policies.map(|policies| policies.complement(&job.backup.spec, &discovery.resources));
    let spec = spec.as_ref().unwrap_or(&job.backup.spec);
    let plan = plan_backup(spec, &discovery.resources, &facts).map_err(bad_plan)?;
    for missing in &plan.missing_namespaces {
        log.error(
            missing,
            &format!("namespace {missing} is named in the backup's spec but does not exist"),
        );
    }
    for warning in plan.warnings.iter().chain(&gaps) {
        log.warn("", warning);
    }
    Ok(Planned { plan, discovery })
}

fn bad_plan(error: PlanError) -> EngineError {
    EngineError::Plan {
        doing: "cannot plan the backup".into(),
        source: error.into(),
    }
}

/// What is backed up, and what the cluster serves.
struct Planned {
    plan: BackupPlan,
    discovery: Discovery,
}

/// Fills in the final status.
fn describe(backup: &mut Backup, contents: &collect::Contents, log: &JobLog, started: Timestamp) {
    let (warnings, errors) = log.counts();
    let annotations = backup.metadata.annotations.get_or_insert_default();
    annotations.insert(CONTENTS_SHA256.to_owned(), contents.tarball.sha256.clone());
    let items = i64::try_from(contents.items).unwrap_or(i64::MAX);
    let status = backup.status.get_or_insert_default();
    status.version = layout::MAJOR_VERSION;
    status.format_version = layout::FORMAT_VERSION.to_owned();
    status.phase = if errors > 0 {
        BackupPhase::PartiallyFailed
    } else {
        BackupPhase::Completed
    };
    status.warnings = warnings;
    status.errors = errors;
    status.start_timestamp = Some(seconds(started));
    status.hook_status = Some(contents.hooks);
    status.progress = Some(refloat_model::backup::BackupProgress {
        total_items: items,
        items_backed_up: items,
    });
}

/// A time as Kubernetes writes it: whole seconds.
pub(crate) fn seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}
