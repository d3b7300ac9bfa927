//! Hooks in restored pods: commands that run once a container is up.
//!
//! They run beside the restore, which waits for them at its end. One task keeps the pods that have hooks
//! (their names and their hooks, no more) and looks at those that it waits for from time to time: one by one
//! where they are few, by the restore's label where they are many. How often follows how long a look takes,
//! so that a thousand pods cost the API server no more than one.
//!
//! # After a crash
//! A pod whose hooks have all run carries an annotation that says so. When the restore goes on they are
//! counted and not run again; those of a pod that was not done yet run again from the first.

mod look;
mod run;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use refloat_cluster::Cluster;
use refloat_model::{GroupResource, ObjectName, hooks::HookStatus, labels, resource::ApiResource};
use refloat_plan::hooks::{ContainerHooks, ExecHooks, RestoreHookRules};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::AbortOnDropHandle;

use super::RestoreJob;
use crate::{EngineError, error::chain, job_log::JobLog};

/// How long a hook waits for its container that says nothing about it, where the restore says nothing either.
const LONGEST_WAIT: Duration = Duration::from_secs(4 * 3600);

/// The hooks of one restore.
pub(super) struct Hooks {
    sender: mpsc::Sender<Begun>,
    driver: AbortOnDropHandle<HookStatus>,
    log: Arc<JobLog>,
    /// The restore's UID; empty where it has none.
    restore: String,
}

/// A pod that was created.
enum Begun {
    /// Its hooks are to run.
    Pod(ObjectName, ExecHooks),
    /// They have run in an earlier try.
    Done(Mark),
}

/// What the annotation says.
#[derive(Serialize, Deserialize)]
struct Mark {
    restore: String,
    attempted: u64,
    failed: u64,
}

/// What all that runs hooks shares.
struct Context {
    cluster: Cluster,
    log: Arc<JobLog>,
    restore: String,
    /// The value of the label that all restored pods have.
    label: String,
    longest_wait: Duration,
}

/// A pod whose hooks have not all run.
struct Waiting {
    containers: Vec<ContainerHooks>,
    /// Whether some of them are running.
    busy: bool,
    since: Instant,
    attempted: u64,
    failed: u64,
}

impl Hooks {
    pub(super) fn begin(job: &RestoreJob, log: &Arc<JobLog>) -> Self {
        let (sender, receiver) = mpsc::channel(64);
        let restore = job.restore.metadata.uid.clone().unwrap_or_default();
        let name = job.restore.metadata.name.as_deref().unwrap_or_default();
        let timeout = job.restore.spec.item_operation_timeout;
        let context = Context {
            cluster: job.cluster.clone(),
            log: log.clone(),
            restore: restore.clone(),
            label: labels::label_value(name),
            longest_wait: if timeout.is_zero() {
                LONGEST_WAIT
            } else {
                timeout.0
            },
        };
        let driver = tokio::spawn(run::drive(Arc::new(context), receiver));
        Self {
            sender,
            driver: AbortOnDropHandle::new(driver),
            log: log.clone(),
            restore,
        }
    }

    /// Has the hooks of a pod run that was created by this restore, now or in an earlier try. `pod` is what the
    /// API server made of it.
    pub(super) async fn pod_created(&self, rules: &RestoreHookRules, name: &ObjectName, pod: &Value) {
        let Some(mut hooks) = rules.of_pod(pod) else {
            return;
        };
        for warning in hooks.warnings.drain(..) {
            self.log.warn(&name.namespace, &format!("pod {name}: {warning}"));
        }
        if hooks.containers.is_empty() {
            return;
        }
        let begun = match self.mark_of(pod) {
            Some(mark) => {
                let text = format!("the hooks of pod {name} have run in an earlier try");
                match mark.failed {
                    0 => self.log.info(&text),
                    failed => self
                        .log
                        .error(&name.namespace, &format!("{text}; {failed} failed")),
                }
                Begun::Done(mark)
            }
            None => Begun::Pod(name.clone(), hooks),
        };
        // Its only end is that of the restore itself.
        let _ = self.sender.send(begun).await;
    }

    fn mark_of(&self, pod: &Value) -> Option<Mark> {
        let annotations = pod.pointer("/metadata/annotations")?;
        let mark: Mark = serde_json::from_str(annotations.get(labels::RESTORE_HOOKS)?.as_str()?).ok()?;
        (!self.restore.is_empty() && mark.restore == self.restore).then_some(mark)
    }

    /// Waits until all hooks have run, and tells how many there were.
    pub(super) async fn finish(self) -> Result<HookStatus, EngineError> {
        drop(self.sender);
        self.driver.await.map_err(|error| EngineError::Plan {
            doing: "the hooks of the restore ended early".into(),
            source: error.to_string().into(),
        })
    }
}

impl Context {
    fn error(&self, pod: &ObjectName, text: &str) {
        self.log.error(&pod.namespace, text);
    }

    /// Notes in a pod that its hooks have run. If that fails, they run again after a crash, no more.
    async fn note_done(&self, name: &ObjectName, attempted: u64, failed: u64) {
        if self.restore.is_empty() {
            return;
        }
        let mark = Mark {
            restore: self.restore.clone(),
            attempted,
            failed,
        };
        let text = serde_json::to_string(&mark).expect("a mark has string keys only");
        let patch = serde_json::json!({ "metadata": { "annotations": { labels::RESTORE_HOOKS: text } } });
        let kind = refloat_cluster::apply::PatchKind::Merge;
        let options = refloat_cluster::apply::WriteOptions::default();
        let body = patch.to_string().into();
        let done = self.cluster.patch(&pods(), name, None, kind, body, options).await;
        if let Err(error) = done
            && !error.is_not_found()
        {
            self.log
                .info(&format!("pod {name} is not marked as done: {}", chain(&error)));
        }
    }
}

type Pods = BTreeMap<ObjectName, Waiting>;

fn pods() -> ApiResource {
    ApiResource {
        group_resource: GroupResource::new("pods", ""),
        version: "v1".into(),
        kind: "Pod".into(),
        namespaced: true,
        aliases: Vec::new(),
        verbs: Vec::new(),
    }
}
