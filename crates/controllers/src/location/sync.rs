//! Makes the custom resources agree with the bucket: backups found there that the cluster does not
//! know become Backups, and Backups of which the bucket has no file any more go as well.

mod diff;

use std::{collections::HashMap, sync::Mutex, sync::PoisonError, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture};
use jiff::Timestamp;
use refloat_cluster::typed::Change;
use refloat_engine::{EngineError, Location, catalog};
use refloat_model::{
    Backup, BackupStorageLocation, Schedule, labels, layout, location::LocationPhase,
    pod_volume::PodVolumeBackup,
};
use serde_json::json;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::diff::{adopted, adopted_phase, adopted_volume_copy, missing_and_orphaned};
use crate::{
    ControllerError,
    context::{Shared, now, until, within},
    controller::{Next, Reconciler},
    error::chain,
    events::Tone,
};

/// Backups read from the bucket at once.
const READS: usize = 8;
/// How long listing a bucket may take.
const LIST_LIMIT: Duration = Duration::from_secs(300);
/// How long reading one backup may take.
const READ_LIMIT: Duration = Duration::from_secs(60);
/// How often a backup that cannot be read is looked at again.
const BAD_AGAIN: Duration = Duration::from_secs(1800);

/// The controller.
pub(crate) struct SyncController {
    context: Shared,
    /// Backups (location and name) that could not be read, and when: reported once in a while only.
    bad: Mutex<HashMap<(String, String), Instant>>,
}

impl SyncController {
    pub(crate) fn new(context: Shared) -> Self {
        Self {
            context,
            bad: Mutex::default(),
        }
    }

    async fn sync(&self, resource: &BackupStorageLocation, name: &str) -> Result<(), ControllerError> {
        let location = self.context.open(resource).await?;
        // In this order: a backup that ends in between is in both lists, not only in the first.
        let known = self.context.objects::<Backup>().list(None).await?;
        let listing = async { Ok(catalog::list_folders(&location).await?) };
        let stored = within("listing the backups of the storage location", LIST_LIMIT, listing).await?;
        let (missing, orphaned) = missing_and_orphaned(&known, &stored, name);
        if !missing.is_empty() {
            let schedules = self.context.objects::<Schedule>().list(None).await?;
            // Boxed, because the compiler cannot see that such futures may move between threads.
            let adopting: Vec<BoxFuture<'_, _>> = missing
                .iter()
                .map(|backup| self.adopt(resource, &location, &schedules, backup).boxed())
                .collect();
            let results: Vec<_> = futures::stream::iter(adopting)
                .buffer_unordered(READS)
                .collect()
                .await;
            results.into_iter().collect::<Result<(), _>>()?;
        }
        for orphan in orphaned {
            info!(backup = %orphan, location = %name, "none of the backup's files is left: deleting the Backup");
            self.context.objects::<Backup>().delete(&orphan).await?;
        }
        let synced = json!({ "status": { "lastSyncedTime": now() } });
        self.context
            .objects::<BackupStorageLocation>()
            .merge_patch(name, &synced)
            .await?;
        Ok(())
    }

    /// Makes a Backup of what is in the bucket. What is wrong with one backup is told and does not
    /// keep the others; what is wrong with the API server does.
    async fn adopt(
        &self,
        resource: &BackupStorageLocation,
        location: &Location,
        schedules: &[Schedule],
        name: &str,
    ) -> Result<(), ControllerError> {
        if self.is_known_bad(location.name(), name) {
            return Ok(());
        }
        let reading = async { Ok(catalog::read_backup(location, name).await?) };
        let stored = match within("reading velero-backup.json", READ_LIMIT, reading).await {
            Ok(stored) => stored,
            // Its folder has other files only: it is being written or deleted, or it failed.
            Err(ControllerError::Engine(error)) if matches!(*error, EngineError::BackupNotFound { .. }) => {
                return Ok(());
            }
            Err(error) => {
                self.report_bad(resource, location.name(), name, &error).await;
                return Ok(());
            }
        };
        let Some(phase) = adopted_phase(&stored, Timestamp::now()) else {
            debug!(backup = %name, "the backup in the bucket is not finished; leaving it");
            return Ok(());
        };
        let backup = adopted(
            stored,
            phase,
            &self.context.options.namespace,
            location.name(),
            schedules,
        );
        let created = match self.context.objects::<Backup>().create(&backup).await {
            Ok(created) => created,
            // Somebody made one of that name meanwhile.
            Err(error) if error.is_already_exists() => return Ok(()),
            Err(error) if error.is_retryable() => return Err(error.into()),
            Err(error) => {
                self.report_bad(resource, location.name(), name, &error.into())
                    .await;
                return Ok(());
            }
        };
        info!(backup = %name, location = %location.name(), "found a backup in the bucket");
        self.adopt_volume_copies(location, &created).await
    }

    async fn adopt_volume_copies(&self, location: &Location, backup: &Backup) -> Result<(), ControllerError> {
        let name = backup.metadata.name.as_deref().unwrap_or_default();
        let key = layout::BackupFile::PodVolumeBackups.key(name);
        let reading = async { Ok(catalog::read_json_gz::<Vec<PodVolumeBackup>>(location, &key).await?) };
        let copies = match within("reading the list of pod volume backups", READ_LIMIT, reading).await {
            Ok(copies) => copies.unwrap_or_default(),
            Err(error) => {
                warn!(backup = %name, error = %chain(&error), "cannot read the list of pod volume backups");
                return Ok(());
            }
        };
        for copy in copies {
            let copy = adopted_volume_copy(copy, backup, location.name());
            match self.context.objects::<PodVolumeBackup>().create(&copy).await {
                Err(error) if error.is_retryable() => return Err(error.into()),
                Err(error) if !error.is_already_exists() => {
                    warn!(backup = %name, error = %chain(&error), "cannot create a pod volume backup found in the bucket");
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn is_known_bad(&self, location: &str, name: &str) -> bool {
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        bad.retain(|_, since| since.elapsed() < BAD_AGAIN);
        bad.contains_key(&(location.to_owned(), name.to_owned()))
    }

    async fn report_bad(
        &self,
        resource: &BackupStorageLocation,
        location: &str,
        name: &str,
        error: &ControllerError,
    ) {
        let reason = chain(error);
        warn!(backup = %name, location, error = %reason, "cannot use a backup found in the bucket");
        if !error.is_retryable() {
            let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
            bad.insert((location.to_owned(), name.to_owned()), Instant::now());
        }
        let note = format!("backup {name} in the bucket cannot be used: {reason}");
        self.context
            .events
            .tell(resource, Tone::Warning, "Sync", error.reason(), &note)
            .await;
    }
}

impl Reconciler for SyncController {
    type Object = BackupStorageLocation;
    const NAME: &'static str = "backup-sync";

    async fn reconcile(&self, name: &str, stop: &CancellationToken) -> Result<Next, ControllerError> {
        let Some(location) = self.context.objects::<BackupStorageLocation>().find(name).await? else {
            return Ok(Next::Done);
        };
        let period = location
            .spec
            .backup_sync_period
            .map_or(self.context.options.backup_sync_period, |d| d.0);
        let status = location.status.clone().unwrap_or_default();
        // An unavailable location would fail, and one that was never probed may: wait for the probe.
        if period.is_zero() || status.phase != Some(LocationPhase::Available) {
            return Ok(Next::Done);
        }
        if let Some(last) = &status.last_synced_time {
            let pause = until(Timestamp::now(), last.0.saturating_add(period).unwrap_or(last.0));
            if !pause.is_zero() {
                return Ok(Next::After(pause.min(period)));
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(Next::Done),
            result = self.sync(&location, name) => result?,
        }
        Ok(Next::After(period))
    }

    fn seen(&self, change: &Change<BackupStorageLocation>) {
        if let Change::Gone(location) = change {
            let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
            bad.retain(|(of, _), _| of != location);
        }
    }
}

/// The label selector of what belongs to a backup.
pub(crate) fn of_backup(name: &str) -> String {
    format!("{}={}", labels::BACKUP_NAME, labels::label_value(name))
}
