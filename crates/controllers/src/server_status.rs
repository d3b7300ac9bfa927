//! ServerStatusRequests: says which version runs and what is built in (`velero version`,
//! `velero plugin get`). Answered requests are deleted after a minute.

use std::time::Duration;

use jiff::Timestamp;
use refloat_model::{
    ServerStatusRequest, VELERO_VERSION,
    server_status::{PluginInfo, ServerStatusRequestPhase, ServerStatusRequestStatus},
};
use tokio_util::sync::CancellationToken;

use crate::{
    ControllerError,
    context::{Shared, now, until},
    controller::{Next, Reconciler},
    patch::update,
};

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(60);

/// What is built in, in the terms of Velero's plugins: kind, then names without `velero.io/`.
const BUILT_IN: [(&str, &[&str]); 3] = [
    ("BackupItemAction", &["pod", "pv", "service-account"]),
    (
        "ObjectStore",
        &["alibabacloud", "aws", "azure", "filesystem", "gcp"],
    ),
    (
        "RestoreItemAction",
        &[
            "apiservice",
            "cluster-role-bindings",
            "job",
            "pod",
            "pvc",
            "role-bindings",
            "secret",
            "service",
            "service-account",
        ],
    ),
];

/// The controller.
pub(crate) struct ServerStatusController {
    context: Shared,
}

impl ServerStatusController {
    pub(crate) fn new(context: Shared) -> Self {
        Self { context }
    }
}

impl Reconciler for ServerStatusController {
    type Object = ServerStatusRequest;
    const NAME: &'static str = "server-status-request";

    async fn reconcile(&self, name: &str, _stop: &CancellationToken) -> Result<Next, ControllerError> {
        let requests = self.context.objects::<ServerStatusRequest>();
        let Some(request) = requests.find(name).await? else {
            return Ok(Next::Done);
        };
        let status = request.status.clone().unwrap_or_default();
        if status.phase == ServerStatusRequestPhase::Processed {
            let answered = status
                .processed_timestamp
                .or_else(|| request.metadata.creation_timestamp.clone());
            let end = answered.and_then(|at| at.0.saturating_add(KEPT).ok());
            let left = end.map_or(Duration::ZERO, |end| until(Timestamp::now(), end).min(KEPT));
            if left.is_zero() {
                requests.delete(name).await?;
                return Ok(Next::Done);
            }
            return Ok(Next::After(left));
        }
        let mut answered = request.clone();
        answered.status = Some(ServerStatusRequestStatus {
            phase: ServerStatusRequestPhase::Processed,
            processed_timestamp: Some(now()),
            server_version: VELERO_VERSION.to_owned(),
            plugins: built_in(),
        });
        match update(&requests, &request, &answered).await {
            Err(ControllerError::Cluster(error)) if error.is_not_found() => Ok(Next::Done),
            other => other.map(|_| Next::After(KEPT)),
        }
    }
}

fn built_in() -> Vec<PluginInfo> {
    let infos = BUILT_IN.iter().flat_map(|(kind, names)| {
        names.iter().map(|name| PluginInfo {
            name: format!("velero.io/{name}"),
            kind: (*kind).to_owned(),
        })
    });
    infos.collect()
}
