//! What becomes of an object that is in the cluster already.

use bytes::Bytes;
use refloat_cluster::{
    ClusterError,
    apply::{PatchKind, WriteOptions},
};
use refloat_model::{ObjectName, resource::ApiResource};
use refloat_plan::{
    existing::{Existing, decide_existing, may_be_recreated},
    restore_item::{ExistingPolicy, PreparedItem},
};
use serde_json::Value;

use super::{
    execute::{Fate, Run, failed, finish},
    recreate,
};
use crate::EngineError;

/// The status of answers to changes of fields that cannot be changed (Unprocessable Entity).
pub(super) const UNCHANGEABLE: u16 = 422;

/// Reads the object in the cluster and does what the plan decides: leave it, patch it, or count it
/// as created by an earlier try of this restore.
pub(super) async fn settle(
    run: &Run,
    api: &ApiResource,
    name: &ObjectName,
    item: &PreparedItem,
    refusal: &ClusterError,
) -> Result<Fate, EngineError> {
    let kind = &api.group_resource;
    let live = match read(run, api, name).await {
        Ok(live) => live,
        // It is not there under its own name: something else (a port) is taken.
        Err(error) if error.is_not_found() => {
            let text = format!("error restoring {kind}/{name}: {}", refusal.server_message());
            run.log.error(&name.namespace, &text);
            return Ok(Fate::Failed);
        }
        Err(error) => return failed(run, kind, name, error).await,
    };
    let existing = decide_existing(&run.context(), kind, &item.object, &live);
    carry_out(run, api, name, item, &live, existing).await
}

/// Reads an object of the cluster.
pub(super) async fn read(run: &Run, api: &ApiResource, name: &ObjectName) -> Result<Value, ClusterError> {
    let bytes = run.cluster.get(api, name).await?;
    serde_json::from_slice(&bytes).map_err(|error| ClusterError::Decode {
        action: format!("read {} {name}", api.group_resource),
        source: error.into(),
    })
}

/// Does what was decided about an object that is there (`live`).
pub(super) async fn carry_out(
    run: &Run,
    api: &ApiResource,
    name: &ObjectName,
    item: &PreparedItem,
    live: &Value,
    existing: Existing,
) -> Result<Fate, EngineError> {
    let kind = &api.group_resource;
    match existing {
        Existing::Ours => {
            finish(run, api, name, item).await?;
            if kind.is("pods", "") {
                run.hooks.pod_created(&run.context().hooks, name, live).await;
            }
            Ok(Fate::Created)
        }
        Existing::Same { labels: None } => Ok(Fate::Skipped),
        Existing::Same { labels: Some(patch) } => match apply(run, api, name, &patch).await {
            Ok(()) => Ok(Fate::Skipped),
            Err(error) => failed(run, kind, name, error).await,
        },
        Existing::MergeServiceAccount(patch) => match apply(run, api, name, &patch).await {
            Ok(()) => Ok(Fate::Updated),
            Err(error) => failed(run, kind, name, error).await,
        },
        Existing::AwaitDeletion => recreate::create_when_gone(run, api, name, item).await,
        Existing::Patch {
            patch,
            labels,
            recreate,
        } => match apply(run, api, name, &patch).await {
            Ok(()) => Ok(Fate::Updated),
            Err(error) if error.code().is_none() => failed(run, kind, name, error).await,
            Err(error) if recreate && error.code() == Some(UNCHANGEABLE) => {
                recreate::recreate(run, api, name, item, live, &error).await
            }
            Err(error) => {
                let mut text = format!("{kind}/{name} could not be updated: {}", error.server_message());
                if run.context().existing == ExistingPolicy::Recreate && !may_be_recreated(kind) {
                    text.push_str(
                        "; objects of this kind are never deleted to be created again, because data or other objects \
                         would go with them",
                    );
                }
                run.log.warn(&name.namespace, &text);
                match apply(run, api, name, &labels).await {
                    Ok(()) => Ok(Fate::Updated),
                    Err(error) => failed(run, kind, name, error).await,
                }
            }
        },
        Existing::Conflict { warning } => {
            run.log.warn(&name.namespace, &warning);
            // A warning, and all the same not what was asked for: Velero lists it so too.
            Ok(Fate::Failed)
        }
    }
}

async fn apply(run: &Run, api: &ApiResource, name: &ObjectName, patch: &Value) -> Result<(), ClusterError> {
    let body = Bytes::from(patch.to_string());
    let options = WriteOptions::default();
    run.cluster
        .patch(api, name, None, PatchKind::Merge, body, options)
        .await
        .map(|_| ())
}
