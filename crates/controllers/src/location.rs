//! BackupStorageLocations: probes each regularly and says whether it can be used, and sees to it that
//! at most one is the default.

mod default_choice;
pub(crate) mod sync;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use refloat_cluster::typed::Change;
use refloat_model::{
    BackupStorageLocation,
    location::{BackupStorageLocationSpec, BackupStorageLocationStatus, LocationPhase},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::default_choice::{first_choice, superseded};
use crate::{
    ControllerError,
    context::{Shared, now, until, within},
    controller::{Next, Reconciler},
    error::chain,
    events::Tone,
};

/// How long a probe may take.
const PROBE_LIMIT: Duration = Duration::from_secs(60);

/// The controller.
pub(crate) struct LocationController {
    context: Shared,
    /// The spec that was last probed, by name: another spec is probed at once.
    probed: Mutex<HashMap<String, BackupStorageLocationSpec>>,
}

impl LocationController {
    pub(crate) fn new(context: Shared) -> Self {
        Self {
            context,
            probed: Mutex::default(),
        }
    }

    fn probed(&self) -> std::sync::MutexGuard<'_, HashMap<String, BackupStorageLocationSpec>> {
        self.probed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves one default location, where there are several.
    async fn settle_default(&self) -> Result<(), ControllerError> {
        let locations = self.context.objects::<BackupStorageLocation>();
        for name in superseded(&locations.list(None).await?) {
            set_default(&self.context, &name, false).await?;
        }
        Ok(())
    }

    /// Probes a location and writes down what was found.
    async fn probe(&self, location: &BackupStorageLocation, name: &str) -> Result<(), ControllerError> {
        let context = &self.context;
        let found = async { Ok(context.open(location).await?.validate().await?) };
        let result = within("probing the storage location", PROBE_LIMIT, found).await;
        let before = location.status.as_ref().and_then(|status| status.phase);
        let (phase, message) = match &result {
            Ok(()) => (LocationPhase::Available, String::new()),
            Err(error) => (LocationPhase::Unavailable, chain(error)),
        };
        let mut status = location.status.clone().unwrap_or_default();
        status = BackupStorageLocationStatus {
            phase: Some(phase),
            message: message.clone(),
            last_validation_time: Some(now()),
            ..status
        };
        let mut changed = location.clone();
        changed.status = Some(status);
        crate::patch::update(&context.objects(), location, &changed).await?;
        context.metrics.location(name, phase == LocationPhase::Available);
        self.probed().insert(name.to_owned(), location.spec.clone());
        if before != Some(phase) {
            match &result {
                Ok(()) => {
                    info!(location = %name, "the storage location is available");
                    let note = "the storage location can be used";
                    context
                        .events
                        .tell(location, Tone::Normal, "Validate", "Available", note)
                        .await;
                }
                Err(error) => {
                    warn!(location = %name, error = %message, "the storage location is unavailable");
                    context
                        .events
                        .tell(location, Tone::Warning, "Validate", error.reason(), &message)
                        .await;
                }
            }
        }
        Ok(())
    }
}

/// When the server starts: makes the location that its options name the default, where none is. Once
/// only, as with Velero: whoever takes that away later, or creates the location later, is not corrected.
pub(crate) async fn choose_default(context: Shared, stop: CancellationToken) {
    const PAUSE: Duration = Duration::from_secs(2);
    let configured = &context.options.default_backup_storage_location;
    loop {
        let choosing = async {
            let all = context.objects::<BackupStorageLocation>().list(None).await?;
            match first_choice(&all, configured) {
                Some(name) => set_default(&context, &name, true).await,
                None => Ok(()),
            }
        };
        let result: Result<(), ControllerError> = choosing.await;
        let Err(error) = result else { return };
        warn!(location = %configured, error = %chain(&error), "cannot make a storage location the default");
        if !error.is_retryable() {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn set_default(context: &Shared, name: &str, default: bool) -> Result<(), ControllerError> {
    info!(location = %name, default, "changing which storage location is the default");
    let patch = json!({ "spec": { "default": default } });
    let locations = context.objects::<BackupStorageLocation>();
    locations.merge_patch(name, &patch).await?;
    Ok(())
}

impl Reconciler for LocationController {
    type Object = BackupStorageLocation;
    const NAME: &'static str = "backup-storage-location";

    async fn reconcile(&self, name: &str, _stop: &CancellationToken) -> Result<Next, ControllerError> {
        let found = self.context.objects::<BackupStorageLocation>().find(name).await?;
        self.settle_default().await?;
        let Some(location) = found else {
            self.probed().remove(name);
            return Ok(Next::Done);
        };
        let spec = location.spec.clone();
        let same = self
            .probed()
            .get(name)
            .is_some_and(|probed| only_default_differs(probed, &spec));
        let period = spec
            .validation_frequency
            .map_or(self.context.options.store_validation_frequency, |d| d.0);
        match next_probe(location.status.as_ref(), same, period, Timestamp::now()) {
            Probe::Now => self.probe(&location, name).await?,
            Probe::In(pause) => return Ok(Next::After(pause)),
            Probe::Never => return Ok(Next::Done),
        }
        Ok(if period.is_zero() {
            Next::Done
        } else {
            Next::After(period)
        })
    }

    fn seen(&self, change: &Change<BackupStorageLocation>) {
        if let Change::Gone(name) = change {
            self.context.metrics.location_gone(name);
        }
    }
}

/// Whether two specs lead to the same probe.
fn only_default_differs(probed: &BackupStorageLocationSpec, spec: &BackupStorageLocationSpec) -> bool {
    BackupStorageLocationSpec {
        default: spec.default,
        ..probed.clone()
    } == *spec
}

#[derive(Debug, PartialEq, Eq)]
enum Probe {
    Now,
    In(Duration),
    Never,
}

/// When to probe a location. One whose spec we have not probed yet is probed at once, even where
/// regular probes are off.
fn next_probe(
    status: Option<&BackupStorageLocationStatus>,
    spec_was_probed: bool,
    period: Duration,
    now: Timestamp,
) -> Probe {
    let last = status.and_then(|status| status.last_validation_time.as_ref());
    let (Some(last), Some(_)) = (last, status.and_then(|status| status.phase)) else {
        return Probe::Now;
    };
    if !spec_was_probed {
        return Probe::Now;
    }
    if period.is_zero() {
        return Probe::Never;
    }
    match until(now, last.0.saturating_add(period).unwrap_or(now)) {
        Duration::ZERO => Probe::Now,
        // A clock that was set back must not stop the probes.
        pause => Probe::In(pause.min(period)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    const MINUTE: Duration = Duration::from_secs(60);

    fn status(seconds_ago: i64, now: Timestamp) -> BackupStorageLocationStatus {
        BackupStorageLocationStatus {
            phase: Some(LocationPhase::Available),
            last_validation_time: Some(Time(
                Timestamp::from_second(now.as_second() - seconds_ago).unwrap(),
            )),
            ..BackupStorageLocationStatus::default()
        }
    }

    #[test]
    fn a_location_is_probed_when_new_when_changed_and_when_due() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        assert_eq!(next_probe(None, false, MINUTE, now), Probe::Now);
        assert_eq!(
            next_probe(None, true, Duration::ZERO, now),
            Probe::Now,
            "the first probe is always made"
        );
        assert_eq!(next_probe(Some(&status(1, now)), false, MINUTE, now), Probe::Now);
        assert_eq!(next_probe(Some(&status(61, now)), true, MINUTE, now), Probe::Now);
        assert_eq!(
            next_probe(Some(&status(20, now)), true, MINUTE, now),
            Probe::In(Duration::from_secs(40))
        );
        assert_eq!(
            next_probe(Some(&status(-3600, now)), true, MINUTE, now),
            Probe::In(MINUTE)
        );
        assert_eq!(
            next_probe(Some(&status(9999, now)), true, Duration::ZERO, now),
            Probe::Never
        );
        assert_eq!(
            next_probe(Some(&status(1, now)), false, Duration::ZERO, now),
            Probe::Now,
            "a change is looked at although regular probes are off"
        );
    }

    #[test]
    fn becoming_the_default_is_no_reason_to_probe() {
        let spec = BackupStorageLocationSpec {
            provider: "aws".into(),
            ..Default::default()
        };
        let default = BackupStorageLocationSpec {
            default: true,
            ..spec.clone()
        };
        assert!(only_default_differs(&spec, &default));
        let other = BackupStorageLocationSpec {
            provider: "azure".into(),
            ..spec.clone()
        };
        assert!(!only_default_differs(&spec, &other));
    }
}
