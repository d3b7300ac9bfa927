//! What a spec asks for and this release does not do yet: said in the results, never passed over.

use refloat_model::BackupSpec;
use refloat_plan::resource_policy::ResourcePolicies;

/// One warning for each part of a backup's spec that has no effect.
pub(crate) fn of_backup(spec: &BackupSpec) -> Vec<String> {
    let mut gaps = Vec::new();
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

/// A warning, if a backup's policies have rules about the data of volumes.
pub(crate) fn of_policies(policies: &ResourcePolicies) -> Option<String> {
    let rules = policies.volume_policies;
    (rules > 0).then(|| {
        format!(
            "spec.resourcePolicy: its {rules} volumePolicies are valid and have no effect in this release, because the \
             data of volumes is not part of its backups; all claims and volumes are backed up as objects"
        )
    })
}
