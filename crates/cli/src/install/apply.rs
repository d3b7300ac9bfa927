//! Objects of any kind, put into the cluster and waited for.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use refloat_cluster::{
    Cluster,
    apply::{PatchKind, WriteOptions},
};
use refloat_model::{GroupResource, ObjectName, resource::ApiResource};
use serde_json::Value;

use crate::session::Looks;

/// How long something may take to become ready.
const READY_LIMIT: Duration = Duration::from_secs(300);

/// `kind/name`, for people.
pub(crate) fn label(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

/// The resource of an object that `install` makes. All of their plurals are regular.
pub(crate) fn resource(object: &Value) -> ApiResource {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (group, version) = match text(&object["apiVersion"]).split_once('/') {
        Some((group, version)) => (group.to_owned(), version.to_owned()),
        None => (String::new(), text(&object["apiVersion"])),
    };
    let kind = text(&object["kind"]);
    ApiResource {
        group_resource: GroupResource::new(format!("{}s", kind.to_lowercase()), group),
        version,
        kind,
        namespaced: object["metadata"]["namespace"].is_string(),
        aliases: Vec::new(),
        verbs: Vec::new(),
    }
}

/// The object's namespace and name.
pub(crate) fn name(object: &Value) -> ObjectName {
    let metadata = &object["metadata"];
    ObjectName::new(
        metadata["namespace"].as_str().unwrap_or_default(),
        metadata["name"].as_str().unwrap_or_default(),
    )
}

/// Makes the object or brings it to what is wanted, by server-side apply.
///
/// # Errors
/// Where the API server refuses it.
pub(crate) async fn apply(cluster: &Cluster, object: &Value) -> Result<()> {
    let body = serde_json::to_vec(object)?.into();
    let options = WriteOptions {
        field_manager: Some("refloat"),
        dry_run: false,
        force: true,
    };
    let applied = cluster
        .patch(
            &resource(object),
            &name(object),
            None,
            PatchKind::Apply,
            body,
            options,
        )
        .await;
    applied
        .map(|_| ())
        .with_context(|| format!("cannot apply {}", label(object)))
}

/// The object as the server has it; `None` where there is none.
///
/// # Errors
/// Where the server cannot be asked.
pub(crate) async fn find(cluster: &Cluster, object: &Value) -> Result<Option<Value>> {
    match cluster.get(&resource(object), &name(object)).await {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Waits until a definition is served.
///
/// # Errors
/// Where that takes too long.
pub(crate) async fn established(cluster: &Cluster, definition: &Value) -> Result<()> {
    until(cluster, definition, "served", |found| {
        found.is_some_and(|found| {
            let conditions = found["status"]["conditions"].as_array();
            conditions
                .into_iter()
                .flatten()
                .any(|one| one["type"] == "Established" && one["status"] == "True")
        })
    })
    .await
}

/// Waits until all pods of a Deployment or DaemonSet are ready.
///
/// # Errors
/// Where that takes too long.
pub(crate) async fn ready(cluster: &Cluster, object: &Value) -> Result<()> {
    until(cluster, object, "ready", |found| {
        found.is_some_and(|found| {
            let number = |pointer: &str| found.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
            let seen = number("/status/observedGeneration") >= number("/metadata/generation");
            let enough = if found["kind"] == "DaemonSet" {
                number("/status/desiredNumberScheduled") == number("/status/numberReady")
            } else {
                number("/status/readyReplicas") >= number("/spec/replicas")
            };
            seen && enough
        })
    })
    .await
}

/// Waits until an object is gone.
///
/// # Errors
/// Where that takes too long.
pub(crate) async fn gone(cluster: &Cluster, object: &Value) -> Result<()> {
    until(cluster, object, "gone", |found| found.is_none()).await
}

async fn until(
    cluster: &Cluster,
    object: &Value,
    what: &str,
    enough: impl Fn(Option<&Value>) -> bool,
) -> Result<()> {
    let looking = async {
        let mut looks = Looks::default();
        loop {
            if enough(find(cluster, object).await?.as_ref()) {
                return Ok(());
            }
            looks.pause().await;
        }
    };
    match tokio::time::timeout(READY_LIMIT, looking).await {
        Ok(result) => result,
        Err(_) => bail!("{} was not {what} within {READY_LIMIT:?}", label(object)),
    }
}
