//! What happens when a Restore is deleted: its files in the bucket go as well. Nobody has to wait for
//! a bucket that is not there: a location that is gone, read-only or unavailable keeps the files, a
//! store that fails is given some minutes.

use std::time::Duration;

use jiff::Timestamp;
use refloat_cluster::typed::Object;
use refloat_engine::catalog;
use refloat_model::{
    Backup, BackupStorageLocation, Restore, labels,
    location::{AccessMode, LocationPhase},
};
use tracing::{info, warn};

use super::RestoreController;
use crate::{ControllerError, context::within, controller::Next, error::chain, events::Tone, patch::update};

/// How long a store that fails may hold up the deletion of a Restore.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long one try may take.
const DELETE_LIMIT: Duration = Duration::from_secs(60);

impl RestoreController {
    /// Deletes the files of a Restore that is being deleted, then lets it go.
    pub(super) async fn clear_up(&self, restore: &Restore) -> Result<Next, ControllerError> {
        let ours = |name: &String| name == labels::RESTORE_FINALIZER;
        if !restore.metadata.finalizers.iter().flatten().any(ours) {
            return Ok(Next::Done);
        }
        let name = restore.object_name();
        match self.delete_files(restore).await {
            Ok(None) => info!(restore = %name, "deleted the restore's files"),
            Ok(Some(kept)) => warn!(restore = %name, reason = %kept, "the restore's files are kept"),
            Err(error) if error.is_retryable() && is_young(restore) => return Err(error),
            Err(error) => {
                let reason = chain(&error);
                warn!(restore = %name, error = %reason, "cannot delete the restore's files: leaving them");
                let note = format!("files were left in the bucket: {reason}");
                self.context
                    .events
                    .tell(restore, Tone::Warning, "Delete", error.reason(), &note)
                    .await;
            }
        }
        let mut released = restore.clone();
        if let Some(finalizers) = &mut released.metadata.finalizers {
            finalizers.retain(|name| !ours(name));
        }
        match update(&self.context.objects(), restore, &released).await {
            Err(ControllerError::Cluster(error)) if error.is_not_found() => {}
            other => drop(other?),
        }
        Ok(Next::Done)
    }

    /// Deletes the files; where that is not to be, says why.
    async fn delete_files(&self, restore: &Restore) -> Result<Option<String>, ControllerError> {
        let context = &self.context;
        let backup = &restore.spec.backup_name;
        if backup.is_empty() {
            return Ok(None);
        }
        let Some(backup) = context.objects::<Backup>().find(backup).await? else {
            return Ok(Some(format!(
                "the backup {backup:?} is gone, and with it where they are"
            )));
        };
        let location = context.location_of(&backup).await?;
        if let Some(reason) = why_kept(&backup.spec.storage_location, location.as_ref()) {
            return Ok(Some(reason));
        }
        let Some(location) = location else { return Ok(None) };
        let location = context.open(&location).await?;
        let deleting = async { Ok(catalog::delete_restore(&location, restore.object_name()).await?) };
        within("deleting the restore's files", DELETE_LIMIT, deleting).await?;
        Ok(None)
    }
}

/// Why files in a location are not deleted; `None`: they are.
fn why_kept(name: &str, location: Option<&BackupStorageLocation>) -> Option<String> {
    let Some(location) = location else {
        return Some(format!("the storage location {name:?} does not exist any more"));
    };
    if location.spec.access_mode == Some(AccessMode::ReadOnly) {
        return Some(format!("the storage location {name:?} is read-only"));
    }
    let unavailable = location
        .status
        .as_ref()
        .is_some_and(|status| status.phase == Some(LocationPhase::Unavailable));
    unavailable.then(|| format!("the storage location {name:?} is unavailable"))
}

/// Whether the deletion was asked for so recently that the store may still come round.
fn is_young(restore: &Restore) -> bool {
    let deleted = restore.metadata.deletion_timestamp.as_ref();
    deleted.is_some_and(|at| {
        at.0.saturating_add(PATIENCE)
            .is_ok_and(|end| Timestamp::now() < end)
    })
}
