//! Labels and annotations that Velero puts on objects, and the rule for values that are too long.

use sha2::{Digest, Sha256};

/// On every object in a backup's orbit: the backup's name, shortened by [`label_value`].
pub const BACKUP_NAME: &str = "velero.io/backup-name";
/// The backup's UID, on delete requests and pod volume backups.
pub const BACKUP_UID: &str = "velero.io/backup-uid";
/// On every restored object: the restore's name, shortened by [`label_value`].
pub const RESTORE_NAME: &str = "velero.io/restore-name";
/// The restore's UID, on pod volume restores and data downloads.
pub const RESTORE_UID: &str = "velero.io/restore-uid";
/// On a backup: the schedule that made it.
pub const SCHEDULE_NAME: &str = "velero.io/schedule-name";
/// On a backup: its storage location, shortened by [`label_value`].
pub const STORAGE_LOCATION: &str = "velero.io/storage-location";
/// On any object or namespace, value `"true"`: it is never backed up.
pub const EXCLUDE_FROM_BACKUP: &str = "velero.io/exclude-from-backup";
/// Why garbage collection could not delete a backup.
pub const GC_FAILURE: &str = "velero.io/gc-failure";
/// The UID of the claim that a pod volume backup belongs to.
pub const PVC_UID: &str = "velero.io/pvc-uid";
/// Marks ConfigMaps that configure restore actions.
pub const PLUGIN_CONFIG: &str = "velero.io/plugin-config";
/// Label, value `RestoreItemAction`, of the ConfigMap that maps storage classes.
pub const CHANGE_STORAGE_CLASS: &str = "velero.io/change-storage-class";
/// Label, value `RestoreItemAction`, of the ConfigMap that maps parts of names of images.
pub const CHANGE_IMAGE_NAME: &str = "velero.io/change-image-name";
/// Annotation on an object: the object is left out of backups. Velero's actions set it to leave out one
/// that they look at, and it has that effect on objects of the kinds that actions look at.
pub const SKIP_FROM_BACKUP: &str = "velero.io/skip-from-backup";
/// Annotation on a backup: the source cluster's `gitVersion`.
pub const SOURCE_GIT_VERSION: &str = "velero.io/source-cluster-k8s-gitversion";
/// Annotation on a backup: the source cluster's major version.
pub const SOURCE_MAJOR_VERSION: &str = "velero.io/source-cluster-k8s-major-version";
/// Annotation on a backup: the source cluster's minor version.
pub const SOURCE_MINOR_VERSION: &str = "velero.io/source-cluster-k8s-minor-version";
/// Annotation on a backup: the server's `--resource-timeout`.
pub const RESOURCE_TIMEOUT: &str = "velero.io/resource-timeout";
/// Annotation on an object: overrides the restore's `restoreStatus` for it.
pub const RESTORE_STATUS: &str = "velero.io/restore-status";
/// Annotation on an item: its related items bypass the filters.
pub const MUST_INCLUDE_ADDITIONAL: &str = "backup.velero.io/must-include-additional-items";
/// Annotation on a schedule, ours: what is kept of its backups, as `refloat-plan` reads it.
pub const RETENTION: &str = "refloat.io/retention";
/// Annotation on a backup, ours, value `"true"`: neither its age nor a policy deletes it.
pub const PINNED: &str = "refloat.io/pinned";
/// Annotation on a schedule, ours: the run that is being made, so that no crash makes a second one.
pub const RUN: &str = "refloat.io/run";
/// Annotation on a restored pod: which restore's exec hooks have run in it, and how many failed, as JSON. Ours
/// only: a restore that goes on after a crash does not run them twice.
pub const RESTORE_HOOKS: &str = "refloat.io/restore-hooks";
/// Annotation on a backup or a request to delete it, value `"true"`: delete the backup although that
/// orphans volume data that it refers to. Ours; Velero does not know it.
pub const ORPHAN_VOLUME_DATA: &str = "refloat.io/orphan-volume-data";
/// The finalizer on restores: the bucket's `restores/<name>/` goes with the object.
pub const RESTORE_FINALIZER: &str = "restores.velero.io/external-resources-finalizer";

/// Annotation on a restore: the only objects to restore, a JSON list of `resource[.group]/[namespace/]name`.
pub const OBJECTS: &str = "refloat.io/objects";
/// Annotation on a restore: the plan that it applies.
pub const PLAN: &str = "refloat.io/plan";
/// Annotation on a restore: the hash of the plan that it applies.
pub const PLAN_HASH: &str = "refloat.io/plan-hash";
/// Annotation on a restore: the hash of the plan that the cluster was found to agree with, before
/// anything was written.
pub const PLAN_CHECKED: &str = "refloat.io/plan-checked";
/// Annotation on a backup or restore: who wants it to be stopped.
pub const CANCELLED_BY: &str = "refloat.io/cancelled-by";

/// The longest value that Kubernetes allows a label, in bytes.
pub const LONGEST_VALUE: usize = 63;

/// `text` as a label value, as Velero shortens it: unchanged up to 63 characters, else the first
/// 57 followed by the first six hexadecimal digits of the SHA-256 of the whole.
#[must_use]
pub fn label_value(text: &str) -> String {
    if text.len() <= LONGEST_VALUE {
        return text.to_owned();
    }
    let digest = Sha256::digest(text.as_bytes());
    let hex: String = digest.iter().take(3).map(|byte| format!("{byte:02x}")).collect();
    let mut cut = LONGEST_VALUE - 6;
    while !text.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}{hex}", &text[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_values_stay_and_long_ones_end_in_their_hash() {
        assert_eq!(label_value("daily"), "daily");
        let exact = "a".repeat(63);
        assert_eq!(label_value(&exact), exact);
        let long = "a".repeat(64);
        let short = label_value(&long);
        assert_eq!(short.len(), 63);
        assert_eq!(&short[57..], "ffe054", "sha256 of 64 times 'a' starts so");
    }
}
