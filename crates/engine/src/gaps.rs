//! What a spec asks for and this release does not do yet: said in the results, never passed over.

use refloat_model::BackupSpec;

/// One warning for each part of a backup's spec that has no effect.
pub(crate) fn of_backup(spec: &BackupSpec) -> Vec<String> {
    let mut gaps = Vec::new();
    if spec.resource_policy.is_some() {
        gaps.push("spec.resourcePolicy: resource policies are not applied by this release".into());
    }
    let asked = [
        ("spec.snapshotVolumes", spec.snapshot_volumes),
        ("spec.snapshotMoveData", spec.snapshot_move_data),
        ("spec.defaultVolumesToFsBackup", spec.default_volumes_to_fs_backup),
        ("spec.defaultVolumesToRestic", spec.default_volumes_to_restic),
    ];
    for (field, _) in asked.into_iter().filter(|(_, asked)| *asked == Some(true)) {
        gaps.push(format!(
            "{field}: the data of volumes is not part of backups of this release, only their objects"
        ));
    }
    gaps
}
