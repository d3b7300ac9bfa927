//! Backups: checks each new one, queues it, runs it through the engine and writes down how it ended.
//! One that was being written when a server died is started again under the same name.

mod admission;
mod prepare;
mod run;

pub(crate) use self::run::ALREADY_EXISTS;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use refloat_cluster::typed::{Change, Object};
use refloat_engine::{EngineError, rules};
use refloat_model::{Backup, BackupPhase, BackupStatus, BackupStorageLocation, VolumeSnapshotLocation};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::{
    admission::{Admission, Request},
    prepare::{Facts, prepare},
};
use crate::{
    ControllerError, cancel,
    context::{Shared, now},
    controller::{Next, Reconciler},
    error::chain,
    events::Tone,
    patch::update,
};

/// A backup that a worker is busy with.
struct Active {
    uid: String,
    cancel: CancellationToken,
}

/// The controller.
pub(crate) struct BackupController {
    context: Shared,
    admission: Arc<Admission>,
    active: Mutex<HashMap<String, Active>>,
    exist: Mutex<BTreeSet<String>>,
}

impl BackupController {
    pub(crate) fn new(context: Shared) -> Self {
        let admission = Arc::new(Admission::new(context.options.concurrent_backups));
        Self {
            context,
            admission,
            active: Mutex::default(),
            exist: Mutex::default(),
        }
    }

    fn active(&self) -> MutexGuard<'_, HashMap<String, Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks a new backup; one that passes gets its turn and is run.
    async fn begin(&self, backup: Backup, stop: &CancellationToken) -> Result<Next, ControllerError> {
        let (prepared, errors) = self.prepare(&backup).await?;
        if !errors.is_empty() {
            self.refuse(&backup, prepared, errors).await?;
            return Ok(Next::Done);
        }
        let Some(turn) = self.wait_for_turn(&backup, stop).await? else {
            self.end_cancelled(backup.object_name()).await?;
            return Ok(Next::Done);
        };
        // The wait may have been long: what was right then may be wrong now.
        let Some(backup) = self
            .context
            .objects::<Backup>()
            .find(backup.object_name())
            .await?
        else {
            return Ok(Next::Done);
        };
        let deleting = backup.status.as_ref().map(|status| status.phase) == Some(BackupPhase::Deleting);
        if deleting || self.end_cancelled(backup.object_name()).await? {
            return Ok(Next::Done);
        }
        let (mut prepared, errors) = self.prepare(&backup).await?;
        if !errors.is_empty() {
            self.refuse(&backup, prepared, errors).await?;
            return Ok(Next::Done);
        }
        let status = prepared.status.get_or_insert_default();
        status.phase = BackupPhase::InProgress;
        status.queue_position = 0;
        status.start_timestamp = Some(now());
        let backup = update(&self.context.objects(), &backup, &prepared).await?;
        self.context.metrics.backup_started(&backup);
        let result = self.run(backup, stop).await;
        drop(turn);
        result
    }

    /// Runs a backup again that an earlier server had begun.
    async fn resume(&self, backup: Backup, stop: &CancellationToken) -> Result<Next, ControllerError> {
        let Some(turn) = self.wait_for_turn(&backup, stop).await? else {
            self.end_cancelled(backup.object_name()).await?;
            return Ok(Next::Done);
        };
        info!(backup = %backup.object_name(), "the backup was being written when a server ended: starting it again");
        let result = self.run(backup, stop).await;
        drop(turn);
        result
    }

    /// The backup as it is to run, and what is wrong with it. What keeps us from finding out, and will not pass
    /// by itself (a right that we lack), is wrong with it as well: whoever waits for it is to learn why.
    async fn prepare(&self, backup: &Backup) -> Result<(Backup, Vec<String>), ControllerError> {
        match self.look_into(backup).await {
            Err(error) if !error.is_retryable() => Ok((backup.clone(), vec![chain(&error)])),
            other => other,
        }
    }

    async fn look_into(&self, backup: &Backup) -> Result<(Backup, Vec<String>), ControllerError> {
        let context = &self.context;
        let facts = Facts {
            locations: context.objects::<BackupStorageLocation>().list(None).await?,
            snapshot_locations: context.objects::<VolumeSnapshotLocation>().list(None).await?,
            server: context.cluster.server_version().await?,
            options: &context.options,
            now: now().0,
        };
        let (prepared, mut errors) = prepare(backup, &facts);
        // A fault of the reference itself has been found above.
        let namespace = &context.options.namespace;
        match rules::resource_policies(&context.cluster, namespace, &backup.spec).await {
            Ok(_) => {}
            Err(EngineError::Rules { reason }) => errors.push(reason),
            Err(error) => return Err(error.into()),
        }
        Ok((prepared, errors))
    }

    async fn refuse(
        &self,
        backup: &Backup,
        prepared: Backup,
        errors: Vec<String>,
    ) -> Result<(), ControllerError> {
        let note = errors.join("; ");
        warn!(backup = %backup.object_name(), errors = %note, "the backup cannot be made as it is specified");
        let mut refused = prepared;
        let status = refused.status.get_or_insert_default();
        *status = BackupStatus {
            phase: BackupPhase::FailedValidation,
            validation_errors: errors,
            completion_timestamp: Some(now()),
            queue_position: 0,
            ..status.clone()
        };
        let refused = update(&self.context.objects(), backup, &refused).await?;
        self.context.metrics.backup_ended(&refused);
        self.context
            .events
            .tell(&refused, Tone::Warning, "Backup", "FailedValidation", &note)
            .await;
        Ok(())
    }

    /// Waits until the backup may run; `None` where it was deleted or the server stops first.
    async fn wait_for_turn(
        &self,
        backup: &Backup,
        stop: &CancellationToken,
    ) -> Result<Option<admission::Turn>, ControllerError> {
        let name = backup.object_name().to_owned();
        let cancel = stop.child_token();
        let active = Active {
            uid: backup.object_uid().to_owned(),
            cancel: cancel.clone(),
        };
        self.active().insert(name.clone(), active);
        let new = backup
            .status
            .as_ref()
            .is_none_or(|status| status.phase != BackupPhase::InProgress);
        let request = Request::of(backup);
        let mut waiting = self.admission.enqueue(request);
        let mut shown = 0;
        let turn = loop {
            let position = match waiting.take() {
                Ok(turn) => break Some(turn),
                Err(position) => position,
            };
            if new && position != shown {
                shown = position;
                let queued =
                    serde_json::json!({ "status": { "phase": "Queued", "queuePosition": position } });
                match self.context.objects::<Backup>().merge_patch(&name, &queued).await {
                    Err(error) if error.is_not_found() => break None,
                    other => drop(other?),
                }
            }
            tokio::select! {
                () = cancel.cancelled() => break None,
                () = waiting.changed() => {}
            }
        };
        self.active().remove(&name);
        Ok(turn)
    }

    /// What to do with a phase that only a server of Velero's own makes: its objects are stored, and
    /// nobody will finish what it waited for.
    async fn close_foreign(&self, backup: &Backup) -> Result<Next, ControllerError> {
        let mut closed = backup.clone();
        let status = closed.status.get_or_insert_default();
        status.phase = BackupPhase::PartiallyFailed;
        status.completion_timestamp = Some(now());
        status.failure_reason =
            "a previous server ended before the asynchronous operations of this backup did; \
                                 its objects are stored, its volumes may not be"
                .to_owned();
        let closed = update(&self.context.objects(), backup, &closed).await?;
        let reason = closed
            .status
            .as_ref()
            .map(|status| status.failure_reason.clone())
            .unwrap_or_default();
        self.context
            .events
            .tell(&closed, Tone::Warning, "Backup", "PartiallyFailed", &reason)
            .await;
        Ok(Next::Done)
    }
}

impl Reconciler for BackupController {
    type Object = Backup;
    const NAME: &'static str = "backup";

    async fn reconcile(&self, name: &str, stop: &CancellationToken) -> Result<Next, ControllerError> {
        let Some(backup) = self.context.objects::<Backup>().find(name).await? else {
            return Ok(Next::Done);
        };
        if backup.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Done);
        }
        let begun = backup
            .status
            .as_ref()
            .is_some_and(|status| status.phase == BackupPhase::InProgress);
        // One that was being written when a server died may be in the bucket: it is looked at first.
        if !begun && self.end_cancelled(name).await? {
            return Ok(Next::Done);
        }
        use BackupPhase as Phase;
        match backup
            .status
            .as_ref()
            .map(|status| status.phase)
            .unwrap_or_default()
        {
            Phase::New | Phase::Queued | Phase::ReadyToStart => Box::pin(self.begin(backup, stop)).await,
            Phase::InProgress => Box::pin(self.resume(backup, stop)).await,
            Phase::WaitingForPluginOperations
            | Phase::WaitingForPluginOperationsPartiallyFailed
            | Phase::Finalizing
            | Phase::FinalizingPartiallyFailed => self.close_foreign(&backup).await,
            _ => Ok(Next::Done),
        }
    }

    fn wants(&self, backup: &Backup) -> bool {
        let phase = backup
            .status
            .as_ref()
            .map(|status| status.phase)
            .unwrap_or_default();
        !phase.is_final() && !matches!(phase, BackupPhase::Deleting | BackupPhase::Unknown)
    }

    fn seen(&self, change: &Change<Backup>) {
        let (name, uid) = match change {
            Change::Gone(name) => (name.as_str(), None),
            Change::Present(backup) => {
                let alive = backup.metadata.deletion_timestamp.is_none();
                (backup.object_name(), alive.then(|| backup.object_uid()))
            }
        };
        if let (Some(active), Change::Present(backup)) = (self.active().get(name), change)
            && let Some(reason) = cancel::requested(&backup.metadata)
        {
            info!(backup = %name, reason, "stopping the work on it");
            active.cancel.cancel();
        }
        if let Some(active) = self.active().get(name)
            && uid != Some(active.uid.as_str())
        {
            info!(backup = %name, "the Backup was deleted: stopping the work on it");
            active.cancel.cancel();
        }
        let mut exist = self.exist.lock().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Gone(name) => drop(exist.remove(name)),
            Change::Present(_) => drop(exist.insert(name.to_owned())),
        }
        self.context.metrics.backups_exist(exist.len());
    }
}
