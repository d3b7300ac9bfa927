//! DownloadRequests: answers each with a URL of the file that is asked for, for ten minutes. The URL
//! is signed by the store where clients can be expected to reach it, else it is one of our own server.

mod policy;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use refloat_model::{
    Backup, BackupStorageLocation, DownloadRequest, Restore,
    download::{DownloadRequestPhase, DownloadRequestStatus, DownloadTarget},
};
use refloat_web::Permission;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::policy::{Surroundings, prefers_signed};
use crate::{
    ControllerError,
    context::{Shared, until, whole_seconds, within},
    controller::{Next, Reconciler},
    events::Tone,
    patch::update,
};

/// How long a URL works, and how long a request lives.
const LIFETIME: Duration = Duration::from_secs(600);
/// How often a request is looked at again whose target does not exist.
const AGAIN: Duration = Duration::from_secs(5);
/// How long signing may take.
const SIGN_LIMIT: Duration = Duration::from_secs(30);

/// The controller.
pub(crate) struct DownloadController {
    context: Shared,
    in_cluster: bool,
}

impl DownloadController {
    pub(crate) fn new(context: Shared) -> Self {
        let in_cluster = std::env::var_os("KUBERNETES_SERVICE_HOST").is_some();
        Self { context, in_cluster }
    }

    /// The storage location that holds the target, or why there is none.
    async fn locate(
        &self,
        target: &DownloadTarget,
    ) -> Result<Result<BackupStorageLocation, String>, ControllerError> {
        let context = &self.context;
        let mut backup = target.name.clone();
        if target.kind.is_restore() {
            match context.objects::<Restore>().find(&target.name).await? {
                Some(restore) => backup = restore.spec.backup_name,
                None => return Ok(Err(format!("the restore {:?} does not exist", target.name))),
            }
        }
        let Some(backup) = context.objects::<Backup>().find(&backup).await? else {
            return Ok(Err(format!("the backup {backup:?} does not exist")));
        };
        let name = &backup.spec.storage_location;
        let location = context.location_of(&backup).await?;
        Ok(location.ok_or_else(|| format!("the storage location {name:?} does not exist")))
    }

    /// A URL of the target that works until `expires`. It is a secret.
    async fn url(
        &self,
        resource: &BackupStorageLocation,
        permission: &Permission,
    ) -> Result<String, ControllerError> {
        let surroundings = Surroundings {
            policy: self.context.options.download_url,
            namespace: &self.context.options.namespace,
            in_cluster: self.in_cluster,
        };
        if prefers_signed(&resource.spec, &surroundings) {
            let location = self.context.open(resource).await?;
            let signing = async { Ok(location.presign(&permission.key(), LIFETIME).await?) };
            if let Some(url) = within("signing a URL", SIGN_LIMIT, signing).await? {
                return Ok(url);
            }
            debug!(location = %permission.location, "the store cannot sign URLs; serving the download ourselves");
        }
        Ok(format!(
            "{}{}",
            self.context.download_base,
            self.context.downloads.path(permission)
        ))
    }

    async fn tell_why_not(&self, request: &DownloadRequest, reason: &str) {
        let target = &request.spec.target;
        warn!(kind = ?target.kind, name = %target.name, reason, "cannot offer a download");
        self.context
            .events
            .tell(request, Tone::Warning, "Download", "NotFound", reason)
            .await;
    }
}

impl Reconciler for DownloadController {
    type Object = DownloadRequest;
    const NAME: &'static str = "download-request";

    async fn reconcile(&self, name: &str, _stop: &CancellationToken) -> Result<Next, ControllerError> {
        let requests = self.context.objects::<DownloadRequest>();
        let Some(request) = requests.find(name).await? else {
            return Ok(Next::Done);
        };
        let now = Timestamp::now();
        let left = life_left(&request, now);
        if left.is_zero() {
            requests.delete(name).await?;
            return Ok(Next::Done);
        }
        if request
            .status
            .as_ref()
            .is_some_and(|status| !status.download_url.is_empty())
        {
            return Ok(Next::After(left));
        }
        let target = &request.spec.target;
        let expires = whole_seconds(now.saturating_add(LIFETIME).unwrap_or(now));
        let resource = match self.locate(target).await? {
            Ok(resource) => resource,
            Err(reason) => {
                if is_new(&request, now) {
                    self.tell_why_not(&request, &reason).await;
                }
                // It may appear yet: a backup that is found in the bucket, a location that is made.
                return Ok(Next::After(AGAIN.min(left)));
            }
        };
        let location = resource.metadata.name.as_deref().unwrap_or_default();
        let Some(permission) = Permission::new(location, target, expires) else {
            self.tell_why_not(&request, "no backup or restore can have that name")
                .await;
            return Ok(Next::After(left));
        };
        let mut answered = request.clone();
        answered.status = Some(DownloadRequestStatus {
            phase: DownloadRequestPhase::Processed,
            download_url: self.url(&resource, &permission).await?,
            expiration: Some(Time(expires)),
        });
        match update(&requests, &request, &answered).await {
            // The client waits for at most a minute and then takes its request away.
            Err(ControllerError::Cluster(error)) if error.is_not_found() => return Ok(Next::Done),
            other => drop(other?),
        }
        info!(kind = ?target.kind, name = %target.name, location, "offered a download");
        Ok(Next::After(LIFETIME))
    }
}

/// How long a request may live on: until its URL ends, or as long where it has none.
fn life_left(request: &DownloadRequest, now: Timestamp) -> Duration {
    let expiration = request
        .status
        .as_ref()
        .and_then(|status| status.expiration.as_ref())
        .map(|end| end.0);
    let created = request.metadata.creation_timestamp.as_ref();
    let end = expiration.or_else(|| created.and_then(|at| at.0.saturating_add(LIFETIME).ok()));
    end.map_or(LIFETIME, |end| until(now, end).min(LIFETIME))
}

/// Whether a request is so young that nobody has been told of it.
fn is_new(request: &DownloadRequest, now: Timestamp) -> bool {
    let created = request.metadata.creation_timestamp.as_ref();
    created.is_none_or(|at| now.duration_since(at.0).as_secs() < i64::try_from(AGAIN.as_secs()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use refloat_model::{DownloadTargetKind, download::DownloadRequestSpec};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    #[test]
    fn a_request_lives_as_long_as_its_url_or_ten_minutes() {
        let target = DownloadTarget {
            kind: DownloadTargetKind::BackupLog,
            name: "a".into(),
        };
        let mut request = DownloadRequest::new("a-1", DownloadRequestSpec { target });
        request.metadata.creation_timestamp = Some(Time(at(0)));
        assert_eq!(life_left(&request, at(10)), Duration::from_secs(590));
        assert_eq!(life_left(&request, at(600)), Duration::ZERO);
        request.status = Some(DownloadRequestStatus {
            expiration: Some(Time(at(700))),
            ..Default::default()
        });
        assert_eq!(life_left(&request, at(650)), Duration::from_secs(50));
        assert_eq!(life_left(&request, at(701)), Duration::ZERO);
    }
}
