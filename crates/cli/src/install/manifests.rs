//! The objects of an installation, except those that run pods.

use anyhow::{Context as _, Result};
use k8s_openapi::ByteString;
use refloat_model::crds;
use serde_json::{Value, json};

use super::{InstallFlags, workloads};
use crate::{flags::merged, session::DEFAULT_NAMESPACE};

/// The secret with the provider's credentials, and the key in it.
pub(super) const SECRET: &str = "cloud-credentials";
const SECRET_KEY: &str = "cloud";
const SERVICE_ACCOUNT: &str = "velero";

/// The custom resource definitions.
///
/// # Errors
/// Where one cannot be serialised.
pub(crate) fn definitions() -> Result<Vec<Value>> {
    let failed = "cannot make the custom resource definitions";
    let definitions = [crds::all().context(failed)?, crds::own().context(failed)?].concat();
    definitions
        .into_iter()
        .map(|crd| serde_json::to_value(crd).context("cannot serialise a definition"))
        .collect()
}

/// Everything else, in the order in which it is applied.
///
/// # Errors
/// Where the secret or the certificates cannot be read.
pub(super) fn all(flags: &InstallFlags, namespace: &str) -> Result<Vec<Value>> {
    let mut objects = vec![namespace_object(namespace)];
    let account = flags.pods.service_account_name.as_deref();
    if account.is_none() {
        objects.push(cluster_role_binding(namespace));
        objects.push(service_account(flags, namespace));
    }
    if let Some(secret) = secret(flags, namespace)? {
        objects.push(secret);
    }
    if !flags.no_default_backup_location {
        objects.push(location(flags, namespace)?);
        if flags.use_volume_snapshots && flags.provider.as_deref() != Some("filesystem") {
            objects.push(snapshot_location(flags, namespace));
        }
    }
    let account = account.unwrap_or(SERVICE_ACCOUNT);
    objects.push(workloads::deployment(flags, namespace, account));
    if flags.use_node_agent {
        objects.push(workloads::daemon_set(flags, namespace, account));
    }
    Ok(objects)
}

fn namespace_object(name: &str) -> Value {
    let mut labels = json!({ "component": "velero" });
    for mode in ["enforce", "audit", "warn"] {
        labels[format!("pod-security.kubernetes.io/{mode}")] = "privileged".into();
        labels[format!("pod-security.kubernetes.io/{mode}-version")] = "latest".into();
    }
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } })
}

/// The name of the binding: installations in several namespaces do not share one.
pub(crate) fn binding_name(namespace: &str) -> String {
    if namespace == DEFAULT_NAMESPACE {
        "velero".into()
    } else {
        format!("velero-{namespace}")
    }
}

/// The server may do everything, as Velero's may: it reads every kind of object and writes each of
/// them again, roles and secrets included, and Kubernetes lets nobody write a role that allows more
/// than he may do himself.
fn cluster_role_binding(namespace: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": binding_name(namespace), "labels": { "component": "velero" } },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin" },
        "subjects": [{ "kind": "ServiceAccount", "name": SERVICE_ACCOUNT, "namespace": namespace }],
    })
}

fn service_account(flags: &InstallFlags, namespace: &str) -> Value {
    let mut object = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": { "name": SERVICE_ACCOUNT, "namespace": namespace, "labels": { "component": "velero" } },
    });
    let annotations = merged(&flags.pods.sa_annotations);
    if !annotations.is_empty() {
        object["metadata"]["annotations"] = json!(annotations);
    }
    object
}

fn secret(flags: &InstallFlags, namespace: &str) -> Result<Option<Value>> {
    let Some(path) = &flags.secret_file else {
        return Ok(None);
    };
    let content =
        std::fs::read(path).with_context(|| format!("cannot read --secret-file {}", path.display()))?;
    Ok(Some(json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": { "name": SECRET, "namespace": namespace, "labels": { "component": "velero" } },
        "data": { SECRET_KEY: ByteString(content) },
    })))
}

fn location(flags: &InstallFlags, namespace: &str) -> Result<Value> {
    let mut storage = json!({ "bucket": flags.bucket });
    if let Some(prefix) = &flags.prefix {
        storage["prefix"] = prefix.clone().into();
    }
    if let Some(path) = &flags.cacert {
        let bundle =
            std::fs::read(path).with_context(|| format!("cannot read --cacert {}", path.display()))?;
        storage["caCert"] = json!(ByteString(bundle));
    }
    let mut spec = json!({ "provider": flags.provider, "default": true, "objectStorage": storage });
    let config = merged(&flags.backup_location_config);
    if !config.is_empty() {
        spec["config"] = json!(config);
    }
    Ok(json!({
        "apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
        "metadata": { "name": "default", "namespace": namespace, "labels": { "component": "velero" } },
        "spec": spec,
    }))
}

fn snapshot_location(flags: &InstallFlags, namespace: &str) -> Value {
    let mut spec = json!({ "provider": flags.provider });
    let config = merged(&flags.snapshot_location_config);
    if !config.is_empty() {
        spec["config"] = json!(config);
    }
    json!({
        "apiVersion": "velero.io/v1", "kind": "VolumeSnapshotLocation",
        "metadata": { "name": "default", "namespace": namespace, "labels": { "component": "velero" } },
        "spec": spec,
    })
}
