//! DeleteBackupRequests: deletes a backup with all that belongs to it. The order makes it safe to be
//! interrupted: what makes the backup exist goes first, its Backup last, so that the rest can be
//! found again.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use refloat_cluster::typed::Object;
use refloat_engine::{catalog, volume_data};
use refloat_model::{
    Backup, BackupPhase, BackupStorageLocation, DeleteBackupRequest, Restore, RestorePhase,
    deletion::DeleteBackupRequestPhase,
    labels,
    location::{AccessMode, LocationPhase},
    pod_volume::PodVolumeBackup,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    ControllerError,
    backup::ALREADY_EXISTS,
    context::{Shared, until, within},
    controller::{Next, Reconciler},
    error::chain,
    events::Tone,
    location::sync::of_backup,
    metrics::schedule_name,
    patch::update,
};

/// How long a request that failed is kept.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How long deleting a backup's files may take.
const DELETE_LIMIT: Duration = Duration::from_secs(900);
/// How long to wait for the Restores of a backup to go.
const RESTORES_LIMIT: Duration = Duration::from_secs(60);

/// The controller. It works on one request at a time, so that two requests for one backup do not
/// remove each other.
pub(crate) struct DeletionController {
    context: Shared,
}

/// What is to be done about a request.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Nothing can be deleted, for this reason.
    Refuse(String),
    /// The Backup, and its files where it has any.
    Delete { files: bool },
}

impl DeletionController {
    pub(crate) fn new(context: Shared) -> Self {
        Self { context }
    }

    async fn process(&self, request: DeleteBackupRequest) -> Result<Next, ControllerError> {
        let context = &self.context;
        let name = request.spec.backup_name.clone();
        if name.is_empty() {
            return self
                .close(&request, vec!["spec.backupName is required".to_owned()])
                .await;
        }
        let started = request
            .status
            .as_ref()
            .is_some_and(|s| s.phase == DeleteBackupRequestPhase::InProgress);
        let Some(backup) = context.objects::<Backup>().find(&name).await? else {
            if started {
                // An earlier try came as far as the Backup itself.
                return self.close(&request, Vec::new()).await;
            }
            return self
                .close(&request, vec![format!("the backup {name:?} does not exist")])
                .await;
        };
        let request = self.claim(request, &backup).await?;
        let location = context.location_of(&backup).await?;
        let restores = self.restores_of(&name).await?;
        let files = match decide(&backup, location.as_ref(), &restores) {
            Decision::Refuse(reason) => return self.close(&request, vec![reason]).await,
            Decision::Delete { files } => files,
        };
        if let Some(resource) = location.as_ref().filter(|_| files)
            && let Some(reason) = self.volume_data(&request, &backup, resource).await?
        {
            return self.close(&request, vec![reason]).await;
        }
        let schedule = schedule_name(&backup).to_owned();
        context.metrics.deletion_started(&schedule);
        let errors = self
            .delete(&request, &backup, location.filter(|_| files), &restores)
            .await?;
        context.metrics.deletion_ended(&schedule, errors.is_empty());
        self.close(&request, errors).await
    }

    /// Why a backup is not deleted for the sake of the volume data that it refers to. This release can
    /// delete no such data, and nothing would tell of it any more.
    async fn volume_data(
        &self,
        request: &DeleteBackupRequest,
        backup: &Backup,
        resource: &BackupStorageLocation,
    ) -> Result<Option<String>, ControllerError> {
        if gives_up_volume_data(request.object_meta()) || gives_up_volume_data(backup.object_meta()) {
            return Ok(None);
        }
        let name = backup.object_name();
        let location = self.context.open(resource).await?;
        let finding = async { Ok(volume_data::find(&location, name).await?) };
        let found = match within("looking for the backup's volume data", DELETE_LIMIT, finding).await {
            Ok(found) => found,
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => {
                return Ok(Some(orphans(&format!(
                    "it cannot be told which: {}",
                    chain(&error)
                ))));
            }
        };
        if !found.is_empty() {
            return Ok(Some(orphans(&found.to_string())));
        }
        // A server that died may have told of its copies only here.
        let copies = self.context.objects::<PodVolumeBackup>();
        let copies = copies.list(Some(&of_backup(name))).await?;
        let stored = copies
            .iter()
            .filter_map(|copy| copy.status.as_ref())
            .filter(|status| !status.snapshot_id.is_empty())
            .count();
        Ok((stored > 0).then(|| orphans(&format!("{stored} file copies of pods' volumes"))))
    }

    /// Labels the request as the backup's, and removes other requests for it.
    async fn claim(
        &self,
        request: DeleteBackupRequest,
        backup: &Backup,
    ) -> Result<DeleteBackupRequest, ControllerError> {
        let requests = self.context.objects::<DeleteBackupRequest>();
        let mut claimed = request.clone();
        let labels = claimed.metadata.labels.get_or_insert_default();
        labels.insert(
            labels::BACKUP_NAME.to_owned(),
            labels::label_value(backup.object_name()),
        );
        labels.insert(labels::BACKUP_UID.to_owned(), backup.object_uid().to_owned());
        let claimed = update(&requests, &request, &claimed).await?;
        for other in requests.list(Some(&of_backup(backup.object_name()))).await? {
            if other.object_name() != claimed.object_name() {
                requests.delete(other.object_name()).await?;
            }
        }
        Ok(claimed)
    }

    async fn restores_of(&self, backup: &str) -> Result<Vec<Restore>, ControllerError> {
        let mut restores = self.context.objects::<Restore>().list(None).await?;
        restores.retain(|restore| restore.spec.backup_name == backup);
        Ok(restores)
    }

    /// Deletes; hands out what went wrong.
    async fn delete(
        &self,
        request: &DeleteBackupRequest,
        backup: &Backup,
        location: Option<BackupStorageLocation>,
        restores: &[Restore],
    ) -> Result<Vec<String>, ControllerError> {
        let name = backup.object_name();
        let backups = self.context.objects::<Backup>();
        let mut going_on = request.clone();
        going_on.status.get_or_insert_default().phase = DeleteBackupRequestPhase::InProgress;
        update(&self.context.objects(), request, &going_on).await?;
        let mut deleting = backup.clone();
        deleting.status.get_or_insert_default().phase = BackupPhase::Deleting;
        update(&backups, backup, &deleting).await?;
        info!(backup = %name, "deleting the backup");
        // As with Velero, one thing that cannot be deleted does not keep the others; the Backup stays, so that
        // the deletion can be asked for again.
        let mut errors = Vec::new();
        if let Some(resource) = &location
            && let Err(error) = self.delete_files(resource, name).await
        {
            errors.push(chain(&error));
        }
        errors.extend(self.delete_restores(restores).await);
        if errors.is_empty() {
            backups.delete(name).await?;
            info!(backup = %name, "deleted the backup");
        }
        Ok(errors)
    }

    async fn delete_files(
        &self,
        resource: &BackupStorageLocation,
        name: &str,
    ) -> Result<(), ControllerError> {
        let location = self.context.open(resource).await?;
        let deleting = async { Ok(catalog::delete_backup(&location, name).await?) };
        within("deleting the backup's files", DELETE_LIMIT, deleting).await
    }

    /// Deletes the Restores of a backup and waits a while for them to go, because their finalizer
    /// needs the Backup. Hands out what went wrong.
    async fn delete_restores(&self, restores: &[Restore]) -> Vec<String> {
        let objects = self.context.objects::<Restore>();
        let mut errors = Vec::new();
        for restore in restores {
            if let Err(error) = objects.delete(restore.object_name()).await {
                errors.push(chain(&error));
            }
        }
        let end = Instant::now() + RESTORES_LIMIT;
        for restore in restores {
            let name = restore.object_name();
            loop {
                match objects.find(name).await {
                    Ok(Some(left)) if left.object_uid() == restore.object_uid() => {}
                    Ok(_) => break,
                    Err(error) => {
                        errors.push(chain(&error));
                        break;
                    }
                }
                if Instant::now() >= end {
                    warn!(restore = %name, "the restore of a deleted backup is still there; not waiting for it");
                    break;
                }
                sleep(Duration::from_millis(250)).await;
            }
        }
        errors
    }

    /// Marks a request as processed. One that worked goes at once, one that did not after a day.
    async fn close(
        &self,
        request: &DeleteBackupRequest,
        errors: Vec<String>,
    ) -> Result<Next, ControllerError> {
        let requests = self.context.objects::<DeleteBackupRequest>();
        if errors.is_empty() {
            requests.delete(request.object_name()).await?;
            return Ok(Next::Done);
        }
        let note = errors.join("; ");
        warn!(backup = %request.spec.backup_name, errors = %note, "the backup was not deleted");
        let Some(current) = requests.find(request.object_name()).await? else {
            return Ok(Next::Done);
        };
        let mut closed = current.clone();
        let status = closed.status.get_or_insert_default();
        status.phase = DeleteBackupRequestPhase::Processed;
        status.errors = errors;
        let closed = update(&requests, &current, &closed).await?;
        self.context
            .events
            .tell(&closed, Tone::Warning, "Delete", "DeletionFailed", &note)
            .await;
        Ok(Next::After(KEPT))
    }
}

impl Reconciler for DeletionController {
    type Object = DeleteBackupRequest;
    const NAME: &'static str = "backup-deletion";

    async fn reconcile(&self, name: &str, _stop: &CancellationToken) -> Result<Next, ControllerError> {
        let requests = self.context.objects::<DeleteBackupRequest>();
        let Some(request) = requests.find(name).await? else {
            return Ok(Next::Done);
        };
        let status = request.status.clone().unwrap_or_default();
        if status.phase != DeleteBackupRequestPhase::Processed {
            return self.process(request).await;
        }
        let created = request.metadata.creation_timestamp.as_ref();
        let end = created.and_then(|at| at.0.saturating_add(KEPT).ok());
        let left = end.map_or(Duration::ZERO, |end| until(Timestamp::now(), end));
        if status.errors.is_empty() || left.is_zero() {
            requests.delete(name).await?;
            return Ok(Next::Done);
        }
        Ok(Next::After(left))
    }
}

/// Whether an object says that volume data may be orphaned.
fn gives_up_volume_data(metadata: &ObjectMeta) -> bool {
    let annotations = metadata.annotations.as_ref();
    annotations
        .and_then(|all| all.get(labels::ORPHAN_VOLUME_DATA))
        .is_some_and(|value| value == "true")
}

/// Why a backup that refers to volume data is not deleted, and what to do.
fn orphans(found: &str) -> String {
    format!(
        "the backup refers to volume data, which this release cannot delete and which nothing would refer to \
         any more: {found}. Delete the backup by Velero, which deletes the data too; or annotate the Backup with \
         {}=true and request the deletion again, to leave the data behind",
        labels::ORPHAN_VOLUME_DATA
    )
}

/// What can be deleted of a backup. One that never reached the bucket (it still waits for its turn, its
/// spec was wrong, or its name was taken there) must not take another backup's files with it, and needs no location.
fn decide(backup: &Backup, location: Option<&BackupStorageLocation>, restores: &[Restore]) -> Decision {
    use BackupPhase as Phase;
    let status = backup.status.clone().unwrap_or_default();
    let waits = matches!(status.phase, Phase::New | Phase::Queued | Phase::ReadyToStart);
    let settled = status.phase.is_final() || matches!(status.phase, Phase::Deleting | Phase::Unknown);
    if !waits && !settled {
        let phase = status.phase;
        return Decision::Refuse(format!(
            "the backup is {phase:?}: it can be deleted once it has ended"
        ));
    }
    let reading = restores.iter().find(|restore| {
        let phase = restore.status.as_ref().map(|status| status.phase);
        phase == Some(RestorePhase::InProgress) && restore.metadata.deletion_timestamp.is_none()
    });
    if let Some(restore) = reading {
        let name = restore.object_name();
        return Decision::Refuse(format!(
            "the restore {name:?} is reading the backup: delete it or wait for its end"
        ));
    }
    // The phase of one that waited is lost when its deletion begins, but not that it never started.
    let never_began = waits || status.phase == Phase::Deleting && status.start_timestamp.is_none();
    let has_files = !never_began
        && status.validation_errors.is_empty()
        && status.failure_reason != ALREADY_EXISTS
        && !backup.spec.storage_location.is_empty();
    if !has_files {
        return Decision::Delete { files: false };
    }
    let name = &backup.spec.storage_location;
    let Some(location) = location else {
        return Decision::Refuse(format!("the storage location {name:?} does not exist"));
    };
    if location.spec.access_mode == Some(AccessMode::ReadOnly) {
        return Decision::Refuse(format!("the storage location {name:?} is read-only"));
    }
    let status = location.status.clone().unwrap_or_default();
    if status.phase == Some(LocationPhase::Unavailable) {
        return Decision::Refuse(format!(
            "the storage location {name:?} is unavailable ({})",
            status.message
        ));
    }
    Decision::Delete { files: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use refloat_model::{BackupSpec, BackupStatus, RestoreStatus, location::BackupStorageLocationStatus};

    fn backup(phase: BackupPhase) -> Backup {
        let spec = BackupSpec {
            storage_location: "default".into(),
            ..BackupSpec::default()
        };
        let mut backup = Backup::new("a", spec);
        backup.status = Some(BackupStatus {
            phase,
            start_timestamp: Some(Time(Timestamp::UNIX_EPOCH)),
            ..BackupStatus::default()
        });
        backup
    }

    fn location() -> BackupStorageLocation {
        BackupStorageLocation::new("default", Default::default())
    }

    fn reason(decision: Decision) -> String {
        match decision {
            Decision::Refuse(reason) => reason,
            Decision::Delete { files } => panic!("deletes, files: {files}"),
        }
    }

    #[test]
    fn a_backup_that_goes_on_or_is_being_read_is_not_deleted() {
        use BackupPhase as P;
        for phase in [P::InProgress, P::WaitingForPluginOperations, P::Finalizing] {
            assert!(reason(decide(&backup(phase), Some(&location()), &[])).contains("once it has ended"));
        }
        for phase in [P::Completed, P::PartiallyFailed, P::Failed, P::Deleting] {
            assert_eq!(
                decide(&backup(phase), Some(&location()), &[]),
                Decision::Delete { files: true }
            );
        }
        let mut restore = Restore::new("r", Default::default());
        restore.status = Some(RestoreStatus {
            phase: RestorePhase::InProgress,
            ..RestoreStatus::default()
        });
        let decision = decide(
            &backup(P::Completed),
            Some(&location()),
            std::slice::from_ref(&restore),
        );
        assert!(reason(decision).contains("\"r\" is reading"));
        restore.status.as_mut().unwrap().phase = RestorePhase::Completed;
        let decision = decide(&backup(P::Completed), Some(&location()), &[restore]);
        assert_eq!(decision, Decision::Delete { files: true });
    }

    #[test]
    fn a_backup_that_never_was_in_the_bucket_leaves_it_alone() {
        let mut refused = backup(BackupPhase::FailedValidation);
        refused.status.as_mut().unwrap().validation_errors = vec!["wrong".into()];
        assert_eq!(decide(&refused, None, &[]), Decision::Delete { files: false });
        let mut taken = backup(BackupPhase::Failed);
        taken.status.as_mut().unwrap().failure_reason = ALREADY_EXISTS.to_owned();
        assert_eq!(
            decide(&taken, Some(&location()), &[]),
            Decision::Delete { files: false }
        );
        // It stays so once the deletion has begun and was interrupted.
        taken.status.as_mut().unwrap().phase = BackupPhase::Deleting;
        assert_eq!(
            decide(&taken, Some(&location()), &[]),
            Decision::Delete { files: false }
        );
    }

    #[test]
    fn a_backup_that_waits_for_its_turn_goes_and_touches_no_files() {
        use BackupPhase as P;
        for phase in [P::New, P::Queued, P::ReadyToStart, P::Deleting] {
            let mut waiting = backup(phase);
            waiting.status.as_mut().unwrap().start_timestamp = None;
            // The bucket may have another backup of that name.
            assert_eq!(
                decide(&waiting, Some(&location()), &[]),
                Decision::Delete { files: false },
                "{phase:?}"
            );
        }
    }

    #[test]
    fn the_location_must_be_there_and_writable() {
        let done = backup(BackupPhase::Completed);
        assert!(reason(decide(&done, None, &[])).contains("does not exist"));
        let mut read_only = location();
        read_only.spec.access_mode = Some(AccessMode::ReadOnly);
        assert!(reason(decide(&done, Some(&read_only), &[])).contains("read-only"));
        let mut away = location();
        away.status = Some(BackupStorageLocationStatus {
            phase: Some(LocationPhase::Unavailable),
            message: "no bucket".into(),
            ..Default::default()
        });
        assert!(reason(decide(&done, Some(&away), &[])).contains("unavailable (no bucket)"));
    }
}
