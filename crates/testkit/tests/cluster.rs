//! The test cluster itself: side by side, found again, and gone without a trace, also after a crash.
#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, also in what its functions share"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use refloat_testkit::cluster::{Cluster, ClusterOptions};
use refloat_testkit::image::Image;

/// Takes the cluster down however the test ends.
struct Guard(String);

impl Guard {
    fn up(kind: &str, nodes: u32) -> (Self, Cluster) {
        let name = format!("t{}-{kind}", std::process::id());
        Cluster::down_when_this_process_ends(&name).unwrap();
        let guard = Self(name);
        let cluster = Cluster::up(&ClusterOptions::new(&guard.0, nodes)).unwrap();
        (guard, cluster)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        Cluster::down(&self.0).unwrap();
    }
}

/// Everything on this machine that names the cluster's folder, its cgroup or its address, found without the
/// code under test.
fn traces(name: &str, folder: &Path, gateway: Option<&str>) -> Vec<String> {
    let mut found = Vec::new();
    let needle = folder.to_str().unwrap().as_bytes();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        // The watchers of this test's own clusters carry the name, never the folder.
        for file in ["cmdline", "environ"] {
            let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
            if pid.parse::<u32>().is_ok() && bytes.windows(needle.len()).any(|window| window == needle) {
                found.push(format!("process {pid}"));
            }
        }
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    found.extend(
        mounts
            .lines()
            .filter(|line| line.contains(folder.to_str().unwrap()))
            .map(str::to_owned),
    );
    let mut cgroups = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(cgroup) = cgroups.pop() {
        if cgroup
            .file_name()
            .is_some_and(|last| last.to_string_lossy() == format!("refloat-{name}"))
        {
            found.push(format!("cgroup {}", cgroup.display()));
        }
        for child in fs::read_dir(&cgroup).into_iter().flatten().flatten() {
            if child.file_type().is_ok_and(|kind| kind.is_dir()) {
                cgroups.push(child.path());
            }
        }
    }
    if let Some(gateway) = gateway {
        let output = |program: &str, args: &[&str]| {
            String::from_utf8(Command::new(program).args(args).output().unwrap().stdout).unwrap()
        };
        let network = output("ip", &["-4", "-o", "addr"]) + &output("iptables", &["-t", "nat", "-S"]);
        found.extend(
            network
                .lines()
                .filter(|line| line.contains(gateway))
                .map(str::to_owned),
        );
    }
    for entry in fs::read_dir("/var/lib/cni/results")
        .into_iter()
        .flatten()
        .flatten()
    {
        let bytes = fs::read(entry.path()).unwrap_or_default();
        if bytes.windows(needle.len()).any(|window| window == needle) {
            found.push(entry.path().display().to_string());
        }
    }
    if folder.exists() {
        found.push(folder.display().to_string());
    }
    found
}

fn kill(cluster: &Cluster, parts: &[&str]) {
    for part in parts {
        cluster.process(part).unwrap().stop(Duration::ZERO).unwrap();
    }
}

#[test]
fn two_clusters_live_side_by_side_and_a_crashed_one_leaves_no_trace() {
    let other = thread::spawn(|| Guard::up("b", 0));
    let (_guard, first) = Guard::up("a", 0);
    let (_other_guard, second) = other.join().unwrap();
    assert_ne!(first.api_server().unwrap(), second.api_server().unwrap());
    first
        .kubectl(&["create", "namespace", "only-in-the-first"])
        .unwrap();
    assert!(
        second
            .kubectl(&["get", "namespace", "only-in-the-first"])
            .is_err()
    );

    // A user without rights is known but refused.
    let nobody = first.kubeconfig_for("nobody", "nobodies").unwrap();
    let mut kubectl = first.kubectl_command().unwrap();
    let refused = kubectl
        .env("KUBECONFIG", nobody)
        .args(["get", "namespaces"])
        .output()
        .unwrap();
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("Forbidden"),
        "{refused:?}"
    );

    kill(&first, &["kube-apiserver", "etcd", "minio"]);
    assert!(
        Cluster::attach(first.name())
            .unwrap_err()
            .to_string()
            .contains("no running")
    );
    assert!(
        !traces(first.name(), first.folder(), None).is_empty(),
        "the controllers still ran"
    );
    Cluster::down(first.name()).unwrap();
    assert_eq!(traces(first.name(), first.folder(), None), Vec::<String>::new());

    Cluster::attach(second.name())
        .unwrap()
        .kubectl(&["get", "namespaces"])
        .unwrap();
    let taken = Cluster::up(&ClusterOptions::new(second.name(), 0)).unwrap_err();
    assert!(taken.to_string().contains("already"), "{taken}");
    second.kubectl(&["get", "namespaces"]).unwrap();
}

const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: once, namespace: default}
spec:
  restartPolicy: Never
  containers:
  - {name: c, image: "docker.io/library/busybox:1", imagePullPolicy: Never, command: [sh, -c, "echo from $(hostname)"]}
---
apiVersion: v1
kind: Pod
metadata: {name: stays, namespace: default}
spec:
  containers:
  - {name: c, image: "example.test/ours:1", imagePullPolicy: Never, volumeMounts: [{name: v, mountPath: /v}]}
  volumes: [{name: v, emptyDir: {medium: Memory}}]
"#;

#[test]
fn a_node_runs_real_pods_and_leaves_no_trace_after_a_crash() {
    let (_guard, cluster) = Guard::up("node", 1);
    let image = Image::busybox()
        .unwrap()
        .file("greeting", 0o644, "made of files\n")
        .command(&["sleep", "86400"]);
    cluster.import_image("example.test/ours:1", &image).unwrap();
    cluster.apply(PODS).unwrap();
    cluster
        .kubectl(&[
            "wait",
            "--for=jsonpath={.status.phase}=Succeeded",
            "--timeout=60s",
            "pod/once",
        ])
        .unwrap();
    assert_eq!(cluster.kubectl(&["logs", "once"]).unwrap(), "from once\n");
    cluster
        .kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "pod/stays"])
        .unwrap();
    assert_eq!(
        cluster
            .kubectl(&["exec", "stays", "--", "cat", "/greeting"])
            .unwrap(),
        "made of files\n"
    );

    kill(&cluster, &["kubelet", "containerd", "etcd"]);
    let gateway = cluster.gateway().unwrap();
    let before = traces(cluster.name(), cluster.folder(), Some(&gateway));
    assert!(before.iter().any(|trace| trace.contains("cgroup")), "{before:?}");
    assert!(before.iter().any(|trace| trace.contains("tmpfs")), "{before:?}");
    Cluster::down(cluster.name()).unwrap();
    assert_eq!(
        traces(cluster.name(), cluster.folder(), Some(&gateway)),
        Vec::<String>::new()
    );
}

const CHILD: &str = "REFLOAT_TESTKIT_CHILD";

#[test]
fn a_shared_cluster_is_gone_after_its_process_was_killed() {
    if std::env::var_os(CHILD).is_some() {
        // The other half of this test, in a process of its own.
        let cluster = Cluster::shared(0).unwrap();
        cluster.kubectl(&["create", "namespace", "ready"]).unwrap();
        thread::sleep(Duration::from_secs(600));
        return;
    }
    let test = thread::current().name().unwrap().to_owned();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &test])
        .env(CHILD, "1")
        .env_remove("REFLOAT_TEST_CLUSTER")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let name = format!("test-{}-0", child.id());
    let ready = wait_until(Duration::from_secs(90), || {
        Cluster::attach(&name).is_ok_and(|cluster| cluster.kubectl(&["get", "namespace", "ready"]).is_ok())
    });
    let folder = Cluster::attach(&name).map(|cluster| cluster.folder().to_owned());
    end(&mut child);
    assert!(ready, "the child's cluster did not start");
    let folder = folder.unwrap();
    assert!(
        wait_until(Duration::from_secs(20), || traces(&name, &folder, None)
            .is_empty()),
        "{name} is still there"
    );
}

fn end(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if done() {
            return true;
        }
        thread::sleep(Duration::from_millis(100));
    }
    false
}
