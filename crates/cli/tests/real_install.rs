//! `install` and `uninstall` on a cluster of their own, and the node agent as a process.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use refloat_testkit::cluster::{Cluster, ClusterOptions};

fn refloat(cluster: &Cluster, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_refloat"));
    command
        .env("KUBECONFIG", cluster.kubeconfig_path())
        .env("HOME", cluster.folder())
        .stdin(Stdio::null());
    let Output {
        status,
        stdout,
        stderr,
    } = command.args(arguments).output().unwrap();
    assert!(
        status.success(),
        "{arguments:?}: {status}: {}",
        String::from_utf8_lossy(&stderr)
    );
    String::from_utf8(stdout).unwrap()
}

#[test]
fn what_is_installed_can_be_uninstalled() {
    let name = format!("install-{}", std::process::id());
    let cluster = Cluster::up(&ClusterOptions {
        minio: false,
        ..ClusterOptions::new(&name, 0)
    })
    .unwrap();
    Cluster::down_when_this_process_ends(&name).unwrap();
    let secret = cluster.folder().join("credentials");
    std::fs::write(
        &secret,
        "[default]\naws_access_key_id=a\naws_secret_access_key=b\n",
    )
    .unwrap();
    let secret = secret.display().to_string();
    let install = format!(
        "install -n backups --provider aws --bucket b --prefix p --secret-file {secret} \
         --backup-location-config region=eu --use-node-agent --image refloat:test"
    );
    let install: Vec<_> = install.split_whitespace().collect();
    let names =
        "get -n backups ns/backups clusterrolebinding/velero-backups sa/velero deploy/velero ds/node-agent";
    let names: Vec<_> = names.split(' ').collect();
    // Again, it changes nothing.
    for _ in 0..2 {
        let out = refloat(&cluster, &install);
        assert!(
            out.contains("Deployment/velero: applied") && out.contains("Refloat is installed!"),
            "{out}"
        );
        cluster.kubectl(&names).unwrap();
    }
    let read = |object: &str, path: &str| {
        cluster
            .kubectl(&[
                "-n",
                "backups",
                "get",
                object,
                "-o",
                &format!("jsonpath={{{path}}}"),
            ])
            .unwrap()
    };
    assert_eq!(read("bsl/default", ".spec.config.region"), "eu");
    assert_eq!(read("secret/cloud-credentials", ".data.cloud").len(), 72);
    assert_eq!(
        read("deploy/velero", ".spec.template.spec.containers[0].image"),
        "refloat:test"
    );
    assert_eq!(
        read("deploy/velero", ".spec.template.spec.containers[0].command"),
        r#"["/velero"]"#
    );
    assert_eq!(
        cluster
            .kubectl(&["get", "crd", "-l", "component=velero", "-o", "name"])
            .unwrap()
            .lines()
            .count(),
        14
    );
    // A restore that nobody finishes does not keep the namespace from going.
    cluster
        .apply(
            r#"{"apiVersion":"velero.io/v1","kind":"Restore","metadata":{"name":"r","namespace":"backups",
                "finalizers":["restores.velero.io/external-resources-finalizer"]},"spec":{"backupName":"b"}}"#,
        )
        .unwrap();
    let out = refloat(&cluster, &["uninstall", "-n", "backups", "--force"]);
    assert!(
        out.contains("Namespace/backups deleted") && out.ends_with("Refloat uninstalled\n"),
        "{out}"
    );
    assert_eq!(cluster.kubectl(&["get", "crd", "-o", "name"]).unwrap(), "");
    assert!(
        cluster
            .kubectl(&["get", "clusterrolebinding/velero-backups"])
            .is_err()
    );
    let out = refloat(&cluster, &["uninstall", "-n", "backups", "--force"]);
    assert!(
        out.contains("Namespace/backups does not exist, skipping."),
        "{out}"
    );
    Cluster::down(&name).unwrap();
}

fn http(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

#[test]
fn the_node_agent_stays_up_and_says_what_it_does_not_do() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let agent = Command::new(env!("CARGO_BIN_EXE_refloat"))
        .args([
            "node-agent",
            "server",
            "--features=",
            "--node-agent-configmap=x",
            "--resource-timeout=1m",
        ])
        .arg(format!("--metrics-address=127.0.0.1:{port}"))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let health = loop {
        match http(port, "/healthz") {
            Some(answer) => break answer,
            None => assert!(Instant::now() < deadline, "the agent does not answer"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");
    assert!(http(port, "/metrics").unwrap().starts_with("HTTP/1.1 200"));
    // SIGTERM, as the kubelet sends it, is a clean end.
    assert!(
        Command::new("kill")
            .arg(agent.id().to_string())
            .status()
            .unwrap()
            .success()
    );
    let output = agent.wait_with_output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{:?}: {log}", output.status);
    assert!(
        log.contains("level=warning") && log.contains("copies no volumes"),
        "{log}"
    );
}
