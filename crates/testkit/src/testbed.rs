//! The real peers (etcd, Kubernetes, MinIO, Velero), built from the Go modules pinned in `testbed/`.
//!
//! Every program is built once into a cache outside the source tree. Its folder there is named by a hash of all
//! that decides its bytes, so a changed pin builds anew and an unchanged one costs nothing. Processes that ask
//! for the same program at the same time wait for one build.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

/// The Kubernetes version that is used when none is named.
pub const DEFAULT_KUBERNETES: &str = "1.34";

/// The Velero version that is used when none is named.
pub const DEFAULT_VELERO: &str = "1.18";

/// One program of the test bed. Versions are `major.minor`; the patch version is the one pinned in the folder
/// `testbed/kubernetes-<version>` or `testbed/velero-<version>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// The etcd server.
    Etcd,
    /// etcd's own client, the reference for snapshots.
    Etcdctl,
    /// etcd's own offline tool, the reference for restores.
    Etcdutl,
    /// `cmd/<program>` of Kubernetes.
    Kubernetes {
        /// For example `1.34`.
        version: String,
        /// For example `kube-apiserver`.
        program: &'static str,
    },
    /// The S3 server.
    Minio,
    /// Velero's server and command line, one binary. For example `1.18`.
    Velero(String),
    /// Velero's object-store plugin for S3.
    VeleroPluginAws,
}

/// The programs of Kubernetes that a cluster runs, in the order they are needed.
pub const KUBERNETES_PROGRAMS: [&str; 5] = [
    "kube-apiserver",
    "kubectl",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
];

/// All that decides the bytes of one program.
struct Recipe {
    group: String,
    program: &'static str,
    package: String,
    ldflags: String,
}

impl Part {
    /// Every program, of every version that has a folder.
    pub fn all() -> Result<Vec<Self>> {
        let mut parts = vec![Self::Etcd];
        let mut velero = Vec::new();
        for entry in fs::read_dir(source_root()).context("listing the folder testbed/")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(version) = name.strip_prefix("kubernetes-") {
                parts.extend(KUBERNETES_PROGRAMS.map(|p| Self::kubernetes(version, p)));
            } else if let Some(version) = name
                .strip_prefix("velero-")
                .filter(|v| v.starts_with(char::is_numeric))
            {
                velero.push(Self::Velero(version.to_owned()));
            }
        }
        parts.push(Self::Minio);
        parts.append(&mut velero);
        parts.extend([Self::VeleroPluginAws, Self::Etcdctl, Self::Etcdutl]);
        Ok(parts)
    }

    /// `program` (one of [`KUBERNETES_PROGRAMS`]) of Kubernetes `version`.
    pub fn kubernetes(version: &str, program: &'static str) -> Self {
        Self::Kubernetes {
            version: version.to_owned(),
            program,
        }
    }

    fn recipe(&self) -> Result<Recipe> {
        let plain = |group: &str, program, package: &str| Recipe {
            group: group.to_owned(),
            program,
            package: package.to_owned(),
            ldflags: "-s -w".to_owned(),
        };
        Ok(match self {
            Self::Etcd => plain("etcd", "etcd", "go.etcd.io/etcd/server/v3"),
            Self::Etcdctl => plain("etcd", "etcdctl", "go.etcd.io/etcd/etcdctl/v3"),
            Self::Etcdutl => plain("etcd", "etcdutl", "go.etcd.io/etcd/etcdutl/v3"),
            Self::Minio => plain("minio", "minio", "github.com/minio/minio"),
            Self::VeleroPluginAws => plain(
                "velero-plugin-aws",
                "velero-plugin-for-aws",
                "github.com/vmware-tanzu/velero-plugin-for-aws/velero-plugin-for-aws",
            ),
            Self::Velero(version) => {
                let group = format!("velero-{version}");
                let module = "github.com/vmware-tanzu/velero";
                let full = pinned_version(&group, module)?;
                let mut recipe = plain(&group, "velero", &format!("{module}/cmd/velero"));
                recipe.ldflags += &format!(" -X {module}/pkg/buildinfo.Version={full}");
                recipe
            }
            Self::Kubernetes { version, program } => {
                let group = format!("kubernetes-{version}");
                let full = pinned_version(&group, "k8s.io/kubernetes")?;
                let (major, minor) = version
                    .split_once('.')
                    .context("a Kubernetes version is like 1.34")?;
                let mut recipe = plain(&group, program, &format!("k8s.io/kubernetes/cmd/{program}"));
                for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
                    for (name, value) in [
                        ("gitVersion", full.as_str()),
                        ("gitMajor", major),
                        ("gitMinor", minor),
                    ] {
                        recipe.ldflags += &format!(" -X {package}.{name}={value}");
                    }
                }
                recipe
            }
        })
    }
}

/// The path of the program `part`, built now if the cache does not have it. Says on standard error when it
/// builds, because that takes minutes.
///
/// # Errors
/// Go is missing, the version has no folder in `testbed/`, or the build fails (with the compiler's words).
pub fn build(part: &Part) -> Result<PathBuf> {
    let recipe = part.recipe()?;
    let source = source_root().join(&recipe.group);
    let folder = cache_root().join(&recipe.group).join(key(&recipe, &source)?);
    let program = folder.join(recipe.program);
    if program.exists() {
        return Ok(program);
    }
    fs::create_dir_all(&folder).with_context(|| format!("creating the cache folder {}", folder.display()))?;
    let lock =
        File::create(folder.join(format!("{}.lock", recipe.program))).context("creating a build lock")?;
    lock.lock()
        .context("waiting for another build of the same program")?;
    if !program.exists() {
        compile(&recipe, &source, &program)?;
    }
    Ok(program)
}

fn compile(recipe: &Recipe, source: &Path, program: &Path) -> Result<()> {
    progress(&format!(
        "building {} of {} (once; a few minutes when cold)",
        recipe.program, recipe.group
    ));
    let started = Instant::now();
    // A name of its own per process, and a rename at the end: a killed build never leaves half a program.
    let partial = program.with_file_name(format!(".{}.{}", recipe.program, std::process::id()));
    let output = Command::new("go")
        .args([
            "build",
            "-mod=readonly",
            "-buildvcs=false",
            "-trimpath",
            "-ldflags",
            &recipe.ldflags,
            "-o",
        ])
        .arg(&partial)
        .arg(&recipe.package)
        .current_dir(source)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "")
        .env("GOWORK", "off")
        .output()
        .context("running `go build`; install Go, see testbed/README.md")?;
    ensure!(
        output.status.success(),
        "building {} in {} failed:\n{}",
        recipe.package,
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    fs::rename(&partial, program)
        .with_context(|| format!("moving the built {} into place", recipe.program))?;
    progress(&format!(
        "built {} in {:.0} s",
        recipe.program,
        started.elapsed().as_secs_f32()
    ));
    Ok(())
}

fn key(recipe: &Recipe, source: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(format!(
        "{}\n{}\n{}\n",
        go_version(source)?,
        recipe.package,
        recipe.ldflags
    ));
    for name in ["go.mod", "go.sum"] {
        let path = source.join(name);
        hash.update(fs::read(&path).with_context(|| format!("reading {}", path.display()))?);
    }
    let digest = hash.finalize();
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

/// The compiler and its target, as `go.mod` in `source` selects them.
fn go_version(source: &Path) -> Result<String> {
    let output = Command::new("go")
        .args(["env", "GOVERSION", "GOOS", "GOARCH"])
        .current_dir(source)
        .output()
        .context("running `go`: the test bed is built from Go modules; install Go, see testbed/README.md")?;
    ensure!(
        output.status.success(),
        "`go env` failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default();
    Ok(format!("{}\n{}/{}", next(), next(), next()))
}

/// The version that `testbed/<group>/go.mod` requires of `module`.
pub fn pinned_version(group: &str, module: &str) -> Result<String> {
    let path = source_root().join(group).join("go.mod");
    let Ok(text) = fs::read_to_string(&path) else {
        bail!(
            "there is no {}: this version is not part of the test bed (see testbed/README.md)",
            path.display()
        )
    };
    text.lines()
        .filter_map(|line| line.trim().trim_start_matches("require ").split_once(' '))
        .find(|(name, _)| *name == module)
        .map(|(_, rest)| rest.split(' ').next().unwrap_or(rest).to_owned())
        .with_context(|| format!("{} does not require {module}", path.display()))
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testbed")
}

/// Where built programs are kept: `$REFLOAT_TESTBED_CACHE`, or `refloat/testbed` in the user's cache folder.
pub fn cache_root() -> PathBuf {
    std::env::var_os("REFLOAT_TESTBED_CACHE").map_or_else(|| user_cache().join("testbed"), PathBuf::from)
}

/// `refloat` in the user's cache folder.
pub(crate) fn user_cache() -> PathBuf {
    std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .unwrap_or_else(|| PathBuf::from("/var/cache"))
        .join("refloat")
}

#[expect(
    clippy::print_stderr,
    reason = "a build of minutes must say so, in tests as well"
)]
pub(crate) fn progress(text: &str) {
    eprintln!("testbed: {text}");
}
