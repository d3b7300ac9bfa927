//! What the bucket and the cluster have that the other has not, and how a backup of the bucket looks
//! as a custom resource.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use refloat_model::{Backup, BackupPhase, Schedule, hooks::BackupHooks, labels, pod_volume::PodVolumeBackup};

/// Of the folders in `stored` those that no Backup is named like, and of the Backups in `location`
/// those that have ended well but have no folder, that is, no file, any more. A name that is taken by a backup of another
/// location stays with that.
pub(crate) fn missing_and_orphaned(
    known: &[Backup],
    stored: &[String],
    location: &str,
) -> (Vec<String>, Vec<String>) {
    let name = |backup: &Backup| backup.metadata.name.clone().unwrap_or_default();
    let names: BTreeSet<String> = known.iter().map(name).collect();
    let there: BTreeSet<&str> = stored.iter().map(String::as_str).collect();
    let missing = stored
        .iter()
        .filter(|stored| !names.contains(*stored))
        .cloned()
        .collect();
    let orphaned = known.iter().filter(|backup| {
        let phase = backup
            .status
            .as_ref()
            .map(|status| status.phase)
            .unwrap_or_default();
        backup.spec.storage_location == location
            && phase.is_restorable()
            && !there.contains(name(backup).as_str())
    });
    (missing, orphaned.map(name).collect())
}

/// The phase in which a backup of the bucket becomes a custom resource; `None`: it does not. Not while
/// another server still finishes it, unless it has expired, so that it can be deleted; and never in a
/// phase in which a server would carry it out.
pub(crate) fn adopted_phase(stored: &Backup, now: Timestamp) -> Option<BackupPhase> {
    use BackupPhase as Phase;
    let status = stored.status.as_ref()?;
    let expired = || status.expiration.as_ref().is_some_and(|at| at.0 <= now);
    match status.phase {
        Phase::Completed | Phase::PartiallyFailed | Phase::Failed => Some(status.phase),
        Phase::WaitingForPluginOperations
        | Phase::WaitingForPluginOperationsPartiallyFailed
        | Phase::Finalizing
        | Phase::FinalizingPartiallyFailed
            if expired() =>
        {
            Some(Phase::PartiallyFailed)
        }
        _ => None,
    }
}

/// A backup of the bucket as a Backup of this cluster: in our namespace, labelled with the location
/// that it was found in, owned by its schedule only if that very schedule exists here, and without hooks:
/// nobody runs it again, so commands from a bucket have no place in the cluster.
pub(crate) fn adopted(
    stored: Backup,
    phase: BackupPhase,
    namespace: &str,
    location: &str,
    schedules: &[Schedule],
) -> Backup {
    let mut backup = stored;
    let old = std::mem::take(&mut backup.metadata);
    let mut labels = old.labels.unwrap_or_default();
    labels.insert(labels::STORAGE_LOCATION.to_owned(), labels::label_value(location));
    let owners = old.owner_references.unwrap_or_default();
    let owners: Vec<_> = owners
        .into_iter()
        .filter(|owner| is_schedule(owner, schedules))
        .collect();
    backup.metadata = ObjectMeta {
        name: old.name,
        namespace: Some(namespace.to_owned()),
        labels: Some(labels),
        annotations: old.annotations,
        owner_references: (!owners.is_empty()).then_some(owners),
        ..ObjectMeta::default()
    };
    location.clone_into(&mut backup.spec.storage_location);
    backup.spec.hooks = BackupHooks::default();
    let status = backup.status.get_or_insert_default();
    status.phase = phase;
    status.queue_position = 0;
    backup
}

fn is_schedule(owner: &OwnerReference, schedules: &[Schedule]) -> bool {
    owner.kind == "Schedule"
        && schedules.iter().any(|schedule| {
            schedule.metadata.name.as_deref() == Some(&owner.name)
                && schedule.metadata.uid.as_deref() == Some(&owner.uid)
        })
}

/// A pod volume backup of the bucket as one of this cluster, owned by the adopted Backup.
pub(crate) fn adopted_volume_copy(copy: PodVolumeBackup, backup: &Backup, location: &str) -> PodVolumeBackup {
    let mut copy = copy;
    let old = std::mem::take(&mut copy.metadata);
    let name = backup.metadata.name.clone().unwrap_or_default();
    let uid = backup.metadata.uid.clone().unwrap_or_default();
    let mut labels = old.labels.unwrap_or_default();
    labels.insert(labels::BACKUP_UID.to_owned(), uid.clone());
    labels.insert(labels::BACKUP_NAME.to_owned(), labels::label_value(&name));
    let owner = OwnerReference {
        api_version: "velero.io/v1".to_owned(),
        kind: "Backup".to_owned(),
        name,
        uid,
        controller: Some(true),
        ..OwnerReference::default()
    };
    copy.metadata = ObjectMeta {
        name: old.name,
        namespace: backup.metadata.namespace.clone(),
        labels: Some(labels),
        annotations: old.annotations,
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    location.clone_into(&mut copy.spec.backup_storage_location);
    copy
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use refloat_model::{BackupSpec, BackupStatus};

    fn backup(name: &str, location: &str, phase: BackupPhase) -> Backup {
        let mut backup = Backup::new(name, BackupSpec::default());
        location.clone_into(&mut backup.spec.storage_location);
        backup.status = Some(BackupStatus {
            phase,
            ..BackupStatus::default()
        });
        backup
    }

    #[test]
    fn the_difference_goes_both_ways() {
        use BackupPhase as P;
        let known = [
            backup("kept", "here", P::Completed),
            backup("gone", "here", P::Completed),
            backup("gone-partly", "here", P::PartiallyFailed),
            backup("elsewhere", "there", P::Completed),
            backup("running", "here", P::InProgress),
            backup("failed", "here", P::Failed),
            backup("being-deleted", "here", P::Deleting),
        ];
        let stored = ["kept", "new", "elsewhere"].map(str::to_owned);
        let (missing, orphaned) = missing_and_orphaned(&known, &stored, "here");
        assert_eq!(
            missing,
            ["new"],
            "a name that another location's backup has is left to it"
        );
        assert_eq!(orphaned, ["gone", "gone-partly"]);
    }

    #[test]
    fn only_what_has_ended_is_adopted() {
        use BackupPhase as P;
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        for phase in [P::Completed, P::PartiallyFailed, P::Failed] {
            assert_eq!(adopted_phase(&backup("a", "l", phase), now), Some(phase));
        }
        for (phase, once_expired) in [
            (P::Finalizing, Some(P::PartiallyFailed)),
            (P::FinalizingPartiallyFailed, Some(P::PartiallyFailed)),
            (P::WaitingForPluginOperations, Some(P::PartiallyFailed)),
            (
                P::WaitingForPluginOperationsPartiallyFailed,
                Some(P::PartiallyFailed),
            ),
            (P::InProgress, None),
            (P::New, None),
            (P::Queued, None),
            (P::ReadyToStart, None),
            (P::FailedValidation, None),
            (P::Deleting, None),
            (P::Unknown, None),
        ] {
            let mut stored = backup("a", "l", phase);
            assert_eq!(adopted_phase(&stored, now), None, "{phase:?}");
            stored.status.as_mut().unwrap().expiration = Some(Time(now));
            assert_eq!(adopted_phase(&stored, now), once_expired, "{phase:?}");
        }
        let mut without = backup("a", "l", P::Completed);
        without.status = None;
        assert_eq!(adopted_phase(&without, now), None);
    }

    #[test]
    fn an_adopted_backup_belongs_to_this_cluster() {
        let owner = |name: &str, uid: &str| OwnerReference {
            kind: "Schedule".into(),
            name: name.into(),
            uid: uid.into(),
            ..OwnerReference::default()
        };
        let mut stored = backup("a", "old-name", BackupPhase::Completed);
        stored.metadata.namespace = Some("elsewhere".into());
        stored.metadata.uid = Some("1".into());
        stored.metadata.resource_version = Some("5".into());
        stored.metadata.finalizers = Some(vec!["x/y".into()]);
        stored.metadata.labels = Some([("k".to_owned(), "v".to_owned())].into());
        stored.metadata.owner_references = Some(vec![owner("daily", "s1"), owner("weekly", "s2")]);
        let mut daily = Schedule::new("daily", Default::default());
        daily.metadata.uid = Some("s1".into());
        let mut weekly = Schedule::new("weekly", Default::default());
        weekly.metadata.uid = Some("another".into());
        let location = "a-location-with-a-name-that-is-longer-than-a-label-may-be-in-kubernetes";
        stored.spec.hooks.resources = vec![Default::default()];
        let adopted = adopted(
            stored,
            BackupPhase::PartiallyFailed,
            "velero",
            location,
            &[daily, weekly],
        );
        assert!(adopted.spec.hooks.resources.is_empty());
        assert_eq!(adopted.status.unwrap().phase, BackupPhase::PartiallyFailed);
        let metadata = &adopted.metadata;
        assert_eq!(metadata.namespace.as_deref(), Some("velero"));
        assert_eq!(
            (&metadata.uid, &metadata.resource_version, &metadata.finalizers),
            (&None, &None, &None)
        );
        let labels = metadata.labels.as_ref().unwrap();
        assert_eq!(labels["k"], "v");
        assert_eq!(labels[labels::STORAGE_LOCATION], labels::label_value(location));
        assert_eq!(adopted.spec.storage_location, location);
        let owners: Vec<_> = metadata
            .owner_references
            .iter()
            .flatten()
            .map(|owner| owner.name.as_str())
            .collect();
        assert_eq!(owners, ["daily"]);
    }

    #[test]
    fn an_adopted_volume_copy_belongs_to_the_adopted_backup() {
        let mut adopted_backup = backup("a", "here", BackupPhase::Completed);
        adopted_backup.metadata.uid = Some("new".into());
        adopted_backup.metadata.namespace = Some("velero".into());
        let mut copy = PodVolumeBackup::new("a-x", Default::default());
        copy.metadata.labels = Some([(labels::BACKUP_UID.to_owned(), "old".to_owned())].into());
        let copy = adopted_volume_copy(copy, &adopted_backup, "here");
        assert_eq!(copy.metadata.labels.unwrap()[labels::BACKUP_UID], "new");
        assert_eq!(copy.metadata.owner_references.unwrap()[0].uid, "new");
        assert_eq!(copy.spec.backup_storage_location, "here");
    }
}
