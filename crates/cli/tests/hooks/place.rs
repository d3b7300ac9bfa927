//! Pods to run hooks in, and what their hooks left behind.

use std::{collections::BTreeMap, path::Path};

use flate2::read::MultiGzDecoder;
use refloat_testkit::image::BUSYBOX;
use serde_json::{Value, json};

use crate::scene::Scene;

/// A container that does nothing until it is told to end.
pub(crate) fn idle(name: &str) -> Value {
    shell(name, "sleep 86400")
}

/// A container that runs a shell script.
pub(crate) fn shell(name: &str, script: &str) -> Value {
    json!({
        "name": name, "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["/bin/sh", "-c", script],
        "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
    })
}

/// A pod of such containers. All share the folder `/data`.
pub(crate) fn pod(namespace: &str, name: &str, annotations: Value, containers: &[Value]) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": namespace, "annotations": annotations, "labels": { "app": name } },
        "spec": {
            "terminationGracePeriodSeconds": 0, "containers": containers,
            "volumes": [{ "name": "data", "emptyDir": {} }],
        },
    })
}

/// The annotation of a hook that runs a shell script.
pub(crate) fn script(text: &str) -> Value {
    json!(["/bin/sh", "-c", text]).to_string().into()
}

impl Scene {
    /// Creates a namespace that goes with the scene, and waits until pods can be made in it.
    #[track_caller]
    pub(crate) fn make_namespace(&self, namespace: &str) {
        self.goes_too(namespace);
        self.apply(&[json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } })]);
        self.until("the namespace has its account", || {
            !self
                .value(namespace, "serviceaccount/default", ".metadata.uid")
                .is_empty()
        });
    }

    /// Creates a namespace with these objects and waits until all its pods are ready.
    #[track_caller]
    pub(crate) fn run_pods(&self, namespace: &str, objects: &[Value]) {
        self.make_namespace(namespace);
        self.apply(objects);
        self.wait_ready(namespace);
    }

    /// Waits until all pods of a namespace are ready.
    #[track_caller]
    pub(crate) fn wait_ready(&self, namespace: &str) {
        let wait = [
            "wait",
            "pod",
            "--all",
            "--for=condition=Ready",
            "--timeout=90s",
            "-n",
            namespace,
        ];
        self.cluster.kubectl(&wait).unwrap();
    }

    /// What a command in a pod prints.
    #[track_caller]
    pub(crate) fn inside(&self, namespace: &str, pod: &str, container: &str, command: &str) -> String {
        let arguments = [
            "-n", namespace, "exec", pod, "-c", container, "--", "/bin/sh", "-c", command,
        ];
        self.cluster.kubectl(&arguments).unwrap()
    }

    /// Applies a Backup or Restore, waits until it has ended, and hands out its status.
    #[track_caller]
    pub(crate) fn ended(&self, kind: &str, name: &str, spec: &Value) -> Value {
        self.ask_for(kind, name, spec);
        self.status_when_ended(kind, name)
    }

    /// Applies a Backup or Restore.
    pub(crate) fn ask_for(&self, kind: &str, name: &str, spec: &Value) {
        self.apply(&[json!({
            "apiVersion": "velero.io/v1", "kind": kind, "spec": spec,
            "metadata": { "name": name, "namespace": self.namespace },
        })]);
    }

    /// The status of a Backup or Restore, once it has ended.
    #[track_caller]
    pub(crate) fn status_when_ended(&self, kind: &str, name: &str) -> Value {
        let object = format!("{}.velero.io/{name}", kind.to_lowercase());
        self.until(&format!("{object} has ended"), || {
            let phase = self.value(&self.namespace, &object, ".status.phase");
            matches!(
                &*phase,
                "Completed" | "PartiallyFailed" | "Failed" | "FailedValidation"
            )
        });
        serde_json::from_str(&self.value(&self.namespace, &object, ".status")).unwrap()
    }

    /// The pods in a backup of the server.
    #[track_caller]
    pub(crate) fn pods_in(&self, backup: &str) -> BTreeMap<String, Value> {
        let file = self.file(&format!("{backup}.tar.gz"));
        let path = file.display().to_string();
        self.refloat(&["backup", "download", backup, "-o", &path, "--force"])
            .ended(0);
        pods_in(&file)
    }
}

/// The pods in a tarball, by `namespace/name`.
#[track_caller]
pub(crate) fn pods_in(tarball: &Path) -> BTreeMap<String, Value> {
    let file = std::fs::File::open(tarball).unwrap();
    let mut archive = tar::Archive::new(MultiGzDecoder::new(file));
    let mut pods = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        if let Some(name) = path.strip_prefix("resources/pods/namespaces/") {
            let name = name.trim_end_matches(".json").to_owned();
            pods.insert(name, serde_json::from_reader(entry).unwrap());
        }
    }
    pods
}

/// How many hooks there were and how many failed, by a status.
pub(crate) fn counts(status: &Value) -> [i64; 2] {
    ["hooksAttempted", "hooksFailed"].map(|key| status["hookStatus"][key].as_i64().unwrap_or(0))
}

/// How many errors and warnings there were, by a status.
pub(crate) fn troubles(status: &Value) -> [i64; 2] {
    ["errors", "warnings"].map(|key| status[key].as_i64().unwrap_or(0))
}
