//! What a restore does in Velero's way beyond creating objects: where their namespaces come from, what a kind that
//! the cluster does not serve means, how an object that is there and differs is reported.

#[path = "peers/scene.rs"]
mod scene;
#[path = "peers/tarball.rs"]
mod tarball;

use anyhow::{Context, Result, ensure};
use refloat_model::{ObjectName, RestorePhase, RestoreSpec, layout::RestoreFile};
use scene::{Scene, Target, namespaces, of_namespaces, run};
use serde_json::{Value, json};

fn labelled_namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
        "labels": {"pod-security.kubernetes.io/enforce": "restricted"}, "annotations": {"example.com/owner": "team a"}}})
}

fn map(namespace: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings", "namespace": namespace},
        "data": {"value": value}})
}

/// A restore of one namespace into another.
fn into(from: &str, to: &str) -> RestoreSpec {
    RestoreSpec {
        namespace_mapping: [(from.to_owned(), to.to_owned())].into(),
        ..RestoreSpec::default()
    }
}

#[test]
fn a_missing_namespace_is_made_as_it_was_whatever_the_filters() -> Result<()> {
    let scene = Scene::new("labels")?;
    let original = scene.id.clone();
    run(async {
        scene.create(&labelled_namespace(&original).to_string()).await?;
        scene.create(&map(&original, "a").to_string()).await
    })?;
    let location = scene.memory()?;
    run(scene.backup(&location, "b", of_namespaces(&[&original])))?;
    let config_maps = vec!["configmaps".to_owned()];
    let filters = [
        RestoreSpec {
            included_resources: config_maps.clone(),
            ..RestoreSpec::default()
        },
        RestoreSpec {
            excluded_resources: vec!["namespaces".to_owned()],
            ..RestoreSpec::default()
        },
        RestoreSpec {
            include_cluster_resources: Some(false),
            ..RestoreSpec::default()
        },
        RestoreSpec::default(),
    ];
    for (round, filter) in filters.into_iter().enumerate() {
        let target = format!("{original}-{round}");
        scene.namespace_to_come(&target);
        let spec = RestoreSpec {
            namespace_mapping: into(&original, &target).namespace_mapping,
            ..filter
        };
        let report = run(scene.restore(&location, "b", &format!("r-{round}-{original}"), spec))?;
        let status = report.restore.status.unwrap_or_default();
        ensure!(status.phase == RestorePhase::Completed, "{:?}", report.results);
        let made = Target {
            api: namespaces(),
            name: ObjectName::new("", target.as_str()),
        };
        let made = run(scene.get(&made))?.context("the namespace is missing")?;
        let metadata = &made["metadata"];
        ensure!(
            metadata["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
                && metadata["annotations"]["example.com/owner"] == "team a",
            "round {round}: {metadata}"
        );
    }
    Ok(())
}

#[test]
fn each_object_of_a_kind_that_is_not_served_is_an_error() -> Result<()> {
    let scene = Scene::new("unserved")?;
    scene.namespace(&scene.id)?;
    let group = format!("{}.example", scene.id);
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("relics.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "relics", "kind": "Relic"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]},
    });
    let definition = run(scene.create(&definition.to_string()))?;
    for name in ["one", "two"] {
        let metadata = json!({"name": name, "namespace": scene.id});
        let relic = json!({"apiVersion": format!("{group}/v1"), "kind": "Relic", "metadata": metadata});
        run(scene.create(&relic.to_string()))?;
    }
    run(scene.create(&map(&scene.id, "a").to_string()))?;
    let location = scene.memory()?;
    run(scene.backup(&location, "b", of_namespaces(&[&scene.id])))?;
    run(scene.delete(&[definition]))?;
    let target = format!("{}-back", scene.id);
    scene.namespace_to_come(&target);
    let spec = RestoreSpec {
        excluded_resources: vec!["customresourcedefinitions".to_owned()],
        ..into(&scene.id, &target)
    };
    let report = run(scene.restore(&location, "b", &format!("r-{}", scene.id), spec))?;
    let status = report.restore.status.unwrap_or_default();
    ensure!(
        status.phase == RestorePhase::PartiallyFailed && status.errors == 2,
        "{:?}",
        report.results
    );
    let errors: Vec<&String> = report.results.errors.namespaces.values().flatten().collect();
    for name in ["one", "two"] {
        let named = errors
            .iter()
            .any(|text| text.contains(&format!("/{name}: this cluster does not serve")));
        ensure!(named, "{errors:?}");
    }
    Ok(())
}

#[test]
fn what_is_there_and_differs_is_a_warning_and_failed_in_the_list() -> Result<()> {
    let scene = Scene::new("differs")?;
    scene.namespace(&scene.id)?;
    let made = run(scene.create(&map(&scene.id, "a").to_string()))?;
    let location = scene.memory()?;
    run(scene.backup(&location, "b", of_namespaces(&[&scene.id])))?;
    run(scene.patch(&made, &json!({"data": {"value": "b"}})))?;
    let name = format!("r-{}", scene.id);
    let report = run(scene.restore(&location, "b", &name, RestoreSpec::default()))?;
    let status = report.restore.status.unwrap_or_default();
    ensure!(
        status.phase == RestorePhase::Completed && status.warnings == 1 && status.errors == 0,
        "{:?}",
        report.results
    );
    let list = run(tarball::document(
        &location,
        &RestoreFile::ResourceList.key(&name),
    ))?;
    let entry = format!("{}/settings(failed)", scene.id);
    let listed = list["v1/ConfigMap"]
        .as_array()
        .context("no config maps are listed")?;
    ensure!(listed.iter().any(|one| *one == entry), "{listed:?}");
    Ok(())
}
