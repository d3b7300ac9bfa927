//! Pods and jobs.

use serde_json::Value;

use crate::json;

/// Marks a pod that a kubelet made from a file: only that kubelet can make it.
const MIRROR_POD: &str = "kubernetes.io/config.mirror";

/// Labels by which the job controller finds its pods; it makes new ones for a new job.
const CONTROLLER_UID: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];

/// Why a pod is left out.
pub(super) fn pod_left_out(pod: &Value) -> Option<&'static str> {
    if matches!(
        json::text(pod, &["status", "phase"]),
        Some("Succeeded" | "Failed")
    ) {
        return Some("the pod is complete");
    }
    let annotations = json::object(pod, &["metadata", "annotations"])?;
    let mirror = annotations
        .get(MIRROR_POD)
        .and_then(Value::as_str)
        .is_some_and(|text| !text.is_empty());
    mirror.then_some("the pod is a mirror pod; its kubelet makes it")
}

/// Why a job is left out.
pub(super) fn job_left_out(job: &Value) -> Option<&'static str> {
    let completed = json::text(job, &["status", "completionTime"]).is_some_and(|time| !time.is_empty());
    completed.then_some("the job is complete")
}

/// A pod is scheduled anew and gets its token volumes from the API server. Debug containers are not
/// accepted in a new pod.
pub(super) fn pod(pod: &mut Value) {
    let Some(spec) = json::object_mut(pod, &["spec"]) else {
        return;
    };
    spec.retain(|key, _| !matches!(key.as_str(), "nodeName" | "priority" | "ephemeralContainers"));
    let account = spec
        .get("serviceAccountName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let token = format!("{account}-token-");
    let is_token = |item: &Value| json::text(item, &["name"]).is_some_and(|name| name.starts_with(&token));
    if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
        volumes.retain(|volume| !is_token(volume));
    }
    for key in ["containers", "initContainers"] {
        let containers = spec.get_mut(key).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if let Some(mounts) = json::list_mut(container, &["volumeMounts"]) {
                mounts.retain(|mount| !is_token(mount));
            }
        }
    }
}

/// A job's controller makes a new selector.
pub(super) fn job(job: &mut Value) {
    for path in [
        ["spec", "selector", "matchLabels"].as_slice(),
        &["spec", "template", "metadata", "labels"],
    ] {
        for label in CONTROLLER_UID {
            json::remove(job, path, label);
        }
    }
}
