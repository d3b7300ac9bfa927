//! What a spec asks for and this release does not do yet: said in the results, never passed over.

use refloat_model::{BackupSpec, RestoreSpec};
use refloat_plan::resource_policy::ResourcePolicies;
use serde_json::Value;

/// Beginnings of the annotations by which a pod asks for hooks around its backup.
const POD_HOOKS: [&str; 3] = [
    "hook.backup.velero.io/",
    "pre.hook.backup.velero.io/",
    "post.hook.backup.velero.io/",
];

/// One warning for each part of a backup's spec that has no effect.
pub(crate) fn of_backup(spec: &BackupSpec) -> Vec<String> {
    let mut gaps = Vec::new();
    if !spec.hooks.resources.is_empty() {
        gaps.push(
            "spec.hooks: hooks are not run by this release; quiesce the applications by other means".into(),
        );
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

/// One warning for each part of a restore's spec that has no effect.
pub(crate) fn of_restore(spec: &RestoreSpec) -> Vec<String> {
    let mut gaps = Vec::new();
    if !spec.hooks.resources.is_empty() {
        gaps.push("spec.hooks: hooks are not run by this release; run the commands by hand".into());
    }
    gaps
}

/// Whether a pod asks for hooks around its backup.
pub(crate) fn pod_asks_for_hooks(pod: &Value) -> bool {
    let annotations = pod.pointer("/metadata/annotations").and_then(Value::as_object);
    annotations.is_some_and(|all| {
        all.keys()
            .any(|key| POD_HOOKS.iter().any(|start| key.starts_with(start)))
    })
}
