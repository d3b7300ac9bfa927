//! Hooks of restored pods: init containers that are put in front, and commands that run once a
//! container is up.

use std::time::Duration;

use refloat_model::{
    hooks::{ExecRestoreHook, HookErrorMode, RestoreHooks},
    labels,
};
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Annotations, Definition, FROM_ANNOTATION, Hook, OnFailure, Selection, TIMEOUT};
use crate::{PlanError, json};

const EXEC: &str = "post.hook.restore.velero.io/";
const INIT: &str = "init.hook.restore.velero.io/";
/// The init container that waits for a pod's volumes; it stays the first.
const RESTORE_WAIT: &str = "restore-wait";

/// The hooks of a restore's spec, ready to be asked about each pod.
#[derive(Clone, Debug, Default)]
pub struct RestoreHookRules {
    sets: Vec<Set>,
    restore: String,
}

#[derive(Clone, Debug)]
struct Set {
    selection: Selection,
    init: Vec<Value>,
    exec: Vec<Exec>,
}

#[derive(Clone, Debug)]
struct Exec {
    definition: Definition,
    wait: Option<Duration>,
    wait_for_ready: bool,
}

/// What runs in one restored pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecHooks {
    /// By container; those of one run one after the other once it is up.
    pub containers: Vec<ContainerHooks>,
    /// What the pod's annotations say that cannot be read.
    pub warnings: Vec<String>,
}

/// What runs in one container.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerHooks {
    /// Its name.
    pub container: String,
    /// Whether "up" means ready; else it means running.
    pub wait_for_ready: bool,
    /// In this order.
    pub hooks: Vec<RestoreExec>,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreExec {
    /// The command.
    pub hook: Hook,
    /// How long its container may take to be up; `None`: nothing is said.
    pub wait: Option<Duration>,
}

impl RestoreHookRules {
    /// From a spec. `restore` is the restore's name.
    ///
    /// # Errors
    /// A pattern or selector that cannot be read.
    pub fn new(restore: &str, hooks: &RestoreHooks) -> Result<Self, PlanError> {
        let mut sets = Vec::new();
        for set in &hooks.resources {
            let (mut init, mut exec) = (Vec::new(), Vec::new());
            for hook in &set.post_hooks {
                init.extend(hook.init.iter().flat_map(|hook| hook.init_containers.clone()));
                exec.extend(hook.exec.iter().map(|hook| of_spec(&set.name, hook)));
            }
            sets.push(Set {
                selection: Selection::new(
                    &set.included_namespaces,
                    &set.excluded_namespaces,
                    set.label_selector.as_ref(),
                )?,
                init,
                exec,
            });
        }
        Ok(Self {
            sets,
            restore: restore.to_owned(),
        })
    }

    /// Puts init containers in front of the pod's own. `namespace` is where the pod goes. What an
    /// earlier restore noted in the pod is taken out.
    pub fn prepare_pod(&self, namespace: &str, pod: &mut Value) {
        json::remove(pod, &["metadata", "annotations"], labels::RESTORE_HOOKS);
        let added = match self.annotated_init(namespace, pod) {
            Some(container) => vec![container],
            None => {
                let sets = self
                    .sets
                    .iter()
                    .filter(|set| set.selection.applies(namespace, pod));
                sets.flat_map(|set| set.init.iter().cloned()).collect()
            }
        };
        if added.is_empty() {
            return;
        }
        let Some(spec) = json::object_mut(pod, &["spec"]) else {
            return;
        };
        let own = spec
            .entry("initContainers")
            .or_insert_with(|| Value::Array(Vec::new()));
        if !own.is_array() {
            *own = Value::Array(Vec::new());
        }
        if let Some(own) = own.as_array_mut() {
            let waits = own
                .first()
                .is_some_and(|first| json::text(first, &["name"]) == Some(RESTORE_WAIT));
            let at = usize::from(waits);
            own.splice(at..at, added);
        }
    }

    fn annotated_init(&self, namespace: &str, pod: &Value) -> Option<Value> {
        let mut annotations = Annotations::of(pod);
        let image = annotations.text(INIT, "container-image")?;
        let name = match annotations.text(INIT, "container-name") {
            Some(name) => name.to_owned(),
            None => self.generated_name(namespace, pod),
        };
        let mut container = Map::new();
        container.insert("name".to_owned(), name.into());
        container.insert("image".to_owned(), image.into());
        if let Some(command) = annotations.command(INIT) {
            container.insert("command".to_owned(), json!(*command));
        }
        Some(Value::Object(container))
    }

    /// Velero's form, but not by chance: the same restore gives the same name when it is run again.
    fn generated_name(&self, namespace: &str, pod: &Value) -> String {
        let pod = json::text(pod, &["metadata", "name"]).unwrap_or_default();
        let digest = Sha256::digest(format!("{}\0{namespace}\0{pod}", self.restore).as_bytes());
        let hex: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        format!("velero-restore-init-{hex}")
    }

    /// Whether [`RestoreHookRules::of_pod`] may have something to say about a pod. Cheap.
    #[must_use]
    pub fn may_apply(&self, pod: &Value) -> bool {
        let annotations = json::object(pod, &["metadata", "annotations"]);
        let by_spec = self.sets.iter().any(|set| !set.exec.is_empty());
        by_spec
            || annotations.is_some_and(|all| {
                all.keys()
                    .any(|key| key.starts_with(EXEC) || key.starts_with(INIT))
            })
    }

    /// What runs in a pod that was created, as the API server made it; `None`: nothing.
    #[must_use]
    pub fn of_pod(&self, pod: &Value) -> Option<ExecHooks> {
        let mut annotations = Annotations::of(pod);
        let mut found = ExecHooks::default();
        match annotated(&mut annotations) {
            Some(exec) => found.add(&exec, pod),
            None => {
                let namespace = json::text(pod, &["metadata", "namespace"]).unwrap_or_default();
                let sets = self
                    .sets
                    .iter()
                    .filter(|set| set.selection.applies(namespace, pod));
                sets.flat_map(|set| &set.exec)
                    .for_each(|exec| found.add(exec, pod));
            }
        }
        if annotations.text(INIT, "container-image").is_some() {
            // Only for what is wrong with it: the container was put in before the pod was created.
            annotations.command(INIT);
        }
        found.warnings = annotations.warnings;
        (!found.containers.is_empty() || !found.warnings.is_empty()).then_some(found)
    }
}

impl ExecHooks {
    /// How many commands there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.containers.iter().map(|one| one.hooks.len() as u64).sum()
    }

    fn add(&mut self, exec: &Exec, pod: &Value) {
        let hook = exec.definition.for_pod(pod);
        let known = self
            .containers
            .iter()
            .position(|one| one.container == hook.container);
        let at = known.unwrap_or_else(|| {
            self.containers.push(ContainerHooks {
                container: hook.container.clone(),
                wait_for_ready: false,
                hooks: Vec::new(),
            });
            self.containers.len() - 1
        });
        let container = &mut self.containers[at];
        container.wait_for_ready |= exec.wait_for_ready;
        container.hooks.push(RestoreExec {
            hook,
            wait: exec.wait,
        });
    }
}

/// A hook that fails makes the restore partially failed in any mode, as in Velero; `Fail` ends the
/// restore's other hooks besides.
fn on_failure(mode: Option<HookErrorMode>) -> OnFailure {
    match mode {
        Some(HookErrorMode::Fail) => OnFailure::Stop,
        Some(HookErrorMode::Continue) | None => OnFailure::Report,
    }
}

fn of_spec(set: &str, hook: &ExecRestoreHook) -> Exec {
    let timeout = hook.exec_timeout;
    let wait = hook.wait_timeout;
    Exec {
        definition: Definition {
            name: set.into(),
            container: hook.container.clone(),
            command: hook.command.clone().into(),
            on_failure: on_failure(hook.on_error),
            timeout: if timeout.is_zero() { TIMEOUT } else { timeout.0 },
        },
        wait: (!wait.is_zero()).then_some(wait.0),
        wait_for_ready: hook.wait_for_ready == Some(true),
    }
}

fn annotated(annotations: &mut Annotations<'_>) -> Option<Exec> {
    let command = annotations.command(EXEC)?;
    let container = annotations.text(EXEC, "container").unwrap_or_default();
    Some(Exec {
        definition: Definition {
            name: FROM_ANNOTATION.into(),
            container: container.to_owned(),
            command,
            on_failure: on_failure(annotations.mode(EXEC)),
            timeout: annotations.duration(EXEC, "exec-timeout").unwrap_or(TIMEOUT),
        },
        wait: annotations.duration(EXEC, "wait-timeout"),
        wait_for_ready: annotations.flag(EXEC, "wait-for-ready"),
    })
}
