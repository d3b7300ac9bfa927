//! Hooks before and after the backup of a pod, and which pods have to be held still together.

use std::collections::{BTreeMap, HashMap};

use refloat_model::{
    GroupResource,
    hooks::{BackupHooks, BackupResourceHook, HookErrorMode},
    resource::ApiResource,
};
use serde::Serialize;
use serde_json::Value;

use super::{Annotations, Definition, FROM_ANNOTATION, Hook, OnFailure, Selection, TIMEOUT};
use crate::{PlanError, filter::KindFilter, json};

/// The hooks of a backup's spec, ready to be asked about each pod.
#[derive(Clone, Debug, Default)]
pub struct BackupHookRules {
    sets: Vec<Set>,
}

#[derive(Clone, Debug)]
struct Set {
    selection: Selection,
    pre: Vec<Definition>,
    post: Vec<Definition>,
}

/// What runs around the backup of one pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodHooks {
    /// Before it is read, in this order.
    pub pre: Vec<Hook>,
    /// After it and what belongs to it is backed up, in this order.
    pub post: Vec<Hook>,
    /// The pod has ended: its hooks count, but there is nothing left to run them in.
    pub finished: bool,
    /// What its annotations say that cannot be read.
    pub warnings: Vec<String>,
}

impl BackupHookRules {
    /// From a spec and the kinds of the cluster.
    ///
    /// # Errors
    /// A pattern or selector that cannot be read.
    pub fn new(hooks: &BackupHooks, discovered: &[ApiResource]) -> Result<Self, PlanError> {
        let fields = [
            "spec.hooks.resources.includedResources",
            "spec.hooks.resources.excludedResources",
        ];
        let pods = GroupResource::new("pods", "");
        let mut sets = Vec::new();
        for set in &hooks.resources {
            let kinds = KindFilter::new(
                fields,
                &set.included_resources,
                &set.excluded_resources,
                discovered,
            )?;
            let selection = Selection::new(
                &set.included_namespaces,
                &set.excluded_namespaces,
                set.label_selector.as_ref(),
            )?;
            // Only pods can run anything.
            if kinds.includes(&pods) {
                sets.push(Set {
                    selection,
                    pre: definitions(&set.name, &set.pre),
                    post: definitions(&set.name, &set.post),
                });
            }
        }
        Ok(Self { sets })
    }

    /// What runs around the backup of a pod; `None`: nothing.
    #[must_use]
    pub fn of_pod(&self, pod: &Value) -> Option<PodHooks> {
        let mut annotations = Annotations::of(pod);
        let pre = annotated(&mut annotations, "pre.hook.backup.velero.io/")
            .or_else(|| annotated(&mut annotations, "hook.backup.velero.io/"));
        let post = annotated(&mut annotations, "post.hook.backup.velero.io/");
        let of_spec = |pick: fn(&Set) -> &[Definition]| -> Vec<Hook> {
            let namespace = json::text(pod, &["metadata", "namespace"]).unwrap_or_default();
            let sets = self
                .sets
                .iter()
                .filter(|set| set.selection.applies(namespace, pod));
            sets.flat_map(pick).map(|one| one.for_pod(pod)).collect()
        };
        let pre = pre.map_or_else(|| of_spec(|set| &set.pre), |one| vec![one.for_pod(pod)]);
        let post = post.map_or_else(|| of_spec(|set| &set.post), |one| vec![one.for_pod(pod)]);
        let warnings = annotations.warnings;
        if pre.is_empty() && post.is_empty() && warnings.is_empty() {
            return None;
        }
        let phase = json::text(pod, &["status", "phase"]);
        Some(PodHooks {
            pre,
            post,
            finished: matches!(phase, Some("Succeeded" | "Failed")),
            warnings,
        })
    }
}

/// No mode means what it does in Velero: the failure is an error of the backup, and the pod is backed up
/// all the same.
fn on_failure(mode: Option<HookErrorMode>) -> OnFailure {
    match mode {
        Some(HookErrorMode::Continue) => OnFailure::Warn,
        Some(HookErrorMode::Fail) => OnFailure::Stop,
        None => OnFailure::Report,
    }
}

fn definitions(set: &str, hooks: &[BackupResourceHook]) -> Vec<Definition> {
    let one = |hook: &BackupResourceHook| {
        let timeout = hook.exec.timeout;
        Definition {
            name: set.into(),
            container: hook.exec.container.clone(),
            command: hook.exec.command.clone().into(),
            on_failure: on_failure(hook.exec.on_error),
            timeout: if timeout.is_zero() { TIMEOUT } else { timeout.0 },
        }
    };
    hooks.iter().map(one).collect()
}

fn annotated(annotations: &mut Annotations<'_>, prefix: &str) -> Option<Definition> {
    let command = annotations.command(prefix)?;
    let container = annotations.text(prefix, "container").unwrap_or_default();
    Some(Definition {
        name: FROM_ANNOTATION.into(),
        container: container.to_owned(),
        command,
        on_failure: on_failure(annotations.mode(prefix)),
        timeout: annotations.duration(prefix, "timeout").unwrap_or(TIMEOUT),
    })
}

/// Groups pods (of one namespace) by the claims that they mount: pods that share one have to be held
/// still together while it is backed up. What is given are each pod's claims, what comes back are
/// groups of their indices; the order is kept, in the groups and by each group's first pod.
#[must_use]
pub fn blocks(claims: &[Vec<String>]) -> Vec<Vec<usize>> {
    let mut root: Vec<usize> = (0..claims.len()).collect();
    let find = |root: &mut Vec<usize>, mut at: usize| {
        while root[at] != at {
            root[at] = root[root[at]];
            at = root[at];
        }
        at
    };
    let mut user: HashMap<&str, usize> = HashMap::new();
    for (pod, names) in claims.iter().enumerate() {
        for name in names {
            let other = *user.entry(name).or_insert(pod);
            let (a, b) = (find(&mut root, pod), find(&mut root, other));
            root[a.max(b)] = a.min(b);
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for pod in 0..claims.len() {
        let first = find(&mut root, pod);
        groups.entry(first).or_default().push(pod);
    }
    groups.into_values().collect()
}
