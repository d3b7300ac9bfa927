//! Finds out what a restore would do with each object, and does nothing: objects are selected and
//! rewritten as by the restore, and the server is asked by dry runs.
//!
//! Lines come in the order of the restore's classes, kinds and the tarball, so that the same backup and
//! the same cluster give the same plan. In memory are as many objects as there are requests in flight.

mod facts;

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use refloat_cluster::{
    ClusterError,
    apply::{PatchKind, WriteOptions},
};
use refloat_model::{
    GroupResource, ObjectName, labels,
    layout::BackupFile,
    resource::ApiResource,
    restore_plan::{FORMAT, PlanAction, PlanHead, PlanObject, PlanTotals, VERSION},
};
use refloat_plan::{
    decision::{self, Decision},
    existing::{Existing, decide_existing},
    managed_fields::Carry,
    restore::{ResourceStep, objects},
    restore_item::{PreparedItem, SkipLevel},
};
use serde_json::Value;
use tokio::sync::mpsc;

use self::facts::{Facts, NamespaceState};
use super::{
    RestoreJob, check_format,
    execute::{self, Ready, Run, bad_plan, ready},
    existing::{UNCHANGEABLE, read},
    listing::ListingWriter,
    read_transforms, sort,
};
use crate::{
    EngineError,
    backup::CONTENTS_SHA256,
    catalog,
    gzip::hex,
    job_log::JobLog,
    spool::{Record, Spool},
};

/// How many objects that would not be restored a report names.
const ATTENTION: usize = 20;

/// What a plan needs: what its restore needs. The restore's name is the plan's.
pub type PlanJob = RestoreJob;

/// A plan that was made.
#[derive(Clone, Debug)]
pub struct PlanReport {
    /// SHA-256 over all decisions.
    pub hash: String,
    /// How many objects there are of each action.
    pub totals: PlanTotals,
    /// The key of the file with every object.
    pub listing: String,
    /// The first objects that would not be restored, one line each.
    pub attention: Vec<String>,
}

/// Makes a plan and writes its file. May be called again for the same name after a crash or an error.
/// Nothing is changed in the cluster.
///
/// # Errors
/// [`EngineError::Cancelled`], or what kept the plan from being made.
pub async fn run_plan(job: PlanJob) -> Result<PlanReport, EngineError> {
    let name = job.restore.metadata.name.clone().unwrap_or_default();
    catalog::check_name(&name)?;
    let cancel = job.cancel.clone();
    tokio::select! {
        () = cancel.cancelled() => Err(EngineError::Cancelled),
        report = plan(&job, &name) => report,
    }
}

async fn plan(job: &PlanJob, name: &str) -> Result<PlanReport, EngineError> {
    let store = job.location.store();
    let tidied = store.delete(&refloat_model::layout::plan_listing(name)).await;
    tidied.map_err(|source| EngineError::store(format!("cannot prepare plan {name:?}"), source))?;
    let salt: [u8; 16] = rand::random();
    let head = head(job, hex(&salt)).await?;
    let mut listing = ListingWriter::begin(&job.location, name, &head).await?;
    let mut attention = Vec::new();
    let (sender, mut receiver) = mpsc::channel::<PlanObject>(64);
    let writing = async {
        while let Some(object) = receiver.recv().await {
            let lost = matches!(object.action, PlanAction::Blocked | PlanAction::Conflict);
            if lost && attention.len() < ATTENTION {
                let (word, title) = (object.action.word(), object.title());
                attention.push(format!("{word} {title}: {}", object.reason));
            }
            listing.object(&object).await?;
        }
        Ok(())
    };
    let (decided, written) = tokio::join!(decide_all(job, &head, sender), writing);
    if let Err(error) = decided.and(written) {
        listing.abort().await;
        return Err(error);
    }
    let (end, key) = listing.finish().await?;
    Ok(PlanReport {
        hash: end.hash,
        totals: end.totals,
        listing: key,
        attention,
    })
}

/// What holds for all objects of a plan.
pub(super) async fn head(job: &RestoreJob, salt: String) -> Result<PlanHead, EngineError> {
    let metadata = &job.backup.metadata;
    let contents = metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(CONTENTS_SHA256))
        .or(metadata.uid.as_ref());
    let annotations = job.restore.metadata.annotations.as_ref();
    let picked = objects::of_annotations(annotations).map_err(bad_plan)?;
    let picked: Vec<String> = picked
        .into_iter()
        .flatten()
        .map(|object| object.to_string())
        .collect();
    Ok(PlanHead {
        format: FORMAT.to_owned(),
        version: VERSION,
        backup: metadata.name.clone().unwrap_or_default(),
        contents: contents.cloned().unwrap_or_default(),
        spec: decision::spec_digest(&job.restore.spec, &picked),
        cluster: facts::cluster_id(&job.cluster).await?,
        salt,
    })
}

/// Decides about every object, in order.
pub(super) async fn decide_all(
    job: &RestoreJob,
    head: &PlanHead,
    sender: mpsc::Sender<PlanObject>,
) -> Result<(), EngineError> {
    let backup = job.backup.metadata.name.clone().unwrap_or_default();
    catalog::check_name(&backup)?;
    check_format(&job.backup, &backup)?;
    job.progress.reset();
    // What a restore would log, a plan says in its lines.
    let log = Arc::new(JobLog::quiet());
    let volumes = catalog::read_json_gz(&job.location, &BackupFile::VolumeInfo.key(&backup)).await?;
    let spool = Arc::new(sort::sort_archive(job).await?);
    let namespace = job.restore.metadata.namespace.as_deref().unwrap_or_default();
    let transforms = read_transforms(job, namespace, &log).await?;
    let volumes = volumes.unwrap_or_default();
    let (run, _) = execute::begin(job, &spool, volumes, transforms, &log, None).await?;
    let facts = Facts::gather(&run, &spool).await?;
    let planner = Arc::new(Planner {
        run,
        facts,
        head: head.clone(),
    });
    for class in &planner.run.plan.classes {
        for step in &class.resources {
            decide_kind(&planner, &spool, step, &sender).await?;
        }
        planner.run.end_class();
    }
    Ok(())
}

/// What all decisions share.
struct Planner {
    run: Run,
    facts: Facts,
    head: PlanHead,
}

async fn decide_kind(
    planner: &Arc<Planner>,
    spool: &Arc<Spool>,
    step: &ResourceStep,
    sender: &mpsc::Sender<PlanObject>,
) -> Result<(), EngineError> {
    let step = Arc::new(step.clone());
    let lookahead = planner.run.cluster.limiter().most() * 2;
    let mut lines = std::pin::pin!(
        execute::records(spool.clone(), &step.group_resource)
            .enumerate()
            .map(|(place, record)| {
                let (planner, step) = (planner.clone(), step.clone());
                async move { planner.decide(&step, place as u64, record?).await }
            })
            .buffered(lookahead)
    );
    while let Some(line) = lines.next().await {
        let Some(line) = line? else { continue };
        planner.run.progress.add_done(1, 0);
        // Nobody listens any more only after an error of its own.
        if sender.send(line).await.is_err() {
            break;
        }
    }
    Ok(())
}

impl Planner {
    /// The line of one object; absent: it is not selected.
    async fn decide(
        &self,
        step: &ResourceStep,
        place: u64,
        record: Record,
    ) -> Result<Option<PlanObject>, EngineError> {
        let kind = &step.group_resource;
        let (name, decision) = match ready(&self.run, kind, &record.name, &record.json) {
            Ready::Left => return Ok(None),
            Ready::Skip { reason, level } => {
                let decision = match level {
                    SkipLevel::Error => Decision::blocked("NotUnderstood", reason),
                    SkipLevel::Silent | SkipLevel::Warning => Decision::skip(reason),
                };
                (record.name, decision)
            }
            Ready::Item(item) => {
                let name = ObjectName::new(item.namespace.as_str(), item.name.as_str());
                let decision = match item.api.as_deref().or(step.api.as_ref()) {
                    Some(api) => self.ask(api, &name, &item).await?,
                    None => self.unserved(kind),
                };
                (name, decision)
            }
        };
        Ok(Some(decision::line(&self.head, kind, place, &name, decision)))
    }

    fn unserved(&self, kind: &GroupResource) -> Decision {
        if self.facts.defines(kind) {
            return Decision::create_unchecked(
                "DefinitionFirst",
                "the definition of its kind is restored first; until then it cannot be checked",
            );
        }
        Decision::blocked(
            "KindNotServed",
            format!("this cluster does not serve {kind}; install what defines it, then plan again"),
        )
    }

    /// Asks the cluster about an object whose kind it serves.
    async fn ask(
        &self,
        api: &ApiResource,
        name: &ObjectName,
        item: &PreparedItem,
    ) -> Result<Decision, EngineError> {
        let kind = &api.group_resource;
        if kind.is("namespaces", "") {
            return self.ask_namespace(api, name, item).await;
        }
        if !name.namespace.is_empty() {
            let namespace = &name.namespace;
            match self.facts.namespace(&self.run, namespace).await? {
                NamespaceState::Active => {}
                NamespaceState::Terminating => {
                    let reason =
                        format!("namespace {namespace} is being deleted; plan again when it is gone");
                    return Ok(Decision::blocked("NamespaceTerminating", reason));
                }
                NamespaceState::Missing => {
                    if let Some(blocked) = self.without_class(kind, item) {
                        return Ok(blocked);
                    }
                    let reason = "its namespace is made first; until then it cannot be checked";
                    return Ok(Decision::create_unchecked("NamespaceFirst", reason));
                }
            }
        }
        match self.try_create(api, name, item).await {
            Ok(()) => Ok(self.without_class(kind, item).unwrap_or_else(Decision::create)),
            Err(error) if execute::exists(&error) => self.ask_existing(api, name, item, &error).await,
            Err(error) if has_no_dry_run(&error) => match read(&self.run, api, name).await {
                Ok(_) => self.ask_existing(api, name, item, &error).await,
                Err(missing) if missing.is_not_found() => {
                    Ok(Decision::create_unchecked("NoDryRun", error.server_message()))
                }
                Err(other) => self.refused(other).await,
            },
            Err(error) => self.refused(error).await,
        }
    }

    /// A claim that would wait for ever.
    fn without_class(&self, kind: &GroupResource, item: &PreparedItem) -> Option<Decision> {
        let class = decision::missing_storage_class(kind, &item.object, &self.facts.classes)?;
        Some(Decision::blocked(
            "MissingStorageClass",
            format!(
                "storage class {class:?} does not exist, and no volume is of that class; make it, then plan again"
            ),
        ))
    }

    /// A namespace that is there is left as it is.
    async fn ask_namespace(
        &self,
        api: &ApiResource,
        name: &ObjectName,
        item: &PreparedItem,
    ) -> Result<Decision, EngineError> {
        match self.facts.namespace(&self.run, &name.name).await? {
            NamespaceState::Active => return Ok(Decision::same()),
            NamespaceState::Terminating => {
                let reason = "it is being deleted; plan again when it is gone";
                return Ok(Decision::blocked("NamespaceTerminating", reason));
            }
            NamespaceState::Missing => {}
        }
        match self.try_create(api, name, item).await {
            Ok(()) => Ok(Decision::create()),
            Err(error) if has_no_dry_run(&error) => {
                Ok(Decision::create_unchecked("NoDryRun", error.server_message()))
            }
            Err(error) if error.is_already_exists() => Ok(Decision::same()),
            Err(error) => self.refused(error).await,
        }
    }

    async fn try_create(
        &self,
        api: &ApiResource,
        name: &ObjectName,
        item: &PreparedItem,
    ) -> Result<(), ClusterError> {
        let field_manager = match &item.managed_fields {
            Carry::FieldManager(manager) => Some(manager.as_str()),
            Carry::Patch(_) | Carry::None => None,
        };
        let options = WriteOptions {
            field_manager,
            dry_run: true,
            ..WriteOptions::default()
        };
        let body = Bytes::from(item.object.to_string());
        let cluster = &self.run.cluster;
        cluster.create(api, name, body, options).await.map(|_| ())
    }

    async fn ask_existing(
        &self,
        api: &ApiResource,
        name: &ObjectName,
        item: &PreparedItem,
        refusal: &ClusterError,
    ) -> Result<Decision, EngineError> {
        let kind = &api.group_resource;
        let live = match read(&self.run, api, name).await {
            Ok(live) => live,
            Err(error) if error.is_not_found() => {
                return Ok(Decision::blocked("Taken", refusal.server_message()));
            }
            Err(error) => return self.refused(error).await,
        };
        let deleting = live.pointer("/metadata/deletionTimestamp");
        if deleting.is_some_and(|time| !time.is_null()) {
            let reason = "it is being deleted; plan again when it is gone";
            return Ok(Decision::blocked("Terminating", reason));
        }
        let context = self.run.context();
        let decision = decision::of_existing(&context, kind, &item.object, &live);
        let (patch, recreate) = match decide_existing(&context, kind, &item.object, &live) {
            Existing::Patch { patch, recreate, .. } => (patch, recreate),
            Existing::MergeServiceAccount(patch) => (patch, false),
            _ => return Ok(decision),
        };
        match self.try_patch(api, name, &patch).await {
            Ok(()) => Ok(decision),
            Err(error) if has_no_dry_run(&error) => Ok(decision),
            Err(error) if recreate && error.code() == Some(UNCHANGEABLE) => {
                Ok(decision.recreated(error.server_message()))
            }
            Err(error) if error.code().is_some() => Ok(decision.unpatchable(error.server_message())),
            Err(error) => self.refused(error).await,
        }
    }

    /// A refusal is a decision, and so is that nobody answers for one kind; that the server does not answer
    /// at all is the end.
    async fn refused(&self, error: ClusterError) -> Result<Decision, EngineError> {
        if error.is_retryable() && !self.run.cluster.answers_others(&error).await {
            return Err(EngineError::cluster("the plan ended early", error));
        }
        let code = match error.code() {
            Some(403) if error.server_message().contains("exceeded quota") => "QuotaExceeded",
            Some(403) => "Forbidden",
            Some(404) => "NotFound",
            Some(409) => "Conflict",
            Some(400 | 422) => "Invalid",
            _ => "Refused",
        };
        Ok(Decision::blocked(code, error.server_message()))
    }

    async fn try_patch(
        &self,
        api: &ApiResource,
        name: &ObjectName,
        patch: &Value,
    ) -> Result<(), ClusterError> {
        let options = WriteOptions {
            dry_run: true,
            ..WriteOptions::default()
        };
        let body = Bytes::from(patch.to_string());
        let cluster = &self.run.cluster;
        let patched = cluster.patch(api, name, None, PatchKind::Merge, body, options);
        patched.await.map(|_| ())
    }
}

/// Whether a webhook cannot be asked without its acting.
fn has_no_dry_run(error: &ClusterError) -> bool {
    error.code() == Some(400) && error.server_message().contains("dry run")
}

/// What a restore's annotations say of the plan that it applies: its name and its hash.
pub(super) fn applied(job: &RestoreJob) -> Option<(String, String)> {
    let annotations = job.restore.metadata.annotations.as_ref()?;
    let text = |key: &str| annotations.get(key).cloned();
    Some((text(labels::PLAN)?, text(labels::PLAN_HASH).unwrap_or_default()))
}
