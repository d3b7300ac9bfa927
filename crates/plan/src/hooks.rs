//! Hooks: which commands run in which containers around the backup of a pod and after its restore.
//!
//! As in Velero an annotation on the pod takes the place of the spec's hooks, for each phase by
//! itself; a hook that names no container means the pod's first. What an annotation says that cannot
//! be read is a warning, and the default holds; Velero says nothing or writes it into its own log.

mod backup;
mod restore;

use std::{sync::Arc, time::Duration};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use refloat_model::{GoDuration, hooks::HookErrorMode};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{PlanError, filter::NameSet, json, selector::Selector};
pub use backup::{BackupHookRules, PodHooks, blocks};
pub use restore::{ContainerHooks, ExecHooks, RestoreExec, RestoreHookRules};

/// What a hook is called that comes from an annotation.
pub const FROM_ANNOTATION: &str = "<from-annotation>";
/// How long a command may run that names no time.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A command that is to run in a container of one pod.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// The name of the hook's set in the spec, or [`FROM_ANNOTATION`].
    pub name: Arc<str>,
    /// The container; empty only where `problem` is set.
    pub container: String,
    /// The argument vector; no shell is put in front of it.
    pub command: Arc<[String]>,
    /// What a failure means.
    pub on_failure: OnFailure,
    /// How long it may run.
    pub timeout: Duration,
    /// Why it cannot run at all and counts as failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What it means if a hook fails. In all cases the failure is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// A warning; all else goes on.
    Warn,
    /// An error; all else goes on.
    Report,
    /// An error, and what comes after it does not happen: the pod's other hooks, its backup, or
    /// any other hook of the restore.
    Stop,
}

/// What a hook says, before it is known for which pod.
#[derive(Clone, Debug)]
struct Definition {
    name: Arc<str>,
    container: String,
    command: Arc<[String]>,
    on_failure: OnFailure,
    timeout: Duration,
}

impl Definition {
    fn for_pod(&self, pod: &Value) -> Hook {
        let containers = json::list(pod, &["spec", "containers"]);
        let names = || containers.iter().filter_map(|one| json::text(one, &["name"]));
        let (container, problem) = match names().next() {
            None => (String::new(), Some("the pod has no container".to_owned())),
            Some(first) if self.container.is_empty() => (first.to_owned(), None),
            Some(_) if names().any(|name| name == self.container) => (self.container.clone(), None),
            Some(_) => {
                let names = names().collect::<Vec<_>>().join(", ");
                let text = format!("the pod has no such container; it has {names}");
                (self.container.clone(), Some(text))
            }
        };
        Hook {
            name: self.name.clone(),
            container,
            command: self.command.clone(),
            on_failure: self.on_failure,
            timeout: self.timeout,
            problem,
        }
    }
}

/// To which pods a set of hooks applies.
#[derive(Clone, Debug)]
struct Selection {
    includes: NameSet,
    excludes: NameSet,
    labels: Option<Selector>,
}

impl Selection {
    fn new(
        included: &[String],
        excluded: &[String],
        labels: Option<&LabelSelector>,
    ) -> Result<Self, PlanError> {
        let set = |field, names: &[String]| NameSet::new(field, names.iter().map(String::as_str));
        let labels = labels.map(Selector::compile).transpose();
        Ok(Self {
            includes: set("spec.hooks.resources.includedNamespaces", included)?,
            excludes: set("spec.hooks.resources.excludedNamespaces", excluded)?,
            labels: labels.map_err(|fault| PlanError::Selector {
                field: "spec.hooks.resources.labelSelector",
                fault,
            })?,
        })
    }

    fn applies(&self, namespace: &str, pod: &Value) -> bool {
        let labels = json::object(pod, &["metadata", "labels"]);
        !self.excludes.contains(namespace)
            && (self.includes.is_empty() || self.includes.contains(namespace))
            && self.labels.as_ref().is_none_or(|all| all.matches_json(labels))
    }
}

/// A pod's annotations about hooks, and what was found wrong in them.
struct Annotations<'a> {
    all: Option<&'a Map<String, Value>>,
    warnings: Vec<String>,
}

impl<'a> Annotations<'a> {
    fn of(pod: &'a Value) -> Self {
        Self {
            all: json::object(pod, &["metadata", "annotations"]),
            warnings: Vec::new(),
        }
    }

    /// An annotation's text; one that is empty counts as absent.
    fn text(&self, prefix: &str, key: &str) -> Option<&'a str> {
        let value = self.all?.get(&format!("{prefix}{key}"))?.as_str()?;
        (!value.is_empty()).then_some(value)
    }

    /// A command: a JSON list of strings, or one program without arguments.
    fn command(&mut self, prefix: &str) -> Option<Arc<[String]>> {
        let text = self.text(prefix, "command")?;
        if text.starts_with('[') {
            match serde_json::from_str::<Vec<String>>(text) {
                Ok(command) => return Some(command.into()),
                Err(error) => self.warn(
                    prefix,
                    "command",
                    &format!("begins like a JSON list of strings but is none ({error}); it is taken for the name of one program"),
                ),
            }
        }
        Some([text.to_owned()].into())
    }

    fn mode(&mut self, prefix: &str) -> Option<HookErrorMode> {
        match self.text(prefix, "on-error")? {
            "Continue" => Some(HookErrorMode::Continue),
            "Fail" => Some(HookErrorMode::Fail),
            other => {
                let text = format!("is {other:?}; only Continue and Fail mean something");
                self.warn(prefix, "on-error", &text);
                None
            }
        }
    }

    /// A length of time; `None` where nothing is said, zero is said, or it cannot be read.
    fn duration(&mut self, prefix: &str, key: &str) -> Option<Duration> {
        match self.text(prefix, key)?.parse::<GoDuration>() {
            Ok(length) => (!length.is_zero()).then_some(length.0),
            Err(error) => {
                self.warn(prefix, key, &format!("is not used: {error}"));
                None
            }
        }
    }

    /// A truth value in any of the spellings that Go reads.
    fn flag(&mut self, prefix: &str, key: &str) -> bool {
        match self.text(prefix, key) {
            None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
            Some(other) => {
                let text = format!("is {other:?}, neither true nor false; it counts as false");
                self.warn(prefix, key, &text);
                false
            }
        }
    }

    fn warn(&mut self, prefix: &str, key: &str, text: &str) {
        self.warnings.push(format!("annotation {prefix}{key} {text}"));
    }
}

#[cfg(test)]
mod tests;
