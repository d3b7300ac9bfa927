//! Requests of the CLI: the server's version, downloads, deletions.

use anyhow::{Result, ensure};
use refloat_controllers::{ControllerError, DownloadUrlPolicy};
use refloat_testkit::cluster::{Cluster as TestCluster, ClusterOptions};
use serde_json::json;

use crate::scene::{SOON, Scene, http_get};

#[test]
fn the_cli_learns_the_version_and_what_is_built_in() -> Result<()> {
    let scene = Scene::new("version")?;
    scene.serve(scene.options())?;
    let version = scene.velero(&["version"])?;
    ensure!(
        version.contains("v1.18.3") && !version.contains("WARNING"),
        "{version}"
    );
    let plugins = scene.velero(&["plugin", "get"])?;
    ensure!(
        plugins.contains("velero.io/aws") && plugins.contains("ObjectStore"),
        "{plugins}"
    );
    Ok(())
}

#[test]
fn a_server_without_definitions_says_how_to_install_them() -> Result<()> {
    let name = format!("bare-{}", std::process::id());
    TestCluster::down_when_this_process_ends(&name)?;
    let cluster = TestCluster::up(&ClusterOptions {
        minio: false,
        ..ClusterOptions::new(&name, 0)
    })?;
    let runtime = tokio::runtime::Runtime::new()?;
    let error = runtime.block_on(async {
        let options = refloat_cluster::ConnectOptions {
            kubeconfig: Some(cluster.kubeconfig_path()),
            ..Default::default()
        };
        let connection = refloat_cluster::Cluster::connect(&options).await?;
        let stop = tokio_util::sync::CancellationToken::new();
        let result = refloat_controllers::run(Default::default(), connection, stop).await;
        anyhow::Ok(result.expect_err("nothing is installed"))
    });
    TestCluster::down(&name)?;
    let error = error?;
    ensure!(matches!(error, ControllerError::MissingCrds { .. }), "{error:?}");
    let text = error.to_string();
    ensure!(
        text.contains("backups.velero.io/v1") && text.contains("install --crds-only"),
        "{text}"
    );
    Ok(())
}

fn ask(scene: &Scene, request: &str, kind: &str, name: &str) -> Result<String> {
    scene.apply(json!({
        "apiVersion": "velero.io/v1", "kind": "DownloadRequest",
        "metadata": { "name": request }, "spec": { "target": { "kind": kind, "name": name } },
    }))?;
    scene.wait("a URL", SOON, || {
        let request = scene.get("downloadrequest", request)?.unwrap_or_default();
        let url = request["status"]["downloadURL"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        Ok((!url.is_empty()).then_some(url))
    })
}

fn with_a_backup(scene: &Scene) -> Result<()> {
    let minio = scene.cluster.minio()?;
    let put =
        |key: &str, body: &[u8]| minio.request("PUT", &format!("/{}/{key}", scene.bucket), "", &[], body);
    put("backups/b/b-logs.gz", b"the log")?;
    let backup = json!({
        "apiVersion": "velero.io/v1", "kind": "Backup", "metadata": { "name": "b" },
        "spec": {}, "status": { "phase": "Completed" },
    });
    put("backups/b/velero-backup.json", backup.to_string().as_bytes())?;
    scene.wait("the backup is found", SOON, || {
        Ok(scene.get("backup", "b")?.map(|_| ()))
    })
}

#[test]
fn downloads_come_from_the_store_or_from_the_server() -> Result<()> {
    for (name, policy) in [
        ("signed", DownloadUrlPolicy::Signed),
        ("served", DownloadUrlPolicy::Server),
    ] {
        let scene = Scene::new(name)?;
        let mut options = scene.options();
        options.download_url = policy;
        scene.serve(options)?;
        with_a_backup(&scene)?;
        let url = ask(&scene, "r1", "BackupLog", "b")?;
        let endpoint = &scene.cluster.minio()?.endpoint;
        ensure!(
            url.starts_with(endpoint) == (policy == DownloadUrlPolicy::Signed),
            "{url}"
        );
        ensure!(http_get(&url)? == (200, b"the log".to_vec()), "{url}");
        let missing = ask(&scene, "r2", "BackupVolumeInfos", "b")?;
        ensure!(http_get(&missing)?.0 == 404, "{missing}");
        if policy == DownloadUrlPolicy::Server {
            let changed = url.replacen("/download/ey", "/download/eY", 1);
            ensure!(http_get(&changed)?.0 == 403, "a changed link is refused");
            // Links outlive the server that made them.
            scene.stop_servers()?;
            let port: u16 = url
                .rsplit_once(':')
                .and_then(|(_, rest)| rest.split('/').next()?.parse().ok())
                .expect("a port");
            let mut options = scene.options();
            options.download_address.set_port(port);
            scene.serve(options)?;
            scene.wait("the link works again", SOON, || {
                Ok(http_get(&url)
                    .is_ok_and(|(status, _)| status == 200)
                    .then_some(()))
            })?;
        }
    }
    Ok(())
}

#[test]
fn a_request_without_a_target_is_told_of_and_one_that_has_expired_goes() -> Result<()> {
    let scene = Scene::new("targets")?;
    scene.serve(scene.options())?;
    scene.apply(json!({
        "apiVersion": "velero.io/v1", "kind": "DownloadRequest",
        "metadata": { "name": "nothing" }, "spec": { "target": { "kind": "BackupLog", "name": "none" } },
    }))?;
    scene.apply(json!({
        "apiVersion": "velero.io/v1", "kind": "DownloadRequest",
        "metadata": { "name": "old" }, "spec": { "target": { "kind": "BackupLog", "name": "none" } },
        "status": { "phase": "Processed", "downloadURL": "http://x", "expiration": "2020-01-01T00:00:00Z" },
    }))?;
    scene.wait("an event", SOON, || {
        let events = scene.kubectl(&["get", "events", "-o", "json"])?;
        Ok(events
            .contains("the backup \\\"none\\\" does not exist")
            .then_some(()))
    })?;
    scene.wait("the old one goes", SOON, || {
        Ok(scene.get("downloadrequest", "old")?.is_none().then_some(()))
    })?;
    ensure!(
        scene.get("downloadrequest", "nothing")?.is_some(),
        "it may yet be answered"
    );
    Ok(())
}

#[test]
fn a_backup_is_deleted_with_its_files_and_a_wrong_request_says_why() -> Result<()> {
    let scene = Scene::new("deletion")?;
    scene.serve(scene.options())?;
    with_a_backup(&scene)?;
    scene.apply(json!({
        "apiVersion": "velero.io/v1", "kind": "DeleteBackupRequest",
        "metadata": { "name": "wrong" }, "spec": { "backupName": "none" },
    }))?;
    let request = scene.wait_field("deletebackuprequest", "wrong", "/status/phase", "Processed")?;
    ensure!(
        request["status"]["errors"][0]
            .as_str()
            .is_some_and(|e| e.contains("does not exist")),
        "{request}"
    );
    scene.velero(&["backup", "delete", "b", "--confirm"])?;
    scene.wait("the backup goes", SOON, || {
        Ok(scene.get("backup", "b")?.is_none().then_some(()))
    })?;
    let query = "list-type=2&prefix=backups%2Fb%2F";
    let listing = scene
        .cluster
        .minio()?
        .request("GET", &format!("/{}", scene.bucket), query, &[], b"")?;
    let text = String::from_utf8_lossy(&listing.body).into_owned();
    ensure!(text.contains("<KeyCount>0</KeyCount>"), "{text}");
    scene.wait("the request goes", SOON, || {
        let left = scene.kubectl(&["get", "deletebackuprequests.velero.io", "-o", "name"])?;
        Ok((left.lines().count() == 1).then_some(()))
    })?;
    Ok(())
}

#[test]
fn metrics_and_health_are_served_and_a_taken_port_is_named() -> Result<()> {
    let scene = Scene::new("metrics")?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut options = scene.options();
    options.metrics_address.set_port(port);
    scene.serve(options.clone())?;
    scene.wait_field("backupstoragelocation", "default", "/status/phase", "Available")?;
    let get = |path: &str| http_get(&format!("http://127.0.0.1:{port}{path}"));
    ensure!(
        get("/healthz")?.0 == 200 && get("/readyz")?.0 == 200,
        "healthy and ready"
    );
    let text = String::from_utf8(get("/metrics")?.1)?;
    let gauge = "velero_backup_location_status_gauge{backup_location_name=\"default\"} 1";
    ensure!(
        text.contains(gauge) && text.contains("velero_backup_attempt_total{schedule=\"\"} 0"),
        "{text}"
    );

    let stop = tokio_util::sync::CancellationToken::new();
    let connection = scene.connect()?;
    let second = scene.block_on(refloat_controllers::run(options, connection, stop));
    let error = second.expect_err("the port is taken").to_string();
    ensure!(
        error.contains(&port.to_string()) && error.contains("--metrics-address"),
        "{error}"
    );
    Ok(())
}
