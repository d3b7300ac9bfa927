//! A filled cluster on which one subject after the other does its work, into a bucket of its own, never two at
//! the same time.

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use refloat_testkit::cluster::Cluster;
use refloat_testkit::process::{ProcessId, run_command};
use refloat_testkit::testbed;
use refloat_testkit::velero::{self, VeleroOptions, VeleroServer};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::api::{Api, text};
use super::floor;
use super::measure::{self, Meter, Sample, settle};
use super::objects::{FILLED, KINDS, Sizes};
use super::subject::{Subject, Task, VELERO_ARGS, Work};

/// Refloat's server, as a part of the cluster.
const SERVER: &str = "refloat-server";
/// The port of its downloads.
const DOWNLOADS: &str = "refloat-downloads";

/// A cluster and the programs that work on it.
pub(super) struct Field<'a> {
    pub cluster: &'a Cluster,
    pub sizes: Sizes,
    api: Api,
    runtime: Runtime,
    /// This program, built with optimisation: it has the floors.
    floors: PathBuf,
    /// Refloat, built with optimisation.
    refloat: PathBuf,
    /// The keys of the buckets, in the form of an AWS credentials file.
    credentials: PathBuf,
}

impl<'a> Field<'a> {
    /// Prepares the cluster: custom resources, buckets, keys.
    pub(super) fn new(cluster: &'a Cluster, sizes: Sizes, floors: PathBuf, refloat: PathBuf) -> Result<Self> {
        let credentials = cluster.folder().join("bench-credentials");
        write_private(&credentials, &velero::credentials_file(cluster.minio()?))?;
        velero::install_crds(cluster, testbed::DEFAULT_VELERO)?;
        for subject in [Subject::Velero, Subject::Server, Subject::ServerLess] {
            cluster.create_bucket(subject.name())?;
        }
        let api = Api::open(&cluster.kubeconfig_path())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        Ok(Self {
            cluster,
            sizes,
            api,
            runtime,
            floors,
            refloat,
            credentials,
        })
    }

    /// Fills the cluster.
    pub(super) fn fill(&self) -> Result<Sample> {
        self.post(FILLED, self.sizes.objects)
    }

    /// Takes one measurement, checks what came out and removes what was restored.
    pub(super) fn measure(&self, task: Task) -> Result<Sample> {
        let sample = match task.subject {
            Subject::Floor => self.floor(task),
            Subject::ServerLess => self.server_less(task),
            Subject::Velero => self.velero(task),
            Subject::Server => self.server(task),
        };
        let mut sample = sample.with_context(|| format!("{task:?}"))?;
        if task.work == Work::Restore {
            let targets = task.targets(&self.sizes);
            self.check_restored(&targets)?;
            self.delete(&targets)?;
        } else if task.subject != Subject::Floor {
            sample.stored = Some(self.stored(task)?);
        }
        Ok(sample)
    }

    fn floor(&self, task: Task) -> Result<Sample> {
        settle(self.cluster)?;
        let kubeconfig = self.cluster.kubeconfig_path();
        let namespaces = match task.work {
            Work::Restore => return self.post(&task.target_prefix(), self.sizes.restored),
            Work::BackupOfAll => Vec::new(),
            Work::BackupOfSome => self.sizes.namespaces(FILLED, self.sizes.restored),
        };
        let words = floor::List::arguments(&kubeconfig, &namespaces);
        measure::run(self.cluster, Command::new(&self.floors).args(words))
    }

    fn post(&self, prefix: &str, count: usize) -> Result<Sample> {
        let words = floor::Post::arguments(&self.cluster.kubeconfig_path(), prefix, &self.sizes, count);
        measure::run(self.cluster, Command::new(&self.floors).args(words))
    }

    fn server_less(&self, task: Task) -> Result<Sample> {
        let backup = task.backup();
        let mut words = match task.work {
            Work::Restore => {
                let mapping = task.mapping(&self.sizes).map(|(from, to)| format!("{from}:{to}"));
                let mapping = mapping.collect::<Vec<_>>().join(",");
                let flags = format!("--from-backup={backup} --namespace-mappings={mapping}");
                format!("restore create {backup}-restore {flags}")
            }
            _ => format!("backup create {backup}"),
        };
        if task.work == Work::BackupOfSome {
            let namespaces = self.sizes.namespaces(FILLED, self.sizes.restored).join(",");
            words.push_str(&format!(" --include-namespaces={namespaces}"));
        }
        settle(self.cluster)?;
        let sample = measure::run(self.cluster, &mut self.refloat(&words)?)?;
        if task.work != Work::Restore {
            let text = run_command(&mut self.refloat(&format!("backup get {backup} -o json"))?)?;
            self.check_backup(task, &serde_json::from_str(&text).context("reading a backup")?)?;
        }
        Ok(sample)
    }

    /// Refloat without a server.
    fn refloat(&self, words: &str) -> Result<Command> {
        let minio = self.cluster.minio()?;
        let (region, endpoint) = (&minio.region, &minio.endpoint);
        let bucket = Subject::ServerLess.name();
        let mut command = Command::new(&self.refloat);
        command
            .args(words.split(' '))
            .arg("--kubeconfig")
            .arg(self.cluster.kubeconfig_path());
        command.arg(format!(
            "--storage=s3://{bucket}?region={region}&s3ForcePathStyle=true&s3Url={endpoint}"
        ));
        command.env("AWS_SHARED_CREDENTIALS_FILE", &self.credentials);
        Ok(command)
    }

    fn velero(&self, task: Task) -> Result<Sample> {
        self.forget_location(task);
        let options = VeleroOptions {
            namespace: task.subject.name().to_owned(),
            args: VELERO_ARGS.map(str::to_owned).to_vec(),
            ..VeleroOptions::new(task.subject.name())
        };
        let server = VeleroServer::start(self.cluster, &options)?;
        let sample = self.drive(task, server.process());
        server.stop()?;
        sample
    }

    fn server(&self, task: Task) -> Result<Sample> {
        let name = task.subject.name();
        self.forget_location(task);
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let location = velero::location(name, "default", self.cluster.minio()?, name, "");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": [namespace, location]});
        self.cluster.apply(&list.to_string())?;
        let ports = self.cluster.reserve_ports(&[SERVER, DOWNLOADS])?;
        let args = [
            "server".to_owned(),
            format!("--kubeconfig={}", self.cluster.kubeconfig_path().display()),
            format!("--namespace={name}"),
            format!("--metrics-address=127.0.0.1:{}", ports[SERVER]),
            format!("--download-address=127.0.0.1:{}", ports[DOWNLOADS]),
        ];
        let environment: [(&str, &OsStr); 1] =
            [("AWS_SHARED_CREDENTIALS_FILE", self.credentials.as_os_str())];
        let process = self
            .cluster
            .start_program(SERVER, &self.refloat, &args, &environment)?;
        let sample = self
            .wait_for_location(task, &process)
            .and_then(|()| self.drive(task, &process));
        process.stop(Duration::from_secs(20))?;
        sample.with_context(|| format!("the server's last words:\n{}", self.cluster.log_tail(SERVER)))
    }

    /// Has a server do the work, by its custom resources.
    fn drive(&self, task: Task, server: &ProcessId) -> Result<Sample> {
        let (collection, request) = task.request(&self.sizes);
        let name = text(&request["metadata"]["name"]);
        settle(self.cluster)?;
        let meter = Meter::start(self.cluster, server)?;
        let object = self.runtime.block_on(async {
            let created = self.api.create(&collection, &request).await?;
            let version = text(&created["metadata"]["resourceVersion"]);
            let alive = || {
                ensure!(server.is_alive(), "the server ended while it worked on {name}");
                Ok(())
            };
            self.api.watch(&collection, &name, &version, alive, ended).await
        })?;
        let mut sample = meter.finish()?;
        sample.own_clock = own_clock(&object["status"]);
        ensure!(
            object["status"]["phase"] == "Completed",
            "{name} ended as {}",
            object["status"]
        );
        if task.work != Work::Restore {
            self.check_backup(task, &object)?;
        }
        Ok(sample)
    }

    /// Without its location a server cannot be ready, whatever an earlier one said of it.
    fn forget_location(&self, task: Task) {
        // At the first run there is none.
        let _ = self
            .runtime
            .block_on(self.api.send(Method::DELETE, &location_path(task), None));
    }

    fn wait_for_location(&self, task: Task, server: &ProcessId) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let location = self.runtime.block_on(self.api.get(&location_path(task)))?;
            if location["status"]["phase"] == "Available" {
                return Ok(());
            }
            let status = &location["status"];
            ensure!(server.is_alive(), "the server ended; its location says {status}");
            ensure!(
                Instant::now() < deadline,
                "the server did not get ready; its location says {status}"
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn check_backup(&self, task: Task, backup: &Value) -> Result<()> {
        let expected = if task.work == Work::BackupOfAll {
            self.sizes.objects
        } else {
            self.sizes.restored
        };
        let found = backup["status"]["progress"]["itemsBackedUp"]
            .as_u64()
            .unwrap_or_default();
        ensure!(
            found >= expected as u64,
            "a backup of {expected} objects says that it has {found}"
        );
        Ok(())
    }

    /// Counts what is in the namespaces that were restored into.
    fn check_restored(&self, namespaces: &[String]) -> Result<()> {
        let mut found = 0;
        for namespace in namespaces {
            for kind in KINDS {
                let path = format!("/api/v1/namespaces/{namespace}/{}?limit=1", kind.resource());
                let list = self.runtime.block_on(self.api.get(&path))?;
                let further = list["metadata"]["remainingItemCount"]
                    .as_u64()
                    .unwrap_or_default();
                found += list["items"].as_array().map_or(0, Vec::len) as u64 + further;
            }
        }
        // Each namespace has a service account and a ConfigMap that Kubernetes puts there.
        let expected = self.sizes.restored + 2 * namespaces.len();
        ensure!(
            found == expected as u64,
            "after the restore there are {found} objects instead of {expected}"
        );
        Ok(())
    }

    /// Deletes the namespaces that were restored into and waits until they are gone.
    fn delete(&self, namespaces: &[String]) -> Result<()> {
        let deadline = Instant::now() + Duration::from_mins(15);
        self.runtime.block_on(async {
            for namespace in namespaces {
                self.api
                    .send(Method::DELETE, &format!("/api/v1/namespaces/{namespace}"), None)
                    .await?;
            }
            loop {
                let list = self.api.get("/api/v1/namespaces").await?;
                let left = list["items"].as_array().into_iter().flatten();
                let left = left
                    .filter(|item| namespaces.contains(&text(&item["metadata"]["name"])))
                    .count();
                if left == 0 {
                    return Ok(());
                }
                ensure!(
                    Instant::now() < deadline,
                    "{left} restored namespaces cannot be deleted"
                );
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        })
    }

    /// How many bytes the backup has in the bucket.
    fn stored(&self, task: Task) -> Result<u64> {
        let (bucket, backup) = (task.subject.name(), task.backup());
        let query = format!("list-type=2&prefix=backups%2F{backup}%2F");
        let answer = self
            .cluster
            .minio()?
            .request("GET", &format!("/{bucket}"), &query, &[], b"")?;
        let text = String::from_utf8_lossy(&answer.body);
        ensure!(answer.status == 200, "listing the bucket: {text}");
        let sizes = text.split("<Size>").skip(1);
        Ok(sizes
            .filter_map(|rest| rest.split_once('<')?.0.parse::<u64>().ok())
            .sum())
    }
}

/// The path of the location `default` of the subject's server.
fn location_path(task: Task) -> String {
    format!(
        "/apis/velero.io/v1/namespaces/{}/backupstoragelocations/default",
        task.subject.name()
    )
}

/// The object once its phase is final.
fn ended(object: &Value) -> Option<Value> {
    const FINAL: [&str; 4] = ["Completed", "PartiallyFailed", "Failed", "FailedValidation"];
    let phase = object["status"]["phase"].as_str()?;
    FINAL.contains(&phase).then(|| object.clone())
}

/// From start to completion, in whole seconds.
fn own_clock(status: &Value) -> Option<i64> {
    let time = |key: &str| status[key].as_str()?.parse::<jiff::Timestamp>().ok();
    Some(time("completionTimestamp")?.as_second() - time("startTimestamp")?.as_second())
}

fn write_private(path: &Path, text: &str) -> Result<()> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.with_context(|| format!("writing {}", path.display()))
}
