//! `cargo xtask demo`: a small application is backed up, destroyed and brought back, on a real cluster that is
//! started for it, with nothing installed beforehand but cargo, Go and root.

mod compare;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use refloat_testkit::cluster::{Cluster, ClusterOptions};
use refloat_testkit::process::run_command;
use refloat_testkit::testbed::{self, DEFAULT_KUBERNETES, KUBERNETES_PROGRAMS, Part};

use self::compare::{NOT_COMPARED, Snapshot, differences, kinds, snapshot};
use crate::program::{self, Profile};

const DEFINITION: &str = include_str!("demo/definition.yaml");
const APPLICATION: &str = include_str!("demo/app.yaml");
const NAMESPACE: &str = "tea-shop";
const PAGE: &str = "/api/v1/namespaces/tea-shop/services/web:http/proxy/";
/// What of the application is not in its namespace.
const OUTSIDE: &str = "customresourcedefinitions,clusterroles,clusterrolebindings";
const LABEL: &str = "app.kubernetes.io/part-of=tea-shop";

#[derive(Args)]
pub(crate) struct Arguments {
    /// Build Refloat with optimisation, which takes some minutes more the first time
    #[arg(long)]
    release: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    say(
        "",
        "A small application is backed up, destroyed and brought back. Ctrl-C leaves nothing behind.",
    )?;
    let started = Instant::now();
    let (profile, words) = if arguments.release {
        (Profile::Release, "release profile")
    } else {
        (Profile::Dev, "dev profile: quicker to build, slower to run")
    };
    let refloat = step("build", &format!("Refloat ({words})"), || {
        program::build(profile, "refloat-cli", "refloat")
    })?;
    let parts = "the cluster's programs, from pinned Go modules (once; several minutes when cold)";
    step("build", parts, build_cluster_parts)?;

    let name = format!("demo-{}", std::process::id());
    // Also when this process is killed, or stopped from the keyboard.
    Cluster::down_when_this_process_ends(&name)?;
    let text = format!("Kubernetes {DEFAULT_KUBERNETES} on this machine, with a node that runs containers");
    let options = ClusterOptions {
        minio: false,
        ..ClusterOptions::new(&name, 1)
    };
    let cluster = step("cluster", &text, || Cluster::up(&options))?;
    let result = Demo {
        cluster: &cluster,
        refloat,
    }
    .run();
    step(
        "clean up",
        "the cluster, its pods and all files, the backup too",
        || Cluster::down(&name),
    )?;
    result?;
    let text = format!(
        "It worked, in {:.0} s. What was built stays in {}",
        started.elapsed().as_secs_f32(),
        testbed::cache_root().display()
    );
    say("", &format!("{text} for the next time."))
}

fn build_cluster_parts() -> Result<()> {
    testbed::build(&Part::Etcd)?;
    for program in KUBERNETES_PROGRAMS {
        testbed::build(&Part::kubernetes(DEFAULT_KUBERNETES, program))?;
    }
    Ok(())
}

struct Demo<'a> {
    cluster: &'a Cluster,
    refloat: PathBuf,
}

impl Demo<'_> {
    fn run(&self) -> Result<()> {
        // In the cluster's folder, so that it goes when the cluster goes.
        let storage = format!("file://{}", self.cluster.folder().join("backups").display());
        let storage = format!("--storage {storage}");
        let text = "tea-shop: two web servers, a StatefulSet, RBAC, and a kind of its own with two objects";
        let before = step("deploy", text, || {
            self.deploy()?;
            self.wait_until_it_runs()?;
            snapshot(self.cluster, NAMESPACE)
        })?;
        let text = format!(
            "{} objects of {} kinds; its page says: {}",
            before.len(),
            kinds(&before),
            self.page()?
        );
        say("", &text)?;
        let command = format!("backup create tea-shop --include-namespaces {NAMESPACE} {storage}");
        step("backup", &format!("refloat {command}"), || self.refloat(&command))?;
        step(
            "destroy",
            "the namespace with all in it, the kind, the cluster-wide roles",
            || self.destroy(),
        )?;
        let gone = snapshot(self.cluster, NAMESPACE)?;
        ensure!(
            gone.is_empty(),
            "the application is not destroyed, this is left: {:?}",
            gone.keys()
        );
        let command = format!("restore create back --from-backup tea-shop {storage}");
        step("restore", &format!("refloat {command}"), || {
            self.refloat(&command)
        })?;
        step("wait", "until the pods run again", || self.wait_until_it_runs())?;
        step("compare", "every field of every object with what it was", || {
            self.compare(&before)
        })?;
        say("", &format!("no difference; the page says: {}", self.page()?))?;
        say("", "Not compared is:")?;
        NOT_COMPARED
            .iter()
            .try_for_each(|line| say("", &format!("- {line}")))
    }

    fn deploy(&self) -> Result<()> {
        self.cluster.apply(DEFINITION)?;
        let wait = [
            "wait",
            "--for=condition=Established",
            "--timeout=30s",
            "crd",
            "-l",
            LABEL,
        ];
        self.cluster.kubectl(&wait)?;
        self.cluster.apply(APPLICATION)
    }

    fn wait_until_it_runs(&self) -> Result<()> {
        for workload in ["deployment/web", "statefulset/kettle"] {
            let wait = ["-n", NAMESPACE, "rollout", "status", "--timeout=120s", workload];
            self.cluster
                .kubectl(&wait)
                .with_context(|| format!("waiting for {workload}"))?;
        }
        Ok(())
    }

    /// What the application serves, through the API server, which learns a little late where it is.
    fn page(&self) -> Result<String> {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            match self.cluster.kubectl(&["get", "--raw", PAGE]) {
                Ok(page) => return Ok(page.trim().to_owned()),
                Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(200)),
                Err(error) => return Err(error.context("opening the application's page")),
            }
        }
    }

    fn refloat(&self, words: &str) -> Result<()> {
        let mut command = Command::new(&self.refloat);
        command
            .args(words.split(' '))
            .env("KUBECONFIG", self.cluster.kubeconfig_path());
        run_command(&mut command).map(drop)
    }

    fn destroy(&self) -> Result<()> {
        self.cluster
            .kubectl(&["delete", "namespace", NAMESPACE, "--timeout=120s"])?;
        self.cluster
            .kubectl(&["delete", OUTSIDE, "-l", LABEL, "--timeout=60s"])
            .map(drop)
    }

    /// Compares until nothing differs: controllers take a moment to take their objects over again.
    fn compare(&self, before: &Snapshot) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let found = differences(before, &snapshot(self.cluster, NAMESPACE)?);
            if found.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} differences:\n  {}", found.len(), found.join("\n  "));
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

/// Says what is done, does it, and says how long it took.
fn step<T>(name: &str, text: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let mut out = io::stdout();
    write!(out, "{name:>9}  {text} … ")?;
    out.flush()?;
    let started = Instant::now();
    let result = work();
    let outcome = if result.is_ok() { "" } else { " FAILED" };
    writeln!(out, "{:.1} s{outcome}", started.elapsed().as_secs_f32())?;
    result.with_context(|| format!("the step `{name}` failed"))
}

fn say(name: &str, text: &str) -> Result<()> {
    writeln!(io::stdout(), "{name:>9}  {text}").context("printing")
}
