//! The policy `recreate`: what the server does not let change is deleted and created again.
//!
//! It comes to that only after a create that the server refused because the name is taken; validation and
//! admission come before that, so the new object has passed them, and one that has not leaves the old one
//! in peace. The deletion names the UID, so it cannot hit another object. Killed between the two, the
//! restore that goes on finds nothing, or an object that is being deleted, and creates the object from
//! the tarball.

use std::time::{Duration, Instant};

use bytes::Bytes;
use refloat_cluster::{ClusterError, apply::WriteOptions};
use refloat_model::{ObjectName, resource::ApiResource};
use refloat_plan::{managed_fields::Carry, restore_item::PreparedItem};
use serde_json::Value;

use super::execute::{Fate, Run, failed, finish};
use crate::EngineError;

/// How often an object that is being deleted is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Deletes the object `live`, which the server would not change (`refusal`), and creates it anew.
pub(super) async fn recreate(
    run: &Run,
    api: &ApiResource,
    name: &ObjectName,
    item: &PreparedItem,
    live: &Value,
    refusal: &ClusterError,
) -> Result<Fate, EngineError> {
    let kind = &api.group_resource;
    let uid = live.pointer("/metadata/uid").and_then(Value::as_str);
    let Some(uid) = uid else {
        let text = format!("error restoring {kind}/{name}: the object in the cluster has no UID");
        run.log.error(&name.namespace, &text);
        return Ok(Fate::Failed);
    };
    run.log.info(&format!(
        "{kind}/{name} cannot be updated and is deleted to be created again: {}",
        refusal.server_message()
    ));
    match run.cluster.delete_exactly(api, name, uid).await {
        Ok(()) => {}
        // Somebody replaced it just now: what is there now is not ours to delete.
        Err(error) => return failed(run, kind, name, error).await,
    }
    create_when_gone(run, api, name, item).await
}

/// Waits until an object that is being deleted is gone, and creates it.
pub(super) async fn create_when_gone(
    run: &Run,
    api: &ApiResource,
    name: &ObjectName,
    item: &PreparedItem,
) -> Result<Fate, EngineError> {
    let kind = &api.group_resource;
    let began = Instant::now();
    loop {
        let live: Value = match run.cluster.get(api, name).await {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(error) if error.is_not_found() => break,
            Err(error) => return failed(run, kind, name, error).await,
        };
        let deleted = live.pointer("/metadata/deletionTimestamp");
        if deleted.is_none_or(Value::is_null) {
            // Its controller, or somebody else, was faster.
            break;
        }
        if began.elapsed() > run.recreate_timeout {
            run.log
                .error(&name.namespace, &still_there(run, kind, name, &live));
            return Ok(Fate::Failed);
        }
        tokio::time::sleep(LOOK).await;
    }
    match create(run, api, name, item).await {
        Ok(()) => {
            finish(run, api, name, item).await?;
            Ok(Fate::Created)
        }
        Err(error) if error.code().is_some() => {
            let text = format!(
                "error restoring {kind}/{name}: it was deleted to be created again, and the server refuses that now: {}; \
                 restore it again once it does not: the backup has it",
                error.server_message()
            );
            run.log.error(&name.namespace, &text);
            Ok(Fate::Failed)
        }
        Err(error) => failed(run, kind, name, error).await,
    }
}

fn still_there(run: &Run, kind: &refloat_model::GroupResource, name: &ObjectName, live: &Value) -> String {
    let finalizers = live.pointer("/metadata/finalizers").and_then(Value::as_array);
    let finalizers: Vec<&str> = finalizers
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    format!(
        "error restoring {kind}/{name}: it is being deleted to be created again, and is still there after {} s \
         (finalizers: {}); once it is gone, restore it again: the backup has it",
        run.recreate_timeout.as_secs(),
        if finalizers.is_empty() {
            "none".to_owned()
        } else {
            finalizers.join(", ")
        }
    )
}

async fn create(
    run: &Run,
    api: &ApiResource,
    name: &ObjectName,
    item: &PreparedItem,
) -> Result<(), ClusterError> {
    let field_manager = match &item.managed_fields {
        Carry::FieldManager(manager) => Some(manager.as_str()),
        Carry::Patch(_) | Carry::None => None,
    };
    let options = WriteOptions {
        field_manager,
        ..WriteOptions::default()
    };
    let body = Bytes::from(item.object.to_string());
    run.cluster.create(api, name, body, options).await.map(|_| ())
}
