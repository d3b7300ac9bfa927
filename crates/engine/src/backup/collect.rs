//! Lists what the plan names and streams it into the tarball.
//!
//! Listers run side by side and send batches of finished entries to one writer. A budget of bytes
//! bounds what is between them, so a slow bucket slows the lists down and nothing piles up.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;
use refloat_cluster::{Cluster, ClusterError, Discovery, listing::Listing as Pages};
use refloat_model::{
    GroupResource, ObjectName, archive, hooks::HookStatus, labels, layout::BackupFile, resource::ApiResource,
    volume_info::BackupVolumeInfo,
};
use refloat_plan::{
    backup::{BackupPlan, ListScope, Listing, NamespaceFacts, RelatedVerdict, SkipReason, Verdict},
    backup_action::{self, RbacIndex, RelatedItem},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    BackupJob, Planned,
    claims::Claims,
    hooks::{Blocks, Held, Hooks},
    index::{IndexWriter, Mark},
    item::{Item, type_prefix},
    related::{self, Related},
    volumes::Volumes,
};
use crate::{
    EngineError, Progress, archive_writer::ArchiveWriter, error::chain, gzip::Written, job_log::JobLog,
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
    /// How the hooks went.
    pub hooks: HookStatus,
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
    pub hooks: Hooks,
    progress: Progress,
    budget: Arc<Semaphore>,
    pub related: Mutex<Related>,
    pub claims: Mutex<Claims>,
    /// The label that names a claim's volume group.
    pub group_label: String,
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
    is_claim: bool,
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
            is_claim: group_resource.is("persistentvolumeclaims", ""),
            has_volumes: group_resource.is("persistentvolumes", ""),
            resource,
        })
    }

    /// Whether it is what pods mount: claims or volumes.
    pub(super) fn is_volume(&self) -> bool {
        self.is_claim || self.has_volumes
    }
}

/// Streams everything into the tarball and makes that visible.
pub(super) async fn write_contents(
    job: &BackupJob,
    name: &str,
    started: Timestamp,
    planned: Planned,
    hooks: Hooks,
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
        hooks,
        progress: job.progress.clone(),
        budget: Arc::new(Semaphore::new(BUDGET)),
        related: Mutex::new(Related::default()),
        claims: Mutex::new(Claims::default()),
        group_label: job.backup.spec.volume_group_snapshot_label_key.clone(),
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
        hooks: shared.hooks.status(),
    })
}

pub(super) fn lister_died(error: &tokio::task::JoinError) -> EngineError {
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
    let mut running = futures::stream::iter(order(&shared).into_iter().map(|index| {
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

/// In which order kinds are begun: as planned, but what pods mount last, because it waits for the pods.
fn order(shared: &Shared) -> Vec<usize> {
    let kind = |index: &usize| &shared.plan.listings[*index].resource.group_resource;
    let mounted = |index: &usize| {
        kind(index).is("persistentvolumeclaims", "") || kind(index).is("persistentvolumes", "")
    };
    let all = 0..shared.plan.listings.len();
    if !all.clone().any(|index| kind(&index).is("pods", "")) {
        shared.hooks.pods_done.cancel();
    }
    let (last, mut order): (Vec<_>, Vec<_>) = all.partition(mounted);
    order.extend(last);
    order
}

/// Lists one kind in its scope.
async fn list_kind(
    shared: &Arc<Shared>,
    index: usize,
    sender: &mpsc::Sender<Batch>,
) -> Result<(), EngineError> {
    let listing = &shared.plan.listings[index];
    let kind = Kind::new(listing.resource.clone());
    let pods = kind.resource.group_resource.is("pods", "");
    if kind.is_volume() {
        shared.hooks.pods_done.cancelled().await;
    }
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
    if pods {
        gatherer.hold(
            Blocks::new(shared, &kind, sender),
            !listing.ordered_first.is_empty(),
        );
    }
    for name in &listing.ordered_first {
        if shared.hooks.has_written(shared, &kind, name) {
            seen.insert(name.clone());
            continue;
        }
        match fetch(shared, &kind, name, Choice::ByLabels, &mut gatherer).await? {
            Fetched::Gathered => drop(seen.insert(name.clone())),
            Fetched::Missing | Fetched::NotSelected => {
                let kind = &kind.resource.group_resource;
                let text =
                    format!("orderedResources names {kind} {name}, which does not exist or is not selected");
                shared.log.warn(&name.namespace, &text);
            }
            Fetched::Failed => {}
        }
    }
    gatherer.end_order().await;
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
    let found = gatherer.finish_all().await?;
    if pods {
        shared.hooks.pods_done.cancel();
    }
    if found > 0 {
        shared
            .log
            .info(&format!("backed up {found} {}", kind.resource.group_resource));
        lock(&shared.related).kind_has_objects(&kind.resource.group_resource);
    }
    Ok(())
}

/// What an object that is read by its name has to be, to be gathered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// One that a list with the spec's selectors would return, and that is kept.
    ByLabels,
    /// One that is kept, whatever its labels are: others refer to it.
    Referred,
    /// Any that is not being deleted, whatever the filters and its own label say.
    Must,
}

/// What became of an object that was read by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetched {
    /// It was gathered.
    Gathered,
    /// There is none.
    Missing,
    /// The spec, or the object itself, says that it is not backed up.
    NotSelected,
    /// It could not be read: an error in the results.
    Failed,
}

/// Reads one object by its name and gathers it if it is chosen. What is not there (any more), or may
/// not be read, is no reason to stop.
pub(super) async fn fetch(
    shared: &Shared,
    kind: &Kind,
    name: &ObjectName,
    choice: Choice,
    gatherer: &mut Gatherer<'_>,
) -> Result<Fetched, EngineError> {
    let resource = &kind.resource.group_resource;
    let json = match shared.cluster.get(&kind.resource, name).await {
        Ok(json) => json,
        Err(error) if error.is_not_found() => return Ok(Fetched::Missing),
        Err(error) if shared.cluster.answers_others(&error).await => {
            let text = format!("{resource} {name} is left out: {}", chain(&error));
            shared.log.error(&name.namespace, &text);
            return Ok(Fetched::Failed);
        }
        Err(error) => return Err(EngineError::cluster("the backup ended early", error)),
    };
    let Ok(item) = serde_json::from_slice::<Item<'_>>(&json) else {
        return Ok(Fetched::NotSelected);
    };
    let must = choice == Choice::Must;
    match shared.plan.verdict(resource, &item.meta()) {
        Verdict::Keep => {}
        Verdict::Skip(reason) if must && reason != SkipReason::Deleting && !item.meta().deleting => {}
        Verdict::Skip(_) => return Ok(Fetched::NotSelected),
    }
    if choice == Choice::ByLabels && !matches_labels(&shared.plan, &json) {
        return Ok(Fetched::NotSelected);
    }
    let bare = item.api_version.is_none();
    gatherer.add(name.clone(), bare, json).await;
    Ok(Fetched::Gathered)
}

fn matches_labels(plan: &BackupPlan, json: &[u8]) -> bool {
    if plan.label_selectors.is_empty() {
        return true;
    }
    let object: serde_json::Value = serde_json::from_slice(json).unwrap_or_default();
    plan.selects_labels(
        object
            .pointer("/metadata/labels")
            .and_then(|labels| labels.as_object()),
    )
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
        if shared.hooks.has_written(shared, &gatherer.kind, &name) {
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
    /// Where pods with hooks go.
    held: Option<Holding>,
    /// What the gathered objects refer to, where that is wanted.
    followed: Option<Vec<RelatedItem>>,
}

/// Where pods with hooks go.
struct Holding {
    blocks: Blocks,
    /// Whether those without hooks go there too, for the sake of their order.
    all: bool,
}

/// What became of an object.
enum Acted {
    Write { bare: bool, json: Bytes },
    Hold(Held),
    Skip,
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
            held: None,
            followed: None,
        }
    }

    /// Has pods with hooks put aside; with `all`, others too until [`Gatherer::end_order`].
    pub(super) fn hold(&mut self, blocks: Blocks, all: bool) {
        self.held = Some(Holding { blocks, all });
    }

    /// What was put aside for its order is backed up.
    async fn end_order(&mut self) {
        if let Some(held) = &mut self.held
            && held.all
        {
            held.all = false;
            held.blocks.in_order().await;
        }
    }

    /// Has it noted what the objects refer to.
    pub(super) fn follow(&mut self) {
        self.followed = Some(Vec::new());
    }

    /// What the objects so far refer to, as far as it belongs into the backup.
    pub(super) fn followed(&mut self) -> Vec<RelatedItem> {
        self.followed.as_mut().map(std::mem::take).unwrap_or_default()
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
        let (bare, json) = match self.act(&name, bare, json) {
            Acted::Write { bare, json } => (bare, json),
            Acted::Skip => return,
            Acted::Hold(pod) => {
                if let Some(held) = &mut self.held {
                    held.blocks.take(pod).await;
                }
                return;
            }
        };
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
    fn act(&mut self, name: &ObjectName, bare: bool, json: Bytes) -> Acted {
        let shared = self.shared;
        let kind = &self.kind.resource.group_resource;
        let parsed = if self.kind.acts || self.kind.has_volumes {
            serde_json::from_slice::<serde_json::Value>(&json).ok()
        } else {
            None
        };
        if let (Some(held), Some(pod)) = (&self.held, &parsed)
            && let Some(pod) = shared.hooks.hold(shared, name, pod, held.all)
        {
            return Acted::Hold(pod);
        }
        lock(&shared.related).written(kind, name);
        let Some(mut value) = parsed else {
            return Acted::Write { bare, json };
        };
        if self.kind.has_volumes {
            lock(&shared.volumes).add(&value);
        }
        if !self.kind.acts {
            return Acted::Write { bare, json };
        }
        // Before labels are taken away from it.
        let claim = backup_action::bound_claim(&value, &shared.group_label);
        let outcome = backup_action::act(&shared.backup, &shared.bindings, kind, &mut value);
        if outcome.skip {
            let text = format!(
                "{kind}/{name} is left out: its annotation {} says so",
                labels::SKIP_FROM_BACKUP
            );
            shared.log.info(&text);
            return Acted::Skip;
        }
        // Without a selector all that belongs to a claim is listed anyway.
        if kind.is("persistentvolumeclaims", "")
            && !shared.plan.label_selectors.is_empty()
            && let Some(claim) = claim
        {
            lock(&shared.claims).add(claim);
        }
        let all = outcome.must_include_additional;
        if let Some(followed) = &mut self.followed {
            let allowed = |item: &&RelatedItem| {
                let verdict = shared.plan.related_allowed(&item.resource, &item.name.namespace);
                all || verdict != RelatedVerdict::Excluded
            };
            followed.extend(outcome.related.iter().filter(allowed).cloned());
        }
        lock(&shared.related).wanted(&shared.plan, outcome.related, all);
        let changed = outcome.changed.then(|| serde_json::to_vec(&value).ok()).flatten();
        Acted::Write {
            bare,
            json: changed.map_or(json, Bytes::from),
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

    /// The same, and has what was put aside backed up between its hooks.
    pub(super) async fn finish_all(mut self) -> Result<u64, EngineError> {
        let held = self.held.take();
        let found = self.finish().await;
        match held {
            None => Ok(found),
            Some(held) => Ok(found + held.blocks.finish().await?),
        }
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
        let own = namespace.metadata.labels.unwrap_or_default();
        let phase = namespace.status.and_then(|status| status.phase);
        facts.push(NamespaceFacts {
            name: namespace.metadata.name.unwrap_or_default(),
            active: phase.as_deref().is_none_or(|phase| phase == "Active")
                && namespace.metadata.deletion_timestamp.is_none(),
            excluded_label: own.get(labels::EXCLUDE_FROM_BACKUP).is_some_and(|v| v == "true"),
            labels: own,
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
