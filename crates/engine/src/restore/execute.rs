//! Creates the sorted objects, class by class, many at a time.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use refloat_cluster::{
    Cluster, ClusterError, Discovery,
    apply::{PatchKind, WriteOptions},
};
use refloat_model::{
    GroupResource, ObjectName, hooks::HookStatus, resource::ApiResource, volume_info::BackupVolumeInfo,
};
use refloat_plan::{
    api_conversion::{ServedKinds, removed},
    managed_fields::Carry,
    restore::{ResourceStep, RestoreClass, RestorePlan, plan_restore},
    restore_item::{self, Prepared, PreparedItem, RestoreContext, SkipLevel, Transforms},
};
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;

use super::{
    RestoreJob, existing,
    hooks::Hooks,
    namespaces::{self, Namespaces},
    planned::{self, Expected},
    storage_classes::StorageClasses,
    survey::Survey,
};
use crate::{
    EngineError, Progress,
    error::chain,
    job_log::JobLog,
    kind_list::KindList,
    spool::{Record, Spool},
};

/// What was done, for the files that describe it.
pub(super) struct Done {
    /// `restore-*-resource-list.json.gz`.
    pub list: Bytes,
    /// How the hooks went.
    pub hooks: HookStatus,
}

/// What happened to one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Created,
    Updated,
    Skipped,
    Failed,
    /// It was not to be restored at all, and appears in no list.
    Left,
}

impl Fate {
    fn word(self) -> Option<&'static str> {
        match self {
            Self::Created => Some("created"),
            Self::Updated => Some("updated"),
            Self::Skipped => Some("skipped"),
            Self::Failed => Some("failed"),
            Self::Left => None,
        }
    }
}

/// What all requests of a restore share.
pub(super) struct Run {
    pub cluster: Cluster,
    pub log: Arc<JobLog>,
    pub namespaces: Namespaces,
    pub hooks: Hooks,
    pub progress: Progress,
    pub plan: RestorePlan,
    pub survey: Survey,
    storage_classes: StorageClasses,
    /// How long an object that is deleted to be created again may take to go.
    pub recreate_timeout: Duration,
    /// What a plan allows, where the restore applies one.
    expected: Option<Expected>,
    context: RwLock<Arc<RestoreContext>>,
    /// Volumes that were left out in the class under way, for the claims of the next ones.
    reprovisioned: Mutex<Vec<String>>,
}

impl Run {
    /// What holds for all objects of the class under way.
    pub(super) fn context(&self) -> Arc<RestoreContext> {
        self.context
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes known what the cluster serves now.
    fn set_served(&self, discovery: &Discovery) {
        let mut context = self.context.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = RestoreContext::clone(&context);
        changed.served = served_kinds(discovery);
        *context = Arc::new(changed);
    }

    /// Makes known which volumes the class that has ended left out.
    pub(super) fn end_class(&self) {
        let mut fresh = self.reprovisioned.lock().unwrap_or_else(PoisonError::into_inner);
        if fresh.is_empty() {
            return;
        }
        let mut context = self.context.write().unwrap_or_else(PoisonError::into_inner);
        let mut changed = RestoreContext::clone(&context);
        changed.reprovisioned.extend(fresh.drain(..));
        *context = Arc::new(changed);
    }
}

/// Creates everything that was sorted and is selected.
///
/// # Errors
/// If the API server cannot be reached any more, or the scratch file cannot be read.
pub(super) async fn execute(
    job: &RestoreJob,
    spool: Spool,
    volumes: Vec<BackupVolumeInfo>,
    transforms: Transforms,
    log: &Arc<JobLog>,
) -> Result<Done, EngineError> {
    let spool = Arc::new(spool);
    let expected = Expected::load(job).await?;
    let (mut run, _) = begin(job, &spool, volumes, transforms, log, expected).await?;
    let mut list = KindList::default();
    let mut next = 0;
    while let Some(class) = run.plan.classes.get(next).cloned() {
        let shared = Arc::new(run);
        restore_class(&shared, &spool, &class, &mut list).await?;
        shared.end_class();
        if class.wait_established {
            namespaces::wait_established(&shared, &spool, job.options.resource_timeout).await?;
        }
        run = Arc::into_inner(shared).ok_or_else(|| bad_plan("a request outlived its class"))?;
        if class.wait_established {
            let discovery = discover(&job.cluster).await?;
            run.plan = make_plan(job, &discovery, &spool)?;
            run.set_served(&discovery);
        }
        next += 1;
    }
    Ok(Done {
        list: list.finish(),
        hooks: run.hooks.finish().await?,
    })
}

fn served_kinds(discovery: &Discovery) -> Arc<ServedKinds> {
    Arc::new(ServedKinds::new(&discovery.resources, &discovery.other_versions))
}

/// Asks the cluster what it serves, plans, and looks through the objects: all that comes before the
/// first of them.
///
/// # Errors
/// As [`execute`].
pub(super) async fn begin(
    job: &RestoreJob,
    spool: &Arc<Spool>,
    volumes: Vec<BackupVolumeInfo>,
    transforms: Transforms,
    log: &Arc<JobLog>,
    expected: Option<Expected>,
) -> Result<(Run, Discovery), EngineError> {
    let discovery = discover(&job.cluster).await?;
    let plan = make_plan(job, &discovery, spool)?;
    for warning in &plan.warnings {
        log.warn("", warning);
    }
    let survey = look_through(&plan, spool).await?;
    job.progress.set_total(survey.total);
    log.info(&format!("{} objects are selected", survey.total));
    let mut context = RestoreContext::new(name_of(job), &job.restore.spec, &discovery.resources, &volumes)
        .map_err(bad_plan)?;
    context.not_before = job
        .restore
        .metadata
        .creation_timestamp
        .as_ref()
        .map(|time| time.0);
    context.served = served_kinds(&discovery);
    context.transforms = Arc::new(transforms);
    let context = Arc::new(context);
    let looking = (plan.clone(), spool.clone(), context.clone());
    let (survey, needed) = tokio::task::spawn_blocking(move || {
        let (plan, spool, context) = looking;
        let needed = namespaces::needed(&plan, &survey, &context, &spool)?;
        Ok::<_, EngineError>((survey, needed))
    })
    .await
    .unwrap_or_else(|error| Err(EngineError::damaged("the scratch file", error)))?;
    let run = Run {
        cluster: job.cluster.clone(),
        log: log.clone(),
        namespaces: Namespaces::new(needed, job.options.terminating_timeout),
        hooks: Hooks::begin(job, log),
        progress: job.progress.clone(),
        plan,
        survey,
        storage_classes: StorageClasses::default(),
        recreate_timeout: job.options.terminating_timeout,
        expected,
        context: RwLock::new(context),
        reprovisioned: Mutex::new(Vec::new()),
    };
    Ok((run, discovery))
}

fn name_of(job: &RestoreJob) -> &str {
    job.restore.metadata.name.as_deref().unwrap_or_default()
}

pub(super) fn bad_plan(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> EngineError {
    EngineError::Plan {
        doing: "cannot plan the restore".into(),
        source: source.into(),
    }
}

fn make_plan(job: &RestoreJob, discovery: &Discovery, spool: &Spool) -> Result<RestorePlan, EngineError> {
    plan_restore(
        &job.restore.spec,
        &job.options.priorities,
        &discovery.resources,
        &spool.inventory(),
    )
    .map_err(bad_plan)
}

async fn look_through(plan: &RestorePlan, spool: &Arc<Spool>) -> Result<Survey, EngineError> {
    let (plan, spool) = (plan.clone(), spool.clone());
    let looking = tokio::task::spawn_blocking(move || Survey::take(&plan, &spool)).await;
    looking.unwrap_or_else(|error| Err(EngineError::damaged("the scratch file", error)))
}

async fn discover(cluster: &Cluster) -> Result<Discovery, EngineError> {
    let found = cluster.discover().await;
    found.map_err(|error| EngineError::cluster("cannot find out what the cluster serves", error))
}

/// Restores all kinds of a class, one after the other; the objects of a kind side by side.
async fn restore_class(
    run: &Arc<Run>,
    spool: &Arc<Spool>,
    class: &RestoreClass,
    list: &mut KindList,
) -> Result<(), EngineError> {
    for step in &class.resources {
        restore_kind(run, spool, step, list).await?;
    }
    Ok(())
}

/// Restores all objects of one kind.
async fn restore_kind(
    run: &Arc<Run>,
    spool: &Arc<Spool>,
    step: &ResourceStep,
    list: &mut KindList,
) -> Result<(), EngineError> {
    let kind = &step.group_resource;
    let Some(api) = &step.api else {
        return not_served(run, spool, step).await;
    };
    let api = Arc::new(api.clone());
    let listed_as = api.gvk().to_string();
    let lookahead = run.cluster.limiter().most() * 2;
    let mut fates = std::pin::pin!(
        records(spool.clone(), kind)
            .enumerate()
            .map(|(place, record)| {
                let (run, api) = (run.clone(), api.clone());
                async move {
                    let record = record?;
                    let task = tokio::spawn(async move { restore_one(&run, &api, place, record).await });
                    let done = AbortOnDropHandle::new(task).await;
                    done.unwrap_or_else(|error| Err(EngineError::damaged("the tarball", error)))
                }
            })
            .buffered(lookahead)
    );
    while let Some(done) = fates.next().await {
        let Restored {
            name,
            fate,
            bytes,
            api,
        } = done?;
        if let Some(word) = fate.word() {
            run.progress.add_done(1, bytes);
            let own = api.map(|api| api.gvk().to_string());
            let listed_as = own.as_deref().unwrap_or(&listed_as);
            list.add(listed_as, &format!("{name}({word})"));
        }
    }
    Ok(())
}

/// Says of a kind that the cluster does not serve what becomes of its objects: of one that Kubernetes has removed
/// that it is gone, else of each object that it cannot be restored, as Velero does; of very many the rest in one line.
async fn not_served(run: &Arc<Run>, spool: &Arc<Spool>, step: &ResourceStep) -> Result<(), EngineError> {
    const NAMED: u64 = 1000;
    let kind = &step.group_resource;
    if let Some(why) = removed(kind) {
        let count = step.count;
        run.log
            .warn("", &format!("{count} {kind} are not restored: {why}"));
        run.progress.add_done(count, 0);
        return Ok(());
    }
    let mut failed = 0;
    let mut records = std::pin::pin!(records(spool.clone(), kind));
    while let Some(record) = records.next().await {
        let record = record?;
        if matches!(ready(run, kind, &record.name, &record.json), Ready::Left) {
            continue;
        }
        failed += 1;
        run.progress.add_done(1, 0);
        let name = &record.name;
        if failed <= NAMED {
            let text = format!("error restoring {kind}/{name}: this cluster does not serve that kind");
            run.log.error(&name.namespace, &text);
        }
    }
    if failed > NAMED {
        let more = failed - NAMED;
        run.log.error(
            "",
            &format!("{more} more {kind} are not restored: this cluster does not serve that kind"),
        );
    }
    Ok(())
}

/// A kind's objects, read block by block off the runtime's threads.
pub(super) fn records(
    spool: Arc<Spool>,
    kind: &GroupResource,
) -> impl futures::Stream<Item = Result<Record, EngineError>> + Send + use<> {
    let blocks = spool.blocks(kind);
    futures::stream::iter(blocks)
        .map(move |block| {
            let spool = spool.clone();
            async move {
                let reading = tokio::task::spawn_blocking(move || spool.read(block)).await;
                reading.unwrap_or_else(|error| Err(EngineError::damaged("the scratch file", error)))
            }
        })
        .buffered(2)
        .flat_map(|block| {
            let records = match block {
                Ok(records) => records.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            futures::stream::iter(records)
        })
}

/// What became of one object.
struct Restored {
    name: ObjectName,
    fate: Fate,
    bytes: u64,
    /// What it was created as, if not as its kind is by default.
    api: Option<Arc<ApiResource>>,
}

impl Restored {
    fn new(name: ObjectName, fate: Fate, bytes: u64) -> Self {
        Self {
            name,
            fate,
            bytes,
            api: None,
        }
    }
}

/// Restores one object. What goes wrong with it is data; an error ends the restore.
async fn restore_one(
    run: &Run,
    api: &ApiResource,
    place: usize,
    record: Record,
) -> Result<Restored, EngineError> {
    let bytes = record.json.len() as u64;
    let kind = &api.group_resource;
    let stored = &record.name;
    let item = match ready(run, kind, stored, &record.json) {
        Ready::Item(item) => item,
        Ready::Left => return Ok(Restored::new(record.name, Fate::Left, bytes)),
        Ready::Skip { reason, level } => {
            let fate = skipped(run, kind, stored, level, &reason);
            return Ok(Restored::new(record.name, fate, bytes));
        }
    };
    let name = ObjectName::new(item.namespace.as_str(), item.name.as_str());
    say_notes(run, kind, stored, &item);
    if let Some(expected) = &run.expected
        && planned::is_refused(run, expected, kind, place, &name)
    {
        return Ok(Restored::new(name, Fate::Failed, bytes));
    }
    if kind.is("namespaces", "") {
        let fate = run.namespaces.restore(run, &name.name, &item.object).await?;
        return Ok(Restored::new(name, fate, bytes));
    }
    let mut ready = run.storage_classes.check(run, &item.storage_classes).await?;
    if ready.is_ok() && !name.namespace.is_empty() {
        ready = run.namespaces.ensure(run, &name.namespace).await?;
    }
    if let Err(problem) = ready {
        let text = format!("error restoring {kind}/{name}: {problem}");
        run.log.error(&name.namespace, &text);
        return Ok(Restored::new(name, Fate::Failed, bytes));
    }
    let own = item.api.clone();
    let api = own.as_deref().unwrap_or(api);
    let fate = match &run.expected {
        Some(expected) => planned::carry_out(run, expected, api, place, &name, *item).await?,
        None => create(run, api, place, &name, *item).await?,
    };
    Ok(Restored {
        name,
        fate,
        bytes,
        api: own,
    })
}

/// Says what there is to be said about an object that will be created.
fn say_notes(run: &Run, kind: &GroupResource, stored: &ObjectName, item: &PreparedItem) {
    for warning in &item.notes.warnings {
        run.log
            .warn(&item.namespace, &format!("{kind}/{stored}: {warning}"));
    }
    for error in &item.notes.errors {
        run.log
            .error(&item.namespace, &format!("{kind}/{stored}: {error}"));
    }
}

/// Says why an object is left out, and what that counts as.
fn skipped(run: &Run, kind: &GroupResource, stored: &ObjectName, level: SkipLevel, reason: &str) -> Fate {
    let text = format!("{kind}/{stored} is not restored: {reason}");
    match level {
        SkipLevel::Silent => {
            run.log.info(&text);
            Fate::Skipped
        }
        SkipLevel::Warning => {
            run.log.warn(&stored.namespace, &text);
            Fate::Skipped
        }
        SkipLevel::Error => {
            run.log.error(&stored.namespace, &text);
            Fate::Failed
        }
    }
}

/// What an object of the backup is before anything is asked of the cluster.
pub(super) enum Ready {
    /// It is to be restored.
    Item(Box<PreparedItem>),
    /// It is selected, and left out.
    Skip {
        /// Why.
        reason: String,
        /// How much it matters.
        level: SkipLevel,
    },
    /// It is not selected.
    Left,
}

/// Selects and rewrites an object: the same for a restore and for its plan.
pub(super) fn ready(run: &Run, kind: &GroupResource, stored: &ObjectName, json: &[u8]) -> Ready {
    let object: Value = match serde_json::from_slice(json) {
        Ok(object) => object,
        Err(error) => {
            return Ready::Skip {
                reason: format!("it is not JSON: {error}"),
                level: SkipLevel::Error,
            };
        }
    };
    if !selected(run, kind, stored, &object) {
        return Ready::Left;
    }
    match restore_item::prepare(&run.context(), kind, stored, object) {
        Prepared::Create(item) => Ready::Item(item),
        Prepared::Skip {
            reason,
            level,
            reprovision,
        } => {
            if reprovision {
                let mut volumes = run.reprovisioned.lock().unwrap_or_else(PoisonError::into_inner);
                volumes.push(stored.name.clone());
            }
            Ready::Skip { reason, level }
        }
    }
}

/// Whether an object is to be restored: for its own sake, or because another one refers to it. A
/// namespace is, too, if objects in it are.
fn selected(run: &Run, kind: &GroupResource, name: &ObjectName, object: &Value) -> bool {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    run.plan.selects(kind, &name.namespace, &name.name, labels)
        || run.survey.is_related(kind, name)
        || (kind.is("namespaces", "") && run.survey.occupied.contains(&name.name))
}

/// Creates a prepared object, or decides what its being there means.
pub(super) async fn create(
    run: &Run,
    api: &ApiResource,
    place: usize,
    name: &ObjectName,
    item: PreparedItem,
) -> Result<Fate, EngineError> {
    let kind = &api.group_resource;
    let field_manager = match &item.managed_fields {
        Carry::FieldManager(manager) => Some(manager.as_str()),
        Carry::Patch(_) | Carry::None => None,
    };
    let body = match serde_json::to_vec(&item.object) {
        Ok(body) => Bytes::from(body),
        Err(error) => {
            run.log.error(
                &name.namespace,
                &format!("error restoring {kind}/{name}: {error}"),
            );
            return Ok(Fate::Failed);
        }
    };
    let options = WriteOptions {
        field_manager,
        ..WriteOptions::default()
    };
    match run.cluster.create(api, name, body, options).await {
        Ok(made) => {
            finish(run, api, name, &item).await?;
            if kind.is("pods", "") && run.context().hooks.may_apply(&item.object) {
                let made = serde_json::from_slice(&made).unwrap_or(item.object);
                run.hooks.pod_created(&run.context().hooks, name, &made).await;
            }
            Ok(Fate::Created)
        }
        Err(error) if exists(&error) => match &run.expected {
            Some(expected) => planned::came_between(run, expected, api, place, name, &item, &error).await,
            None => existing::settle(run, api, name, &item, &error).await,
        },
        Err(error) => failed(run, kind, name, error).await,
    }
}

/// Whether an error says that the object, or the port that it asks for, is there already.
pub(super) fn exists(error: &ClusterError) -> bool {
    error.is_already_exists()
        || error
            .server_message()
            .contains("provided port is already allocated")
}

/// What an object that could not be created means: data, unless the API server is gone.
pub(super) async fn failed(
    run: &Run,
    kind: &GroupResource,
    name: &ObjectName,
    error: ClusterError,
) -> Result<Fate, EngineError> {
    if error.is_retryable() && !run.cluster.answers_others(&error).await {
        return Err(EngineError::cluster("the restore ended early", error));
    }
    run.log.error(
        &name.namespace,
        &format!("error restoring {kind}/{name}: {}", chain(&error)),
    );
    Ok(Fate::Failed)
}

/// What follows a create: the status and the owners of fields, where they are to be restored.
pub(super) async fn finish(
    run: &Run,
    api: &ApiResource,
    name: &ObjectName,
    item: &PreparedItem,
) -> Result<(), EngineError> {
    let mut patches: Vec<(Option<&str>, Value)> = Vec::new();
    if let Some(status) = &item.status {
        patches.push((Some("status"), serde_json::json!({ "status": status })));
    }
    if let Carry::Patch(patch) = &item.managed_fields {
        patches.push((None, patch.clone()));
    }
    for (subresource, patch) in patches {
        let body = Bytes::from(patch.to_string());
        let options = WriteOptions::default();
        let done = run
            .cluster
            .patch(api, name, subresource, PatchKind::Merge, body, options)
            .await;
        // A kind without the subresource keeps its status in the object itself, where it went already;
        // an object that is gone again was deleted by its own controller.
        match done {
            Err(error) if error.is_not_found() => {}
            Err(error) if error.code().is_some() => {
                let kind = &api.group_resource;
                let what = subresource.unwrap_or("managed fields");
                let text = format!(
                    "the {what} of {kind}/{name} could not be restored: {}",
                    chain(&error)
                );
                run.log.warn(&name.namespace, &text);
            }
            Err(error) => return Err(EngineError::cluster("the restore ended early", error)),
            Ok(_) => {}
        }
    }
    Ok(())
}
