//! Objects in API versions that were removed since they were backed up.

use anyhow::{Result, ensure};
use refloat_model::{
    RestoreSpec,
    layout::{self, BackupFile},
};
use serde_json::json;

use crate::{Field, scene::run, tarball};

/// An archive as Velero wrote it on Kubernetes 1.15 to 1.24.
fn old_archive(namespace: &str) -> Result<Vec<u8>> {
    let objects = [
        (
            "ingresses.extensions",
            json!({"apiVersion": "extensions/v1beta1", "kind": "Ingress", "metadata": {"name": "web"},
                "spec": {"rules": [{"host": "a.example.io", "http": {"paths": [
                    {"path": "/", "backend": {"serviceName": "web", "servicePort": 80}}]}}]}}),
        ),
        (
            "deployments.apps",
            json!({"apiVersion": "apps/v1beta1", "kind": "Deployment", "metadata": {"name": "web"},
                "spec": {"replicas": 0, "template": {"metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "c", "image": "x"}]}}}}),
        ),
        (
            "cronjobs.batch",
            json!({"apiVersion": "batch/v1beta1", "kind": "CronJob", "metadata": {"name": "nightly"},
                "spec": {"schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {"spec": {
                    "restartPolicy": "Never", "containers": [{"name": "c", "image": "x"}]}}}}}}),
        ),
        (
            "poddisruptionbudgets.policy",
            json!({"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"},
                "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}}),
        ),
        (
            "horizontalpodautoscalers.autoscaling",
            json!({"apiVersion": "autoscaling/v2beta1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
                "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                    "metrics": [{"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": 70}}]}}),
        ),
        (
            "horizontalpodautoscalers.autoscaling",
            json!({"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "plain"},
                "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 60,
                    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}}),
        ),
        (
            "roles.rbac.authorization.k8s.io",
            json!({"apiVersion": "rbac.authorization.k8s.io/v1beta1", "kind": "Role", "metadata": {"name": "reader"},
                "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        ),
    ];
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(data.len() as u64);
        tar.append_data(&mut header, path, data)
    };
    add("metadata/version", b"1.1.0\n")?;
    for (kind, mut object) in objects {
        object["metadata"]["namespace"] = namespace.into();
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let path = format!("resources/{kind}/namespaces/{namespace}/{name}.json");
        add(&path, object.to_string().as_bytes())?;
    }
    let group = format!("{namespace}.example.io");
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1beta1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("widgets.{group}")},
        "spec": {"group": group, "version": "v1", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "additionalPrinterColumns": [{"name": "Size", "type": "integer", "JSONPath": ".spec.size"}]}});
    let kind = "customresourcedefinitions.apiextensions.k8s.io";
    add(
        &format!("resources/{kind}/cluster/widgets.{group}.json"),
        definition.to_string().as_bytes(),
    )?;
    let widget = json!({"apiVersion": format!("{group}/v1"), "kind": "Widget",
        "metadata": {"name": "w", "namespace": namespace}, "spec": {"size": 3, "any": {"thing": true}}});
    add(
        &format!("resources/widgets.{group}/namespaces/{namespace}/w.json"),
        widget.to_string().as_bytes(),
    )?;
    let policy =
        json!({"apiVersion": "policy/v1beta1", "kind": "PodSecurityPolicy", "metadata": {"name": "p"}});
    add(
        "resources/podsecuritypolicies.policy/cluster/p.json",
        policy.to_string().as_bytes(),
    )?;
    tarball::gzip(&tar.into_inner()?)
}

#[test]
fn versions_that_were_removed_are_converted_with_a_warning() -> Result<()> {
    let field = Field::new("old-api")?;
    let app = field.scene.id.clone();
    let packed = old_archive(&app)?;
    run(async {
        let backup = json!({"apiVersion": "velero.io/v1", "kind": "Backup",
            "metadata": {"name": "old", "namespace": "velero"}, "spec": {},
            "status": {"phase": "Completed", "version": 1, "formatVersion": "1.1.0"}});
        let store = field.location.store();
        store
            .put_once(&layout::backup_metadata("old"), backup.to_string().into())
            .await?;
        store
            .put_once(&BackupFile::Contents.key("old"), packed.into())
            .await?;
        anyhow::Ok(())
    })?;
    let report = field.restore("old", "r", RestoreSpec::default())?;
    ensure!(
        report.results.errors == Default::default(),
        "{:?}",
        report.results
    );
    let definition = field.get("crd", &app, &format!("widgets.{app}.example.io"))?;
    run(async {
        let target = field.scene.target(&definition).await?;
        field.scene.remember(target);
        anyhow::Ok(())
    })?;
    let warnings = serde_json::to_string(&report.results.warnings)?;
    for words in [
        "ingresses.networking.k8s.io",
        "deployments.apps",
        "cronjobs.batch",
        "poddisruptionbudgets.policy",
        "autoscaling/v2beta1 to autoscaling/v2",
        "roles.rbac.authorization.k8s.io",
        "apiextensions.k8s.io/v1beta1 to apiextensions.k8s.io/v1",
        "removed PodSecurityPolicy",
    ] {
        ensure!(warnings.contains(words), "{words}: {warnings}");
    }
    ensure!(
        !warnings.contains("/plain"),
        "a version that is served is kept: {warnings}"
    );
    let ingress = field.get("ingress", &app, "web")?;
    let path = &ingress["spec"]["rules"][0]["http"]["paths"][0];
    ensure!(
        path["backend"]["service"] == json!({"name": "web", "port": {"number": 80}}),
        "{ingress}"
    );
    let scaler = field.get("hpa", &app, "web")?;
    ensure!(
        scaler["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 70,
        "{scaler}"
    );
    let plain = field.get("hpa", &app, "plain")?;
    ensure!(
        plain["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 60,
        "{plain}"
    );
    let web = field.get("deployment", &app, "web")?;
    ensure!(
        web["spec"]["selector"]["matchLabels"] == json!({"app": "web"}),
        "{web}"
    );
    for (kind, name) in [("cronjob", "nightly"), ("pdb", "web"), ("role", "reader")] {
        field.get(kind, &app, name)?;
    }
    let widget = field.get(&format!("widgets.{app}.example.io"), &app, "w")?;
    ensure!(
        widget["spec"] == json!({"size": 3, "any": {"thing": true}}),
        "{widget}"
    );
    Ok(())
}
