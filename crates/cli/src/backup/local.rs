//! Backups without a server: made, listed and deleted by this process.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use refloat_cluster::client::ServerVersion;
use refloat_engine::{BackupJob, BackupOptions, EngineError, Location, Progress, catalog, run_backup};
use refloat_model::{Backup, BackupStatus, GoDuration, labels};
use refloat_plan::{backup::add_default_excludes, resource_policy::ResourcePolicies};

use crate::{
    backup::create::outcome,
    exit::Outcome,
    flags::{ListFlags, SelectFlags},
    output::say,
    progress::{Counts, Meter},
    query::Query,
    rules_file,
    session::Session,
    wait::Interruption,
};

/// What a backup gets that says nothing, as from Velero's server.
const TTL: GoDuration = GoDuration::from_hours(720);
const CSI_SNAPSHOT_TIMEOUT: GoDuration = GoDuration::from_secs(600);
const ITEM_OPERATION_TIMEOUT: GoDuration = GoDuration::from_hours(4);
const RESOURCE_TIMEOUT: GoDuration = GoDuration::from_secs(600);
const VOLUME_GROUP: &str = "velero.io/volume-group";
/// The location's name in backups that were made without a server. A server that finds them in a
/// bucket replaces it by the name that it knows.
const LOCATION_NAME: &str = "default";

/// Makes the backup and shows how far it is.
///
/// # Errors
/// Why there is no backup.
pub async fn create(
    session: &Session,
    url: &str,
    backup: Backup,
    policies: Option<&Path>,
) -> Result<Outcome> {
    let policies = match policies {
        Some(file) => {
            let read = ResourcePolicies::read(&rules_file::read(file)?);
            Some(read.with_context(|| format!("cannot use the policies in {}", file.display()))?)
        }
        None => None,
    };
    if let Some(reason) = policies
        .as_ref()
        .and_then(|policies| policies.conflict(&backup.spec))
    {
        bail!("{reason}");
    }
    let location = Session::location(url).await?;
    let (cluster, version) = session.cluster_for_work().await?;
    let backup = with_defaults(backup, version)?;
    let name = backup.metadata.name.clone().unwrap_or_default();
    let progress = Progress::default();
    let interruption = Interruption::listen();
    let job = BackupJob {
        backup,
        location,
        cluster,
        options: BackupOptions {
            policies,
            ..BackupOptions::default()
        },
        progress: progress.clone(),
        cancel: interruption.once.clone(),
    };
    let ran = followed(
        Box::pin(run_backup(job)),
        &progress,
        &format!("Backing up {name}"),
        &interruption,
    )
    .await;
    let report = match ran {
        Some(Ok(report)) => report,
        Some(Err(EngineError::Cancelled)) | None => return Ok(Outcome::Interrupted),
        Some(Err(error)) => return Err(error).with_context(|| format!("cannot make backup {name:?}")),
    };
    let status = report.backup.status.unwrap_or_default();
    let program = &session.program;
    say(&format!(
        "Backup {name} completed with status: {:?} ({} warnings, {} errors).",
        status.phase, status.warnings, status.errors
    ))?;
    say(&format!(
        "Run `{program} backup describe {name} --storage {url}` or `{program} backup logs {name} --storage {url}` for more details."
    ))?;
    Ok(outcome(status.phase))
}

/// Runs a job and shows how far it is. `None`: the user would not wait for its clean end.
pub async fn followed<T>(
    job: impl Future<Output = Result<T, EngineError>>,
    progress: &Progress,
    what: &str,
    interruption: &Interruption,
) -> Option<Result<T, EngineError>> {
    let mut meter = Meter::new(what);
    let counts = || Counts {
        done: progress.done(),
        total: progress.total(),
        bytes: Some(progress.bytes()),
    };
    let mut job = std::pin::pin!(job);
    let result = loop {
        tokio::select! {
            result = &mut job => break result,
            () = interruption.twice.cancelled() => return None,
            () = tokio::time::sleep(Duration::from_millis(200)) => meter.show(counts()),
        }
    };
    meter.show(counts());
    if result.is_ok() {
        meter.finish();
    }
    Some(result)
}

/// What a server adds to a backup before it runs.
fn with_defaults(mut backup: Backup, version: ServerVersion) -> Result<Backup> {
    let now = Session::now();
    let spec = &mut backup.spec;
    spec.ttl = spec.ttl.or(TTL);
    spec.csi_snapshot_timeout = spec.csi_snapshot_timeout.or(CSI_SNAPSHOT_TIMEOUT);
    spec.item_operation_timeout = spec.item_operation_timeout.or(ITEM_OPERATION_TIMEOUT);
    spec.default_volumes_to_fs_backup.get_or_insert(false);
    spec.snapshot_move_data.get_or_insert(false);
    if spec.storage_location.is_empty() {
        spec.storage_location = LOCATION_NAME.into();
    }
    if spec.volume_group_snapshot_label_key.is_empty() {
        spec.volume_group_snapshot_label_key = VOLUME_GROUP.into();
    }
    add_default_excludes(spec);
    let metadata = &mut backup.metadata;
    metadata.uid = Some(uuid::Uuid::new_v4().to_string());
    metadata.creation_timestamp = Some(Time(now));
    let location = labels::label_value(&spec.storage_location);
    metadata
        .labels
        .get_or_insert_default()
        .insert(labels::STORAGE_LOCATION.into(), location);
    metadata.annotations.get_or_insert_default().extend([
        (labels::SOURCE_GIT_VERSION.to_owned(), version.git_version),
        (labels::SOURCE_MAJOR_VERSION.to_owned(), version.major),
        (labels::SOURCE_MINOR_VERSION.to_owned(), version.minor),
        (labels::RESOURCE_TIMEOUT.to_owned(), RESOURCE_TIMEOUT.to_string()),
    ]);
    backup.status = Some(BackupStatus {
        start_timestamp: Some(Time(now)),
        expiration: Some(Time(now.checked_add(spec.ttl.0).context("--ttl is too long")?)),
        ..BackupStatus::default()
    });
    Ok(backup)
}

/// The named backups of the storage, all of which must exist, or those that match.
///
/// # Errors
/// Where one does not exist or the storage cannot be read.
pub async fn listed(location: &Location, flags: &ListFlags) -> Result<Vec<Backup>> {
    let named = !flags.names.is_empty();
    let names = if named {
        flags.names.clone()
    } else {
        catalog::list_backups(location).await?
    };
    let mut backups: Vec<Backup> = stream::iter(names)
        .map(|name| async move { catalog::read_backup(location, &name).await })
        .buffered(16)
        .try_collect()
        .await?;
    if let Some(selector) = flags.selector.as_ref().filter(|_| !named) {
        backups.retain(|backup| selector.matches(backup.metadata.labels.as_ref()));
    }
    Ok(backups)
}

/// The names of the backups to delete; a name that does not exist stays in, so that a deletion which
/// was interrupted can be repeated.
///
/// # Errors
/// Where the storage cannot be read.
pub async fn to_delete(location: &Location, flags: &SelectFlags) -> Result<Vec<String>> {
    if !flags.names.is_empty() {
        return Ok(flags.names.clone());
    }
    let matching = ListFlags {
        names: Vec::new(),
        selector: flags.selector.as_ref().map(Query::from),
    };
    let backups = listed(location, &matching).await?;
    Ok(backups
        .into_iter()
        .filter_map(|backup| backup.metadata.name)
        .collect())
}
