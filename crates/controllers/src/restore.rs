//! Restores: checks each new one, runs it through the engine, and clears up after it when it is
//! deleted. One that was going on when a server died goes on.

pub(crate) mod check;
mod clear_up;
mod run;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use refloat_cluster::typed::{Change, Object};
use refloat_engine::{EngineError, rules};
use refloat_model::{Backup, BackupStorageLocation, Restore, RestorePhase, RestoreStatus, labels};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::check::{Facts, check};
use crate::{
    ControllerError, cancel,
    context::{Shared, now},
    controller::{Next, Reconciler},
    error::chain,
    events::Tone,
    patch::update,
};

/// A restore that a worker is busy with.
struct Active {
    uid: String,
    cancel: CancellationToken,
}

/// The controller.
pub(crate) struct RestoreController {
    context: Shared,
    room: Arc<Semaphore>,
    active: Mutex<HashMap<String, Active>>,
    exist: Mutex<BTreeSet<String>>,
}

impl RestoreController {
    pub(crate) fn new(context: Shared) -> Self {
        let room = Arc::new(Semaphore::new(context.options.concurrent_restores.max(1)));
        Self {
            context,
            room,
            active: Mutex::default(),
            exist: Mutex::default(),
        }
    }

    fn active(&self) -> MutexGuard<'_, HashMap<String, Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks a new restore and, where nothing is wrong with it, begins it.
    async fn begin(&self, restore: Restore, cancel: &CancellationToken) -> Result<Next, ControllerError> {
        let (mut checked, errors) = self.check(&restore).await?;
        if !errors.is_empty() {
            self.refuse(&restore, checked, errors).await?;
            return Ok(Next::Done);
        }
        let finalizers = checked.metadata.finalizers.get_or_insert_default();
        if !finalizers.iter().any(|name| name == labels::RESTORE_FINALIZER) {
            finalizers.push(labels::RESTORE_FINALIZER.to_owned());
        }
        let status = checked.status.get_or_insert_default();
        status.phase = RestorePhase::InProgress;
        status.start_timestamp = Some(now());
        let restore = update(&self.context.objects(), &restore, &checked).await?;
        self.context.metrics.restore_started(&restore);
        self.run(restore, cancel).await
    }

    /// The restore as it is to run, and what is wrong with it; as for backups, what keeps us from finding out
    /// counts where it will not pass by itself.
    async fn check(&self, restore: &Restore) -> Result<(Restore, Vec<String>), ControllerError> {
        match self.look_into(restore).await {
            Err(error) if !error.is_retryable() => Ok((restore.clone(), vec![chain(&error)])),
            other => other,
        }
    }

    async fn look_into(&self, restore: &Restore) -> Result<(Restore, Vec<String>), ControllerError> {
        let context = &self.context;
        let facts = Facts {
            backups: context.objects::<Backup>().list(None).await?,
            locations: context.objects::<BackupStorageLocation>().list(None).await?,
            options: &context.options,
        };
        let (checked, mut errors) = check(restore, &facts);
        // A fault of the reference itself has been found above.
        let namespace = &context.options.namespace;
        match rules::resource_modifiers(&context.cluster, namespace, &restore.spec).await {
            Ok(_) => {}
            Err(EngineError::Rules { reason }) => errors.push(reason),
            Err(error) => return Err(error.into()),
        }
        Ok((checked, errors))
    }

    async fn refuse(
        &self,
        restore: &Restore,
        checked: Restore,
        errors: Vec<String>,
    ) -> Result<(), ControllerError> {
        let note = errors.join("; ");
        warn!(restore = %restore.object_name(), errors = %note, "the restore cannot be done as it is specified");
        let mut refused = checked;
        refused.status = Some(RestoreStatus {
            phase: RestorePhase::FailedValidation,
            validation_errors: errors,
            completion_timestamp: Some(now()),
            ..refused.status.unwrap_or_default()
        });
        let refused = update(&self.context.objects(), restore, &refused).await?;
        self.context.metrics.restore_ended(&refused);
        self.context
            .events
            .tell(&refused, Tone::Warning, "Restore", "FailedValidation", &note)
            .await;
        Ok(())
    }

    /// What to do with a phase that only a server of Velero's own makes: the objects are there, and
    /// nobody will finish what it waited for.
    async fn close_foreign(&self, restore: &Restore) -> Result<Next, ControllerError> {
        let mut closed = restore.clone();
        let status = closed.status.get_or_insert_default();
        status.phase = RestorePhase::PartiallyFailed;
        status.completion_timestamp = Some(now());
        status.failure_reason =
            "a previous server ended before the asynchronous operations of this restore did; \
                                 its objects are restored, its volumes may not be"
                .to_owned();
        let closed = update(&self.context.objects(), restore, &closed).await?;
        let reason = closed
            .status
            .as_ref()
            .map(|status| status.failure_reason.clone())
            .unwrap_or_default();
        self.context
            .events
            .tell(&closed, Tone::Warning, "Restore", "PartiallyFailed", &reason)
            .await;
        Ok(Next::Done)
    }

    /// Works on a restore with one of the places for restores, watched for its deletion.
    async fn with_place(&self, restore: Restore, stop: &CancellationToken) -> Result<Next, ControllerError> {
        let name = restore.object_name().to_owned();
        let cancel = stop.child_token();
        let active = Active {
            uid: restore.object_uid().to_owned(),
            cancel: cancel.clone(),
        };
        self.active().insert(name.clone(), active);
        let place = tokio::select! {
            () = cancel.cancelled() => None,
            place = Arc::clone(&self.room).acquire_owned() => place.ok(),
        };
        let begun = restore
            .status
            .as_ref()
            .is_some_and(|status| status.phase == RestorePhase::InProgress);
        let result = match (&place, begun) {
            (None, _) => Ok(Next::Done),
            (Some(_), true) => {
                info!(restore = %name, "the restore was going on when a server ended: going on with it");
                Box::pin(self.run(restore, &cancel)).await
            }
            (Some(_), false) => Box::pin(self.begin(restore, &cancel)).await,
        };
        self.active().remove(&name);
        if cancel.is_cancelled() && !stop.is_cancelled() {
            self.end_cancelled_by_name(&name).await?;
        }
        result
    }
}

impl Reconciler for RestoreController {
    type Object = Restore;
    const NAME: &'static str = "restore";

    async fn reconcile(&self, name: &str, stop: &CancellationToken) -> Result<Next, ControllerError> {
        let Some(restore) = self.context.objects::<Restore>().find(name).await? else {
            return Ok(Next::Done);
        };
        if restore.metadata.deletion_timestamp.is_some() {
            return self.clear_up(&restore).await;
        }
        if self.wants(&restore) && cancel::requested(&restore.metadata).is_some() {
            self.end_cancelled(&restore).await?;
            return Ok(Next::Done);
        }
        use RestorePhase as Phase;
        match restore
            .status
            .as_ref()
            .map(|status| status.phase)
            .unwrap_or_default()
        {
            Phase::New | Phase::InProgress => self.with_place(restore, stop).await,
            Phase::WaitingForPluginOperations
            | Phase::WaitingForPluginOperationsPartiallyFailed
            | Phase::Finalizing
            | Phase::FinalizingPartiallyFailed => self.close_foreign(&restore).await,
            _ => Ok(Next::Done),
        }
    }

    fn wants(&self, restore: &Restore) -> bool {
        let phase = restore
            .status
            .as_ref()
            .map(|status| status.phase)
            .unwrap_or_default();
        restore.metadata.deletion_timestamp.is_some() || !phase.is_final()
    }

    fn seen(&self, change: &Change<Restore>) {
        let (name, uid) = match change {
            Change::Gone(name) => (name.as_str(), None),
            Change::Present(restore) => {
                let alive = restore.metadata.deletion_timestamp.is_none();
                (restore.object_name(), alive.then(|| restore.object_uid()))
            }
        };
        if let (Some(active), Change::Present(restore)) = (self.active().get(name), change)
            && let Some(reason) = cancel::requested(&restore.metadata)
        {
            info!(restore = %name, reason, "stopping the work on it");
            active.cancel.cancel();
        }
        if let Some(active) = self.active().get(name)
            && uid != Some(active.uid.as_str())
        {
            info!(restore = %name, "the Restore was deleted: stopping the work on it");
            active.cancel.cancel();
        }
        let mut exist = self.exist.lock().unwrap_or_else(PoisonError::into_inner);
        match change {
            Change::Gone(name) => drop(exist.remove(name)),
            Change::Present(_) => drop(exist.insert(name.to_owned())),
        }
        self.context.metrics.restores_exist(exist.len());
    }
}
