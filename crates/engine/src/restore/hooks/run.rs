//! The task that runs hooks as containers come up, a bounded number at once.

use std::{sync::Arc, time::Duration};

use refloat_model::{GoDuration, ObjectName, hooks::HookStatus};
use refloat_plan::hooks::{ContainerHooks, ExecHooks, OnFailure, RestoreExec};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    Begun, Context, Pods, Waiting,
    look::{State, look},
};
use crate::hook;

/// Containers in which hooks run at once.
const MOST_RUNNING: usize = 8;
/// The shortest and the longest time between two looks.
const PAUSE: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(15)];
/// A look may take this part of the time, the rest is pause.
const SHARE: u32 = 5;

/// What came to an end.
enum Done {
    /// The hooks of a container.
    Container {
        pod: ObjectName,
        failed: u64,
        /// Where one failed that lets nothing run after it: how many did not run.
        stopped: Option<u64>,
    },
    /// A pod was marked.
    Marked,
    /// A look.
    Look {
        took: Duration,
        states: Vec<(ObjectName, State)>,
    },
}

/// Runs all hooks that `receiver` names, until it is closed and all have run.
pub(super) async fn drive(context: Arc<Context>, mut receiver: mpsc::Receiver<Begun>) -> HookStatus {
    let mut driver = Driver {
        context,
        pods: Pods::new(),
        tasks: JoinSet::new(),
        running: 0,
        looking: false,
        next_look: Instant::now(),
        stopped: false,
        attempted: 0,
        failed: 0,
    };
    let mut open = true;
    while open || !driver.pods.is_empty() || !driver.tasks.is_empty() {
        // As many pods are busy as containers run.
        let waits = !driver.looking && driver.running < MOST_RUNNING && driver.running < driver.pods.len();
        tokio::select! {
            begun = receiver.recv(), if open => match begun {
                Some(Begun::Pod(name, hooks)) => driver.begin(&name, hooks),
                Some(Begun::Done(mark)) => {
                    driver.attempted += mark.attempted;
                    driver.failed += mark.failed;
                }
                None => open = false,
            },
            Some(done) = driver.tasks.join_next(), if !driver.tasks.is_empty() => match done {
                Ok(done) => driver.done(done),
                // Only a bug ends a task so; it must not end in silence.
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            () = sleep_until(driver.next_look), if waits => driver.look(),
        }
    }
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    HookStatus {
        hooks_attempted: count(driver.attempted),
        hooks_failed: count(driver.failed),
    }
}

struct Driver {
    context: Arc<Context>,
    pods: Pods,
    tasks: JoinSet<Done>,
    running: usize,
    looking: bool,
    next_look: Instant,
    /// A hook failed after which none may run.
    stopped: bool,
    attempted: u64,
    failed: u64,
}

impl Driver {
    fn begin(&mut self, name: &ObjectName, hooks: ExecHooks) {
        self.attempted += hooks.count();
        let attempted = hooks.count();
        let mut pod = Waiting {
            containers: hooks.containers,
            busy: false,
            since: Instant::now(),
            attempted,
            failed: 0,
        };
        let mut stop = false;
        // What cannot run at all is not waited for.
        pod.containers.retain_mut(|container| {
            container.hooks.retain(|one| {
                let Some(problem) = &one.hook.problem else {
                    return true;
                };
                let text = place(name, one);
                self.context
                    .error(name, &format!("{text} did not run: {problem}"));
                pod.failed += 1;
                stop |= one.hook.on_failure == OnFailure::Stop;
                false
            });
            !container.hooks.is_empty()
        });
        self.failed += pod.failed;
        self.pods.insert(name.clone(), pod);
        if stop {
            self.stop();
        } else if self.stopped {
            self.give_up(name, "another hook failed that says onError: Fail");
        }
        self.end_if_done(name);
    }

    fn look(&mut self) {
        let waiting = self.pods.iter().filter(|(_, pod)| !pod.busy);
        let names = waiting.map(|(name, _)| name.clone()).collect();
        let context = self.context.clone();
        self.looking = true;
        self.tasks.spawn(async move {
            let began = Instant::now();
            let states = look(&context, names).await;
            Done::Look {
                took: began.elapsed(),
                states,
            }
        });
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Marked => {}
            Done::Look { took, states } => {
                self.looking = false;
                self.next_look = Instant::now() + (took * SHARE).clamp(PAUSE[0], PAUSE[1]);
                for (name, state) in states {
                    self.seen(&name, state);
                }
                self.expire();
            }
            Done::Container { pod, failed, stopped } => {
                self.running -= 1;
                self.next_look = self.next_look.min(Instant::now() + PAUSE[0]);
                let failed = failed + stopped.unwrap_or_default();
                self.failed += failed;
                if let Some(waiting) = self.pods.get_mut(&pod) {
                    waiting.busy = false;
                    waiting.failed += failed;
                }
                if stopped.is_some() {
                    self.stop();
                }
                self.end_if_done(&pod);
            }
        }
    }

    fn seen(&mut self, name: &ObjectName, state: State) {
        let Some(pod) = self.pods.get_mut(name).filter(|pod| !pod.busy) else {
            return;
        };
        let containers = match state {
            State::There(containers) => containers,
            State::Gone => return self.give_up(name, "the pod was deleted"),
            State::Ended(phase) => {
                return self.give_up(name, &format!("the pod has ended in phase {phase}"));
            }
            State::Unreadable(why) => return self.give_up(name, &why),
        };
        let up = |wanted: &ContainerHooks| {
            let found = containers.iter().find(|one| one.name == wanted.container);
            found.is_some_and(|one| {
                if wanted.wait_for_ready {
                    one.ready
                } else {
                    one.running
                }
            })
        };
        if self.running < MOST_RUNNING
            && let Some(at) = pod.containers.iter().position(up)
        {
            let container = pod.containers.remove(at);
            pod.busy = true;
            self.running += 1;
            let (context, name) = (self.context.clone(), name.clone());
            self.tasks
                .spawn(async move { run_container(&context, name, container).await });
        }
    }

    /// Gives up hooks whose container was not up in time.
    fn expire(&mut self) {
        let mut ended = Vec::new();
        let mut stop = false;
        for (name, pod) in self.pods.iter_mut().filter(|(_, pod)| !pod.busy) {
            let waited = pod.since.elapsed();
            let before = pod.failed;
            pod.containers.retain_mut(|container| {
                container.hooks.retain(|one| {
                    let limit = one.wait.unwrap_or(self.context.longest_wait);
                    if waited < limit {
                        return true;
                    }
                    let state = if container.wait_for_ready {
                        "ready"
                    } else {
                        "running"
                    };
                    let text = format!(
                        "{} did not run: its container was not {state} within {}",
                        place(name, one),
                        GoDuration(limit)
                    );
                    self.context.error(name, &text);
                    pod.failed += 1;
                    stop |= one.hook.on_failure == OnFailure::Stop;
                    false
                });
                !container.hooks.is_empty()
            });
            self.failed += pod.failed - before;
            if pod.containers.is_empty() {
                ended.push(name.clone());
            }
        }
        if stop {
            self.stop();
        }
        for name in ended {
            self.end_if_done(&name);
        }
    }

    /// Lets no hook run any more, in no pod. Those that run may end.
    fn stop(&mut self) {
        self.stopped = true;
        let names: Vec<_> = self.pods.keys().cloned().collect();
        for name in names {
            self.give_up(&name, "another hook failed that says onError: Fail");
        }
    }

    /// Counts all hooks of a pod as failed that have not begun.
    fn give_up(&mut self, name: &ObjectName, why: &str) {
        let Some(pod) = self.pods.get_mut(name) else {
            return;
        };
        for one in pod.containers.drain(..).flat_map(|container| container.hooks) {
            let text = format!("{} did not run: {why}", place(name, &one));
            self.context.error(name, &text);
            pod.failed += 1;
            self.failed += 1;
        }
        self.end_if_done(name);
    }

    fn end_if_done(&mut self, name: &ObjectName) {
        let done = |pod: &Waiting| !pod.busy && pod.containers.is_empty();
        if !self.pods.get(name).is_some_and(done) {
            return;
        }
        if let Some(pod) = self.pods.remove(name) {
            let (context, name) = (self.context.clone(), name.clone());
            self.tasks.spawn(async move {
                context.note_done(&name, pod.attempted, pod.failed).await;
                Done::Marked
            });
        }
    }
}

fn place(pod: &ObjectName, one: &RestoreExec) -> String {
    let hook = &one.hook;
    format!("hook {} in container {} of pod {pod}", hook.name, hook.container)
}

/// Runs the hooks of a container one after the other.
async fn run_container(context: &Context, pod: ObjectName, container: ContainerHooks) -> Done {
    let mut failed = 0;
    let mut rest = container.hooks.into_iter();
    while let Some(one) = rest.next() {
        let Err(why) = hook::run(&context.cluster, &context.log, &pod, &one.hook).await else {
            continue;
        };
        failed += 1;
        context.error(&pod, &why);
        if one.hook.on_failure == OnFailure::Stop {
            let mut left = 0;
            for one in rest {
                left += 1;
                let text = format!("{} did not run: the hook before it failed", place(&pod, &one));
                context.error(&pod, &text);
            }
            return Done::Container {
                pod,
                failed,
                stopped: Some(left),
            };
        }
    }
    Done::Container {
        pod,
        failed,
        stopped: None,
    }
}
