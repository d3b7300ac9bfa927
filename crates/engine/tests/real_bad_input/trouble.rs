//! A server that is in trouble itself: a kind that never answers, a list that breaks off, an aggregated API that is
//! away, discovery that lags behind. Each is about one kind alone; the rest is backed up.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use refloat_cluster::{Cluster, ConnectOptions};
use refloat_engine::{BackupReport, Location, run_backup};
use refloat_model::{BackupPhase, BackupSpec};
use serde_json::json;

use crate::{
    lists::{config_maps, only, stored},
    proxy::{Instead, Proxy, Watch},
    scene::{Scene, backup_job, nothing_to_report, of_namespaces, run},
};

/// Backs up through a proxy, with a client that waits a second for each answer.
fn backup_through(
    scene: &Scene,
    watch: Arc<Watch>,
    location: &Location,
    spec: BackupSpec,
) -> Result<BackupReport> {
    let proxy = Proxy::start(scene.test, scene.folder(), watch)?;
    run(async {
        let options = ConnectOptions {
            kubeconfig: Some(proxy.kubeconfig.clone()),
            answer_limit: Duration::from_secs(1),
            ..ConnectOptions::default()
        };
        let cluster = Cluster::connect(&options).await?;
        let running = run_backup(backup_job(&cluster, location, "b", spec));
        Ok(tokio::time::timeout(Duration::from_secs(120), running)
            .await
            .context("the backup hangs")??)
    })
}

fn namespace_with(scene: &Scene, maps: &[&str]) -> Result<BTreeSet<String>> {
    scene.namespace(&scene.id)?;
    run(config_maps(scene, &scene.id, maps))?;
    Ok(maps.iter().map(|name| format!("{}/{name}", scene.id)).collect())
}

#[test]
fn a_kind_that_never_answers_is_an_error_about_it_alone() -> Result<()> {
    let scene = Scene::new("silent")?;
    let all = namespace_with(&scene, &["a", "b"])?;
    let location = scene.memory()?;
    let watch = |path: &str| path.contains("/secrets?").then_some(Instead::Silence);
    let spec = only(&["configmaps", "secrets"], of_namespaces(&[&scene.id]));
    let report = backup_through(&scene, Arc::new(watch), &location, spec)?;
    let status = report.backup.status.unwrap_or_default();
    ensure!(
        status.phase == BackupPhase::PartiallyFailed && status.errors == 1,
        "{:?}",
        report.results
    );
    let errors = &report.results.errors.namespaces[&scene.id];
    ensure!(
        errors[0].contains("secrets is not backed up") && errors[0].contains("within 1 s"),
        "{errors:?}"
    );
    ensure!(run(stored(&location, "b", "configmaps"))? == all);
    Ok(())
}

#[test]
fn a_server_that_answers_nothing_any_more_ends_the_backup() -> Result<()> {
    let scene = Scene::new("mute")?;
    namespace_with(&scene, &["a"])?;
    let location = scene.memory()?;
    let gone = Arc::new(AtomicU32::new(0));
    let watch = move |path: &str| {
        if path.contains("/configmaps?") {
            gone.store(1, Ordering::SeqCst);
        }
        (gone.load(Ordering::SeqCst) > 0).then_some(Instead::Silence)
    };
    let spec = only(&["configmaps"], of_namespaces(&[&scene.id]));
    let ended = backup_through(&scene, Arc::new(watch), &location, spec);
    let text = format!("{:#}", ended.err().context("it did not fail")?);
    ensure!(
        text.contains("ended early") && text.contains("configmaps"),
        "{text}"
    );
    let stored = run(location.store().exists("backups/b/velero-backup.json"))?;
    ensure!(!stored, "a backup that ended early exists");
    Ok(())
}

#[test]
fn a_list_that_breaks_off_goes_on_where_it_was() -> Result<()> {
    let scene = Scene::new("broken")?;
    let names: Vec<String> = (0..30).map(|number| format!("map-{number:02}")).collect();
    let all = namespace_with(&scene, &names.iter().map(String::as_str).collect::<Vec<_>>())?;
    let location = scene.memory()?;
    let pages = AtomicU32::new(0);
    let broken = Arc::new(AtomicU32::new(0));
    let counted = broken.clone();
    // Every second page ends somewhere in the head, in an object, or between two.
    let watch = move |path: &str| {
        if !path.contains("/configmaps?") {
            return None;
        }
        let page = pages.fetch_add(1, Ordering::SeqCst);
        page.is_multiple_of(2).then(|| {
            let times = counted.fetch_add(1, Ordering::SeqCst);
            Instead::Cut(u64::from(100 + 397 * times))
        })
    };
    let spec = only(&["configmaps"], of_namespaces(&[&scene.id]));
    let report = backup_through(&scene, Arc::new(watch), &location, spec)?;
    ensure!(broken.load(Ordering::SeqCst) > 3, "no page broke off");
    nothing_to_report(&report.results)?;
    let found = run(stored(&location, "b", "configmaps"))?;
    ensure!(found == all, "{found:?}");
    Ok(())
}

/// `autoscaling` stands for an API that another server answers for, and that server is away.
fn autoscaling_is_away(path: &str) -> Option<Instead> {
    if path.starts_with("/apis/autoscaling/") {
        return Some(Instead::Answer(503, "service unavailable".to_owned()));
    }
    let service = json!({"spec": {"service": {"name": "x", "namespace": "y"}}});
    let asked =
        path.contains("/apis/apiregistration.k8s.io/v1/apiservices/") && path.ends_with(".autoscaling");
    asked.then(|| Instead::Answer(200, service.to_string()))
}

#[test]
fn an_aggregated_api_that_is_away_is_a_warning_unless_it_is_asked_for() -> Result<()> {
    let scene = Scene::new("away")?;
    let all = namespace_with(&scene, &["a"])?;
    let location = scene.memory()?;
    let spec = of_namespaces(&[&scene.id]);
    let report = backup_through(&scene, Arc::new(autoscaling_is_away), &location, spec)?;
    let status = report.backup.status.unwrap_or_default();
    ensure!(
        status.phase == BackupPhase::Completed && status.warnings > 0,
        "{:?}",
        report.results
    );
    let warnings = &report.results.warnings.cluster;
    ensure!(
        warnings
            .iter()
            .all(|text| text.contains("autoscaling/v") && text.contains("does not answer")),
        "{warnings:?}"
    );
    ensure!(run(stored(&location, "b", "configmaps"))? == all);

    let location = scene.memory()?;
    let kinds = ["configmaps", "horizontalpodautoscalers.autoscaling"];
    let spec = only(&kinds, of_namespaces(&[&scene.id]));
    let report = backup_through(&scene, Arc::new(autoscaling_is_away), &location, spec)?;
    let phase = report.backup.status.unwrap_or_default().phase;
    ensure!(phase == BackupPhase::PartiallyFailed, "{:?}", report.results);
    Ok(())
}

#[test]
fn a_kind_that_discovery_does_not_show_yet_is_backed_up() -> Result<()> {
    let scene = Scene::new("fresh")?;
    scene.namespace(&scene.id)?;
    // What the server said before the definition was there is what it goes on to say.
    let groups = scene.test.kubectl(&["get", "--raw", "/apis"])?;
    let group = format!("{}.example", scene.id);
    ensure!(!groups.contains(&group));
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("novelties.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "novelties", "kind": "Novelty"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]},
    });
    let metadata = json!({"name": "first", "namespace": scene.id});
    let novelty = json!({"apiVersion": format!("{group}/v1"), "kind": "Novelty", "metadata": metadata});
    run(async {
        scene.create(&definition.to_string()).await?;
        scene.create(&novelty.to_string()).await
    })?;
    let hidden = format!("/apis/{group}");
    let watch = move |path: &str| match path {
        "/apis" => Some(Instead::Answer(200, groups.clone())),
        path if path == hidden || path == format!("{hidden}/v1") => {
            Some(Instead::Answer(404, "not yet".to_owned()))
        }
        _ => None,
    };
    let location = scene.memory()?;
    let report = backup_through(&scene, Arc::new(watch), &location, of_namespaces(&[&scene.id]))?;
    nothing_to_report(&report.results)?;
    let found = run(stored(&location, "b", &format!("novelties.{}.example", scene.id)))?;
    ensure!(found == [format!("{}/first", scene.id)].into(), "{found:?}");
    Ok(())
}

/// Kubernetes takes names for roles that no archive can hold: they must not stop the rest.
#[test]
fn a_name_that_no_archive_holds_is_an_error_about_it_alone() -> Result<()> {
    let scene = Scene::new("nul")?;
    let all = namespace_with(&scene, &["a"])?;
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": {"name": "a\0b", "namespace": scene.id}, "rules": []});
    run(scene.create(&role.to_string()))?;
    let location = scene.memory()?;
    let spec = only(
        &["configmaps", "roles.rbac.authorization.k8s.io"],
        of_namespaces(&[&scene.id]),
    );
    let report = run(scene.backup(&location, "b", spec))?;
    let status = report.backup.status.unwrap_or_default();
    ensure!(
        status.phase == BackupPhase::PartiallyFailed && status.errors == 1,
        "{:?}",
        report.results
    );
    let errors = &report.results.errors.namespaces[&scene.id];
    ensure!(errors[0].contains("no archive can hold"), "{errors:?}");
    ensure!(run(stored(&location, "b", "configmaps"))? == all);
    Ok(())
}
