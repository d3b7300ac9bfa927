//! `backup describe`.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use refloat_cluster::{Cluster, typed::Object as _};
use refloat_model::{
    Backup, BackupPhase, DeleteBackupRequest, DownloadTargetKind, Results,
    labels::{BACKUP_NAME, BACKUP_UID, label_value},
    pod_volume::PodVolumeBackup,
    volume_info::BackupVolumeInfo,
};
use serde_json::Value;

use crate::{
    backup::{local, sections, structured::structured},
    exit::{self, Outcome},
    files::{Fetched, Files, ResourceList},
    flags::{ListFlags, StorageFlags, TlsFlags},
    output, select,
    session::Session,
};

/// How long each file may take.
pub(crate) const FETCH_LIMIT: Duration = Duration::from_secs(30);

/// How a description is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DescribeFormat {
    /// For people.
    #[default]
    Plaintext,
    /// For programs; one backup at a time.
    Json,
}

/// Flags of `backup describe`.
#[derive(Args, Clone, Debug)]
pub struct DescribeFlags {
    #[command(flatten)]
    list: ListFlags,
    /// Show more: items, operations, volumes
    #[arg(long)]
    details: bool,
    /// How to print; json only for a single backup
    #[arg(short, long, value_enum, default_value = "plaintext", value_name = "FORMAT")]
    output: DescribeFormat,
    #[command(flatten)]
    tls: TlsFlags,
    #[command(flatten)]
    storage: StorageFlags,
}

/// Everything that a description tells.
#[derive(Debug)]
pub struct Known {
    /// The backup.
    pub backup: Backup,
    /// Warnings and errors, if there are any; why they could not be read.
    pub results: Option<Fetched<Results>>,
    /// What became of its volumes; why that could not be read.
    pub volumes: Fetched<Vec<BackupVolumeInfo>>,
    /// Its items by kind, with `--details`.
    pub resources: Option<Fetched<ResourceList>>,
    /// Its asynchronous operations, with `--details` if there were any.
    pub operations: Option<Fetched<Vec<Value>>>,
    /// Copies of pod volumes.
    pub pod_volumes: Vec<PodVolumeBackup>,
    /// Attempts to delete it.
    pub deletions: Vec<DeleteBackupRequest>,
}

impl DescribeFlags {
    /// Prints descriptions.
    ///
    /// # Errors
    /// Where a backup does not exist or the server or storage cannot be asked.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        let (cluster, location) = match &self.storage.storage {
            Some(url) => (None, Some(Session::location(url).await?)),
            None => (Some(session.cluster().await?), None),
        };
        let backups = match (&location, &cluster) {
            (Some(location), _) => local::listed(location, &self.list).await?,
            (None, Some(cluster)) => {
                select::listed(&cluster.objects::<Backup>(&session.namespace), &self.list).await?
            }
            (None, None) => Vec::new(),
        };
        if self.output == DescribeFormat::Json && backups.len() != 1 {
            bail!("-o json describes a single backup; name one");
        }
        for (index, backup) in backups.into_iter().enumerate() {
            let files = match (&location, &cluster) {
                (Some(location), _) => Files::Storage(location.clone()),
                (None, Some(cluster)) => {
                    let place = &backup.spec.storage_location;
                    Files::of_server(cluster, &session.namespace, place, &self.tls, FETCH_LIMIT).await?
                }
                (None, None) => bail!("there is neither a storage nor a cluster"),
            };
            let known = self.learn(session, cluster.as_ref(), &files, backup).await;
            let text = match self.output {
                DescribeFormat::Plaintext => sections::describe(session, &known, self.details),
                DescribeFormat::Json => structured(session, &known, self.details)?,
            };
            let apart = if index == 0 { "" } else { "\n\n" };
            output::print(&format!("{apart}{text}"))?;
        }
        Ok(Outcome::Done)
    }

    async fn learn(
        &self,
        session: &Session,
        cluster: Option<&Cluster>,
        files: &Files,
        backup: Backup,
    ) -> Known {
        let name = backup.object_name();
        let status = backup.status.clone().unwrap_or_default();
        let results = if status.warnings + status.errors > 0 {
            Some(files.json(DownloadTargetKind::BackupResults, name).await)
        } else {
            None
        };
        // A server has no URLs for a backup that wrote nothing, and asking costs half a minute.
        let volumes = if has_files(status.phase) {
            files.json(DownloadTargetKind::BackupVolumeInfos, name).await
        } else {
            Ok(None)
        };
        let (mut resources, mut operations) = (None, None);
        if self.details && has_files(status.phase) {
            resources = Some(files.json(DownloadTargetKind::BackupResourceList, name).await);
            if status.backup_item_operations_attempted > 0 {
                operations = Some(files.json(DownloadTargetKind::BackupItemOperations, name).await);
            }
        }
        let (mut pod_volumes, mut deletions) = (Vec::new(), Vec::new());
        if let Some(cluster) = cluster {
            let by_name = format!("{BACKUP_NAME}={}", label_value(name));
            let by_uid = format!("{by_name},{BACKUP_UID}={}", backup.object_uid());
            let namespace = &session.namespace;
            let found = cluster.objects(namespace).list(Some(&by_uid)).await;
            deletions = or_complain(found.context("cannot list deletion requests"));
            let found = cluster.objects(namespace).list(Some(&by_name)).await;
            pod_volumes = or_complain(found.context("cannot list pod volume backups"));
        }
        Known {
            results,
            volumes,
            resources,
            operations,
            pod_volumes,
            deletions,
            backup,
        }
    }
}

/// Whether a backup in this phase can have files in the bucket.
const fn has_files(phase: BackupPhase) -> bool {
    use BackupPhase::{FailedValidation, InProgress, New, Queued, ReadyToStart};
    !matches!(phase, New | Queued | ReadyToStart | FailedValidation | InProgress)
}

/// What was found; if nothing could be, a complaint, for the rest of the description is worth having.
pub(crate) fn or_complain<T: Default>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| {
        exit::complain(&format!("warning: {}", exit::chain(&error)));
        T::default()
    })
}
