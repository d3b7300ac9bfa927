//! The real Velero beside a real cluster: both its versions, its server, and the S3 server below it.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in what its functions share"
)]

use std::process::Command;

use refloat_testkit::cluster::{Certificate, Cluster};
use refloat_testkit::velero::{VeleroOptions, VeleroServer};

fn velero(cluster: &Cluster, version: &str, args: &[&str]) -> String {
    let output = Command::new(cluster.velero_cli(version).unwrap())
        .args(args)
        .env("KUBECONFIG", cluster.kubeconfig_path())
        .env("HOME", cluster.folder())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "velero {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn velero_backs_up_and_restores_a_namespace() {
    let cluster = Cluster::shared(0).unwrap();
    let id = std::process::id();
    let [bucket, namespace, subject] = ["bucket", "velero", "subject"].map(|kind| format!("{kind}-{id}"));
    cluster.create_bucket(&bucket).unwrap();
    let options = VeleroOptions {
        namespace: namespace.clone(),
        args: vec!["--client-qps=1000".to_owned(), "--client-burst=1000".to_owned()],
        ..VeleroOptions::new(&bucket)
    };
    let server = VeleroServer::start(cluster, &options).unwrap();
    assert!(server.process().is_alive());

    for version in ["1.18", "1.17"] {
        let text = velero(cluster, version, &["-n", &namespace, "version"]);
        assert!(text.contains(&format!("Version: v{version}.")), "{text}");
        assert!(text.contains("Server:\n\tVersion: v1.18.3"), "{text}");
    }
    cluster.kubectl(&["create", "namespace", &subject]).unwrap();
    cluster
        .kubectl(&[
            "-n",
            &subject,
            "create",
            "configmap",
            "kept",
            "--from-literal=key=value",
        ])
        .unwrap();
    let backup = [
        "-n",
        &namespace,
        "backup",
        "create",
        "one",
        "--include-namespaces",
        &subject,
        "--wait",
    ];
    assert!(velero(cluster, "1.18", &backup).contains("Backup completed with status: Completed"));
    cluster.kubectl(&["delete", "namespace", &subject]).unwrap();
    let restore = [
        "-n",
        &namespace,
        "restore",
        "create",
        "--from-backup",
        "one",
        "--wait",
    ];
    assert!(velero(cluster, "1.18", &restore).contains("Restore completed with status: Completed"));
    let value = [
        "-n",
        &subject,
        "get",
        "configmap",
        "kept",
        "-o",
        "jsonpath={.data.key}",
    ];
    assert_eq!(cluster.kubectl(&value).unwrap(), "value");

    let process = server.process().clone();
    server.stop().unwrap();
    assert!(!process.is_alive());
}

#[test]
fn minio_makes_buckets_with_and_without_object_lock() {
    let cluster = Cluster::shared(0).unwrap();
    let minio = cluster.minio().unwrap();
    for (kind, locked) in [("plain", false), ("locked", true)] {
        let name = format!("{kind}-{}", std::process::id());
        minio.create_bucket(&name, locked).unwrap();
        assert!(
            minio
                .create_bucket(&name, locked)
                .unwrap_err()
                .to_string()
                .contains("409")
        );
        let answer = minio
            .request("GET", &format!("/{name}"), "object-lock=", &[], b"")
            .unwrap();
        assert_eq!(
            answer.status == 200,
            locked,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        let put = minio
            .request("PUT", &format!("/{name}/key"), "", &[], b"bytes")
            .unwrap();
        assert_eq!(put.status, 200, "{}", String::from_utf8_lossy(&put.body));
        assert_eq!(
            minio
                .request("GET", &format!("/{name}/key"), "", &[], b"")
                .unwrap()
                .body,
            b"bytes"
        );
    }
    let mut stranger = minio.clone();
    stranger.secret_key = "wrong".to_owned();
    assert_eq!(stranger.request("GET", "/", "", &[], b"").unwrap().status, 403);
}

#[test]
fn a_minio_of_its_own_speaks_tls() {
    let cluster = Cluster::shared(0).unwrap();
    let part = format!("minio-tls-{}", std::process::id());
    let minio = cluster.start_minio(&part, Some(Certificate::Valid)).unwrap();
    assert!(minio.endpoint.starts_with("https://127.0.0.1:"));
    minio.create_bucket("bucket", false).unwrap();
    let process = cluster.process(&part).unwrap();
    process.stop(std::time::Duration::from_secs(5)).unwrap();

    let part = format!("minio-expired-{}", std::process::id());
    let minio = cluster.start_minio(&part, Some(Certificate::Expired)).unwrap();
    let refused = format!("{:#}", minio.create_bucket("bucket", false).unwrap_err());
    assert!(refused.to_lowercase().contains("expired"), "{refused}");
    cluster
        .process(&part)
        .unwrap()
        .stop(std::time::Duration::ZERO)
        .unwrap();
}
