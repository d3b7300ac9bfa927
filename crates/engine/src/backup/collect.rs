//! Lists what the plan names and streams it into the tarball.
//!
//! Listers run side by side and send batches of finished entries to one writer. A budget of bytes
//! bounds what is between them, so a slow bucket slows the lists down and nothing piles up.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use refloat_cluster::{Cluster, ClusterError, Discovery, listing::Listing as Pages};
use refloat_model::{
    GroupResource, ObjectName, archive, layout::BackupFile, resource::ApiResource,
    volume_info::BackupVolumeInfo,
};
use refloat_plan::{
    backup::{BackupPlan, ListScope, Listing, NamespaceFacts, Verdict},
    backup_action::{self, RbacIndex},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    BackupJob, Planned,
    index::{IndexWriter, Mark},
    item::{Item, type_prefix},
    related::{self, Related},
    volumes::Volumes,
};
use crate::{
    EngineError, Progress, archive_writer::ArchiveWriter, error::chain, gaps, gzip::Written, job_log::JobLog,
    kind_list::KindList,
};

/// Bytes of objects between the listers and the writer, at most.
const BUDGET: usize = 12 * 1024 * 1024;
/// A lister sends what it has when it has this much.
const BATCH: usize = 128 * 1024;

/// What a finished tarball is described by.
pub(super) struct Contents {
    /// The tarball's size and hash.
    pub tarball: Written,
    /// How many objects are in it.
    pub items: u64,
    /// `*-resource-list.json.gz`.
    pub list: Bytes,
    /// `*-volumeinfo.json.gz`, unpacked.
    pub volumes: Vec<BackupVolumeInfo>,
}

/// What all listers share.
pub(super) struct Shared {
    pub cluster: Cluster,
    pub plan: Arc<BackupPlan>,
    pub discovery: Discovery,
    pub log: Arc<JobLog>,
    pub page_size: u32,
    /// The backup's name.
    backup: String,
    /// Bindings of service accounts, where they do not come by themselves.
    bindings: RbacIndex,
    /// Pods that ask for hooks.
    hooked_pods: AtomicU64,
    progress: Progress,
    budget: Arc<Semaphore>,
    pub related: Mutex<Related>,
    volumes: Mutex<Volumes>,
    occupied: Mutex<HashSet<Arc<str>>>,
}

impl Shared {
    /// Takes note of the namespaces that have objects.
    fn occupy(&self, entries: &[Entry]) {
        let mut occupied = lock(&self.occupied);
        for entry in entries {
            if !occupied.contains(&entry.name.namespace) {
                occupied.insert(entry.name.namespace.clone());
            }
        }
    }
}

/// A kind and what is the same for all its objects.
pub(super) struct Kind {
    pub resource: ApiResource,
    /// As the resource list names it: `apps/v1/Deployment`.
    listed_as: String,
    prefix: Vec<u8>,
    acts: bool,
    has_volumes: bool,
}

/// Entries on their way to the writer.
pub(super) struct Batch {
    kind: Arc<Kind>,
    entries: Vec<Entry>,
    _leave: OwnedSemaphorePermit,
}

struct Entry {
    name: ObjectName,
    /// The list left out the kind.
    bare: bool,
    json: Bytes,
    mark: Option<Mark>,
}

impl Kind {
    pub(super) fn new(resource: ApiResource) -> Arc<Self> {
        let group_resource = &resource.group_resource;
        Arc::new(Self {
            listed_as: resource.gvk().to_string(),
            prefix: type_prefix(&resource),
            acts: backup_action::needs_parsing(group_resource),
            has_volumes: group_resource.is("persistentvolumes", ""),
            resource,
        })
    }
}

/// Streams everything into the tarball and makes that visible.
pub(super) async fn write_contents(
    job: &BackupJob,
    name: &str,
    started: Timestamp,
    planned: Planned,
    log: &Arc<JobLog>,
) -> Result<Contents, EngineError> {
    let key = BackupFile::Contents.key(name);
    let failed = |source| EngineError::store(format!("cannot write {key}"), source);
    let writer = job.location.store().put_stream(&key).await.map_err(failed)?;
    let modified = u64::try_from(started.as_second()).unwrap_or(0);
    let mut archive = ArchiveWriter::begin(writer, modified);
    let mut index = IndexWriter::begin(&job.location, name).await?;
    let bindings = related::bindings(job, &planned, log).await?;
    let shared = Arc::new(Shared {
        cluster: job.cluster.clone(),
        plan: Arc::new(planned.plan),
        discovery: planned.discovery,
        log: log.clone(),
        page_size: job.options.page_size,
        backup: name.to_owned(),
        bindings,
        hooked_pods: AtomicU64::new(0),
        progress: job.progress.clone(),
        budget: Arc::new(Semaphore::new(BUDGET)),
        related: Mutex::new(Related::default()),
        volumes: Mutex::new(Volumes::default()),
        occupied: Mutex::new(HashSet::new()),
    });
    let (sender, mut receiver) = mpsc::channel(64);
    // Aborts the listers when this function ends early.
    let listers = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(list_all(
        shared.clone(),
        job.options.parallel_lists,
        sender,
    )));
    let mut list = KindList::default();
    let mut items = 0;
    let mut sinks = Sinks {
        archive: &mut archive,
        index: &mut index,
        list: &mut list,
    };
    let written = write_batches(&mut receiver, &mut sinks, &job.progress, &mut items).await;
    let listed = match &written {
        Ok(()) => listers.await.unwrap_or_else(|error| Err(lister_died(&error))),
        Err(_) => Ok(()),
    };
    if let Err(error) = written.map_err(failed).and(listed) {
        if let Err(error) = archive.abort().await.and(index.abort().await) {
            tracing::debug!(%error, "could not abort the upload");
        }
        return Err(error);
    }
    let tarball = archive.finish().await.map_err(failed)?;
    index.finish().await?;
    let hooked = shared.hooked_pods.load(Ordering::Relaxed);
    if hooked > 0 {
        log.warn(
            "",
            &format!("{hooked} pods ask for hooks by annotation; hooks are not run by this release"),
        );
    }
    let volumes = std::mem::take(&mut *lock(&shared.volumes)).finish();
    log.info(&format!(
        "{items} objects are in the tarball, which has {} bytes",
        tarball.size
    ));
    Ok(Contents {
        tarball,
        items,
        list: list.finish(),
        volumes,
    })
}

fn lister_died(error: &tokio::task::JoinError) -> EngineError {
    EngineError::Plan {
        doing: "listing ended by itself".into(),
        source: error.to_string().into(),
    }
}

/// What a backup's objects go into.
struct Sinks<'a> {
    archive: &'a mut ArchiveWriter,
    index: &'a mut IndexWriter,
    list: &'a mut KindList,
}

async fn write_batches(
    receiver: &mut mpsc::Receiver<Batch>,
    sinks: &mut Sinks<'_>,
    progress: &Progress,
    items: &mut u64,
) -> Result<(), refloat_store::StoreError> {
    while let Some(batch) = receiver.recv().await {
        let kind = &batch.kind;
        let mut bytes = 0;
        for entry in &batch.entries {
            let parts: [&[u8]; 2] = if entry.bare {
                [&kind.prefix, &entry.json[1..]]
            } else {
                [&entry.json, &[]]
            };
            sinks.archive.object(&kind.resource, &entry.name, &parts).await?;
            sinks
                .index
                .object(&kind.resource, &entry.name, entry.mark.as_ref())
                .await?;
            sinks.list.add(&kind.listed_as, &entry.name.to_string());
            bytes += (parts[0].len() + parts[1].len()) as u64;
        }
        *items += batch.entries.len() as u64;
        progress.add_done(batch.entries.len() as u64, bytes);
    }
    Ok(())
}

/// Lists all that is planned, then what that refers to, then the namespaces themselves.
async fn list_all(
    shared: Arc<Shared>,
    parallel: usize,
    sender: mpsc::Sender<Batch>,
) -> Result<(), EngineError> {
    let mut running = futures::stream::iter((0..shared.plan.listings.len()).map(|index| {
        let (shared, sender) = (shared.clone(), sender.clone());
        let task = tokio::spawn(async move { list_kind(&shared, index, &sender).await });
        tokio_util::task::AbortOnDropHandle::new(task)
    }))
    .buffer_unordered(parallel.max(1));
    while let Some(done) = running.next().await {
        done.unwrap_or_else(|error| Err(lister_died(&error)))?;
    }
    drop(running);
    related::collect(&shared, &sender).await?;
    list_namespaces(&shared, &sender).await
}

/// Lists one kind in its scope.
async fn list_kind(shared: &Shared, index: usize, sender: &mpsc::Sender<Batch>) -> Result<(), EngineError> {
    let listing = &shared.plan.listings[index];
    let kind = Kind::new(listing.resource.clone());
    let namespaces: Vec<Option<&str>> = match &listing.scope {
        ListScope::Cluster | ListScope::AllNamespaces => vec![None],
        ListScope::Namespaces(names) => names.iter().map(|name| Some(name.as_str())).collect(),
    };
    let selectors: Vec<Option<&str>> = match listing.label_selectors.as_slice() {
        [] => vec![None],
        some => some.iter().map(|selector| Some(selector.as_str())).collect(),
    };
    let mut seen = HashSet::new();
    let mut gatherer = Gatherer::new(shared, kind.clone(), sender);
    for name in &listing.ordered_first {
        if fetch(shared, &kind, name, &mut gatherer).await? {
            seen.insert(name.clone());
        }
    }
    let several = selectors.len() > 1 || !listing.ordered_first.is_empty();
    for namespace in namespaces {
        for selector in &selectors {
            let mut pages =
                shared
                    .cluster
                    .list_pages(&listing.resource, namespace, *selector, shared.page_size);
            let result = drain(
                shared,
                listing,
                &mut pages,
                &mut gatherer,
                several.then_some(&mut seen),
            )
            .await;
            if let Err(error) = result {
                list_failed(shared, &kind.resource.group_resource, namespace, error).await?;
            }
        }
    }
    let found = gatherer.finish().await;
    if found > 0 {
        shared
            .log
            .info(&format!("backed up {found} {}", kind.resource.group_resource));
        lock(&shared.related).kind_has_objects(&kind.resource.group_resource);
    }
    Ok(())
}

/// Reads one object by its name and gathers it if it is kept. What is not there (any more), or may
/// not be read, is no reason to stop.
pub(super) async fn fetch(
    shared: &Shared,
    kind: &Kind,
    name: &ObjectName,
    gatherer: &mut Gatherer<'_>,
) -> Result<bool, EngineError> {
    let resource = &kind.resource.group_resource;
    let json = match shared.cluster.get(&kind.resource, name).await {
        Ok(json) => json,
        Err(error) if error.is_not_found() => return Ok(false),
        Err(error) if shared.cluster.answers_others(&error).await => {
            let text = format!("{resource} {name} is left out: {}", chain(&error));
            shared.log.error(&name.namespace, &text);
            return Ok(false);
        }
        Err(error) => return Err(EngineError::cluster("the backup ended early", error)),
    };
    let Ok(item) = serde_json::from_slice::<Item<'_>>(&json) else {
        return Ok(false);
    };
    if !matches!(shared.plan.verdict(resource, &item.meta()), Verdict::Keep) {
        return Ok(false);
    }
    let bare = item.api_version.is_none();
    gatherer.add(name.clone(), bare, json).await;
    Ok(true)
}

/// Passes one list on to the gatherer. With `seen`, objects of earlier selectors are passed over.
async fn drain(
    shared: &Shared,
    listing: &Listing,
    pages: &mut Pages<'_>,
    gatherer: &mut Gatherer<'_>,
    mut seen: Option<&mut HashSet<ObjectName>>,
) -> Result<(), ClusterError> {
    let mut announced = 0;
    while let Some(json) = pages.next().await? {
        if let Some(remaining) = pages.remaining() {
            let more = remaining.saturating_sub(announced);
            shared.progress.add_total(more);
            announced += more;
        }
        let item: Item<'_> = match serde_json::from_slice(&json) {
            Ok(item) => item,
            Err(error) => {
                let kind = &listing.resource.group_resource;
                shared.log.error(
                    "",
                    &format!("an object of {kind} is not understood and left out: {error}"),
                );
                continue;
            }
        };
        let meta = item.meta();
        if !matches!(
            shared.plan.verdict(&listing.resource.group_resource, &meta),
            Verdict::Keep
        ) {
            continue;
        }
        let name = gatherer.name(meta.namespace, meta.name);
        let bare = item.api_version.is_none();
        if let Some(seen) = &mut seen
            && !seen.insert(name.clone())
        {
            continue;
        }
        gatherer.add(name, bare, json).await;
    }
    Ok(())
}

/// What a list that failed means: for one kind, data; for the connection, the end.
async fn list_failed(
    shared: &Shared,
    kind: &GroupResource,
    namespace: Option<&str>,
    error: ClusterError,
) -> Result<(), EngineError> {
    let place = namespace.unwrap_or_default();
    match error.code() {
        Some(404) => {
            shared.log.warn(
                place,
                &format!("{kind} disappeared while the backup ran; it is not in it"),
            );
        }
        Some(405) => {}
        _ if matches!(error, ClusterError::Decode { .. }) || shared.cluster.answers_others(&error).await => {
            shared
                .log
                .error(place, &format!("{kind} is not backed up: {}", chain(&error)));
        }
        _ => return Err(EngineError::cluster("the backup ended early", error)),
    }
    Ok(())
}

/// Turns objects of one kind into batches.
pub(super) struct Gatherer<'a> {
    shared: &'a Shared,
    kind: Arc<Kind>,
    sender: &'a mpsc::Sender<Batch>,
    entries: Vec<Entry>,
    bytes: usize,
    found: u64,
    names: HashMap<String, Arc<str>>,
}

impl<'a> Gatherer<'a> {
    pub(super) fn new(shared: &'a Shared, kind: Arc<Kind>, sender: &'a mpsc::Sender<Batch>) -> Self {
        Self {
            shared,
            kind,
            sender,
            entries: Vec::new(),
            bytes: 0,
            found: 0,
            names: HashMap::new(),
        }
    }

    /// A name whose namespace is shared with all others of that namespace.
    fn name(&mut self, namespace: &str, name: &str) -> ObjectName {
        if let Some(known) = self.names.get(namespace) {
            return ObjectName::new(known.clone(), name);
        }
        let shared: Arc<str> = namespace.into();
        self.names.insert(namespace.to_owned(), shared.clone());
        ObjectName::new(shared, name)
    }

    /// Adds an object; `bare` if its kind is left out in its JSON.
    pub(super) async fn add(&mut self, name: ObjectName, bare: bool, json: Bytes) {
        if !archive::can_hold(&name) {
            let kind = &self.kind.resource.group_resource;
            let text = format!("{kind} {name:?} is left out: no archive can hold an object of that name");
            self.shared.log.error(&name.namespace, &text);
            return;
        }
        let (bare, json) = self.act(&name, bare, json);
        self.bytes += json.len() + self.kind.prefix.len();
        self.found += 1;
        let mark = Mark::of(&json);
        self.entries.push(Entry {
            name,
            bare,
            json,
            mark,
        });
        if self.bytes >= BATCH {
            self.send().await;
        }
    }

    /// Applies the kind's action, and takes note of what the object refers to.
    fn act(&self, name: &ObjectName, bare: bool, json: Bytes) -> (bool, Bytes) {
        let kind = &self.kind.resource.group_resource;
        lock(&self.shared.related).written(kind, name);
        if !self.kind.acts && !self.kind.has_volumes {
            return (bare, json);
        }
        let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(&json) else {
            return (bare, json);
        };
        if self.kind.has_volumes {
            lock(&self.shared.volumes).add(&value);
        }
        if !self.kind.acts {
            return (bare, json);
        }
        if kind.is("pods", "") && gaps::pod_asks_for_hooks(&value) {
            self.shared.hooked_pods.fetch_add(1, Ordering::Relaxed);
        }
        let outcome = backup_action::act(&self.shared.backup, &self.shared.bindings, kind, &mut value);
        let all = outcome.must_include_additional;
        lock(&self.shared.related).wanted(&self.shared.plan, outcome.related, all);
        if !outcome.changed {
            return (bare, json);
        }
        match serde_json::to_vec(&value) {
            Ok(changed) => (bare, Bytes::from(changed)),
            Err(_) => (bare, json),
        }
    }

    async fn send(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        let entries = std::mem::take(&mut self.entries);
        self.shared.occupy(&entries);
        let weight = u32::try_from(self.bytes.min(BUDGET)).unwrap_or(u32::MAX);
        self.bytes = 0;
        let leave = self.shared.budget.clone().acquire_many_owned(weight).await;
        let batch = Batch {
            kind: self.kind.clone(),
            entries,
            _leave: leave.expect("the budget is never closed"),
        };
        // If the writer is gone the backup has failed already, and says so itself.
        let _ = self.sender.send(batch).await;
    }

    /// Sends what is left and tells how many objects there were.
    pub(super) async fn finish(mut self) -> u64 {
        self.send().await;
        self.found
    }
}

/// What the plan needs to know of the cluster's namespaces.
pub(crate) async fn namespace_facts(
    cluster: &Cluster,
    page_size: u32,
) -> Result<Vec<NamespaceFacts>, EngineError> {
    let kind = namespace_kind();
    let mut pages = cluster.list_pages(&kind, None, None, page_size);
    let mut facts = Vec::new();
    loop {
        let next = pages.next().await;
        let next = next.map_err(|error| EngineError::cluster("cannot plan the backup", error))?;
        let Some(json) = next else { return Ok(facts) };
        let namespace: k8s_openapi::api::core::v1::Namespace =
            serde_json::from_slice(&json).map_err(|error| EngineError::Plan {
                doing: "cannot plan the backup: a namespace is not understood".into(),
                source: error.into(),
            })?;
        let labels = namespace.metadata.labels.unwrap_or_default();
        let phase = namespace.status.and_then(|status| status.phase);
        facts.push(NamespaceFacts {
            name: namespace.metadata.name.unwrap_or_default(),
            active: phase.as_deref().is_none_or(|phase| phase == "Active")
                && namespace.metadata.deletion_timestamp.is_none(),
            excluded_label: labels
                .get(refloat_model::labels::EXCLUDE_FROM_BACKUP)
                .is_some_and(|v| v == "true"),
            labels,
        });
    }
}

fn namespace_kind() -> ApiResource {
    ApiResource {
        group_resource: GroupResource::new("namespaces", ""),
        version: "v1".into(),
        kind: "Namespace".into(),
        namespaced: false,
        aliases: Vec::new(),
        verbs: Vec::new(),
    }
}

/// Backs up the namespace objects that belong: those with objects, and those the spec asks for.
async fn list_namespaces(shared: &Shared, sender: &mpsc::Sender<Batch>) -> Result<(), EngineError> {
    let Some(kind) = shared.plan.namespace_kind.clone() else {
        return Ok(());
    };
    let mut pages = shared.cluster.list_pages(&kind, None, None, shared.page_size);
    let mut gatherer = Gatherer::new(shared, Kind::new(kind.clone()), sender);
    loop {
        let next = pages.next().await;
        let next = next.map_err(|error| EngineError::cluster("cannot back up the namespaces", error))?;
        let Some(json) = next else { break };
        let Ok(item) = serde_json::from_slice::<Item<'_>>(&json) else {
            continue;
        };
        let occupied = lock(&shared.occupied).contains(&*item.metadata.name);
        let kept = matches!(
            shared.plan.verdict(&kind.group_resource, &item.meta()),
            Verdict::Keep
        );
        if kept && shared.plan.keeps_namespace(&item.metadata.name, occupied) {
            let name = ObjectName::new("", item.metadata.name.as_ref());
            let bare = item.api_version.is_none();
            gatherer.add(name, bare, json).await;
        }
    }
    gatherer.finish().await;
    Ok(())
}

/// Locks; a panic elsewhere does not matter here, because the job fails with it anyway.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
