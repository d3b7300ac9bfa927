//! What a restore changes on request, shown against the real API server: rules, maps, versions that
//! were removed, and objects that cannot be changed.

#[path = "real_transforms/old_versions.rs"]
mod old_versions;
#[path = "peers/scene.rs"]
mod scene;
#[path = "peers/tarball.rs"]
mod tarball;
#[path = "real_transforms/velero.rs"]
mod velero;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use refloat_engine::{EngineError, RestoreReport, catalog, run_restore};
use refloat_model::{BackupSpec, RestorePhase, RestoreSpec};
use serde_json::{Value, json};

use scene::{Scene, of_namespaces, restore_job, run};

/// The namespace whose ConfigMaps count, and the location.
struct Field {
    scene: Scene,
    location: refloat_engine::Location,
}

impl Field {
    fn new(name: &str) -> Result<Self> {
        let scene = Scene::new(name)?;
        scene.namespace(&scene.id)?;
        let location = scene.disk()?;
        Ok(Self { scene, location })
    }

    fn apply(&self, manifest: &Value) -> Result<()> {
        self.scene.test.apply(&manifest.to_string())
    }

    fn get(&self, kind: &str, namespace: &str, name: &str) -> Result<Value> {
        let text = self
            .scene
            .test
            .kubectl(&["-n", namespace, "get", kind, name, "-o", "json"])?;
        Ok(serde_json::from_str(&text)?)
    }

    fn delete(&self, kind: &str, name: &str) -> Result<()> {
        let args = ["-n", &self.scene.id, "delete", kind, name, "--timeout=30s"];
        self.scene.test.kubectl(&args).map(|_| ())
    }

    fn backup(&self, name: &str, spec: BackupSpec) -> Result<refloat_engine::BackupReport> {
        Ok(run(self.scene.backup(&self.location, name, spec))?)
    }

    /// A restore whose ConfigMaps are in the scene's own namespace.
    fn restore(&self, backup: &str, name: &str, spec: RestoreSpec) -> Result<RestoreReport, EngineError> {
        run(async {
            let backup = catalog::read_backup(&self.location, backup).await?;
            let mut job = restore_job(&self.scene.cluster, &self.location, backup, name, spec);
            job.restore.metadata.namespace = Some(self.scene.id.clone());
            job.options.terminating_timeout = Duration::from_secs(5);
            run_restore(job).await
        })
    }

    fn config_map(&self, name: &str, labels: &Value, data: &Value) -> Result<()> {
        self.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {"name": name, "namespace": self.scene.id, "labels": labels}}))
    }
}

fn spec(value: Value) -> RestoreSpec {
    serde_json::from_value(value).expect("a spec")
}

fn deployment(namespace: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web", "namespace": namespace, "labels": {"app": "web"}},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "main", "image": "old.example.io/web:1",
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}]}}}
    })
}

#[test]
fn rules_and_maps_change_what_is_restored() -> Result<()> {
    let field = Field::new("rules")?;
    let app = &field.scene.id;
    let copy = format!("{app}-copy");
    let _ = field.scene.namespace_to_come(&copy);
    for class in ["fast", "standard"] {
        let manifest = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": format!("{class}-{app}")}, "provisioner": "example.io/none"});
        run(field.scene.create(&manifest.to_string()))?;
    }
    field.apply(&deployment(app))?;
    field.apply(&json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": app, "labels": {"app": "web"}},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}}))?;
    field.apply(&json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": app},
        "spec": {"storageClassName": format!("fast-{app}"), "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}}}))?;
    field.backup("all", of_namespaces(&[app]))?;
    let action =
        json!({"velero.io/plugin-config": "", "velero.io/change-storage-class": "RestoreItemAction"});
    field.config_map(
        "classes",
        &action,
        &json!({ format!("fast-{app}"): format!("standard-{app}") }),
    )?;
    let action = json!({"velero.io/plugin-config": "", "velero.io/change-image-name": "RestoreItemAction"});
    field.config_map("images", &action, &json!({"a": "old.example.io,new.example.io"}))?;
    let rules = format!(
        r#"
version: v1
resourceModifierRules:
- conditions: {{groupResource: deployments.apps, resourceNameRegex: "^web.*$", namespaces: [{app}]}}
  patches:
  - {{operation: replace, path: /spec/revisionHistoryLimit, value: "3"}}
  - {{operation: add, path: /metadata/annotations, value: '{{"n": "1"}}'}}
- conditions: {{groupResource: "*", labelSelector: {{matchLabels: {{app: web}}}}}}
  mergePatches:
  - patchData: '{{"metadata":{{"annotations":{{"restored-for":"drill"}}}}}}'
- conditions: {{groupResource: deployments.apps}}
  strategicPatches:
  - patchData: |
      spec: {{template: {{spec: {{containers: [{{name: main, env: [{{name: B, value: "3"}}]}}]}}}}}}
- conditions: {{groupResource: services}}
  patches: [{{operation: remove, path: /spec/none}}]
"#
    );
    field.config_map("rules", &json!({}), &json!({ "rules.yaml": rules }))?;
    let report = field.restore(
        "all",
        "copy",
        spec(json!({"namespaceMapping": {app: copy}, "resourceModifier": {"kind": "ConfigMap", "name": "rules"}})),
    )?;
    let status = report.restore.status.unwrap_or_default();
    ensure!(
        (status.errors, status.phase) == (1, RestorePhase::PartiallyFailed),
        "{:?}",
        report.results
    );
    let errors = serde_json::to_string(&report.results)?;
    ensure!(
        errors.contains("services") && errors.contains("/spec/none"),
        "{errors}"
    );
    let web = field.get("deployment", &copy, "web")?;
    ensure!(
        web["spec"]["revisionHistoryLimit"] == 3 && web["metadata"]["annotations"]["n"] == "1",
        "{web}"
    );
    let container = &web["spec"]["template"]["spec"]["containers"][0];
    ensure!(container["image"] == "new.example.io/web:1", "{container}");
    ensure!(
        container["env"] == json!([{"name": "B", "value": "3"}, {"name": "A", "value": "1"}])
            || container["env"] == json!([{"name": "A", "value": "1"}, {"name": "B", "value": "3"}]),
        "{container}"
    );
    let service = field.get("service", &copy, "web")?;
    ensure!(
        service["metadata"]["annotations"]["restored-for"] == "drill",
        "{service}"
    );
    let claim = field.get("pvc", &copy, "data")?;
    ensure!(
        claim["spec"]["storageClassName"] == format!("standard-{app}"),
        "{claim}"
    );
    refusals(&field, app)
}

/// What cannot be done is refused, or an error about the objects that it concerns.
fn refusals(field: &Field, app: &str) -> Result<()> {
    let named = |name: &str| spec(json!({"resourceModifier": {"kind": "ConfigMap", "name": name}}));
    for (name, words) in [
        ("none", "failed to get resource modifiers configmap"),
        (
            "images",
            "Error in parsing resource modifiers provided in configmap",
        ),
    ] {
        match field.restore("all", &format!("refused-{name}"), named(name)) {
            Err(EngineError::Rules { reason }) => ensure!(reason.starts_with(words), reason),
            other => anyhow::bail!("{other:?}"),
        }
    }
    let again = format!("{app}-again");
    let _ = field.scene.namespace_to_come(&again);
    let action =
        json!({"velero.io/plugin-config": "", "velero.io/change-storage-class": "RestoreItemAction"});
    field.config_map("classes", &action, &json!({ format!("fast-{app}"): "ghost" }))?;
    let report = field.restore("all", "again", spec(json!({"namespaceMapping": {app: again}})))?;
    let errors = serde_json::to_string(&report.results.errors)?;
    ensure!(
        errors.contains("error getting storage class ghost from API"),
        "{errors}"
    );
    field.config_map("classes-too", &action, &json!({}))?;
    let report = field.restore("all", "twice", spec(json!({"namespaceMapping": {app: again}})))?;
    let errors = serde_json::to_string(&report.results.errors)?;
    ensure!(
        errors.contains("found more than one ConfigMap matching label selector"),
        "{errors}"
    );
    Ok(())
}

#[test]
fn our_strategic_patches_are_the_servers() -> Result<()> {
    let field = Field::new("strategic")?;
    let app = &field.scene.id;
    field.apply(&deployment(app))?;
    field.backup("all", of_namespaces(&[app]))?;
    let original = field.get("deployment", app, "web")?;
    let containers = |list: Value| json!({"spec": {"template": {"spec": { "containers": list }}}});
    let patches = [
        containers(json!([{"name": "side", "image": "s:1"}])),
        containers(
            json!([{"name": "main", "env": [{"name": "B", "$patch": "delete"}, {"name": "C", "value": "4"}]}]),
        ),
        containers(json!([{"$patch": "replace"}, {"name": "only", "image": "o:1"}])),
        json!({"spec": {"template": {"spec": {
            "$setElementOrder/containers": [{"name": "side"}, {"name": "main"}],
            "containers": [{"name": "side", "image": "s:1"}]}}}}),
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
        json!({"metadata": {"labels": {"app": null, "x": "y"}, "finalizers": ["example.io/a"]}}),
        json!({"spec": {"template": {"spec": {"volumes": [{"name": "v", "emptyDir": {}}],
            "tolerations": [{"key": "a", "operator": "Exists"}]}}}}),
    ];
    for (number, patch) in patches.iter().enumerate() {
        let text = field.scene.test.kubectl(&[
            "-n",
            app,
            "patch",
            "deployment",
            "web",
            "--type=strategic",
            "--dry-run=server",
            "-o",
            "json",
            "-p",
            &patch.to_string(),
        ])?;
        let theirs: Value = serde_json::from_str(&text)?;
        let rules = json!({"version": "v1", "resourceModifierRules": [{
            "conditions": {"groupResource": "deployments.apps"},
            "strategicPatches": [{ "patchData": patch.to_string() }]}]});
        field.config_map("rules", &json!({}), &json!({ "rules.yaml": rules.to_string() }))?;
        let copy = format!("{app}-{number}");
        let _ = field.scene.namespace_to_come(&copy);
        let asked = json!({"namespaceMapping": {app: copy}, "includedResources": ["deployments.apps"],
            "resourceModifier": {"kind": "configmap", "name": "rules"}});
        let report = field.restore("all", &format!("r{number}"), spec(asked))?;
        ensure!(
            report.results.errors == Default::default(),
            "{patch}: {:?}",
            report.results
        );
        let ours = field.get("deployment", &copy, "web")?;
        for part in ["/spec", "/metadata/finalizers"] {
            ensure!(
                ours.pointer(part) == theirs.pointer(part),
                "{patch}\nthe server: {:?}\nwe: {:?}",
                theirs.pointer(part),
                ours.pointer(part)
            );
        }
        ensure!(field.get("deployment", app, "web")?["spec"] == original["spec"]);
        let none = r#"{"metadata":{"finalizers":null}}"#;
        field.scene.test.kubectl(&[
            "-n",
            &copy,
            "patch",
            "deployment",
            "web",
            "--type=merge",
            "-p",
            none,
        ])?;
    }
    Ok(())
}

#[test]
fn what_cannot_be_changed_is_created_again() -> Result<()> {
    let field = Field::new("recreate")?;
    let app = &field.scene.id;
    let map = |value: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "immutable": true, "data": {"k": value},
            "metadata": {"name": "fixed", "namespace": app}})
    };
    let claim = |size: &str| {
        json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": app},
            "spec": {"storageClassName": "none", "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": size}}}})
    };
    field.apply(&map("old"))?;
    field.apply(&claim("1Gi"))?;
    field.backup("all", of_namespaces(&[app]))?;
    field.delete("configmap", "fixed")?;
    field.apply(&map("new"))?;
    let none = r#"{"metadata":{"finalizers":null}}"#;
    field.delete("pvc", "data").or_else(|_| {
        field
            .scene
            .test
            .kubectl(&["-n", app, "patch", "pvc", "data", "--type=merge", "-p", none])
            .map(|_| ())
    })?;
    field.apply(&claim("2Gi"))?;
    let before = field.get("configmap", app, "fixed")?;
    let claim_before = field.get("pvc", app, "data")?;
    let policy = |policy: &str| spec(json!({ "existingResourcePolicy": policy }));
    let report = field.restore("all", "update", policy("update"))?;
    ensure!(serde_json::to_string(&report.results.warnings)?.contains("could not be updated"));
    ensure!(
        field.get("configmap", app, "fixed")?["data"]["k"] == "new",
        "update does not recreate"
    );
    let report = field.restore("all", "again", policy("recreate"))?;
    let warnings = serde_json::to_string(&report.results)?;
    ensure!(
        warnings.contains("persistentvolumeclaims") && warnings.contains("never deleted to be created again"),
        "{warnings}"
    );
    let after = field.get("configmap", app, "fixed")?;
    ensure!(
        after["data"]["k"] == "old" && after["metadata"]["uid"] != before["metadata"]["uid"],
        "{after}"
    );
    ensure!(
        field.get("pvc", app, "data")?["metadata"]["uid"] == claim_before["metadata"]["uid"],
        "claims are never recreated"
    );
    held_by_a_finalizer(&field, app, &map("held"))
}

/// An object that does not go in time is an error that says how to go on; once it is gone, a restore
/// of the same name brings it back, as one does that went on after a crash.
fn held_by_a_finalizer(field: &Field, app: &str, held: &Value) -> Result<()> {
    field.delete("configmap", "fixed")?;
    let mut held = held.clone();
    held["metadata"]["finalizers"] = json!(["example.io/hold"]);
    field.apply(&held)?;
    let policy = || spec(json!({ "existingResourcePolicy": "recreate" }));
    let report = field.restore("all", "held", policy())?;
    let errors = serde_json::to_string(&report.results.errors)?;
    ensure!(
        errors.contains("example.io/hold") && errors.contains("restore it again"),
        "{errors}"
    );
    let none = r#"{"metadata":{"finalizers":null}}"#;
    field.scene.test.kubectl(&[
        "-n",
        app,
        "patch",
        "configmap",
        "fixed",
        "--type=merge",
        "-p",
        none,
    ])?;
    let report = field.restore("all", "held", policy())?;
    ensure!(
        report.results.errors == Default::default(),
        "{:?}",
        report.results
    );
    ensure!(field.get("configmap", app, "fixed")?["data"]["k"] == "old");
    // A deletion that is under way, as a crash leaves it, is waited for: the finalizer goes meanwhile.
    field.delete("configmap", "fixed")?;
    field.apply(&held)?;
    let args = ["-n", app, "delete", "configmap", "fixed", "--wait=false"];
    field.scene.test.kubectl(&args)?;
    let report = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(1));
            let args = [
                "-n",
                app,
                "patch",
                "configmap",
                "fixed",
                "--type=merge",
                "-p",
                none,
            ];
            field.scene.test.kubectl(&args)
        });
        field.restore("all", "went-on", policy())
    })?;
    ensure!(
        report.results.errors == Default::default(),
        "{:?}",
        report.results
    );
    ensure!(field.get("configmap", app, "fixed")?["data"]["k"] == "old");
    Ok(())
}

#[test]
fn an_object_that_the_server_would_refuse_is_not_deleted() -> Result<()> {
    let field = Field::new("refused")?;
    let app = &field.scene.id;
    let secret = |kind: &str| {
        json!({"apiVersion": "v1", "kind": "Secret", "type": kind, "stringData": {"a": "b"},
            "metadata": {"name": "typed", "namespace": app}})
    };
    field.apply(&secret("Opaque"))?;
    field.backup("all", of_namespaces(&[app]))?;
    field.delete("secret", "typed")?;
    field.apply(&secret("example.io/other"))?;
    let rules = "version: v1\nresourceModifierRules:\n- conditions: {groupResource: secrets}\n  \
                 patches: [{operation: add, path: /data/no valid key, value: eA==}]\n";
    field.config_map("rules", &json!({}), &json!({ "rules.yaml": rules }))?;
    let before = field.get("secret", app, "typed")?;
    let asked = json!({"existingResourcePolicy": "recreate", "includedResources": ["secrets"],
        "resourceModifier": {"kind": "ConfigMap", "name": "rules"}});
    let report = field.restore("all", "r", spec(asked))?;
    let errors = serde_json::to_string(&report.results.errors)?;
    ensure!(errors.contains("a valid config key must consist"), "{errors}");
    ensure!(field.get("secret", app, "typed")?["metadata"]["uid"] == before["metadata"]["uid"]);
    Ok(())
}

#[test]
fn policies_annotations_and_labels_decide_what_is_backed_up() -> Result<()> {
    let field = Field::new("policies")?;
    let app = &field.scene.id;
    field.apply(&deployment(app))?;
    let map = |name: &str, kind: &str, annotations: Value| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": app, "annotations": annotations}});
    field.apply(&map(
        "plain",
        "ConfigMap",
        json!({"velero.io/skip-from-backup": "true"}),
    ))?;
    field.apply(&map(
        "skipped",
        "ServiceAccount",
        json!({"velero.io/skip-from-backup": "true"}),
    ))?;
    field.apply(&map("kept", "ServiceAccount", json!({})))?;
    // A pod whose claim is excluded by its own label, and asked for by the annotation.
    let excluded = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "left-out", "namespace": app, "labels": {"velero.io/exclude-from-backup": "true"}},
        "spec": {"storageClassName": "none", "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    field.apply(&excluded)?;
    let mut other = excluded.clone();
    other["metadata"]["name"] = "wanted".into();
    field.apply(&other)?;
    for (pod, claim, annotations) in [
        ("plain", "left-out", json!({})),
        (
            "asking",
            "wanted",
            json!({"backup.velero.io/must-include-additional-items": "true"}),
        ),
    ] {
        field.apply(&json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": pod, "namespace": app, "annotations": annotations},
            "spec": {"nodeName": "", "schedulerName": "nobody",
                "containers": [{"name": "c", "image": "x"}],
                "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]}}))?;
    }
    let document = "version: v1\nvolumePolicies:\n- {conditions: {capacity: '0,1Gi'}, action: {type: skip}}\n\
                    includeExcludePolicy:\n  excludedNamespaceScopedResources: [deploy, configmaps]\n  \
                    includedClusterScopedResources: [storageclasses]\n";
    field.config_map("policies", &json!({}), &json!({ "p": document }))?;
    let asked = BackupSpec {
        included_namespace_scoped_resources: Vec::new(),
        excluded_namespace_scoped_resources: vec!["secrets".into()],
        resource_policy: Some(serde_json::from_value(
            json!({"kind": "configmap", "name": "policies"}),
        )?),
        ..of_namespaces(&[app])
    };
    let report = run(async {
        let mut job = scene::backup_job(&field.scene.cluster, &field.location, "by-policy", asked);
        job.backup.metadata.namespace = Some(app.clone());
        refloat_engine::run_backup(job).await
    })?;
    let warnings = serde_json::to_string(&report.results)?;
    ensure!(
        warnings.contains("its 1 volumePolicies are valid and have no effect"),
        "{warnings}"
    );
    let objects = run(tarball::objects(&field.location, "by-policy")).context("reading the tarball")?;
    let has = |path: &str| objects.contains_key(&format!("resources/{path}.json"));
    for (path, expected) in [
        (format!("serviceaccounts/namespaces/{app}/kept"), true),
        (format!("serviceaccounts/namespaces/{app}/skipped"), false),
        (format!("deployments.apps/namespaces/{app}/web"), false),
        (format!("configmaps/namespaces/{app}/plain"), false),
        (format!("pods/namespaces/{app}/plain"), true),
        (format!("persistentvolumeclaims/namespaces/{app}/left-out"), false),
        (format!("persistentvolumeclaims/namespaces/{app}/wanted"), true),
    ] {
        ensure!(has(&path) == expected, "{path}: {:?}", objects.keys());
    }
    Ok(())
}
