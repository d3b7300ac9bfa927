//! The objects of an installation that run pods: the server's Deployment, the agents' DaemonSet.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{InstallFlags, manifests::SECRET};
use crate::flags::merged;

/// Who reads the credentials file under which name.
const CREDENTIALS: [&str; 4] = [
    "GOOGLE_APPLICATION_CREDENTIALS",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AZURE_CREDENTIALS_FILE",
    "ALIBABA_CLOUD_CREDENTIALS_FILE",
];

/// The server. Its name, labels and arguments are Velero's, so that what looks for Velero finds it.
pub(super) fn deployment(flags: &InstallFlags, namespace: &str, account: &str) -> Value {
    let pods = &flags.pods;
    let mut container = json!({
        "name": "velero",
        "image": flags.image,
        "imagePullPolicy": pull_policy(&flags.image),
        "command": ["/velero"],
        "args": server_args(flags),
        "ports": [{ "name": "metrics", "containerPort": 8085 }, { "name": "downloads", "containerPort": 8086 }],
        "env": environment(flags, false),
        "volumeMounts": [{ "name": "scratch", "mountPath": "/scratch" }],
        "livenessProbe": { "httpGet": { "path": "/healthz", "port": "metrics" }, "periodSeconds": 20, "failureThreshold": 6 },
        "readinessProbe": { "httpGet": { "path": "/readyz", "port": "metrics" }, "periodSeconds": 5 },
        "resources": resources(
            [&pods.velero_pod_cpu_request, &pods.velero_pod_mem_request],
            [&pods.velero_pod_cpu_limit, &pods.velero_pod_mem_limit],
        ),
    });
    let mut volumes = vec![json!({ "name": "scratch", "emptyDir": {} })];
    mount_secret(flags, &mut container, &mut volumes);
    let mut pod = pod_spec(account, &container, &volumes);
    if let Some(class) = &pods.server_priority_class_name {
        pod["priorityClassName"] = class.clone().into();
    }
    let mut annotations: BTreeMap<String, String> = [
        ("prometheus.io/scrape", "true"),
        ("prometheus.io/port", "8085"),
        ("prometheus.io/path", "/metrics"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    annotations.extend(merged(&pods.pod_annotations));
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "velero", "namespace": namespace, "labels": { "component": "velero" } },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": { "deploy": "velero" } },
            "template": {
                "metadata": { "labels": labels(flags, &[("component", "velero"), ("deploy", "velero")]), "annotations": annotations },
                "spec": pod,
            },
        },
    })
}

/// An agent on every node.
pub(super) fn daemon_set(flags: &InstallFlags, namespace: &str, account: &str) -> Value {
    let pods = &flags.pods;
    let mut args = vec!["node-agent".to_owned(), "server".to_owned()];
    if let Some(name) = &flags.node_agent_configmap {
        args.push(format!("--node-agent-configmap={name}"));
    }
    if let Some(name) = &flags.backup_repository_configmap {
        args.push(format!("--backup-repository-configmap={name}"));
    }
    let mut mounts = vec![json!({ "name": "scratch", "mountPath": "/scratch" })];
    let mut volumes = vec![json!({ "name": "scratch", "emptyDir": {} })];
    if !flags.node_agent_disable_host_path {
        let root = flags.kubelet_root_dir.trim_end_matches('/');
        for (name, inside, folder) in [
            ("host-pods", "/host_pods".to_owned(), "pods"),
            ("host-plugins", format!("{root}/plugins"), "plugins"),
        ] {
            mounts.push(json!({ "name": name, "mountPath": inside, "mountPropagation": "HostToContainer" }));
            volumes.push(json!({ "name": name, "hostPath": { "path": format!("{root}/{folder}") } }));
        }
    }
    let mut container = json!({
        "name": "node-agent",
        "image": flags.image,
        "imagePullPolicy": pull_policy(&flags.image),
        "command": ["/velero"],
        "args": args,
        "ports": [{ "name": "metrics", "containerPort": 8085 }],
        "env": environment(flags, true),
        "securityContext": { "privileged": flags.privileged_node_agent },
        "volumeMounts": mounts,
        "resources": resources(
            [&pods.node_agent_pod_cpu_request, &pods.node_agent_pod_mem_request],
            [&pods.node_agent_pod_cpu_limit, &pods.node_agent_pod_mem_limit],
        ),
    });
    mount_secret(flags, &mut container, &mut volumes);
    let mut pod = pod_spec(account, &container, &volumes);
    pod["securityContext"] = json!({ "runAsUser": 0 });
    if let Some(class) = &pods.node_agent_priority_class_name {
        pod["priorityClassName"] = class.clone().into();
    }
    let marks = [
        ("component", "velero"),
        ("name", "node-agent"),
        ("role", "node-agent"),
    ];
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet",
        "metadata": { "name": "node-agent", "namespace": namespace, "labels": { "component": "velero" } },
        "spec": {
            "selector": { "matchLabels": { "name": "node-agent" } },
            "template": {
                "metadata": { "labels": labels(flags, &marks), "annotations": merged(&pods.pod_annotations) },
                "spec": pod,
            },
        },
    })
}

fn server_args(flags: &InstallFlags) -> Vec<String> {
    let mut args = vec![
        "server".to_owned(),
        format!("--uploader-type={}", flags.uploader_type),
    ];
    let switches = [
        (flags.default_volumes_to_fs_backup, "default-volumes-to-fs-backup"),
        (flags.default_snapshot_move_data, "default-snapshot-move-data"),
        (flags.restore_only, "restore-only"),
        (flags.disable_informer_cache, "disable-informer-cache"),
        (flags.schedule_skip_immediately, "schedule-skip-immediately"),
    ];
    args.extend(
        switches
            .into_iter()
            .filter(|(on, _)| *on)
            .map(|(_, name)| format!("--{name}=true")),
    );
    let values = [
        (
            "default-repo-maintain-frequency",
            flags
                .default_repo_maintain_frequency
                .map(|value| value.to_string()),
        ),
        (
            "garbage-collection-frequency",
            flags.garbage_collection_frequency.map(|value| value.to_string()),
        ),
        (
            "fs-backup-timeout",
            flags.pod_volume_operation_timeout.map(|value| value.to_string()),
        ),
        (
            "concurrent-backups",
            flags.concurrent_backups.map(|value| value.to_string()),
        ),
        (
            "item-block-worker-count",
            flags.item_block_worker_count.map(|value| value.to_string()),
        ),
        (
            "backup-repository-configmap",
            flags.backup_repository_configmap.clone(),
        ),
        (
            "repo-maintenance-job-configmap",
            flags.repo_maintenance_job_configmap.clone(),
        ),
    ];
    args.extend(
        values
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| format!("--{name}={value}"))),
    );
    args
}

fn environment(flags: &InstallFlags, node: bool) -> Vec<Value> {
    let field =
        |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let mut environment = vec![
        field("VELERO_NAMESPACE", "metadata.namespace"),
        json!({ "name": "VELERO_SCRATCH_DIR", "value": "/scratch" }),
    ];
    if node {
        environment.push(field("NODE_NAME", "spec.nodeName"));
    }
    if flags.secret_file.is_some() {
        environment.extend(CREDENTIALS.map(|name| json!({ "name": name, "value": "/credentials/cloud" })));
    }
    environment
}

fn mount_secret(flags: &InstallFlags, container: &mut Value, volumes: &mut Vec<Value>) {
    if flags.secret_file.is_none() {
        return;
    }
    if let Some(mounts) = container["volumeMounts"].as_array_mut() {
        mounts.push(json!({ "name": SECRET, "mountPath": "/credentials", "readOnly": true }));
    }
    volumes.push(json!({ "name": SECRET, "secret": { "secretName": SECRET, "defaultMode": 0o444 } }));
}

fn pod_spec(account: &str, container: &Value, volumes: &[Value]) -> Value {
    json!({
        "serviceAccountName": account,
        "restartPolicy": "Always",
        "os": { "name": "linux" },
        "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{
            "matchExpressions": [{ "key": "kubernetes.io/os", "operator": "NotIn", "values": ["windows"] }],
        }] } } },
        "containers": [container],
        "volumes": volumes,
    })
}

fn labels(flags: &InstallFlags, own: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut labels = merged(&flags.pods.pod_labels);
    labels.extend(
        own.iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    );
    labels
}

/// CPU and memory; `0` stands for unbounded.
fn resources(requests: [&str; 2], limits: [&str; 2]) -> Value {
    let mut resources = Map::new();
    for (name, [cpu, memory]) in [("requests", requests), ("limits", limits)] {
        let bounds: BTreeMap<_, _> = [("cpu", cpu), ("memory", memory)]
            .into_iter()
            .filter(|(_, quantity)| !matches!(*quantity, "0" | ""))
            .collect();
        if !bounds.is_empty() {
            resources.insert(name.into(), json!(bounds));
        }
    }
    Value::Object(resources)
}

/// A tag that moves is looked up each time.
fn pull_policy(image: &str) -> &'static str {
    if image.ends_with(":latest") {
        "Always"
    } else {
        "IfNotPresent"
    }
}
