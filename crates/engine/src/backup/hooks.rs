//! Hooks around the backup of pods.
//!
//! A pod that has hooks is not written as the list gave it. Its hooks run, then it is read again, and its
//! claims and their volumes with it, and then its last hooks run: what is in the backup is what was there
//! while it was held still. Pods that share a claim are held still together. The lists of claims and
//! volumes begin when that is over, and pass over what was written here.
//!
//! # However a backup ends
//! For a pod whose first hooks have begun the last ones run, also if the backup is cancelled or fails
//! meanwhile: nobody else would let the application go on. Only the death of this process keeps them
//! from it. The backup is then started again, with all its hooks.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use futures::future::BoxFuture;
use refloat_model::{GroupResource, ObjectName, hooks::HookStatus};
use refloat_plan::{
    backup::RelatedVerdict,
    backup_action::RelatedItem,
    hooks::{self, BackupHookRules, Hook, OnFailure, PodHooks},
};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    task::{JoinError, JoinSet},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::collect::{Batch, Choice, Fetched, Gatherer, Kind, Shared, fetch, lister_died, lock};
use crate::{EngineError, hook};

/// Pods of a namespace that are held back at most, to find out which share a claim.
const MOST_HELD: usize = 4096;

/// The hooks of one backup.
pub(super) struct Hooks {
    rules: BackupHookRules,
    /// Pods (or groups of pods that share a claim) that are held still at once.
    parallel: usize,
    running: Running,
    attempted: AtomicU64,
    failed: AtomicU64,
    /// Whether anything was written between hooks.
    wrote: AtomicBool,
    /// Cancelled when no pod is held still any more, and none will be.
    pub pods_done: CancellationToken,
}

/// The blocks that are under way. They are told to come to an end when the backup ends before them, and
/// are waited for then.
#[derive(Clone, Debug, Default)]
pub(super) struct Running {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Running {
    /// Ends what is under way: the applications that are held still are let go.
    pub(super) async fn end(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Ends what is under way if the backup is dropped; nobody waits for it then.
pub(super) struct EndOnDrop(pub Running);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.stop.cancel();
    }
}

/// A pod with hooks.
pub(super) struct Held {
    name: ObjectName,
    hooks: PodHooks,
    /// The claims that it mounts.
    claims: Vec<String>,
}

impl Hooks {
    pub(super) fn new(rules: BackupHookRules, parallel: usize, running: Running) -> Self {
        Self {
            rules,
            parallel: parallel.max(1),
            running,
            attempted: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            wrote: AtomicBool::new(false),
            pods_done: CancellationToken::new(),
        }
    }

    /// How many hooks there were, and how many failed.
    pub(super) fn status(&self) -> HookStatus {
        let count = |counter: &AtomicU64| i64::try_from(counter.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        HookStatus {
            hooks_attempted: count(&self.attempted),
            hooks_failed: count(&self.failed),
        }
    }

    /// What has to be known of a pod to back it up between its hooks; `None`: it has none. With `all`
    /// it is held in any case.
    pub(super) fn hold(&self, shared: &Shared, name: &ObjectName, pod: &Value, all: bool) -> Option<Held> {
        let mut hooks = match self.rules.of_pod(pod) {
            None if all => PodHooks::default(),
            None => return None,
            Some(hooks) => hooks,
        };
        for warning in hooks.warnings.drain(..) {
            shared
                .log
                .warn(&name.namespace, &format!("pod {name}: {warning}"));
        }
        if hooks.finished {
            self.count(hooks.pre.len() + hooks.post.len());
            shared
                .log
                .info(&format!("pod {name} has ended: its hooks do not run"));
            (hooks.pre, hooks.post) = (Vec::new(), Vec::new());
        }
        if !all && hooks.pre.is_empty() && hooks.post.is_empty() {
            return None;
        }
        let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
        let claims = volumes.into_iter().flatten().filter_map(|volume| {
            let claim = volume.pointer("/persistentVolumeClaim/claimName")?;
            claim.as_str().map(str::to_owned)
        });
        Some(Held {
            name: name.clone(),
            hooks,
            claims: claims.collect(),
        })
    }

    /// Whether an object was written between hooks, so that its list is to pass over it.
    pub(super) fn has_written(&self, shared: &Shared, kind: &Kind, name: &ObjectName) -> bool {
        kind.is_volume()
            && self.wrote.load(Ordering::Acquire)
            && lock(&shared.related).is_written(&kind.resource.group_resource, name)
    }

    fn count(&self, hooks: usize) {
        self.attempted.fetch_add(hooks as u64, Ordering::Relaxed);
    }
}

/// The pods that a list holds back, and the blocks of them that are under way.
pub(super) struct Blocks {
    shared: Arc<Shared>,
    kind: Arc<Kind>,
    sender: mpsc::Sender<Batch>,
    held: Vec<Held>,
    under_way: JoinSet<Result<u64, EngineError>>,
    pods: u64,
    error: Option<EngineError>,
}

impl Blocks {
    pub(super) fn new(shared: &Arc<Shared>, kind: &Arc<Kind>, sender: &mpsc::Sender<Batch>) -> Self {
        Self {
            shared: shared.clone(),
            kind: kind.clone(),
            sender: sender.clone(),
            held: Vec::new(),
            under_way: JoinSet::new(),
            pods: 0,
            error: None,
        }
    }

    /// Takes a pod. A list comes namespace by namespace: with a pod of another one, those of the last
    /// are all there and begin.
    pub(super) async fn take(&mut self, pod: Held) {
        let other = self
            .held
            .first()
            .is_some_and(|first| first.name.namespace != pod.name.namespace);
        if other || self.held.len() >= MOST_HELD {
            self.begin().await;
        }
        self.held.push(pod);
    }

    /// Has the pods that were taken backed up together, in this order, and waits for that.
    pub(super) async fn in_order(&mut self) {
        let pods = std::mem::take(&mut self.held);
        self.begin_block(pods).await;
        self.wait_for(0).await;
    }

    /// Has all that was taken backed up and waits for the end. Tells how many pods were.
    pub(super) async fn finish(mut self) -> Result<u64, EngineError> {
        self.begin().await;
        self.wait_for(0).await;
        self.error.map_or(Ok(self.pods), Err)
    }

    async fn begin(&mut self) {
        let mut held: Vec<_> = std::mem::take(&mut self.held).into_iter().map(Some).collect();
        let claims: Vec<_> = held.iter().flatten().map(|pod| pod.claims.clone()).collect();
        for block in hooks::blocks(&claims) {
            let pods = block.into_iter().filter_map(|at| held[at].take()).collect();
            self.begin_block(pods).await;
        }
    }

    async fn begin_block(&mut self, pods: Vec<Held>) {
        self.wait_for(self.shared.hooks.parallel - 1).await;
        if pods.is_empty() || self.error.is_some() {
            return;
        }
        let block = boxed_block(self.shared.clone(), self.kind.clone(), self.sender.clone(), pods);
        // A task of its own that is not aborted with the list: see the top of this file.
        let task = self.shared.hooks.running.tasks.spawn(block);
        self.under_way
            .spawn(async move { task.await.unwrap_or_else(|error| Err(lister_died(&error))) });
    }

    /// Waits until at most so many blocks are under way.
    async fn wait_for(&mut self, most: usize) {
        while self.under_way.len() > most {
            let done: Option<Result<_, JoinError>> = self.under_way.join_next().await;
            match done {
                None => return,
                Some(Ok(Ok(pods))) => self.pods += pods,
                Some(Ok(Err(error))) => self.error = self.error.take().or(Some(error)),
                Some(Err(error)) => self.error = self.error.take().or(Some(lister_died(&error))),
            }
        }
    }
}

/// [`run_block`] as a task. A list spawns blocks and a block uses what lists use: without a name for the type
/// it would contain itself.
fn boxed_block(
    shared: Arc<Shared>,
    kind: Arc<Kind>,
    sender: mpsc::Sender<Batch>,
    pods: Vec<Held>,
) -> BoxFuture<'static, Result<u64, EngineError>> {
    Box::pin(async move { run_block(&shared, &kind, &sender, &pods).await })
}

/// Backs up pods between their hooks. Tells how many of them were.
async fn run_block(
    shared: &Arc<Shared>,
    kind: &Arc<Kind>,
    sender: &mpsc::Sender<Batch>,
    pods: &[Held],
) -> Result<u64, EngineError> {
    let mut begun = Vec::new();
    let stop = &shared.hooks.running.stop;
    let written = tokio::select! {
        biased;
        () = stop.cancelled() => Err(EngineError::Cancelled),
        written = Box::pin(hold_and_write(shared, kind, sender, pods, &mut begun)) => written,
    };
    for pod in begun {
        let pod: &Held = &pods[pod];
        run_phase(shared, pod, &pod.hooks.post, "its last hooks do not all run").await;
    }
    written
}

/// Runs the first hooks of all pods, then writes what is to be written. `begun` tells whose last hooks
/// have to run, at any moment.
async fn hold_and_write(
    shared: &Arc<Shared>,
    kind: &Arc<Kind>,
    sender: &mpsc::Sender<Batch>,
    pods: &[Held],
    begun: &mut Vec<usize>,
) -> Result<u64, EngineError> {
    for (index, pod) in pods.iter().enumerate() {
        begun.push(index);
        if !run_phase(shared, pod, &pod.hooks.pre, "it is not backed up").await {
            begun.pop();
        }
    }
    shared.hooks.wrote.store(true, Ordering::Release);
    let mut gatherer = Gatherer::new(shared, kind.clone(), sender);
    gatherer.follow();
    for pod in begun.iter() {
        let name = &pods[*pod].name;
        if fetch(shared, kind, name, Choice::Referred, &mut gatherer).await? != Fetched::Gathered {
            shared
                .log
                .info(&format!("pod {name} is gone since it was listed"));
        }
    }
    // In Velero too, the claims of a pod that is not backed up are.
    let claims = GroupResource::new("persistentvolumeclaims", "");
    let mounted = pods.iter().flat_map(|pod| {
        pod.claims.iter().map(|claim| RelatedItem {
            resource: claims.clone(),
            name: ObjectName::new(pod.name.namespace.clone(), claim.as_str()),
        })
    });
    let allowed = |item: &RelatedItem| {
        shared.plan.related_allowed(&item.resource, &item.name.namespace) != RelatedVerdict::Excluded
    };
    let mut next: VecDeque<_> = mounted.filter(allowed).collect();
    next.extend(gatherer.followed());
    let count = gatherer.finish().await;
    while let Some(item) = next.pop_front() {
        next.extend(write_related(shared, sender, item).await?);
    }
    // The data of volumes is to be backed up here, before the last hooks.
    Ok(count)
}

/// Writes a claim or a volume, unless that was done. Tells what it refers to in its turn.
async fn write_related(
    shared: &Arc<Shared>,
    sender: &mpsc::Sender<Batch>,
    item: RelatedItem,
) -> Result<Vec<RelatedItem>, EngineError> {
    let Some(served) = shared.discovery.find(&item.resource) else {
        return Ok(Vec::new());
    };
    let kind = Kind::new(served.clone());
    if !kind.is_volume() || lock(&shared.related).is_written(&item.resource, &item.name) {
        return Ok(Vec::new());
    }
    let mut gatherer = Gatherer::new(shared, kind.clone(), sender);
    gatherer.follow();
    fetch(shared, &kind, &item.name, Choice::Referred, &mut gatherer).await?;
    let next = gatherer.followed();
    gatherer.finish().await;
    Ok(next)
}

/// Runs a pod's hooks of one phase, one after the other. Tells whether all is to go on; if not, that is an
/// error which says what follows.
async fn run_phase(shared: &Shared, pod: &Held, hooks: &[Hook], else_: &str) -> bool {
    let (log, name) = (&shared.log, &pod.name);
    shared.hooks.count(hooks.len());
    for one in hooks {
        let Err(why) = hook::run(&shared.cluster, log, name, one).await else {
            continue;
        };
        shared.hooks.failed.fetch_add(1, Ordering::Relaxed);
        match one.on_failure {
            OnFailure::Warn => log.warn(&name.namespace, &why),
            OnFailure::Report => log.error(&name.namespace, &why),
            OnFailure::Stop => {
                log.error(&name.namespace, &why);
                let text = format!("pod {name}: {else_}, because a hook failed that says onError: Fail");
                log.error(&name.namespace, &text);
                return false;
            }
        }
    }
    true
}
