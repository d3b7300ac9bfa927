//! Awkward objects come back exactly: created in a real API server, backed up to a folder and to a
//! real S3 server, deleted, restored, and compared as JSON values whose numbers are compared as text.

#[path = "real_round_trip/awkward.rs"]
mod awkward;
#[path = "peers/compare.rs"]
mod compare;
#[path = "peers/scene.rs"]
mod scene;
#[path = "peers/tarball.rs"]
mod tarball;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use refloat_engine::Location;
use refloat_model::{BackupSpec, RestoreSpec, archive};
use serde_json::Value;

use awkward::{Awkward, Names};
use compare::{Normalisation, differences, normalised, without};
use scene::{Scene, Target, nothing_to_report, of_namespaces, run};

/// All that a restore is meant to change.
const CHANGES: &[Normalisation] = &[
    without(&["*"], "metadata/uid", "each life of an object has its own"),
    without(&["*"], "metadata/resourceVersion", "the server's"),
    without(&["*"], "metadata/generation", "starts again"),
    without(&["*"], "metadata/creationTimestamp", "it was created now"),
    without(
        &["*"],
        "metadata/managedFields",
        "their times; who owns which field is compared by itself",
    ),
    without(
        &["*"],
        "metadata/ownerReferences",
        "their UIDs are gone; controllers adopt again",
    ),
    without(&["*"], "metadata/generateName", "the name is known"),
    without(
        &["*"],
        "metadata/labels/velero.io~1*",
        "a restore says what it made",
    ),
    without(&["*"], "status", "controllers write it; restored on request only"),
    without(&["services"], "spec/clusterIP*", "assigned by the cluster"),
    without(
        &["deployments.apps"],
        "metadata/annotations/deployment.kubernetes.io~1revision",
        "the controller counts again",
    ),
];

/// The namespaces, besides the one whose name is unique.
const FOLDERS: [&str; 3] = ["cluster", "namespaces", "v1-preferredversion"];

type State = BTreeMap<String, (Target, Value)>;

#[test]
fn awkward_objects_come_back_as_they_were() -> Result<()> {
    let scene = Scene::new("awkward")?;
    let bucket = scene.id.clone();
    create_locked_bucket(&scene, &bucket)?;
    let (disk, minio) = (scene.disk()?, scene.bucket(&bucket, "some/prefix")?);
    let names = Names {
        main: scene.id.clone(),
        id: scene.id.clone(),
    };
    let spaces = [&[names.main.as_str()][..], &FOLDERS].concat();
    let mut targets = Vec::new();
    for space in &spaces {
        targets.push(scene.namespace(space)?);
    }
    let all: Vec<Awkward> = [
        awkward::definitions(&names),
        awkward::built_in(&names),
        awkward::custom(&names),
        awkward::cluster_scoped(&names),
    ]
    .into_iter()
    .flatten()
    .collect();
    ensure!(all.len() >= 60, "only {} objects", all.len());
    run(async {
        let mut refused = Vec::new();
        for one in &all {
            match scene.create(&one.json).await {
                Ok(made) => targets.push(made),
                Err(error) => refused.push(format!("{}: {error:#}", one.why)),
            }
        }
        ensure!(refused.is_empty(), "{}", refused.join("\n"));
        make_cycle(&scene, &targets).await?;
        settle().await;
        let before = state(&scene, &targets).await?;
        for (location, name) in [(&disk, "on-disk"), (&minio, "in-minio")] {
            Box::pin(round_trip(&scene, location, name, &spaces, &before)).await?;
        }
        scene.delete(&targets).await
    })?;
    written_once(&scene, &bucket)
}

/// A bucket in which nothing can be changed for a day.
fn create_locked_bucket(scene: &Scene, bucket: &str) -> Result<()> {
    let minio = scene.test.minio()?;
    minio.create_bucket(bucket, true)?;
    let rule = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
        <Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
    let answer = minio.request("PUT", &format!("/{bucket}"), "object-lock=", &[], rule.as_bytes())?;
    ensure!(answer.status == 200, "{}", String::from_utf8_lossy(&answer.body));
    Ok(())
}

/// No object of the two backups has a second version or was deleted.
fn written_once(scene: &Scene, bucket: &str) -> Result<()> {
    let query = "prefix=some%2Fprefix%2Fbackups%2F&versions=";
    let answer = scene
        .test
        .minio()?
        .request("GET", &format!("/{bucket}"), query, &[], b"")?;
    let text = String::from_utf8(answer.body)?;
    let count = |part: &str| text.matches(part).count();
    ensure!(count("<Version>") == 22 && count("<DeleteMarker>") == 0, "{text}");
    Ok(())
}

/// Backs up, compares the tarball, deletes, restores and compares.
async fn round_trip(
    scene: &Scene,
    location: &Location,
    name: &str,
    spaces: &[&str],
    before: &State,
) -> Result<()> {
    let before_now = state(scene, &targets_of(before)).await?;
    let (inside, outside) = (format!("{name}-inside"), format!("{name}-outside"));
    let report = scene.backup(location, &inside, of_namespaces(spaces)).await?;
    nothing_to_report(&report.results)?;
    let selector = LabelSelector {
        match_labels: Some([("awkward".to_owned(), scene.id.clone())].into()),
        ..LabelSelector::default()
    };
    let cluster_scoped = BackupSpec {
        include_cluster_resources: Some(true),
        label_selector: Some(selector),
        ..of_namespaces(&[spaces[0]])
    };
    let report = scene.backup(location, &outside, cluster_scoped).await?;
    nothing_to_report(&report.results)?;
    stored_as_served(location, &inside, &outside, &before_now).await?;

    scene.delete(&targets_of(before)).await?;
    for backup in [&outside, &inside] {
        let report = scene
            .restore(
                location,
                backup,
                &format!("{backup}-back"),
                RestoreSpec::default(),
            )
            .await?;
        nothing_to_report(&report.results).with_context(|| format!("restoring {backup}"))?;
    }
    settle().await;
    let after = state(scene, &targets_of(before)).await?;
    ensure!(
        after.len() == before.len(),
        "{} of {} objects are back",
        after.len(),
        before.len()
    );
    let mut problems = Vec::new();
    for (key, (target, old)) in before {
        let kind = target.api.group_resource.to_string();
        let (_, new) = after.get(key).with_context(|| format!("{key} is not back"))?;
        let (old_value, new_value) = (normalised(CHANGES, &kind, old), normalised(CHANGES, &kind, new));
        problems.extend(
            differences(&old_value, &new_value)
                .into_iter()
                .map(|line| format!("{key}: {line}")),
        );
        ensure!(old_value == new_value || !problems.is_empty(), "{key} differs");
        // Where nobody managed anything, the restore manages its labels.
        let managed = !managers(old).is_empty() && kind != "namespaces" && !is_under_control(&kind);
        if managed && managers(old) != managers(new) {
            problems.push(format!(
                "{key}: managers {:?} | {:?}",
                managers(old),
                managers(new)
            ));
        }
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

/// The tarball holds each object as the API server sends it, number by number.
async fn stored_as_served(location: &Location, inside: &str, outside: &str, state: &State) -> Result<()> {
    let mut stored = tarball::objects(location, inside).await?;
    stored.extend(tarball::objects(location, outside).await?);
    let mut problems = Vec::new();
    for (target, served) in state.values() {
        let (kind, name) = (&target.api.group_resource, &target.name);
        let paths = [
            archive::object_path(kind, name),
            archive::preferred_path(kind, &target.api.version, name),
        ];
        for path in paths {
            let object = stored
                .get(&path)
                .with_context(|| format!("{path} is not in the tarball"))?;
            problems.extend(
                differences(served, object)
                    .into_iter()
                    .map(|line| format!("{path}: {line}")),
            );
        }
    }
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    Ok(())
}

/// Kinds whose controllers write fields of their own beside the status.
fn is_under_control(kind: &str) -> bool {
    matches!(
        kind,
        "deployments.apps" | "customresourcedefinitions.apiextensions.k8s.io"
    )
}

/// Who manages which part of an object, without the time.
fn managers(object: &Value) -> Vec<String> {
    let entries = object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    let main = entries
        .into_iter()
        .flatten()
        .filter(|entry| entry["subresource"].is_null());
    main.map(|entry| {
        format!(
            "{} {} {}",
            entry["manager"], entry["operation"], entry["apiVersion"]
        )
    })
    .collect()
}

async fn state(scene: &Scene, targets: &[Target]) -> Result<State> {
    let mut state = State::new();
    for target in targets {
        if let Some(object) = scene.get(target).await? {
            state.insert(target.to_string(), (target.clone(), object));
        }
    }
    Ok(state)
}

fn targets_of(state: &State) -> Vec<Target> {
    state.values().map(|(target, _)| target.clone()).collect()
}

/// Controllers write the first status of what was made.
async fn settle() {
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
}

/// Two ConfigMaps that own each other.
async fn make_cycle(scene: &Scene, targets: &[Target]) -> Result<()> {
    let find = |name: &str| {
        targets
            .iter()
            .find(|target| target.name.name == name)
            .context("an owner")
    };
    let [a, b] = [find("owner-a")?, find("owner-b")?];
    for (owned, owner) in [(a, b), (b, a)] {
        let object = scene.get(owner).await?.context("the owner is there")?;
        let reference = serde_json::json!([{"apiVersion": "v1", "kind": "ConfigMap", "name": owner.name.name,
            "uid": object["metadata"]["uid"], "controller": true}]);
        scene
            .patch(
                owned,
                &serde_json::json!({"metadata": {"ownerReferences": reference}}),
            )
            .await?;
    }
    Ok(())
}
