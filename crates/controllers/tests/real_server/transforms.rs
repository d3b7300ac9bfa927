//! Manifests as users have them, applied as they are but for names: restores that change objects, and a
//! backup by policies.

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::scene::Scene;

const RESTORES: &str = include_str!("scenarios/restores.yaml");
const POLICIES: &str = include_str!("scenarios/volume-policies.yaml");

/// A scene whose namespaces and class have names of their own.
struct Drill {
    scene: Scene,
    production: String,
    copy: String,
}

impl Drill {
    fn new(name: &str) -> Result<Self> {
        let scene = Scene::new(name)?;
        scene.serve(scene.options())?;
        scene.wait_field("backupstoragelocation", "default", "/status/phase", "Available")?;
        let production = format!("{}-production", scene.namespace);
        let copy = format!("{}-dr-test", scene.namespace);
        let drill = Self {
            scene,
            production,
            copy,
        };
        drill.create_objects()?;
        Ok(drill)
    }

    /// A manifest with this scene's names.
    fn named(&self, manifest: &str) -> String {
        let own = &self.scene.namespace;
        manifest
            .replace("namespace: velero", &format!("namespace: {own}"))
            .replace("dr-test", &self.copy)
            .replace("[production]", &format!("[{}]", self.production))
            .replace("production: ", &format!("{}: ", self.production))
            .replace("fast-ssd: standard", &format!("{own}-fast: {own}-standard"))
    }

    fn create_objects(&self) -> Result<()> {
        let (place, own) = (&self.production, &self.scene.namespace);
        let class = |name: &str| {
            json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
                "metadata": {"name": format!("{own}-{name}")}, "provisioner": "example.io/none"})
        };
        let labels = json!({"app": "web"});
        let items = json!([
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place}},
            class("fast"), class("standard"),
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": place},
                "spec": {"storageClassName": format!("{own}-fast"), "accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}}}},
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": place, "labels": labels},
                "spec": {"type": "NodePort", "ports": [{"port": 80}], "selector": labels}},
            {"apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "web", "namespace": place, "labels": labels},
                "spec": {"replicas": 3, "paused": true, "selector": {"matchLabels": labels}, "template": {
                    "metadata": {"labels": labels},
                    "spec": {"schedulerName": "nobody", "containers": [{"name": "main", "image": "x"}]}}}},
        ]);
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        self.scene.cluster.apply(&list.to_string())
    }

    fn backup(&self, name: &str, labels: &Value) -> Result<()> {
        self.scene.apply(json!({"apiVersion": "velero.io/v1", "kind": "Backup",
            "metadata": {"name": name, "labels": labels}, "spec": {"includedNamespaces": [self.production]}}))?;
        self.scene
            .wait_field("backup.velero.io", name, "/status/phase", "Completed")
            .map(|_| ())
    }

    fn object(&self, kind: &str, namespace: &str, name: &str) -> Result<Value> {
        let text = self
            .scene
            .cluster
            .kubectl(&["-n", namespace, "get", kind, name, "-o", "json"])?;
        Ok(serde_json::from_str(&text)?)
    }

    fn ended(&self, restore: &str) -> Result<Value> {
        let what = format!("the end of {restore}");
        self.scene.wait(&what, crate::scene::SOON, || {
            let found = self.scene.get("restore.velero.io", restore)?.unwrap_or_default();
            let phase = found["status"]["phase"].as_str().unwrap_or_default();
            let final_phase = matches!(
                phase,
                "Completed" | "PartiallyFailed" | "Failed" | "FailedValidation"
            );
            Ok(final_phase.then(|| found["status"].clone()))
        })
    }
}

impl Drop for Drill {
    fn drop(&mut self) {
        for namespace in [&self.production, &self.copy] {
            let args = [
                "delete",
                "namespace",
                namespace,
                "--wait=false",
                "--ignore-not-found",
            ];
            drop(self.scene.cluster.kubectl(&args));
        }
        for class in ["fast", "standard"] {
            let name = format!("{}-{class}", self.scene.namespace);
            drop(self.scene.cluster.kubectl(&["delete", "storageclass", &name]));
        }
    }
}

#[test]
fn the_restores_of_a_drill_do_what_they_say() -> Result<()> {
    let drill = Drill::new("drill")?;
    drill.backup("databases", &json!({}))?;
    drill.backup("daily", &json!({"velero.io/schedule-name": "apps-daily"}))?;
    let port = drill.object("service", &drill.production, "web")?["spec"]["ports"][0]["nodePort"].clone();
    drill
        .scene
        .cluster
        .kubectl(&["delete", "namespace", &drill.production, "--timeout=60s"])?;
    // The rules first: a restore that finds none is refused.
    let manifests = drill.named(RESTORES);
    let (restores, rules): (Vec<&str>, Vec<&str>) = manifests
        .split("\n---\n")
        .partition(|one| one.contains("kind: Restore"));
    for manifest in rules.iter().chain(&restores) {
        drill.scene.cluster.apply(manifest)?;
    }
    for name in ["whole", "copy", "in-place"] {
        let status = drill.ended(name)?;
        ensure!(status["phase"] == "Completed", "{name}: {status}");
    }
    let claim = drill.object("pvc", &drill.production, "data")?;
    let class = format!("{}-standard", drill.scene.namespace);
    ensure!(claim["spec"]["storageClassName"] == class.as_str(), "{claim}");
    let copied = drill.object("deployment", &drill.copy, "web")?;
    ensure!(copied["spec"]["replicas"] == 1, "{copied}");
    ensure!(
        copied["metadata"]["annotations"]["restored-for"].is_null(),
        "* is the core group: {copied}"
    );
    let service = drill.object("service", &drill.copy, "web")?;
    ensure!(
        service["metadata"]["annotations"]["restored-for"] == "drill",
        "{service}"
    );
    let whole = drill.object("deployment", &drill.production, "web")?;
    ensure!(whole["spec"]["replicas"] == 3, "{whole}");
    let service = drill.object("service", &drill.production, "web")?;
    ensure!(
        port.is_u64() && service["spec"]["ports"][0]["nodePort"] == port,
        "in-place keeps the port {port}: {service}"
    );
    Ok(())
}

#[test]
fn rules_that_cannot_be_used_refuse_the_restore_and_the_backup() -> Result<()> {
    let drill = Drill::new("refusals")?;
    drill.backup("databases", &json!({}))?;
    let map = |name: &str, text: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"r": text}});
    drill.scene.apply(map("broken", "version: v1\nrules: []"))?;
    drill
        .scene
        .apply(map("old", "version: v0\nresourceModifierRules: []"))?;
    drill.scene.apply(map(
        "kinds",
        "version: v1\nincludeExcludePolicy: {excludedNamespaceScopedResources: [pods]}",
    ))?;
    for (name, words) in [
        ("none", "failed to get resource modifiers configmap"),
        (
            "broken",
            "Error in parsing resource modifiers provided in configmap",
        ),
        (
            "old",
            "Validation error in resource modifiers provided in configmap",
        ),
    ] {
        drill.scene.apply(
            json!({"apiVersion": "velero.io/v1", "kind": "Restore", "metadata": {"name": name},
            "spec": {"backupName": "databases", "resourceModifier": {"kind": "ConfigMap", "name": name}}}),
        )?;
        let status = drill.ended(name)?;
        let errors = status["validationErrors"].to_string();
        ensure!(
            status["phase"] == "FailedValidation" && errors.contains(words),
            "{status}"
        );
    }
    for (name, policy, filters, words) in [
        ("b-none", "none", json!({}), "fail to get ResourcePolicies"),
        (
            "b-broken",
            "broken",
            json!({}),
            "fail to read the ResourcePolicies from ConfigMap",
        ),
        (
            "b-old",
            "kinds",
            json!({"includedResources": ["pods"]}),
            "They cannot be used with include-exclude policies",
        ),
    ] {
        let mut spec = json!({"includedNamespaces": [drill.production],
            "resourcePolicy": {"kind": "configmap", "name": policy}});
        if let (Some(spec), Some(filters)) = (spec.as_object_mut(), filters.as_object()) {
            spec.extend(filters.clone());
        }
        drill
            .scene
            .apply(json!({"apiVersion": "velero.io/v1", "kind": "Backup",
            "metadata": {"name": name}, "spec": spec}))?;
        let found = drill
            .scene
            .wait_field("backup.velero.io", name, "/status/phase", "FailedValidation")?;
        let errors = found["status"]["validationErrors"].to_string();
        ensure!(errors.contains(words), "{errors}");
    }
    Ok(())
}

#[test]
fn a_backup_by_policies_says_what_they_do_not_do_yet() -> Result<()> {
    let drill = Drill::new("policies")?;
    drill.scene.cluster.apply(&drill.named(POLICIES))?;
    let backup = drill
        .scene
        .wait_field("backup.velero.io", "by-policy", "/status/phase", "Completed")?;
    ensure!(backup["status"]["warnings"] == 1, "{}", backup["status"]);
    let text = drill.scene.velero(&["backup", "logs", "by-policy"])?;
    ensure!(
        text.contains("its 4 volumePolicies are valid and have no effect in this release"),
        "{text}"
    );
    Ok(())
}
