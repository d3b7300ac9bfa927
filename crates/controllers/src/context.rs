//! What every controller needs: the cluster, the options, and the few ways to use them.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use refloat_cluster::{
    Cluster,
    typed::{Object, Objects},
};
use refloat_engine::Location;
use refloat_model::{Backup, BackupStorageLocation};
use refloat_plan::priorities::Priorities;
use refloat_web::Downloads;

use crate::{ControllerError, ServerOptions, events::Events, metrics::Metrics};

/// How long opening a location (reading its secrets) may take.
const OPEN_LIMIT: Duration = Duration::from_secs(60);

/// Shared by all controllers.
pub(crate) struct Context {
    pub(crate) cluster: Cluster,
    pub(crate) options: ServerOptions,
    /// The order of kinds in restores, as the options say.
    pub(crate) priorities: Priorities,
    pub(crate) metrics: Metrics,
    pub(crate) events: Events,
    pub(crate) downloads: Downloads,
    /// The URL of our download server, without a slash at the end.
    pub(crate) download_base: String,
}

impl Context {
    /// The objects of a kind in the server's namespace.
    pub(crate) fn objects<K: Object>(&self) -> Objects<K> {
        self.cluster.objects(&self.options.namespace)
    }

    /// Opens a location; its bucket is not reached for yet.
    pub(crate) async fn open(&self, location: &BackupStorageLocation) -> Result<Location, ControllerError> {
        let file = self.options.credential_file.as_deref();
        within("opening the storage location", OPEN_LIMIT, async {
            Ok(Location::open(&self.cluster, location, file).await?)
        })
        .await
    }

    /// The location that a backup is in; `None` where it does not exist.
    pub(crate) async fn location_of(
        &self,
        backup: &Backup,
    ) -> Result<Option<BackupStorageLocation>, ControllerError> {
        let name = &backup.spec.storage_location;
        if name.is_empty() {
            return Ok(None);
        }
        Ok(self.objects::<BackupStorageLocation>().find(name).await?)
    }
}

/// Bounds a piece of work in time.
pub(crate) async fn within<T>(
    doing: &str,
    limit: Duration,
    work: impl Future<Output = Result<T, ControllerError>>,
) -> Result<T, ControllerError> {
    let late = || ControllerError::Timeout {
        doing: doing.to_owned(),
        seconds: limit.as_secs(),
    };
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or_else(|_| Err(late()))
}

/// The time as objects hold it: whole seconds.
pub(crate) fn now() -> Time {
    Time(whole_seconds(Timestamp::now()))
}

/// A time without its fraction, as Kubernetes' clients write times.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// How long it is from `now` to `then`; zero where that has passed.
pub(crate) fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

/// The context as controllers hold it.
pub(crate) type Shared = Arc<Context>;
