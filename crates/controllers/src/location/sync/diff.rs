//! What the bucket and the cluster have that the other has not, and how a backup of the bucket looks
//! as a custom resource.

use std::collections::BTreeSet;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use refloat_model::{Backup, BackupPhase, Schedule, labels, pod_volume::PodVolumeBackup};

/// Of the backups in `stored` those that no Backup is named like, and of the Backups in `location`
/// those that have ended well but whose files are gone. A name that is taken by a backup of another
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

/// Whether a backup of the bucket is ready to be a custom resource: not while another server still
/// finishes it, unless it has expired, so that it can be deleted.
pub(crate) fn is_to_be_adopted(stored: &Backup, now: Timestamp) -> bool {
    let status = stored.status.clone().unwrap_or_default();
    let unfinished = matches!(
        status.phase,
        BackupPhase::WaitingForPluginOperations
            | BackupPhase::WaitingForPluginOperationsPartiallyFailed
            | BackupPhase::Finalizing
            | BackupPhase::FinalizingPartiallyFailed
            | BackupPhase::InProgress
    );
    !unfinished || status.expiration.is_some_and(|expiration| expiration.0 <= now)
}

/// A backup of the bucket as a Backup of this cluster: in our namespace, labelled with the location
/// that it was found in, owned by its schedule only if that very schedule exists here.
pub(crate) fn adopted(stored: Backup, namespace: &str, location: &str, schedules: &[Schedule]) -> Backup {
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
    if let Some(status) = &mut backup.status {
        status.queue_position = 0;
    }
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
    fn an_unfinished_backup_is_adopted_only_once_expired() {
        let now = Timestamp::from_second(1_700_000_000).unwrap();
        assert!(is_to_be_adopted(&backup("a", "l", BackupPhase::Completed), now));
        assert!(is_to_be_adopted(&backup("a", "l", BackupPhase::Failed), now));
        let mut waiting = backup("a", "l", BackupPhase::Finalizing);
        assert!(!is_to_be_adopted(&waiting, now));
        waiting.status.as_mut().unwrap().expiration = Some(Time(now));
        assert!(is_to_be_adopted(&waiting, now));
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
        let adopted = adopted(stored, "velero", location, &[daily, weekly]);
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
