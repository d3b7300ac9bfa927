//! Who is measured and at what.

use anyhow::Result;
use refloat_testkit::{process, testbed};
use serde_json::{Value, json};

use super::objects::{FILLED, Sizes};

/// Velero without its brakes: no client-side rate limit, and as many workers as help.
pub(super) const VELERO_ARGS: [&str; 3] = [
    "--client-qps=10000",
    "--client-burst=10000",
    "--item-block-worker-count=8",
];

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Floor,
    Velero,
    Server,
    ServerLess,
}

impl Subject {
    /// Its namespace and bucket, and the start of names that belong to it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Velero => "velero",
            Self::Server => "refloat",
            Self::ServerLess => "serverless",
        }
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    BackupOfSome,
    BackupOfAll,
    Restore,
}

pub(super) const WORKS: [Work; 3] = [Work::BackupOfSome, Work::BackupOfAll, Work::Restore];

/// One measurement to take. A restore needs the backup of some objects of the same run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    pub subject: Subject,
    pub work: Work,
    pub run: u32,
}

impl Task {
    /// The backup that is made or restored.
    pub(super) fn backup(&self) -> String {
        let of = if self.work == Work::BackupOfAll {
            "all"
        } else {
            "some"
        };
        format!("{}-{of}-{}", self.subject.name(), self.run)
    }

    /// What the names of the namespaces that are restored into start with.
    pub(super) fn target_prefix(&self) -> String {
        format!("to-{}-{}-", self.subject.name(), self.run)
    }

    /// The namespaces that are restored into.
    pub(super) fn targets(&self, sizes: &Sizes) -> Vec<String> {
        sizes.namespaces(&self.target_prefix(), sizes.restored)
    }

    /// From which namespace into which.
    pub(super) fn mapping(&self, sizes: &Sizes) -> impl Iterator<Item = (String, String)> + use<> {
        sizes
            .namespaces(FILLED, sizes.restored)
            .into_iter()
            .zip(self.targets(sizes))
    }

    /// The path of the custom resources of the kind that this is, and the one that asks for it.
    pub(super) fn request(&self, sizes: &Sizes) -> (String, Value) {
        let (kind, name, spec) = match self.work {
            Work::Restore => {
                let mapping: serde_json::Map<_, _> =
                    self.mapping(sizes).map(|(from, to)| (from, to.into())).collect();
                let spec = json!({
                    "backupName": self.backup(), "includedNamespaces": ["*"], "namespaceMapping": mapping,
                });
                ("Restore", format!("{}-restore", self.backup()), spec)
            }
            Work::BackupOfAll => ("Backup", self.backup(), json!({"includedNamespaces": ["*"]})),
            Work::BackupOfSome => {
                let namespaces = sizes.namespaces(FILLED, sizes.restored);
                ("Backup", self.backup(), json!({"includedNamespaces": namespaces}))
            }
        };
        let namespace = self.subject.name();
        let object = json!({
            "apiVersion": "velero.io/v1", "kind": kind,
            "metadata": {"name": name, "namespace": namespace}, "spec": spec,
        });
        (
            format!(
                "/apis/velero.io/v1/namespaces/{namespace}/{}s",
                kind.to_lowercase()
            ),
            object,
        )
    }
}

/// The programs' versions, for the report.
pub(super) fn versions() -> Result<String> {
    let pinned = |group: &str, module: &str| testbed::pinned_version(group, module);
    let kubernetes = pinned(
        &format!("kubernetes-{}", testbed::DEFAULT_KUBERNETES),
        "k8s.io/kubernetes",
    )?;
    let velero = pinned(
        &format!("velero-{}", testbed::DEFAULT_VELERO),
        "github.com/vmware-tanzu/velero",
    )?;
    let minio = pinned("minio", "github.com/minio/minio")?;
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let commit = process::run("git", ["-C", root, "rev-parse", "--short", "HEAD"]);
    Ok(format!(
        "Refloat {} (commit {}, release build), Velero {velero} (`{}`), Kubernetes {kubernetes}, MinIO {minio}",
        env!("CARGO_PKG_VERSION"),
        commit.as_deref().unwrap_or("unknown").trim(),
        VELERO_ARGS.join(" "),
    ))
}
