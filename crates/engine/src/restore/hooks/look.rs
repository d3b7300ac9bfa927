//! Looking at pods that are waited for: whether they are there, and which of their containers are up.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use refloat_cluster::ClusterError;
use refloat_model::ObjectName;
use serde::Deserialize;

use super::{Context, pods};
use crate::error::chain;

/// Up to so many pods of a namespace are read one by one; more are listed.
const FEW: usize = 8;
/// Requests of one look at once.
const AT_ONCE: usize = 4;

/// What is known of a pod.
#[derive(Debug, PartialEq)]
pub(super) enum State {
    /// It is not there (any more).
    Gone,
    /// It has ended, in this phase.
    Ended(String),
    /// It may not be read, for this reason.
    Unreadable(String),
    /// Its containers.
    There(Vec<Container>),
}

/// What is known of a container.
#[derive(Debug, PartialEq)]
pub(super) struct Container {
    pub name: String,
    pub running: bool,
    pub ready: bool,
}

#[derive(Deserialize)]
struct Pod {
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: String,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Deserialize)]
struct ContainerStatus {
    name: String,
    #[serde(default)]
    ready: bool,
    #[serde(default)]
    state: ContainerState,
}

#[derive(Deserialize, Default)]
struct ContainerState {
    running: Option<serde::de::IgnoredAny>,
}

/// Looks at pods. One of which nothing could be learnt now is not in the answer; it is looked at again.
pub(super) async fn look(context: &Context, names: Vec<ObjectName>) -> Vec<(ObjectName, State)> {
    let mut by_namespace: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in names {
        let names = by_namespace.entry(name.namespace.to_string()).or_default();
        names.insert(name.name);
    }
    let looks = by_namespace
        .into_iter()
        .map(|(namespace, names)| in_namespace(context, namespace, names));
    let found: Vec<_> = futures::stream::iter(looks)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    found.into_iter().flatten().collect()
}

async fn in_namespace(
    context: &Context,
    namespace: String,
    mut names: BTreeSet<String>,
) -> Vec<(ObjectName, State)> {
    let mut found = Vec::new();
    if names.len() > FEW {
        let selector = format!("{}={}", refloat_model::labels::RESTORE_NAME, context.label);
        let kind = pods();
        let mut pages = context
            .cluster
            .list_pages(&kind, Some(&namespace), Some(&selector), 500);
        // What a list that fails does not have is read one by one, which tells why.
        while let Ok(Some(json)) = pages.next().await {
            if let Ok(pod) = serde_json::from_slice::<Pod>(&json)
                && let Some(name) = names.take(&pod.metadata.name)
            {
                found.push((ObjectName::new(namespace.as_str(), name), pod.state()));
            }
        }
    }
    let rest: Vec<_> = futures::stream::iter(names)
        .map(|name| async {
            let name = ObjectName::new(namespace.as_str(), name);
            let state = one(context, &name).await?;
            Some((name, state))
        })
        .buffer_unordered(AT_ONCE)
        .filter_map(std::future::ready)
        .collect()
        .await;
    found.extend(rest);
    found
}

async fn one(context: &Context, name: &ObjectName) -> Option<State> {
    match context.cluster.get(&pods(), name).await {
        Ok(json) => match serde_json::from_slice::<Pod>(&json) {
            Ok(pod) => Some(pod.state()),
            Err(error) => Some(State::Unreadable(error.to_string())),
        },
        Err(error) if error.is_not_found() => Some(State::Gone),
        Err(error) if may_pass(&error) => None,
        Err(error) => Some(State::Unreadable(chain(&error))),
    }
}

fn may_pass(error: &ClusterError) -> bool {
    error.is_retryable()
}

impl Pod {
    fn state(self) -> State {
        if matches!(&*self.status.phase, "Succeeded" | "Failed") {
            return State::Ended(self.status.phase);
        }
        let containers = self.status.container_statuses.into_iter();
        State::There(
            containers
                .map(|one| Container {
                    name: one.name,
                    running: one.state.running.is_some(),
                    ready: one.ready,
                })
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn state(status: &serde_json::Value) -> State {
        let pod = json!({ "metadata": { "name": "p" }, "status": status });
        serde_json::from_value::<Pod>(pod).unwrap().state()
    }

    #[test]
    fn what_a_pods_status_says() {
        assert_eq!(state(&json!({})), State::There(Vec::new()));
        assert_eq!(
            state(&json!({ "phase": "Failed" })),
            State::Ended("Failed".into())
        );
        let status = json!({ "phase": "Running", "containerStatuses": [
            { "name": "a", "ready": true, "state": { "running": { "startedAt": "t" } } },
            { "name": "b", "state": { "waiting": { "reason": "CrashLoopBackOff" } } },
        ] });
        let container = |name: &str, up: bool| Container {
            name: name.into(),
            running: up,
            ready: up,
        };
        assert_eq!(
            state(&status),
            State::There(vec![container("a", true), container("b", false)])
        );
    }
}
