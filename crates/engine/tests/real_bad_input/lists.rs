//! Lists that go wrong on the way: a snapshot that expires, a kind that disappears, names that sort
//! oddly, rights that are missing, and very many objects.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use refloat_engine::{BackupOptions, BackupReport, Location, catalog, run_backup};
use refloat_model::{BackupPhase, BackupSpec, RestorePhase, RestoreSpec, layout::BackupFile};
use serde_json::{Value, json};

use crate::{
    proxy::{Instead, Proxy, Watch},
    scene::{Scene, backup_job, connect, nothing_to_report, of_namespaces, run},
    tarball,
};

/// So many that there are several pages of 7.
const SEVERAL: usize = 30;

pub(crate) async fn config_maps(scene: &Scene, namespace: &str, names: &[&str]) -> Result<()> {
    for name in names {
        let metadata = json!({"name": name, "namespace": namespace, "labels": {"lists": scene.id}});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        scene.create(&map.to_string()).await?;
    }
    Ok(())
}

pub(crate) fn only(kinds: &[&str], spec: BackupSpec) -> BackupSpec {
    BackupSpec {
        included_resources: kinds.iter().map(|kind| (*kind).to_owned()).collect(),
        ..spec
    }
}

/// The names of a kind's objects in a tarball, those that the cluster makes by itself left out.
pub(crate) async fn stored(location: &Location, backup: &str, kind: &str) -> Result<BTreeSet<String>> {
    let start = format!("resources/{kind}/namespaces/");
    let objects = tarball::objects(location, backup).await?;
    let names = objects
        .keys()
        .filter_map(|path| path.strip_prefix(&start)?.strip_suffix(".json"));
    Ok(names
        .filter(|name| !name.ends_with("/kube-root-ca.crt"))
        .map(str::to_owned)
        .collect())
}

/// Backs up through a proxy.
fn backup_through(
    scene: &Scene,
    watch: Arc<Watch>,
    location: &Location,
    spec: BackupSpec,
) -> Result<BackupReport> {
    let proxy = Proxy::start(scene.test, scene.folder(), watch)?;
    run(async {
        let cluster = connect(&proxy.kubeconfig).await?;
        let running = run_backup(backup_job(&cluster, location, "b", spec));
        Ok(tokio::time::timeout(Duration::from_secs(120), running)
            .await
            .context("the backup hangs")??)
    })
}

/// What the API server says when a list's snapshot has expired: with a token that goes on from the
/// next key, or (`bare`) without one.
fn expired(path: &str, bare: bool) -> Option<Instead> {
    let token = path.split("continue=").nth(1)?.split('&').next()?;
    let mut token: Value = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    token["rv"] = (-1).into();
    let mut metadata = json!({});
    if !bare {
        metadata["continue"] = BASE64_URL_SAFE_NO_PAD.encode(token.to_string()).into();
    }
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
        "reason": "Expired", "code": 410, "message": "The provided continue parameter is too old"});
    Some(Instead::expired(status.to_string()))
}

#[test]
fn a_list_goes_on_when_its_snapshot_has_expired() -> Result<()> {
    let scene = Scene::new("gone")?;
    scene.namespace(&scene.id)?;
    let names: Vec<String> = (0..SEVERAL).map(|number| format!("map-{number:02}")).collect();
    run(config_maps(
        &scene,
        &scene.id,
        &names.iter().map(String::as_str).collect::<Vec<_>>(),
    ))?;
    let all: BTreeSet<String> = names.iter().map(|name| format!("{}/{name}", scene.id)).collect();
    let spec = || only(&["configmaps"], of_namespaces(&[&scene.id]));
    // At which pages, with or without a token to go on.
    for (pages, bare) in [(1..2, false), (2..5, false), (1..2, true), (3..4, true)] {
        let location = scene.memory()?;
        let seen = AtomicU32::new(0);
        let hit = Arc::new(AtomicU32::new(0));
        let counted = hit.clone();
        let watch = move |path: &str| {
            if !path.contains("/configmaps?") || !path.contains("continue=") {
                return None;
            }
            let page = seen.fetch_add(1, Ordering::SeqCst) + 1;
            pages
                .contains(&page)
                .then(|| counted.fetch_add(1, Ordering::SeqCst));
            pages.contains(&page).then(|| expired(path, bare))?
        };
        let report = backup_through(&scene, Arc::new(watch), &location, spec())?;
        ensure!(hit.load(Ordering::SeqCst) > 0, "no list has expired");
        nothing_to_report(&report.results)?;
        let found = run(stored(&location, "b", "configmaps"))?;
        ensure!(found == all, "bare {bare}: {found:?}");
    }
    // A server that never lets a list end: an error about the kind, and the backup ends.
    let location = scene.memory()?;
    let watch = |path: &str| path.contains("/configmaps?").then(|| expired(path, true))?;
    let report = backup_through(&scene, Arc::new(watch), &location, spec())?;
    let status = report.backup.status.unwrap_or_default();
    ensure!(
        status.phase == BackupPhase::PartiallyFailed && status.errors == 1,
        "{status:?}"
    );
    let errors = &report.results.errors.namespaces[&scene.id];
    ensure!(
        errors[0].contains("configmaps") && errors[0].contains("too old"),
        "{errors:?}"
    );
    Ok(())
}

#[test]
fn a_kind_that_disappears_while_it_is_listed_is_a_warning() -> Result<()> {
    let scene = Scene::new("vanish")?;
    scene.namespace(&scene.id)?;
    let group = format!("{}.example", scene.id);
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("ghosts.{group}")},
        "spec": {"group": group, "scope": "Namespaced", "names": {"plural": "ghosts", "kind": "Ghost"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]},
    });
    run(async {
        scene.create(&definition.to_string()).await?;
        config_maps(&scene, &scene.id, &["stays"]).await?;
        for number in 0..SEVERAL {
            let metadata = json!({"name": format!("g-{number}"), "namespace": scene.id});
            let ghost = json!({"apiVersion": format!("{group}/v1"), "kind": "Ghost", "metadata": metadata});
            scene.create(&ghost.to_string()).await?;
        }
        Ok::<_, anyhow::Error>(())
    })?;
    let (test, list) = (
        scene.test,
        format!("/apis/{group}/v1/namespaces/{}/ghosts", scene.id),
    );
    let watch = move |path: &str| {
        if path.starts_with(&list) && path.contains("continue=") {
            let _ = test.kubectl(&["delete", "crd", &format!("ghosts.{group}"), "--wait"]);
            while test.kubectl(&["get", "--raw", &list]).is_ok() {}
        }
        None
    };
    let location = scene.memory()?;
    let report = backup_through(&scene, Arc::new(watch), &location, of_namespaces(&[&scene.id]))?;
    let status = report.backup.status.unwrap_or_default();
    ensure!(
        status.phase == BackupPhase::Completed && status.warnings == 1,
        "{:?}",
        report.results
    );
    let warnings = &report.results.warnings.namespaces[&scene.id];
    ensure!(
        warnings[0].contains("ghosts.vanish") && warnings[0].contains("disappeared"),
        "{warnings:?}"
    );
    let found = run(stored(&location, "b", "configmaps"))?;
    ensure!(found == [format!("{}/stays", scene.id)].into(), "{found:?}");
    Ok(())
}

#[test]
fn what_rights_forbid_is_named_and_the_rest_is_done() -> Result<()> {
    let scene = Scene::new("rbac")?;
    scene.namespace(&scene.id)?;
    let user = format!("limited-{}", scene.id);
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": user},
        "rules": [{"apiGroups": [""], "resources": ["namespaces", "configmaps"], "verbs": ["get", "list", "create", "patch"]}]});
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": user},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user}]});
    let secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hidden", "namespace": scene.id}});
    let [limited, nobody] =
        [user.clone(), format!("nobody-{}", scene.id)].map(|user| scene.test.kubeconfig_for(&user, "none"));
    let (limited, nobody) = (limited?, nobody?);
    let back = format!("{}-back", scene.id);
    scene.namespace_to_come(&back);
    run(async {
        for json in [role, binding, secret] {
            scene.create(&json.to_string()).await?;
        }
        config_maps(&scene, &scene.id, &["seen"]).await?;
        let location = Location::from_url("memory://test").await?;
        let spec = only(&["configmaps", "secrets"], of_namespaces(&[&scene.id]));
        let cluster = connect(&limited).await?;
        let report = run_backup(backup_job(&cluster, &location, "limited", spec.clone())).await?;
        let status = report.backup.status.unwrap_or_default();
        ensure!(
            status.phase == BackupPhase::PartiallyFailed && status.errors == 1,
            "{:?}",
            report.results
        );
        let error = &report.results.errors.namespaces[&scene.id][0];
        ensure!(
            error.contains("secrets") && error.contains("grant the verb") && error.contains(&user),
            "{error}"
        );
        ensure!(stored(&location, "limited", "configmaps").await? == [format!("{}/seen", scene.id)].into());

        let stranger = connect(&nobody).await?;
        let error = run_backup(backup_job(&stranger, &location, "none", spec.clone()))
            .await
            .unwrap_err();
        let words = format!("{:#}", anyhow::Error::from(error));
        ensure!(
            words.contains("namespaces") && words.contains("grant the verb"),
            "{words}"
        );
        ensure!(
            catalog::list_backups(&location).await? == ["limited"],
            "a backup without rights is there"
        );

        scene.backup(&location, "whole", spec).await?;
        let backup = catalog::read_backup(&location, "whole").await?;
        let spec = RestoreSpec {
            namespace_mapping: [(scene.id.clone(), back.clone())].into(),
            ..RestoreSpec::default()
        };
        let job = crate::scene::restore_job(&cluster, &location, backup, "r", spec);
        let report = refloat_engine::run_restore(job).await?;
        let status = report.restore.status.unwrap_or_default();
        ensure!(
            status.phase == RestorePhase::PartiallyFailed && status.errors == 1,
            "{:?}",
            report.results
        );
        let error = &report.results.errors.namespaces[&back][0];
        ensure!(
            error.contains("secrets") && error.contains("hidden") && error.contains("grant the verb"),
            "{error}"
        );
        let api = scene.kind("v1", "ConfigMap").await?;
        let made = scene.list(&api, &back).await?;
        ensure!(made.iter().any(|target| target.name.name == "seen"), "{made:?}");
        Ok(())
    })
}

#[test]
fn names_that_sort_oddly_come_once_each_over_any_pages() -> Result<()> {
    let scene = Scene::new("sort")?;
    let spaces = ["", "-b", "-b-c", "0", "b"].map(|end| format!("{}{end}", scene.id));
    let names = [
        "0", "00", "a", "a--a", "a-a", "a.a", "a0", "aa", "b-1", "b-10", "b-2",
    ];
    for space in &spaces {
        scene.namespace(space)?;
        run(config_maps(&scene, space, &names))?;
    }
    let all: BTreeSet<String> = spaces
        .iter()
        .flat_map(|space| names.iter().map(move |name| format!("{space}/{name}")))
        .collect();
    let label = json!({"matchLabels": {"lists": scene.id}});
    let everywhere = BackupSpec {
        label_selector: serde_json::from_value(label)?,
        excluded_namespaces: vec!["no-such".into()],
        ..only(&["configmaps"], BackupSpec::default())
    };
    let spaces: Vec<&str> = spaces.iter().map(String::as_str).collect();
    for spec in [everywhere, only(&["configmaps"], of_namespaces(&spaces))] {
        for page_size in [1, 2, 3, 7, 500] {
            let location = scene.memory()?;
            let mut job = backup_job(&scene.cluster, &location, "b", spec.clone());
            job.options = BackupOptions {
                page_size,
                ..BackupOptions::default()
            };
            let report = run(run_backup(job))?;
            nothing_to_report(&report.results)?;
            let found = run(stored(&location, "b", "configmaps"))?;
            ensure!(
                found == all,
                "pages of {page_size}: {:?}",
                found.symmetric_difference(&all).collect::<Vec<_>>()
            );
        }
    }
    Ok(())
}

#[test]
fn fifty_thousand_objects_of_one_kind_are_listed_page_by_page() -> Result<()> {
    const MANY: usize = 50_000;
    let scene = Scene::new("many")?;
    scene.namespace(&scene.id)?;
    run(async {
        let etcd = Etcd::connect(&scene)?;
        etcd.fill(&scene.id, MANY).await?;
        let location = Location::from_url("memory://test").await?;
        let mut job = backup_job(
            &scene.cluster,
            &location,
            "b",
            only(&["configmaps"], of_namespaces(&[&scene.id])),
        );
        job.options = BackupOptions::default();
        let (began, report) = (Instant::now(), run_backup(job).await?);
        println!("{MANY} objects backed up in {:?}", began.elapsed());
        nothing_to_report(&report.results)?;
        let list = tarball::document(&location, &BackupFile::ResourceList.key("b")).await?;
        let names: BTreeSet<&str> = list["v1/ConfigMap"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for number in 0..MANY {
            let name = format!("{}/map-{number}", scene.id);
            ensure!(names.contains(name.as_str()), "{name} is missing");
        }
        etcd.empty(&scene.id).await
    })
}

/// Writes objects past the API server: many thousand in a second or two.
struct Etcd {
    client: reqwest::Client,
    endpoint: String,
}

impl Etcd {
    fn connect(scene: &Scene) -> Result<Self> {
        let access = scene.test.etcd()?;
        let mut identity = std::fs::read(&access.certificate)?;
        identity.extend(std::fs::read(&access.key)?);
        let authority = reqwest::Certificate::from_pem(&std::fs::read(&access.ca)?)?;
        let client = reqwest::Client::builder().identity(reqwest::Identity::from_pem(&identity)?);
        let client = client.tls_certs_only([authority]).build()?;
        Ok(Self {
            client,
            endpoint: access.endpoint,
        })
    }

    async fn call(&self, method: &str, body: &Value) -> Result<()> {
        let url = format!("{}/v3/kv/{method}", self.endpoint);
        let answer = self.client.post(url).body(body.to_string()).send().await?;
        ensure!(answer.status().is_success(), "etcd: {}", answer.text().await?);
        Ok(())
    }

    async fn fill(&self, namespace: &str, count: usize) -> Result<()> {
        // As many operations as a transaction may have.
        let chunks: Vec<Vec<usize>> = (0..count)
            .collect::<Vec<_>>()
            .chunks(128)
            .map(<[usize]>::to_vec)
            .collect();
        for chunk in chunks {
            let puts = chunk.into_iter().map(|number| {
                let name = format!("map-{number}");
                let metadata = json!({"name": name, "namespace": namespace, "uid": format!("{namespace}-{number}"),
                    "creationTimestamp": "2026-01-01T00:00:00Z"});
                let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"n": name}});
                let key = BASE64_STANDARD.encode(format!("/registry/configmaps/{namespace}/{name}"));
                json!({"requestPut": {"key": key, "value": BASE64_STANDARD.encode(map.to_string())}})
            });
            self.call("txn", &json!({"success": puts.collect::<Vec<_>>()}))
                .await?;
        }
        Ok(())
    }

    /// Removes them again: the namespace's controller would need minutes.
    async fn empty(&self, namespace: &str) -> Result<()> {
        let key = |end: &str| BASE64_STANDARD.encode(format!("/registry/configmaps/{namespace}{end}"));
        self.call(
            "deleterange",
            &json!({"key": key("/map-"), "range_end": key("/map.")}),
        )
        .await
    }
}
