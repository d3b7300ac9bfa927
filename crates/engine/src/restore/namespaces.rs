//! Waiting for what others stand on: namespaces that exist and are not being deleted, and
//! definitions of custom resources that are served.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use refloat_cluster::{ClusterError, apply::WriteOptions, discovery::definitions};
use refloat_model::{GroupResource, ObjectName, resource::ApiResource};
use refloat_plan::{
    restore::RestorePlan,
    restore_item::{self, Prepared, RestoreContext},
};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{
    execute::{Fate, Run},
    survey::Survey,
};
use crate::{EngineError, spool::Spool};

/// How often something that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Whether a namespace can take objects, found out once; the inner error is about it alone.
type Outcome = OnceCell<Result<(), String>>;

/// Namespaces that are known to be usable.
pub(super) struct Namespaces {
    ready: Mutex<HashMap<String, Arc<Outcome>>>,
    /// As [`needed`] finds them.
    needed: HashMap<String, Value>,
    timeout: Duration,
}

/// What making sure of a namespace found.
enum Made {
    Created,
    Existed,
}

impl Namespaces {
    pub(super) fn new(needed: HashMap<String, Value>, timeout: Duration) -> Self {
        Self {
            ready: Mutex::new(HashMap::new()),
            needed,
            timeout,
        }
    }

    /// Makes sure that a namespace can take objects: creates it where it is missing, as the backup has it
    /// if it does, and waits where it is being deleted. The inner error is about the namespace alone.
    pub(super) async fn ensure(&self, run: &Run, namespace: &str) -> Result<Result<(), String>, EngineError> {
        let object = self.needed.get(namespace).cloned().unwrap_or_else(
            || json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }),
        );
        let cell = self.cell(namespace);
        let outcome = cell.get_or_try_init(|| async {
            Ok::<_, EngineError>(self.make(run, namespace, &object).await?.map(|_| ()))
        });
        outcome.await.cloned()
    }

    /// Restores a namespace object. One that exists is left as it is.
    pub(super) async fn restore(
        &self,
        run: &Run,
        namespace: &str,
        object: &Value,
    ) -> Result<Fate, EngineError> {
        let made = self.make(run, namespace, object).await?;
        let (ready, fate) = match made {
            Ok(Made::Created) => (Ok(()), Fate::Created),
            Ok(Made::Existed) => (Ok(()), Fate::Skipped),
            Err(problem) => {
                run.log.error(
                    namespace,
                    &format!("error restoring namespaces/{namespace}: {problem}"),
                );
                (Err(problem), Fate::Failed)
            }
        };
        // Whoever was faster has found the same.
        let _ = self.cell(namespace).set(ready);
        Ok(fate)
    }

    fn cell(&self, namespace: &str) -> Arc<Outcome> {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.entry(namespace.to_owned()).or_default().clone()
    }

    async fn make(
        &self,
        run: &Run,
        namespace: &str,
        object: &Value,
    ) -> Result<Result<Made, String>, EngineError> {
        let kind = namespace_kind();
        let name = ObjectName::new("", namespace);
        let began = Instant::now();
        loop {
            let body = Bytes::from(object.to_string());
            match run
                .cluster
                .create(&kind, &name, body, WriteOptions::default())
                .await
            {
                Ok(_) => return Ok(Ok(Made::Created)),
                Err(error) if error.is_already_exists() => {}
                Err(error) if error.code().is_some() => {
                    // Without leave to create namespaces, one that exists will do.
                    if !usable(run, &kind, &name).await?.is_some_and(|usable| usable) {
                        return Ok(Err(error.to_string()));
                    }
                }
                Err(error) => return Err(EngineError::cluster("the restore ended early", error)),
            }
            match usable(run, &kind, &name).await? {
                Some(true) => return Ok(Ok(Made::Existed)),
                Some(false) if began.elapsed() > self.timeout => {
                    let limit = self.timeout.as_secs();
                    return Ok(Err(format!(
                        "namespace {namespace} is still being deleted after {limit} s"
                    )));
                }
                Some(false) => tokio::time::sleep(LOOK).await,
                None => {}
            }
        }
    }
}

/// Whether a namespace is there and not being deleted; `None`: it is not there.
async fn usable(run: &Run, kind: &ApiResource, name: &ObjectName) -> Result<Option<bool>, EngineError> {
    match run.cluster.get(kind, name).await {
        Ok(bytes) => {
            let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let deleted = value
                .pointer("/metadata/deletionTimestamp")
                .is_some_and(|time| !time.is_null());
            Ok(Some(!deleted))
        }
        Err(error) if error.is_not_found() => Ok(None),
        // Without leave to read namespaces, what follows will tell.
        Err(error) if error.code() == Some(403) => Ok(Some(true)),
        Err(error) => Err(EngineError::cluster("the restore ended early", error)),
    }
}

/// The backup's namespaces that objects need and that are not restored for their own sake, because their kind is
/// left out: by their names in the cluster. One that is missing is made with the labels and annotations that
/// it had, which decide what may run in it. Blocks.
pub(super) fn needed(
    plan: &RestorePlan,
    survey: &Survey,
    context: &RestoreContext,
    spool: &Spool,
) -> Result<HashMap<String, Value>, EngineError> {
    let kind = namespace_kind().group_resource;
    let mut needed = HashMap::new();
    let mut steps = plan.classes.iter().flat_map(|class| &class.resources);
    if steps.any(|step| step.group_resource == kind) {
        return Ok(needed);
    }
    for block in spool.blocks(&kind) {
        for record in spool.read(block)? {
            let Ok(object) = serde_json::from_slice(&record.json) else {
                continue;
            };
            if survey.occupied.contains(&record.name.name)
                && let Prepared::Create(item) = restore_item::prepare(context, &kind, &record.name, object)
            {
                needed.entry(item.name).or_insert(item.object);
            }
        }
    }
    Ok(needed)
}

pub(super) fn namespace_kind() -> ApiResource {
    ApiResource {
        group_resource: GroupResource::new("namespaces", ""),
        version: "v1".into(),
        kind: "Namespace".into(),
        namespaced: false,
        aliases: Vec::new(),
        verbs: Vec::new(),
    }
}

/// Waits until all definitions of the backup are served. One that is not in time is an error of its
/// own, and its objects will tell too.
pub(super) async fn wait_established(
    run: &Run,
    spool: &Arc<Spool>,
    timeout: Duration,
) -> Result<(), EngineError> {
    let kind = definitions();
    let began = Instant::now();
    for block in spool.blocks(&kind.group_resource) {
        for record in spool.read(block)? {
            while !established(run, &kind, &record.name).await? {
                if began.elapsed() > timeout {
                    let limit = timeout.as_secs();
                    run.log.error(
                        "",
                        &format!("definition {} is not served after {limit} s", record.name),
                    );
                    break;
                }
                tokio::time::sleep(LOOK / 4).await;
            }
        }
    }
    Ok(())
}

/// Whether a definition is served; one that is not there (it was left out) is not waited for.
async fn established(run: &Run, kind: &ApiResource, name: &ObjectName) -> Result<bool, EngineError> {
    let bytes = match run.cluster.get(kind, name).await {
        Ok(bytes) => bytes,
        Err(error) if refused(&error) => return Ok(true),
        Err(error) => return Err(EngineError::cluster("the restore ended early", error)),
    };
    let value: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let conditions = value.pointer("/status/conditions").and_then(Value::as_array);
    let is = |kind: &str| {
        conditions.is_some_and(|all| {
            all.iter()
                .any(|one| one["type"] == kind && one["status"] == "True")
        })
    };
    Ok(is("Established") && is("NamesAccepted"))
}

fn refused(error: &ClusterError) -> bool {
    matches!(error.code(), Some(403 | 404))
}
