//! Restores without a server: done, listed and deleted by this process.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use refloat_engine::{
    EngineError, Location, Progress, RestoreJob, RestoreOptions, catalog, check_plan, run_restore,
};
use refloat_model::{GoDuration, Restore, RestoreStatus, labels::SCHEDULE_NAME};
use refloat_plan::resource_modifier::ResourceModifiers;

use crate::{
    backup::local::followed,
    exit::Outcome,
    flags::{ListFlags, SelectFlags},
    output::say,
    query::Query,
    restore::create::{latest, outcome},
    rules_file,
    session::Session,
    wait::Interruption,
};

/// What a restore gets that says nothing, as from Velero's server.
const ITEM_OPERATION_TIMEOUT: GoDuration = GoDuration::from_hours(4);

/// Does the restore and shows how far it is.
///
/// # Errors
/// Why nothing, or not all, was tried.
pub async fn create(
    session: &Session,
    url: &str,
    mut restore: Restore,
    modifiers: Option<&Path>,
) -> Result<Outcome> {
    let problems = refloat_plan::validation::validate_restore(&restore.spec);
    if !problems.is_empty() {
        bail!("the restore's specification is invalid: {}", problems.join("; "));
    }
    let modifiers = match modifiers {
        Some(file) => {
            let read = ResourceModifiers::read(&rules_file::read(file)?);
            Some(read.with_context(|| format!("cannot use the rules in {}", file.display()))?)
        }
        None => None,
    };
    let location = Session::location(url).await?;
    let name = restore.metadata.name.clone().unwrap_or_default();
    if catalog::read_restore(&location, &name).await.is_ok() {
        bail!(
            "restore {name:?} already exists in {}; choose another name or delete it first",
            location.name()
        );
    }
    let backup = catalog::read_backup(&location, &restore.spec.backup_name).await?;
    let (cluster, _) = session.cluster_for_work().await?;
    let now = Session::now();
    restore.spec.item_operation_timeout = restore.spec.item_operation_timeout.or(ITEM_OPERATION_TIMEOUT);
    restore.metadata.uid = Some(uuid::Uuid::new_v4().to_string());
    restore.metadata.creation_timestamp = Some(Time(now));
    restore.status = Some(RestoreStatus {
        start_timestamp: Some(Time(now)),
        ..RestoreStatus::default()
    });
    let progress = Progress::default();
    let interruption = Interruption::listen();
    let job = RestoreJob {
        restore,
        backup,
        location,
        cluster,
        options: RestoreOptions {
            modifiers,
            ..RestoreOptions::default()
        },
        progress: progress.clone(),
        cancel: interruption.once.clone(),
    };
    let work = async {
        check_plan(&job).await?;
        run_restore(job).await
    };
    let ran = followed(
        Box::pin(work),
        &progress,
        &format!("Restoring {name}"),
        &interruption,
    )
    .await;
    let report = match ran {
        Some(Ok(report)) => report,
        Some(Err(EngineError::Cancelled)) | None => return Ok(Outcome::Interrupted),
        Some(Err(error)) => return Err(error).with_context(|| format!("cannot do restore {name:?}")),
    };
    let status = report.restore.status.unwrap_or_default();
    let program = &session.program;
    say(&format!(
        "Restore {name} completed with status: {:?} ({} warnings, {} errors).",
        status.phase, status.warnings, status.errors
    ))?;
    say(&format!(
        "Run `{program} restore describe {name} --storage {url}` or `{program} restore logs {name} --storage {url}` for more \
         details."
    ))?;
    Ok(outcome(status.phase))
}

/// Puts the latest good backup of the restore's schedule in the schedule's place.
///
/// # Errors
/// Where there is none or the storage cannot be read.
pub async fn latest_of_schedule(url: &str, restore: &mut Restore, partially_failed: bool) -> Result<()> {
    let location = Session::location(url).await?;
    let schedule = std::mem::take(&mut restore.spec.schedule_name);
    let mut backups = crate::backup::local::listed(&location, &ListFlags::default()).await?;
    backups.retain(|backup| {
        let labels = backup.metadata.labels.as_ref();
        labels
            .and_then(|labels| labels.get(SCHEDULE_NAME))
            .is_some_and(|name| *name == schedule)
    });
    let Some(backup) = latest(backups, partially_failed) else {
        bail!(
            "no successful backups found for the schedule {schedule} in {}",
            location.name()
        );
    };
    restore.spec.backup_name = backup.metadata.name.unwrap_or_default();
    Ok(())
}

/// The named restores of the storage, all of which must exist, or those that match. Restores that a
/// server did are described in its cluster only, and are not here.
///
/// # Errors
/// Where one does not exist or the storage cannot be read.
pub async fn listed(location: &Location, flags: &ListFlags) -> Result<Vec<Restore>> {
    let named = !flags.names.is_empty();
    let names = if named {
        flags.names.clone()
    } else {
        catalog::list_restores(location).await?
    };
    let mut restores: Vec<Restore> = stream::iter(names)
        .map(|name| async move {
            match catalog::read_restore(location, &name).await {
                Err(EngineError::RestoreNotFound { .. }) if !named => Ok(None),
                other => other.map(Some),
            }
        })
        .buffered(16)
        .try_filter_map(|restore| std::future::ready(Ok(restore)))
        .try_collect()
        .await?;
    if let Some(selector) = flags.selector.as_ref().filter(|_| !named) {
        restores.retain(|restore| selector.matches(restore.metadata.labels.as_ref()));
    }
    Ok(restores)
}

/// The names of the restores to delete.
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
    let restores = listed(location, &matching).await?;
    Ok(restores
        .into_iter()
        .filter_map(|restore| restore.metadata.name)
        .collect())
}
