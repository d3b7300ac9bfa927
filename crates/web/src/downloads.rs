//! `GET /download/<token>`: a file of a backup or restore, streamed from its store as it lies there.
//!
//! The token alone decides which file; nothing of the path is taken as a key. Answers: 200 with the
//! bytes, 404 where the file does not exist (what `velero describe` expects of files that a backup
//! has not), 403 where the link is not valid or has expired, 503 where the store does not answer.

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::{Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use jiff::Timestamp;
use refloat_cluster::Cluster;
use refloat_engine::{EngineError, Location, catalog};
use refloat_model::BackupStorageLocation;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::token::{DownloadKey, Permission};

/// How long the store may take until the first byte.
const FIRST_BYTE_LIMIT: Duration = Duration::from_secs(60);

/// What is needed to serve downloads.
#[derive(Clone)]
pub struct Downloads {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: Cluster,
    namespace: String,
    credential_file: Option<PathBuf>,
    key: DownloadKey,
}

impl Downloads {
    /// Serves files of the locations in `namespace`. `credential_file` is for locations that name
    /// no credential of their own.
    #[must_use]
    pub fn new(
        cluster: Cluster,
        namespace: &str,
        credential_file: Option<PathBuf>,
        key: DownloadKey,
    ) -> Self {
        let namespace = namespace.to_owned();
        Self {
            inner: Arc::new(Inner {
                cluster,
                namespace,
                credential_file,
                key,
            }),
        }
    }

    /// The path that gives `permission`, to be put after the server's URL. It is a secret.
    #[must_use]
    pub fn path(&self, permission: &Permission) -> String {
        format!("/download/{}", self.inner.key.sign(permission))
    }

    /// The routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/download/{token}", get(download))
            .with_state(self.clone())
    }
}

async fn download(State(downloads): State<Downloads>, Path(token): Path<String>) -> Response {
    let inner = &downloads.inner;
    let permission = match inner.key.verify(&token, Timestamp::now()) {
        Ok(permission) => permission,
        Err(error) => return (StatusCode::FORBIDDEN, format!("{error}\n")).into_response(),
    };
    let key = permission.key();
    match timeout(FIRST_BYTE_LIMIT, open(inner, &permission, &key)).await {
        Ok(Ok(Some(response))) => {
            info!(location = %permission.location, key, "serving a download");
            response
        }
        Ok(Ok(None)) => (StatusCode::NOT_FOUND, "there is no such file\n").into_response(),
        Ok(Err(reason)) => {
            warn!(location = %permission.location, key, error = %reason, "cannot serve a download");
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the storage location cannot be read\n",
            )
                .into_response()
        }
        Err(_) => {
            warn!(location = %permission.location, key, "the store took too long to serve a download");
            (
                StatusCode::GATEWAY_TIMEOUT,
                "the storage location does not answer\n",
            )
                .into_response()
        }
    }
}

/// The answer with the file's bytes; `None` where there is no such file or location.
async fn open(inner: &Inner, permission: &Permission, key: &str) -> Result<Option<Response>, String> {
    let locations = inner.cluster.objects::<BackupStorageLocation>(&inner.namespace);
    let found = locations
        .find(&permission.location)
        .await
        .map_err(|error| chain(&error))?;
    let Some(found) = found else { return Ok(None) };
    let location = Location::open(&inner.cluster, &found, inner.credential_file.as_deref())
        .await
        .map_err(|error| chain(&error))?;
    let file = match catalog::stream_file(&location, key).await {
        Ok(file) => file,
        Err(EngineError::Store { source, .. }) if source.is_not_found() => return Ok(None),
        Err(error) => return Err(chain(&error)),
    };
    let headers = [
        (header::CONTENT_TYPE, "application/gzip".to_owned()),
        (header::CONTENT_LENGTH, file.size.to_string()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok(Some((headers, Body::from_stream(file)).into_response()))
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
