//! What a Backup is before it runs: the defaults filled in, the labels and annotations that Velero
//! puts on it, and what is wrong with it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use refloat_cluster::client::ServerVersion;
use refloat_model::{
    Backup, BackupSpec, BackupStorageLocation, GoDuration, VolumeSnapshotLocation, labels, layout,
    location::{AccessMode, LocationPhase},
};
use refloat_plan::{backup::add_default_excludes, validation::validate_backup};

use crate::ServerOptions;

/// How long to wait for a CSI snapshot handle where the backup does not say.
const CSI_SNAPSHOT_TIMEOUT: GoDuration = GoDuration::from_secs(600);

/// What a decision about a backup depends on.
pub(crate) struct Facts<'a> {
    pub(crate) locations: Vec<BackupStorageLocation>,
    pub(crate) snapshot_locations: Vec<VolumeSnapshotLocation>,
    pub(crate) server: ServerVersion,
    pub(crate) options: &'a ServerOptions,
    pub(crate) now: Timestamp,
}

/// The backup as it is to run, and what is wrong with it (empty: nothing).
pub(crate) fn prepare(backup: &Backup, facts: &Facts<'_>) -> (Backup, Vec<String>) {
    let mut prepared = backup.clone();
    fill_in(&mut prepared.spec, facts.options);
    let mut errors = validate_backup(&prepared.spec);
    if prepared.spec.storage_location.is_empty() {
        match default_location(facts) {
            Some(name) => prepared.spec.storage_location = name,
            None => errors.push(format!(
                "the backup names no storage location, and there is neither a default one nor one named {:?}: \
                 set one with `velero backup-location set NAME --default`, then create the backup again",
                facts.options.default_backup_storage_location
            )),
        }
    }
    errors.extend(location_problem(
        &prepared.spec.storage_location,
        &facts.locations,
    ));
    errors.extend(settle_snapshot_locations(&mut prepared.spec, facts));
    add_default_excludes(&mut prepared.spec);
    mark(&mut prepared, facts);
    let status = prepared.status.get_or_insert_default();
    status.version = layout::MAJOR_VERSION;
    layout::FORMAT_VERSION.clone_into(&mut status.format_version);
    let expiration = facts
        .now
        .saturating_add(prepared.spec.ttl.0)
        .unwrap_or(Timestamp::MAX);
    status.expiration = Some(Time(expiration));
    (prepared, errors)
}

fn fill_in(spec: &mut BackupSpec, options: &ServerOptions) {
    spec.ttl = spec.ttl.or(GoDuration(options.default_backup_ttl));
    spec.csi_snapshot_timeout = spec.csi_snapshot_timeout.or(CSI_SNAPSHOT_TIMEOUT);
    spec.item_operation_timeout = spec
        .item_operation_timeout
        .or(GoDuration(options.default_item_operation_timeout));
    if spec.volume_group_snapshot_label_key.is_empty() {
        spec.volume_group_snapshot_label_key
            .clone_from(&options.volume_group_snapshot_label_key);
    }
    if spec.default_volumes_to_fs_backup.is_none() {
        let old_name = spec.default_volumes_to_restic.take();
        spec.default_volumes_to_fs_backup = old_name.or(Some(options.default_volumes_to_fs_backup));
    }
    if spec.snapshot_move_data.is_none() {
        spec.snapshot_move_data = Some(options.default_snapshot_move_data);
    }
}

/// The location of backups that name none.
fn default_location(facts: &Facts<'_>) -> Option<String> {
    let name = |location: &BackupStorageLocation| location.metadata.name.clone();
    let default = facts
        .locations
        .iter()
        .find(|location| location.spec.default)
        .and_then(name);
    let configured = &facts.options.default_backup_storage_location;
    default.or_else(|| {
        facts
            .locations
            .iter()
            .filter_map(name)
            .find(|name| name == configured)
    })
}

fn location_problem(name: &str, locations: &[BackupStorageLocation]) -> Option<String> {
    if name.is_empty() {
        return None;
    }
    let found = locations
        .iter()
        .find(|location| location.metadata.name.as_deref() == Some(name));
    let Some(location) = found else {
        return Some(format!(
            "the storage location {name:?} does not exist: create it with `velero backup-location create`, or name \
             one that `velero backup-location get` lists"
        ));
    };
    if location.spec.access_mode == Some(AccessMode::ReadOnly) {
        return Some(format!(
            "the storage location {name:?} is read-only: backups cannot be made in it"
        ));
    }
    let status = location.status.as_ref()?;
    (status.phase == Some(LocationPhase::Unavailable)).then(|| {
        format!(
            "the storage location {name:?} is unavailable ({}): create the backup again once it is",
            status.message
        )
    })
}

/// Checks the snapshot locations that the backup names, at most one per provider, and adds the
/// default one of every provider that it names none for.
fn settle_snapshot_locations(spec: &mut BackupSpec, facts: &Facts<'_>) -> Vec<String> {
    if spec.snapshot_volumes == Some(false) {
        return Vec::new();
    }
    let known = &facts.snapshot_locations;
    let provider_of = |name: &str| {
        let found = known
            .iter()
            .find(|location| location.metadata.name.as_deref() == Some(name));
        found.map(|location| location.spec.provider.clone())
    };
    let mut errors = Vec::new();
    let mut providers: Vec<String> = Vec::new();
    for name in &spec.volume_snapshot_locations {
        match provider_of(name) {
            None => errors.push(format!("the volume snapshot location {name:?} does not exist")),
            Some(provider) if providers.contains(&provider) => {
                errors.push(format!(
                    "more than one volume snapshot location is named for provider {provider:?}"
                ));
            }
            Some(provider) => providers.push(provider),
        }
    }
    let mut names: Vec<_> = known
        .iter()
        .map(|location| location.spec.provider.clone())
        .collect();
    names.sort();
    names.dedup();
    for provider in names.into_iter().filter(|provider| !providers.contains(provider)) {
        let mut of_provider = known.iter().filter(|location| location.spec.provider == provider);
        let configured = facts
            .options
            .default_volume_snapshot_locations
            .iter()
            .find(|(of, _)| *of == provider);
        match (configured, of_provider.next(), of_provider.next()) {
            (Some((_, name)), _, _) => spec.volume_snapshot_locations.push(name.clone()),
            (None, Some(only), None) => spec.volume_snapshot_locations.extend(only.metadata.name.clone()),
            _ => {}
        }
    }
    errors
}

fn mark(backup: &mut Backup, facts: &Facts<'_>) {
    let location = labels::label_value(&backup.spec.storage_location);
    let labels = backup.metadata.labels.get_or_insert_default();
    labels.insert(labels::STORAGE_LOCATION.to_owned(), location);
    let timeout = GoDuration(facts.options.resource_timeout).to_string();
    let annotations = backup.metadata.annotations.get_or_insert_default();
    for (key, value) in [
        (labels::SOURCE_GIT_VERSION, &facts.server.git_version),
        (labels::SOURCE_MAJOR_VERSION, &facts.server.major),
        (labels::SOURCE_MINOR_VERSION, &facts.server.minor),
        (labels::RESOURCE_TIMEOUT, &timeout),
    ] {
        annotations.insert(key.to_owned(), value.clone());
    }
}

#[cfg(test)]
mod tests;
