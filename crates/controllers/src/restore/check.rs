//! What a Restore is before it runs: the backup that it means, the defaults filled in, and what is
//! wrong with it.

use refloat_model::{
    Backup, BackupPhase, BackupStorageLocation, GoDuration, Restore, labels, location::LocationPhase,
};
use refloat_plan::{restore::NOT_RESTORABLE, validation::validate_restore};

use crate::ServerOptions;

/// What a decision about a restore depends on.
pub(crate) struct Facts<'a> {
    pub(crate) backups: Vec<Backup>,
    pub(crate) locations: Vec<BackupStorageLocation>,
    pub(crate) options: &'a ServerOptions,
}

/// The restore as it is to run, and what is wrong with it (empty: nothing).
pub(crate) fn check(restore: &Restore, facts: &Facts<'_>) -> (Restore, Vec<String>) {
    let mut checked = restore.clone();
    let mut errors = validate_restore(&restore.spec);
    if errors.is_empty() {
        errors.extend(settle_backup(&mut checked, facts).err());
    }
    for kind in NOT_RESTORABLE {
        if !checked.spec.excluded_resources.iter().any(|have| have == kind) {
            checked.spec.excluded_resources.push((*kind).to_owned());
        }
    }
    let timeout = GoDuration(facts.options.default_item_operation_timeout);
    checked.spec.item_operation_timeout = checked.spec.item_operation_timeout.or(timeout);
    (checked, errors)
}

/// Finds the backup that is meant and fills in its name (and its schedule's, as Velero does).
fn settle_backup(restore: &mut Restore, facts: &Facts<'_>) -> Result<(), String> {
    let spec = &mut restore.spec;
    let backup = if spec.backup_name.is_empty() {
        latest_of_schedule(&facts.backups, &spec.schedule_name).ok_or_else(|| {
            format!(
                "No completed backups found for schedule {:?}: name the backup to restore; one that is PartiallyFailed \
                 can be named too",
                spec.schedule_name
            )
        })?
    } else {
        let name = Some(spec.backup_name.as_str());
        facts.backups.iter().find(|backup| backup.metadata.name.as_deref() == name).ok_or_else(|| {
            format!(
                "the backup {:?} does not exist: `velero backup get` lists those that do; one that was made elsewhere \
                 appears within the sync period of its storage location",
                spec.backup_name
            )
        })?
    };
    let name = backup.metadata.name.clone().unwrap_or_default();
    let phase = backup
        .status
        .as_ref()
        .map(|status| status.phase)
        .unwrap_or_default();
    if !may_be_named(phase) {
        return Err(format!(
            "the backup {name:?} is {phase:?}: create the restore again once it has ended; Completed, PartiallyFailed \
             and Failed ones can be restored, as far as they are in the bucket"
        ));
    }
    let wanted = Some(backup.spec.storage_location.as_str());
    let location = facts
        .locations
        .iter()
        .find(|location| location.metadata.name.as_deref() == wanted);
    let Some(location) = location else {
        let location = &backup.spec.storage_location;
        return Err(format!(
            "the storage location {location:?} of the backup {name:?} does not exist"
        ));
    };
    let status = location.status.clone().unwrap_or_default();
    if status.phase == Some(LocationPhase::Unavailable) {
        return Err(format!(
            "the storage location {:?} of the backup {name:?} is unavailable ({}): create the restore again once it is",
            backup.spec.storage_location, status.message
        ));
    }
    if spec.schedule_name.is_empty() {
        let schedule = backup
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(labels::SCHEDULE_NAME));
        spec.schedule_name = schedule.cloned().unwrap_or_default();
    }
    spec.backup_name = name;
    Ok(())
}

/// Whether a backup in this phase can be restored if it is named: one that has ended. A failed one may have left
/// its tarball, and who names it knows that. Unlike with Velero, one that is still being made has to wait.
const fn may_be_named(phase: BackupPhase) -> bool {
    phase.is_restorable() || matches!(phase, BackupPhase::Failed)
}

/// Of the backups that a schedule made and that are complete, the one that began last. As with Velero, one that
/// failed in part has to be named.
pub(crate) fn latest_of_schedule<'a>(backups: &'a [Backup], schedule: &str) -> Option<&'a Backup> {
    let made_by = |backup: &&Backup| {
        let label = backup
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(labels::SCHEDULE_NAME));
        label.is_some_and(|name| name == schedule || *name == labels::label_value(schedule))
    };
    let began = |backup: &&Backup| {
        let status = backup.status.as_ref();
        let started = status.and_then(|status| status.start_timestamp.clone());
        (
            started.or_else(|| backup.metadata.creation_timestamp.clone()),
            backup.metadata.name.clone(),
        )
    };
    backups
        .iter()
        .filter(made_by)
        .filter(|backup| {
            backup
                .status
                .as_ref()
                .is_some_and(|status| status.phase == BackupPhase::Completed)
        })
        .max_by_key(began)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use refloat_model::{BackupSpec, BackupStatus, RestoreSpec, location::BackupStorageLocationStatus};

    fn backup(name: &str, phase: BackupPhase, schedule: &str, started: i64) -> Backup {
        let spec = BackupSpec {
            storage_location: "default".into(),
            ..BackupSpec::default()
        };
        let mut backup = Backup::new(name, spec);
        let start = Some(Time(Timestamp::from_second(started).unwrap()));
        backup.status = Some(BackupStatus {
            phase,
            start_timestamp: start,
            ..BackupStatus::default()
        });
        if !schedule.is_empty() {
            backup.metadata.labels = Some([(labels::SCHEDULE_NAME.to_owned(), schedule.to_owned())].into());
        }
        backup
    }

    fn restore(backup: &str, schedule: &str) -> Restore {
        let spec = RestoreSpec {
            backup_name: backup.to_owned(),
            schedule_name: schedule.to_owned(),
            ..RestoreSpec::default()
        };
        Restore::new("r", spec)
    }

    fn facts(options: &ServerOptions) -> Facts<'_> {
        use BackupPhase as P;
        let backups = vec![
            backup("single", P::Completed, "", 1),
            backup("running", P::InProgress, "daily", 9),
            backup("d1", P::Completed, "daily", 1),
            backup("d3", P::PartiallyFailed, "daily", 3),
            backup("d2", P::Completed, "daily", 2),
            backup("d4", P::Failed, "daily", 4),
            backup("w9", P::Completed, "weekly", 9),
        ];
        Facts {
            backups,
            locations: vec![BackupStorageLocation::new("default", Default::default())],
            options,
        }
    }

    #[test]
    fn a_schedule_means_its_latest_complete_backup() {
        let options = ServerOptions::default();
        let facts = facts(&options);
        assert_eq!(
            latest_of_schedule(&facts.backups, "daily")
                .unwrap()
                .metadata
                .name
                .as_deref(),
            Some("d2")
        );
        assert!(latest_of_schedule(&facts.backups, "none").is_none());
        let (checked, errors) = check(&restore("", "daily"), &facts);
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(
            (
                checked.spec.backup_name.as_str(),
                checked.spec.schedule_name.as_str()
            ),
            ("d2", "daily")
        );
    }

    #[test]
    fn the_backup_must_exist_and_be_restorable() {
        let options = ServerOptions::default();
        let facts = facts(&options);
        let (checked, errors) = check(&restore("d1", ""), &facts);
        assert_eq!(errors, Vec::<String>::new());
        assert_eq!(checked.spec.schedule_name, "daily", "filled in from the backup");
        assert!(checked.spec.excluded_resources.iter().any(|kind| kind == "nodes"));
        assert_eq!(checked.spec.item_operation_timeout, GoDuration::from_hours(4));
        for (name, part) in [("none", "does not exist"), ("running", "InProgress")] {
            let (_, errors) = check(&restore(name, ""), &facts);
            assert!(errors.len() == 1 && errors[0].contains(part), "{errors:?}");
        }
        let (_, errors) = check(&restore("d4", ""), &facts);
        assert_eq!(errors, Vec::<String>::new(), "a failed one that is named");
        let (_, errors) = check(&restore("", "none"), &facts);
        assert!(
            errors.len() == 1 && errors[0].contains("No completed backups"),
            "{errors:?}"
        );
    }

    #[test]
    fn the_location_must_exist_and_be_available() {
        let options = ServerOptions::default();
        let mut facts = facts(&options);
        facts.locations[0].status = Some(BackupStorageLocationStatus {
            phase: Some(LocationPhase::Unavailable),
            message: "no bucket".into(),
            ..Default::default()
        });
        let (_, errors) = check(&restore("d1", ""), &facts);
        assert!(
            errors.len() == 1 && errors[0].contains("unavailable (no bucket)"),
            "{errors:?}"
        );
        facts.locations.clear();
        let (_, errors) = check(&restore("d1", ""), &facts);
        assert!(
            errors.len() == 1 && errors[0].contains("does not exist"),
            "{errors:?}"
        );
    }
}
