//! Files of backups and restores, from a server (by download requests) or straight from a bucket.

use std::{collections::BTreeMap, io::Write, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use flate2::write::MultiGzDecoder;
use futures::{Stream, StreamExt as _};
use refloat_cluster::{Cluster, typed::Objects};
use refloat_engine::{EngineError, catalog, location::Location};
use refloat_model::{
    BackupStorageLocation, DownloadRequest, DownloadTargetKind,
    download::{DownloadRequestSpec, DownloadTarget},
    layout,
};
use serde::de::DeserializeOwned;

use crate::{flags::TlsFlags, session::Looks};

/// A file's content; `None` where there is no such file; else why it could not be read.
pub type Fetched<T> = Result<Option<T>>;
/// Kinds and the names of their objects.
pub type ResourceList = BTreeMap<String, Vec<String>>;

/// Where files come from.
pub enum Files {
    /// A server that answers download requests.
    Server(Downloads),
    /// A bucket or folder.
    Storage(Location),
}

/// Asks a server for URLs and fetches from them.
pub struct Downloads {
    requests: Objects<DownloadRequest>,
    http: reqwest::Client,
    namespace: String,
    limit: Duration,
}

impl Files {
    /// Files of the server in `namespace`. `location` is the storage location whose certificates
    /// are trusted besides the system's, unless the flags name others; each file has to arrive
    /// within `limit`.
    ///
    /// # Errors
    /// Where certificates cannot be read.
    pub async fn of_server(
        cluster: &Cluster,
        namespace: &str,
        location: &str,
        tls: &TlsFlags,
        limit: Duration,
    ) -> Result<Self> {
        let bundle = match &tls.cacert {
            Some(path) => Some(
                std::fs::read(path).with_context(|| format!("cannot read --cacert {}", path.display()))?,
            ),
            None => location_bundle(cluster, namespace, location).await?,
        };
        let mut http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(30))
            .tls_danger_accept_invalid_certs(tls.insecure_skip_tls_verify);
        if let Some(bundle) = bundle {
            let certificates = reqwest::Certificate::from_pem_bundle(&bundle)
                .context("the certificates to trust are not a PEM bundle")?;
            http = http.tls_certs_merge(certificates);
        }
        let http = http.build().context("cannot prepare the download")?;
        Ok(Self::Server(Downloads {
            requests: cluster.objects(namespace),
            http,
            namespace: namespace.into(),
            limit,
        }))
    }

    /// Writes a file to `sink`, unzipped unless it is the tarball. `false`: there is no such file.
    ///
    /// # Errors
    /// Where it cannot be fetched, unzipped or written.
    pub async fn copy(
        &self,
        kind: DownloadTargetKind,
        name: &str,
        sink: &mut (dyn Write + Send),
    ) -> Result<bool> {
        match self {
            Self::Server(downloads) => {
                match tokio::time::timeout(downloads.limit, downloads.copy(kind, name, sink)).await {
                    Ok(result) => result,
                    Err(_) => bail!(
                        "timed out after {:?} waiting for {kind:?} of {name}; is the server in namespace {} running, and can it \
                     reach the bucket? --timeout allows more time",
                        downloads.limit,
                        downloads.namespace
                    ),
                }
            }
            Self::Storage(location) => {
                let key = layout::download_key(kind, name);
                let stream = match catalog::stream_file(location, &key).await {
                    Ok(stream) => stream,
                    Err(EngineError::Store { source, .. }) if source.is_not_found() => return Ok(false),
                    Err(error) => return Err(error.into()),
                };
                pour(stream, kind, sink)
                    .await
                    .with_context(|| format!("cannot read {key}"))?;
                Ok(true)
            }
        }
    }

    /// A small JSON file. `None`: there is no such file.
    ///
    /// # Errors
    /// Where it cannot be fetched or is not what it should be.
    pub async fn json<T: DeserializeOwned>(&self, kind: DownloadTargetKind, name: &str) -> Fetched<T> {
        let mut bytes = Vec::new();
        if !self.copy(kind, name, &mut bytes).await? {
            return Ok(None);
        }
        serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("{kind:?} of {name} is not the JSON it should be"))
    }
}

impl Downloads {
    async fn copy(
        &self,
        kind: DownloadTargetKind,
        name: &str,
        sink: &mut (dyn Write + Send),
    ) -> Result<bool> {
        let request = format!("{name}-{}", uuid::Uuid::new_v4());
        let spec = DownloadRequestSpec {
            target: DownloadTarget {
                kind,
                name: name.to_owned(),
            },
        };
        let mut object = DownloadRequest::new(&request, spec);
        object.metadata.namespace = Some(self.namespace.clone());
        self.requests.create(&object).await?;
        let result = self.fetch(&request, kind, sink).await;
        // The server deletes requests that are left over; doing it here leaves none behind.
        let _ = self.requests.delete(&request).await;
        result
    }

    async fn fetch(
        &self,
        request: &str,
        kind: DownloadTargetKind,
        sink: &mut (dyn Write + Send),
    ) -> Result<bool> {
        let mut looks = Looks::default();
        let url = loop {
            looks.pause().await;
            let status = self.requests.get(request).await?.status.unwrap_or_default();
            if !status.download_url.is_empty() {
                break status.download_url;
            }
        };
        // The URL carries its own authorisation, so errors must not repeat it.
        let response = self
            .http
            .get(url)
            .send()
            .await
            .map_err(reqwest::Error::without_url)
            .context("cannot download")?;
        if response.status() == reqwest::StatusCode::NOT_FOUND {
            return Ok(false);
        }
        if !response.status().is_success() {
            bail!("cannot download: the object store answered {}", response.status());
        }
        let stream = response
            .bytes_stream()
            .map(|chunk| chunk.map_err(reqwest::Error::without_url));
        pour(stream, kind, sink).await.context("cannot download")?;
        Ok(true)
    }
}

async fn location_bundle(cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<Vec<u8>>> {
    if name.is_empty() {
        return Ok(None);
    }
    let Some(location) = cluster
        .objects::<BackupStorageLocation>(namespace)
        .find(name)
        .await?
    else {
        return Ok(None);
    };
    let storage = location.spec.object_storage;
    if let Some(reference) = storage.ca_cert_ref {
        return Ok(cluster
            .secret_value(namespace, &reference.name, &reference.key)
            .await?);
    }
    Ok(storage.ca_cert.map(|bundle| bundle.0))
}

/// Writes chunks as they come, unzipped unless the file is the tarball.
async fn pour<E>(
    stream: impl Stream<Item = Result<bytes::Bytes, E>>,
    kind: DownloadTargetKind,
    sink: &mut (dyn Write + Send),
) -> Result<()>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let mut stream = std::pin::pin!(stream);
    if kind == DownloadTargetKind::BackupContents {
        while let Some(chunk) = stream.next().await {
            sink.write_all(&chunk?)?;
        }
    } else {
        let mut unzip = MultiGzDecoder::new(sink);
        while let Some(chunk) = stream.next().await {
            unzip.write_all(&chunk?)?;
        }
        unzip.try_finish().context("the file is cut short")?;
    }
    Ok(())
}

/// Where a download goes: a name beside the target that becomes the target when it is whole.
pub struct Target {
    path: PathBuf,
    file: tempfile::NamedTempFile,
}

impl Target {
    /// Refuses a target that exists unless `force`.
    ///
    /// # Errors
    /// Where it exists or its folder cannot be written.
    pub fn new(path: PathBuf, force: bool) -> Result<Self> {
        if !force && path.exists() {
            bail!("{} exists already; --force overwrites it", path.display());
        }
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or_else(|| ".".as_ref());
        let file = tempfile::Builder::new()
            .prefix(".refloat-download-")
            .tempfile_in(folder)
            .with_context(|| format!("cannot write into {}", folder.display()))?;
        Ok(Self { path, file })
    }

    /// The file to write.
    pub fn sink(&mut self) -> &mut (dyn Write + Send) {
        self.file.as_file_mut()
    }

    /// Puts the whole file in its place and hands out its name.
    ///
    /// # Errors
    /// Where it cannot be renamed, or where another has appeared meanwhile and `force` is not set.
    pub fn keep(self, force: bool) -> Result<PathBuf> {
        let Self { path, file } = self;
        file.as_file()
            .sync_all()
            .with_context(|| format!("cannot write {}", path.display()))?;
        let kept = if force {
            file.persist(&path)
        } else {
            file.persist_noclobber(&path)
        };
        kept.map_err(|error| error.error)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}
