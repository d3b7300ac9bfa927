//! `*-volumeinfo.json.gz`: what the backup knows of each volume. This release backs up the objects;
//! volume data is said to be skipped, so that nobody takes it for saved.

use refloat_model::volume_info::{BackupVolumeInfo, PvInfo};
use serde_json::Value;

/// The volumes of a backup.
#[derive(Default)]
pub(super) struct Volumes(Vec<BackupVolumeInfo>);

impl Volumes {
    /// Takes note of a persistent volume.
    pub(super) fn add(&mut self, volume: &Value) {
        let text = |pointer: &str| {
            volume
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let labels = volume.pointer("/metadata/labels").and_then(Value::as_object);
        let labels = labels
            .map(|labels| {
                let pairs = labels
                    .iter()
                    .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
                pairs.collect()
            })
            .unwrap_or_default();
        self.0.push(BackupVolumeInfo {
            pvc_name: text("/spec/claimRef/name"),
            pvc_namespace: text("/spec/claimRef/namespace"),
            pv_name: text("/metadata/name"),
            skipped: true,
            skipped_reason: "volume data is not part of this backup".to_owned(),
            pv_info: Some(PvInfo {
                reclaim_policy: text("/spec/persistentVolumeReclaimPolicy"),
                labels,
            }),
            ..BackupVolumeInfo::default()
        });
    }

    /// All of them, by name.
    pub(super) fn finish(mut self) -> Vec<BackupVolumeInfo> {
        self.0.sort_by(|a, b| a.pv_name.cmp(&b.pv_name));
        self.0
    }
}
