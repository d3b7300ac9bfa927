//! The image in a cluster with a node: the unmodified `velero install` brings it up in Velero's place, and
//! everything works from outside, also with a bucket that only pods can reach, without a writable root file
//! system, and when one of two replicas is lost.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use refloat_testkit::{
    cluster::{Cluster, ClusterOptions},
    refloat_image, velero,
};
use serde_json::{Value, json};

const IMAGE: &str = "docker.io/refloat/refloat:test";
const PLUGIN: &str = "docker.io/velero/velero-plugin-for-aws:test";
const SOON: Duration = Duration::from_secs(120);
/// A name that only the server's pods can resolve.
const INSIDE: &str = "minio.storage.svc";

struct InCluster {
    cluster: Cluster,
    velero: PathBuf,
    secret_file: String,
}

impl InCluster {
    fn new() -> Self {
        let name = format!("pods-{}", std::process::id());
        Cluster::down_when_this_process_ends(&name).unwrap();
        let cluster = Cluster::up(&ClusterOptions::new(&name, 1)).unwrap();
        let image = refloat_image::refloat(Path::new(env!("CARGO_BIN_EXE_refloat"))).unwrap();
        cluster.import_image(IMAGE, &image).unwrap();
        cluster
            .import_image(PLUGIN, &refloat_image::plugin().unwrap())
            .unwrap();
        cluster.create_bucket("backups").unwrap();
        let secret_file = cluster.folder().join("credentials");
        std::fs::write(&secret_file, velero::credentials_file(cluster.minio().unwrap())).unwrap();
        let velero = cluster.velero_cli("1.18").unwrap();
        Self {
            cluster,
            velero,
            secret_file: secret_file.display().to_string(),
        }
    }

    /// Runs a program with the cluster's kubeconfig, which must succeed; what it said.
    #[track_caller]
    fn run(&self, program: &Path, arguments: &str) -> String {
        let mut command = Command::new(program);
        command.args(arguments.split_whitespace()).stdin(Stdio::null());
        command
            .env("KUBECONFIG", self.cluster.kubeconfig_path())
            .env("HOME", self.cluster.folder());
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        assert!(output.status.success(), "{arguments}: {text}\n{}", self.state());
        text
    }

    #[track_caller]
    fn velero(&self, arguments: &str) -> String {
        self.run(&self.velero, &format!("--colorized=false {arguments}"))
    }

    #[track_caller]
    fn refloat(&self, arguments: &str) -> String {
        self.run(Path::new(env!("CARGO_BIN_EXE_refloat")), arguments)
    }

    #[track_caller]
    fn kubectl(&self, arguments: &str) -> String {
        self.cluster
            .kubectl(&arguments.split(' ').collect::<Vec<_>>())
            .unwrap()
    }

    /// A field of an object in Velero's namespace; empty where there is none.
    fn value(&self, object: &str, path: &str) -> String {
        self.kubectl(&format!(
            "-n velero get {object} -o jsonpath={{{path}}} --ignore-not-found"
        ))
    }

    /// What there is to be seen when something fails.
    fn state(&self) -> String {
        let look = |words: &[&str]| {
            self.cluster
                .kubectl(words)
                .unwrap_or_else(|error| format!("{error:#}"))
        };
        [
            look(&[
                "-n",
                "velero",
                "get",
                "pods,bsl,backups.velero.io,restores.velero.io",
                "-o",
                "wide",
            ]),
            look(&["-n", "velero", "describe", "pods"]),
            look(&[
                "-n",
                "velero",
                "logs",
                "-l",
                "deploy=velero",
                "--tail=40",
                "--prefix",
            ]),
        ]
        .join("\n")
    }

    #[track_caller]
    fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        let deadline = Instant::now() + SOON;
        while !so() {
            assert!(
                Instant::now() < deadline,
                "waited in vain until {what}:\n{}",
                self.state()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    #[track_caller]
    fn wait_installed(&self) {
        self.kubectl("-n velero rollout status deployment/velero --timeout=120s");
        self.kubectl("-n velero rollout status daemonset/node-agent --timeout=120s");
        self.wait_available("default");
    }

    #[track_caller]
    fn wait_available(&self, location: &str) {
        self.until("the location is available", || {
            self.value(&format!("bsl/{location}"), ".status.phase") == "Available"
        });
    }

    fn install_arguments(&self) -> String {
        let minio = self.cluster.minio().unwrap();
        format!(
            "install --provider aws --image {IMAGE} --plugins {PLUGIN} --bucket backups --secret-file {} \
             --backup-location-config region={},s3ForcePathStyle=true,s3Url={} --use-node-agent --kubelet-root-dir {} --wait",
            self.secret_file,
            minio.region,
            minio.endpoint,
            // Not where a real node has it: this one shares its machine with others.
            self.cluster.folder().join("kubelet").display()
        )
    }

    fn apply(&self, objects: &[Value]) {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        self.cluster.apply(&list.to_string()).unwrap();
    }

    fn make_workload(&self) {
        let metadata = |name: &str| json!({ "name": name, "namespace": "shop" });
        self.apply(&[
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } }),
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata("settings"), "data": { "colour": "blue" } }),
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata("web"), "spec": {
                "selector": { "matchLabels": { "app": "web" } },
                "template": {
                    "metadata": { "labels": { "app": "web" } },
                    "spec": { "terminationGracePeriodSeconds": 0, "containers": [{
                        "name": "web", "image": refloat_testkit::image::BUSYBOX, "imagePullPolicy": "Never",
                        "command": ["sleep", "86400"],
                    }] },
                },
            } }),
        ]);
        self.kubectl("-n shop rollout status deployment/web --timeout=60s");
    }

    /// Deletes the workload and has it restored from a backup.
    #[track_caller]
    fn bring_back(&self, restore: impl FnOnce() -> String) {
        self.kubectl("delete namespace shop --timeout=60s");
        let said = restore();
        assert!(
            said.contains("Restore completed with status: Completed."),
            "{said}\n{}",
            self.state()
        );
        assert_eq!(
            self.kubectl("-n shop get configmap/settings -o jsonpath={.data.colour}"),
            "blue"
        );
        self.kubectl("-n shop rollout status deployment/web --timeout=60s");
    }

    /// `describe` and `logs` of a backup work from here. Hands out where they got their data from.
    #[track_caller]
    fn look_at(&self, backup: &str) -> String {
        let said = self.velero(&format!("backup describe {backup} --details"));
        assert!(
            said.contains("Phase:  Completed") && said.contains("- shop/settings"),
            "{said}"
        );
        assert!(!said.contains("<error"), "{said}");
        let said = self.velero(&format!("backup logs {backup}"));
        assert!(said.contains(&format!("backup=velero/{backup}")), "{said}");
        self.kubectl(&format!(
            "-n velero get downloadrequests -o \
             jsonpath={{range.items[?(@.spec.target.name==\"{backup}\")]}}{{.status.downloadURL}}{{\"\\n\"}}{{end}}"
        ))
    }

    fn pods(&self) -> String {
        self.kubectl("-n velero get pods -l deploy=velero -o jsonpath={.items[*].status.podIP}")
    }
}

#[test]
fn the_image_takes_veleros_place() {
    let place = InCluster::new();
    place.make_workload();
    installed_by_velero(&place);
    restricted_and_out_of_reach(&place);
    one_of_two_is_lost(&place);
    place.velero("uninstall --force");
    installed_by_ourselves(&place);
    Cluster::down(place.cluster.name()).unwrap();
}

fn installed_by_velero(place: &InCluster) {
    let said = place.velero(&place.install_arguments());
    assert!(said.contains("Velero is installed!"), "{said}");
    place.wait_installed();
    let said = place.velero("backup create one --include-namespaces shop --wait");
    assert!(
        said.contains("Backup completed with status: Completed."),
        "{said}\n{}",
        place.state()
    );
    let urls = place.look_at("one");
    let endpoint = &place.cluster.minio().unwrap().endpoint;
    assert!(
        !urls.is_empty() && urls.lines().all(|url| url.starts_with(endpoint)),
        "{urls}"
    );
    place.bring_back(|| place.velero("restore create --from-backup one --wait"));
}

/// The pod may do as little as can be, and nobody but it knows where the bucket is.
fn restricted_and_out_of_reach(place: &InCluster) {
    let minio = place.cluster.minio().unwrap();
    let port = minio.endpoint.rsplit(':').next().unwrap();
    let restricted = json!({
        "runAsNonRoot": true, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
        "capabilities": { "drop": ["ALL"] }, "seccompProfile": { "type": "RuntimeDefault" },
    });
    let patch = json!({ "spec": { "template": { "spec": {
        "hostAliases": [{ "ip": place.cluster.gateway().unwrap(), "hostnames": [INSIDE] }],
        "containers": [{ "name": "velero", "securityContext": restricted }],
    } } } });
    place.kubectl(&format!("-n velero patch deployment/velero -p {patch}"));
    place.kubectl("-n velero rollout status deployment/velero --timeout=120s");
    place.cluster.create_bucket("hidden").unwrap();
    place.velero(&format!(
        "backup-location create hidden --provider aws --bucket hidden --config \
         region={},s3ForcePathStyle=true,s3Url=http://{INSIDE}:{port}",
        minio.region
    ));
    place.wait_available("hidden");
    let said = place.velero("backup create two --include-namespaces shop --storage-location hidden --wait");
    assert!(
        said.contains("Backup completed with status: Completed."),
        "{said}\n{}",
        place.state()
    );
    let urls = place.look_at("two");
    // One that is going may still be there.
    let pods = place.pods();
    let served = |url: &str| {
        pods.split(' ')
            .any(|pod| url.starts_with(&format!("http://{pod}:8086/")))
    };
    assert!(
        !urls.is_empty() && urls.lines().all(served),
        "{pods} serve {urls}"
    );
    // The scratch file of a restore can only be in the folder that is mounted for it.
    place.bring_back(|| place.velero("restore create back --from-backup two --wait"));
    let said = place.velero("restore describe back --details");
    assert!(said.contains("- shop/settings(created)"), "{said}");
    place.velero("restore logs back");
}

fn one_of_two_is_lost(place: &InCluster) {
    place.kubectl("-n velero scale deployment/velero --replicas=2");
    place.kubectl("-n velero rollout status deployment/velero --timeout=120s");
    place.apply(&[json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "big" } })]);
    // Compresses badly, as far as letters can, so that the backup takes a while.
    let mut state = 1_u32;
    let letter = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'a' + (state >> 24) as u8 % 26)
    };
    let text: String = (0..700_000).map(letter).collect();
    let maps: Vec<_> = (0..50)
        .map(|n| {
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "data": { "text": format!("{n} {text}") },
                "metadata": { "name": format!("big-{n}"), "namespace": "big" },
            })
        })
        .collect();
    let file = place.cluster.folder().join("big.json");
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": maps });
    std::fs::write(&file, list.to_string()).unwrap();
    place.kubectl(&format!("create -f {}", file.display()));
    place.velero("backup create three --include-namespaces shop,big");
    place.until("the backup has begun", || {
        !matches!(
            &*place.value("backup/three", ".status.phase"),
            "" | "New" | "Queued" | "ReadyToStart"
        )
    });
    let holder = place.value("lease/refloat-server", ".spec.holderIdentity");
    let leader = holder.split('_').next().unwrap();
    place.kubectl(&format!("-n velero delete pod {leader} --grace-period=0 --force"));
    assert_eq!(
        place.value("backup/three", ".status.phase"),
        "InProgress",
        "the pod was lost too late"
    );
    place.until("the backup is complete", || {
        place.value("backup/three", ".status.phase") == "Completed"
    });
    assert_ne!(
        place.value("lease/refloat-server", ".spec.holderIdentity"),
        holder
    );
    assert_eq!(place.value("backup/three", ".status.errors"), "");
    place.look_at("three");
}

fn installed_by_ourselves(place: &InCluster) {
    let said = place.refloat(&place.install_arguments());
    assert!(said.contains("Refloat is installed!"), "{said}");
    place.wait_installed();
    // The bucket still has what was written before.
    place.until("the backup is found", || {
        place.value("backup/one", ".status.phase") == "Completed"
    });
    place.bring_back(|| place.refloat("restore create again --from-backup one --wait"));
    place.refloat("restore describe again --details");
    let said = place.refloat("backup create four --include-namespaces shop --wait");
    assert!(
        said.contains("Backup completed with status: Completed."),
        "{said}\n{}",
        place.state()
    );
    place.look_at("four");
    place.refloat("restore delete again --confirm");
    place.refloat("uninstall --force");
    assert_eq!(place.kubectl("get namespace velero --ignore-not-found"), "");
    assert!(!place.kubectl("get crd -o name").contains("velero.io"));
}
