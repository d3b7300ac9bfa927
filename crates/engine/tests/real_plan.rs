//! A plan and the restore that applies it, on small random clusters: what becomes of each object is
//! what the plan says; and where the cluster has changed in between, nothing is written.

#[path = "peers/scene.rs"]
mod scene;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use refloat_engine::{
    EngineError, Location, PlanReport, RestoreJob, catalog, check_plan, run_plan, run_restore, stream_plan,
};
use refloat_model::{
    RestoreSpec, labels,
    layout::RestoreFile,
    restore_plan::{PlanAction, PlanLine, PlanObject},
};
use serde_json::{Value, json};

use scene::{Scene, Target, of_namespaces, restore_job, run};

/// Numbers that are the same in each run of a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % sides
    }
}

/// A random object of a namespace.
fn object(dice: &mut Dice, namespace: &str, number: usize) -> Value {
    let metadata = json!({ "name": format!("o{number}"), "namespace": namespace, "labels": { "n": number.to_string() } });
    let word = format!("w{}", dice.roll(1000));
    match dice.roll(6) {
        0 | 1 => {
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": { "word": word } })
        }
        2 => {
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": { "word": word } })
        }
        3 => json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": { "ports": [{ "port": 1 + dice.roll(9000) }], "selector": { "word": word } } }),
        4 => json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }),
        _ => json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata,
            "rules": [{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": [word] }] }),
    }
}

/// A change of an object that does not change its kind.
fn change(dice: &mut Dice, target: &Target) -> Value {
    let word = format!("x{}", dice.roll(1000));
    match target.api.kind.as_str() {
        "ConfigMap" => json!({ "data": { "word": word, "more": "1" } }),
        "Secret" => json!({ "stringData": { "word": word } }),
        "Service" => json!({ "spec": { "selector": { "word": word } } }),
        _ => json!({ "metadata": { "labels": { "n": word } } }),
    }
}

/// A namespace with random objects, a backup of it in `location`, and the objects.
fn backed_up(
    scene: &Scene,
    dice: &mut Dice,
    location: &Location,
    namespace: &str,
    backup: &str,
) -> Result<Vec<Target>> {
    scene.namespace(namespace)?;
    run(async {
        let mut targets = Vec::new();
        for number in 0..8 + dice.roll(8) {
            let manifest = object(dice, namespace, number);
            targets.push(scene.create(&manifest.to_string()).await?);
        }
        scene
            .backup(location, backup, of_namespaces(&[namespace]))
            .await?;
        Ok(targets)
    })
}

/// Deletes some objects and changes others.
fn disturb(scene: &Scene, dice: &mut Dice, targets: &[Target]) -> Result<()> {
    run(async {
        for target in targets {
            match dice.roll(3) {
                0 => scene.delete(std::slice::from_ref(target)).await?,
                1 => scene.patch(target, &change(dice, target)).await?,
                _ => {}
            }
        }
        Ok(())
    })
}

fn spec(policy: &str) -> RestoreSpec {
    RestoreSpec {
        existing_resource_policy: policy.into(),
        // A controller makes them of the services, when it comes to it.
        excluded_resources: vec!["endpoints".into(), "endpointslices.discovery.k8s.io".into()],
        ..RestoreSpec::default()
    }
}

async fn job(
    scene: &Scene,
    location: &Location,
    backup: &str,
    name: &str,
    spec: &RestoreSpec,
) -> Result<RestoreJob> {
    let stored = catalog::read_backup(location, backup).await?;
    Ok(restore_job(&scene.cluster, location, stored, name, spec.clone()))
}

/// The restore that applies a plan.
async fn applying(
    scene: &Scene,
    location: &Location,
    backup: &str,
    plan: &str,
    report: &PlanReport,
    spec: &RestoreSpec,
) -> Result<RestoreJob> {
    let mut applying = job(scene, location, backup, &format!("{plan}-done"), spec).await?;
    applying.restore.metadata.annotations = Some(
        [
            (labels::PLAN.to_owned(), plan.to_owned()),
            (labels::PLAN_HASH.to_owned(), report.hash.clone()),
        ]
        .into(),
    );
    Ok(applying)
}

async fn planned(location: &Location, plan: &str) -> Result<Vec<PlanObject>> {
    let mut lines = stream_plan(location, plan).await?;
    let mut objects = Vec::new();
    while let Some(line) = lines.recv().await {
        if let PlanLine::Object(object) = line? {
            objects.push(*object);
        }
    }
    Ok(objects)
}

/// What a restore says that became of each object: `v1/ConfigMap namespace/name` → fate.
async fn fates(location: &Location, restore: &str) -> Result<BTreeMap<String, String>> {
    let key = RestoreFile::ResourceList.key(restore);
    let list: Option<BTreeMap<String, Vec<String>>> = catalog::read_json_gz(location, &key).await?;
    let mut fates = BTreeMap::new();
    for (kind, names) in list.context("no resource list")? {
        for name in names {
            let (name, fate) = name.trim_end_matches(')').rsplit_once('(').context("no fate")?;
            fates.insert(format!("{kind} {name}"), fate.to_owned());
        }
    }
    Ok(fates)
}

/// Fails unless each object of the plan has the fate that the plan says, and no other has one.
async fn agree(
    scene: &Scene,
    location: &Location,
    plan: &str,
    restore: &str,
) -> Result<BTreeSet<PlanAction>> {
    let kinds: BTreeMap<String, String> = scene
        .cluster
        .discover()
        .await?
        .resources
        .iter()
        .map(|api| (api.group_resource.to_string(), api.gvk().to_string()))
        .collect();
    let mut fates = fates(location, restore).await?;
    let mut seen = BTreeSet::new();
    for object in planned(location, plan).await? {
        let (_, name) = object
            .title()
            .split_once(' ')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .context("a title")?;
        let fate = fates.remove(&format!("{} {name}", kinds[&object.resource]));
        let expected = match object.action {
            PlanAction::Create => "created",
            PlanAction::Patch => "updated",
            PlanAction::Same | PlanAction::Skip => "skipped",
            PlanAction::Conflict | PlanAction::Blocked => "failed",
        };
        ensure!(fate.as_deref() == Some(expected), "{object:?} became {fate:?}");
        seen.insert(object.action);
    }
    ensure!(fates.is_empty(), "not in the plan: {fates:?}");
    Ok(seen)
}

#[test]
fn the_outcome_is_the_plan_on_random_clusters() -> Result<()> {
    let scene = Scene::new("plan")?;
    let location = scene.memory()?;
    let mut seen = BTreeSet::new();
    for seed in 1..=10 {
        let mut dice = Dice(seed);
        let namespace = format!("{}-{seed}", scene.id);
        let backup = format!("b{seed}");
        let targets = backed_up(&scene, &mut dice, &location, &namespace, &backup)?;
        disturb(&scene, &mut dice, &targets)?;
        run(async {
            if seed % 3 == 0 {
                // Nothing more of that kind fits in: what is missing is blocked.
                let quota = json!({ "apiVersion": "v1", "kind": "ResourceQuota",
                    "metadata": { "name": "full", "namespace": namespace }, "spec": { "hard": { "count/roles.rbac.authorization.k8s.io": "0", "configmaps": "0" } } });
                let quota = scene.create(&quota.to_string()).await?;
                let began = Instant::now();
                while scene.get(&quota).await?.is_none_or(|one| one["status"]["used"].is_null()) {
                    ensure!(began.elapsed() < scene::SOON, "the quota is not counted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                // The admission of quotas has a list of its own.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let spec = spec(["", "update", "none"][dice.roll(3)]);
            let plan = format!("p{seed}");
            let report = run_plan(job(&scene, &location, &backup, &plan, &spec).await?).await?;
            ensure!(report.totals.all() > 0, "{report:?}");
            let again = run_plan(job(&scene, &location, &backup, &format!("{plan}-b"), &spec).await?).await?;
            let secrets = planned(&location, &plan).await?.iter().any(|one| {
                one.resource == "secrets" && !one.difference.is_empty()
            });
            ensure!(secrets || report.hash == again.hash, "the same cluster, another plan");
            let applying = applying(&scene, &location, &backup, &plan, &report, &spec).await?;
            check_plan(&applying).await?;
            run_restore(applying).await?;
            seen.extend(agree(&scene, &location, &plan, &format!("{plan}-done")).await?);
            Ok(())
        })
        .with_context(|| format!("seed {seed}"))?;
    }
    let all = [
        PlanAction::Create,
        PlanAction::Same,
        PlanAction::Patch,
        PlanAction::Conflict,
        PlanAction::Blocked,
    ];
    ensure!(
        all.iter().all(|action| seen.contains(action)),
        "too few kinds of decisions: {seen:?}"
    );
    Ok(())
}

#[test]
fn a_plan_is_refused_when_the_cluster_has_changed() -> Result<()> {
    let scene = Scene::new("moved")?;
    let location = scene.memory()?;
    for seed in 21..=26 {
        let mut dice = Dice(seed);
        let namespace = format!("{}-{seed}", scene.id);
        let backup = format!("b{seed}");
        let targets = backed_up(&scene, &mut dice, &location, &namespace, &backup)?;
        disturb(&scene, &mut dice, &targets)?;
        run(async {
            let spec = spec(["", "update"][dice.roll(2)]);
            let plan = format!("p{seed}");
            let report = run_plan(job(&scene, &location, &backup, &plan, &spec).await?).await?;
            let applying = applying(&scene, &location, &backup, &plan, &report, &spec).await?;
            check_plan(&applying).await?;
            // One object that is there is changed or deleted, or one that is not is made. Of an account only what it
            // lacks counts.
            let counts = |target: &&Target| target.api.kind != "ServiceAccount";
            let moving = targets.iter().find(counts).context("only accounts")?;
            let there = scene.get(moving).await?;
            match there {
                Some(_) if dice.roll(2) == 0 => scene.delete(std::slice::from_ref(moving)).await?,
                Some(_) => scene.patch(moving, &change(&mut dice, moving)).await?,
                None => {
                    let metadata = json!({ "name": moving.name.name, "namespace": namespace });
                    let api = &moving.api;
                    let mut manifest = json!({ "apiVersion": api.gvk().api_version(), "kind": api.kind, "metadata": metadata });
                    if api.kind == "Service" {
                        manifest["spec"] = json!({ "ports": [{ "port": 1 }] });
                    }
                    scene.create(&manifest.to_string()).await?;
                }
            }
            let before = versions(&scene, &targets).await?;
            let error = check_plan(&applying).await.err().context("it was not refused")?;
            ensure!(matches!(error, EngineError::Moved { .. }), "{error}");
            let text = error.to_string();
            ensure!(text.contains(&moving.name.to_string()) && text.contains("plan again"), "{text}");
            ensure!(before == versions(&scene, &targets).await?, "something was written");
            // Even unchecked, the restore leaves that object alone.
            run_restore(applying).await?;
            let fates = fates(&location, &format!("{plan}-done")).await?;
            let key = format!("{} {}", moving.api.gvk(), moving.name);
            let same_end = ["failed", "skipped"].contains(&fates[&key].as_str());
            ensure!(same_end, "{key}: {}", fates[&key]);
            Ok(())
        })
        .with_context(|| format!("seed {seed}"))?;
    }
    Ok(())
}

async fn versions(scene: &Scene, targets: &[Target]) -> Result<Vec<Option<String>>> {
    let mut versions = Vec::new();
    for target in targets {
        let object = scene.get(target).await?;
        versions.push(object.and_then(|one| one["metadata"]["resourceVersion"].as_str().map(str::to_owned)));
    }
    Ok(versions)
}

#[test]
fn what_cannot_be_restored_is_blocked_with_its_reason() -> Result<()> {
    let scene = Scene::new("blocked")?;
    let location = scene.memory()?;
    let namespace = format!("{}-a", scene.id);
    let target = format!("{}-b", scene.id);
    scene.namespace(&namespace)?;
    let group = format!("{}.example.io", scene.id);
    run(async {
        let definition = json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("gizmos.{group}") },
            "spec": { "group": group, "scope": "Namespaced", "names": { "plural": "gizmos", "singular": "gizmo", "kind": "Gizmo" },
                "versions": [{ "name": "v1", "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }] } });
        let definition = scene.create(&definition.to_string()).await?;
        let gizmo = json!({ "apiVersion": format!("{group}/v1"), "kind": "Gizmo", "metadata": { "name": "g", "namespace": namespace } });
        scene.create(&gizmo.to_string()).await?;
        let claim = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": { "name": "c", "namespace": namespace },
            "spec": { "storageClassName": "nowhere", "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Mi" } } } });
        scene.create(&claim.to_string()).await?;
        scene.backup(&location, "b", of_namespaces(&[&namespace])).await?;
        let into = RestoreSpec {
            namespace_mapping: [(namespace.clone(), target.clone())].into(),
            ..RestoreSpec::default()
        };
        // The definition is there: everything can be made, but the claim would wait for ever.
        run_plan(job(&scene, &location, "b", "p1", &into).await?).await?;
        let found = codes(&location, "p1").await?;
        ensure!(
            found["gizmos"] == (PlanAction::Create, "NamespaceFirst".into()),
            "{found:?}"
        );
        ensure!(
            found["persistentvolumeclaims"] == (PlanAction::Blocked, "MissingStorageClass".into()),
            "{found:?}"
        );
        // Without it, the backup's own comes first; without that, its objects are blocked.
        scene.delete(std::slice::from_ref(&definition)).await?;
        run_plan(job(&scene, &location, "b", "p2", &into).await?).await?;
        let found = codes(&location, "p2").await?;
        ensure!(
            found["gizmos"] == (PlanAction::Create, "DefinitionFirst".into()),
            "{found:?}"
        );
        let without = RestoreSpec {
            excluded_resources: vec!["customresourcedefinitions.apiextensions.k8s.io".into()],
            ..into.clone()
        };
        let report = run_plan(job(&scene, &location, "b", "p3", &without).await?).await?;
        let found = codes(&location, "p3").await?;
        ensure!(
            found["gizmos"] == (PlanAction::Blocked, "KindNotServed".into()),
            "{found:?}"
        );
        ensure!(
            report
                .attention
                .iter()
                .any(|line| line.contains("does not serve")),
            "{report:?}"
        );
        // A namespace that is going takes nothing.
        let going = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": target } });
        let going = scene.create(&going.to_string()).await?;
        let stays = json!({ "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "stays", "namespace": target, "finalizers": ["example.io/stay"] } });
        let stays = scene.create(&stays.to_string()).await?;
        scene.cluster.delete(&going.api, &going.name).await?;
        run_plan(job(&scene, &location, "b", "p4", &without).await?).await?;
        let found = codes(&location, "p4").await?;
        ensure!(
            found["persistentvolumeclaims"].1 == "NamespaceTerminating",
            "{found:?}"
        );
        ensure!(found["namespaces"].1 == "NamespaceTerminating", "{found:?}");
        scene.delete(&[stays]).await?;
        // A plan of another spec, or of another name, is not applied.
        let report = run_plan(job(&scene, &location, "b", "p5", &without).await?).await?;
        let wrong = applying(&scene, &location, "b", "p5", &report, &into).await?;
        let error = check_plan(&wrong)
            .await
            .err()
            .context("another spec")?
            .to_string();
        ensure!(error.contains("another specification"), "{error}");
        let wrong = applying(&scene, &location, "b", "none", &report, &without).await?;
        let error = check_plan(&wrong)
            .await
            .err()
            .context("no such plan")?
            .to_string();
        ensure!(error.contains("there is no restore plan \"none\""), "{error}");
        Ok(())
    })
}

/// Resource without its group → what is to become of its (only) object, and the code why.
async fn codes(location: &Location, plan: &str) -> Result<BTreeMap<String, (PlanAction, String)>> {
    let objects = planned(location, plan).await?;
    let short = |one: &PlanObject| one.resource.split('.').next().unwrap_or_default().to_owned();
    Ok(objects
        .into_iter()
        .map(|one| (short(&one), (one.action, one.code)))
        .collect())
}
