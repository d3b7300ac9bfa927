//! Persistent volumes and claims.

use std::collections::HashSet;

use serde_json::Value;

use super::{Prepared, RestoreContext, SkipLevel};
use crate::json;

/// Annotations by which the volume controller remembers a binding.
const BINDING: [&str; 2] = [
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
];

/// Annotations of a claim about how it was provisioned or restored.
const CLAIM: [&str; 7] = [
    "pv.kubernetes.io/bind-completed",
    "pv.kubernetes.io/bound-by-controller",
    "volume.kubernetes.io/storage-provisioner",
    "volume.beta.kubernetes.io/storage-provisioner",
    "volume.kubernetes.io/selected-node",
    "velero.io/volume-snapshot-name",
    "velero.io/data-upload-name",
];

/// A volume whose contents the backup does not hold comes back as it is if it is kept (`Retain`):
/// the storage behind it may still be there. If it was to be deleted with its claim, the claim is
/// provisioned anew.
pub(super) fn left_out(ctx: &RestoreContext, volume: &Value) -> Option<Prepared> {
    let name = json::text(volume, &["metadata", "name"]).unwrap_or_default();
    if let Some(method) = ctx.volume_methods.get(name) {
        let reason = format!(
            "persistent volume {name:?} is provisioned anew and empty: this version does not restore data \
             that was backed up as {method}; restore the data by other means"
        );
        return Some(Prepared::Skip {
            reason,
            level: SkipLevel::Error,
            reprovision: true,
        });
    }
    if json::text(volume, &["spec", "persistentVolumeReclaimPolicy"]) != Some("Delete") {
        return None;
    }
    let reason = format!(
        "persistent volume {name:?} is provisioned anew: the backup has no data of it and its reclaim \
         policy is Delete"
    );
    Some(Prepared::Skip {
        reason,
        level: SkipLevel::Silent,
        reprovision: true,
    })
}

/// A volume waits for its claim, whose new identity nobody knows yet.
pub(super) fn volume(volume: &mut Value) {
    for key in ["uid", "resourceVersion"] {
        json::remove(volume, &["spec", "claimRef"], key);
    }
    for key in BINDING {
        json::remove(volume, &["metadata", "annotations"], key);
    }
}

/// The claim that a volume waits for may go to another namespace.
pub(super) fn map_claim(ctx: &RestoreContext, volume: &mut Value) {
    if let Some(namespace) = json::get_mut(volume, &["spec", "claimRef", "namespace"])
        && let Some(target) = namespace
            .as_str()
            .and_then(|name| ctx.namespace_mapping.get(name))
    {
        *namespace = target.as_str().into();
    }
}

/// A claim is bound anew, or provisioned anew if its volume is.
pub(super) fn claim(claim: &mut Value, reprovisioned: &HashSet<String>) {
    for key in CLAIM {
        json::remove(claim, &["metadata", "annotations"], key);
    }
    let volume = json::text(claim, &["spec", "volumeName"]);
    if volume.is_some_and(|volume| reprovisioned.contains(volume)) {
        json::remove(claim, &["spec"], "volumeName");
    }
}
