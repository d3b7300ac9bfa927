//! Watches one kind and keeps working on what changed, until told to stop.

use std::{collections::BTreeSet, collections::HashMap, future::Future, sync::Arc, time::Duration};

use futures::{StreamExt, pin_mut};
use refloat_cluster::typed::{Change, Object, Objects};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::{ControllerError, error::chain, queue::Queue};

/// When to look again at what failed for a reason that does not pass by itself: a missing right may have been
/// granted by then.
const LATER: Duration = Duration::from_secs(300);
/// How long work may go on after the stop, before it is dropped.
const FAREWELL: Duration = Duration::from_secs(20);

/// What a piece of work leaves to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing until the object changes.
    Done,
    /// Look again after this time.
    After(Duration),
}

/// The work of a controller on one object.
pub(crate) trait Reconciler: Send + Sync + 'static {
    /// The kind that is watched.
    type Object: Object;

    /// The controller's name as in Velero's `--disable-controllers`.
    const NAME: &'static str;

    /// Brings the object of that name one step (or all the way) to where it should be. Reads it
    /// afresh; it may be gone. Called for one name at most once at a time. Ends soon after `stop`.
    fn reconcile(
        &self,
        name: &str,
        stop: &CancellationToken,
    ) -> impl Future<Output = Result<Next, ControllerError>> + Send;

    /// Whether there may be something to do about an object as it is.
    fn wants(&self, _object: &Self::Object) -> bool {
        true
    }

    /// Hears of every change at once, also while that object is being worked on.
    fn seen(&self, _change: &Change<Self::Object>) {}
}

/// How a controller is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Objects worked on at the same time.
    pub(crate) workers: usize,
    /// How often every object is looked at without a change.
    pub(crate) resync: Duration,
}

/// Runs until `stop`; then waits for what is being worked on.
pub(crate) async fn run<R: Reconciler>(
    reconciler: Arc<R>,
    objects: Objects<R::Object>,
    pace: Pace,
    stop: CancellationToken,
) {
    let mut work = Work {
        reconciler,
        pace,
        stop: stop.clone(),
        queue: Queue::default(),
        known: BTreeSet::new(),
        tasks: JoinSet::new(),
        names: HashMap::new(),
    };
    let watch = objects.watch();
    pin_mut!(watch);
    let mut resync = interval_at(Instant::now() + pace.resync, pace.resync);
    resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        work.start_ready();
        let timer = work.queue.next_timer();
        tokio::select! {
            () = stop.cancelled() => break,
            Some(change) = watch.next() => work.changed(change),
            Some(ended) = work.tasks.join_next_with_id() => work.ended(ended),
            () = sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => {
                work.queue.wake(Instant::now());
            }
            _ = resync.tick() => work.push_all(),
        }
    }
    let drained = timeout(FAREWELL, async {
        while work.tasks.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        warn!(controller = R::NAME, "dropping work that did not end in time");
    }
}

struct Work<R: Reconciler> {
    reconciler: Arc<R>,
    pace: Pace,
    stop: CancellationToken,
    queue: Queue,
    known: BTreeSet<String>,
    tasks: JoinSet<Result<Next, ControllerError>>,
    names: HashMap<Id, String>,
}

impl<R: Reconciler> Work<R> {
    fn changed(&mut self, change: Result<Change<R::Object>, refloat_cluster::ClusterError>) {
        let change = match change {
            Ok(change) => change,
            Err(error) => {
                warn!(controller = R::NAME, error = %chain(&error), "the watch broke; starting it again");
                return;
            }
        };
        self.reconciler.seen(&change);
        match change {
            Change::Present(object) if !self.reconciler.wants(&object) => {
                self.known.remove(object.object_name());
            }
            Change::Present(object) => {
                self.known.insert(object.object_name().to_owned());
                self.queue.push(object.object_name());
            }
            Change::Gone(name) => {
                self.known.remove(&name);
                self.queue.forget(&name);
                // Once more, so that the controller can put away what it keeps about the object.
                self.queue.push(&name);
            }
        }
    }

    fn push_all(&mut self) {
        for name in &self.known {
            self.queue.push(name);
        }
    }

    fn start_ready(&mut self) {
        while self.tasks.len() < self.pace.workers {
            let Some(name) = self.queue.start() else { return };
            let (reconciler, stop, key) = (Arc::clone(&self.reconciler), self.stop.clone(), name.clone());
            let task = self
                .tasks
                .spawn(async move { reconciler.reconcile(&key, &stop).await });
            self.names.insert(task.id(), name);
        }
    }

    fn ended(&mut self, ended: Result<(Id, Result<Next, ControllerError>), JoinError>) {
        let now = Instant::now();
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(name) = self.names.remove(&id) else {
            return;
        };
        match ended {
            Ok((_, Ok(Next::Done))) => self.queue.done(&name, None),
            Ok((_, Ok(Next::After(pause)))) => self.queue.done(&name, Some(now + pause)),
            Ok((_, Err(error))) if error.is_retryable() => {
                warn!(controller = R::NAME, object = %name, error = %chain(&error), "failed; trying again");
                self.queue.failed(&name, now);
            }
            Ok((_, Err(error))) => {
                error!(controller = R::NAME, object = %name, error = %chain(&error), "failed; looking again later");
                self.queue.done(&name, Some(now + LATER));
            }
            Err(panic) => {
                error!(controller = R::NAME, object = %name, error = %panic, "ended unexpectedly; trying again");
                self.queue.failed(&name, now);
            }
        }
    }
}
