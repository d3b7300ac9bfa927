//! The flags of `install`, by the names that `velero install` has.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use refloat_model::GoDuration;

use crate::flags::{Format, Pairs};

/// The image that is installed unless another is named.
pub const IMAGE: &str = concat!("ghcr.io/refloat/refloat:v", env!("CARGO_PKG_VERSION"));

/// Flags of `install`.
#[derive(Args, Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "one per flag of Velero")]
pub struct InstallFlags {
    /// Who stores: aws, azure, gcp, alibabacloud, filesystem
    #[arg(long, value_name = "PROVIDER")]
    pub provider: Option<String>,
    /// The bucket of the default location
    #[arg(long, value_name = "BUCKET")]
    pub bucket: Option<String>,
    /// In front of every key
    #[arg(long, value_name = "PREFIX")]
    pub prefix: Option<String>,
    /// Settings of the default location
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub backup_location_config: Vec<Pairs>,
    /// Settings of the default snapshot location
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub snapshot_location_config: Vec<Pairs>,
    /// Whether to make a default snapshot location
    #[arg(long, default_value = "true", action = clap::ArgAction::Set)]
    pub use_volume_snapshots: bool,
    /// Make no default location; needed without --provider and --bucket
    #[arg(long)]
    pub no_default_backup_location: bool,
    /// The file with the provider's credentials
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// Make no secret; needed without --secret-file
    #[arg(long)]
    pub no_secret: bool,
    /// A PEM bundle to trust when talking to the object store
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// The image of the server and the node agent
    #[arg(long, default_value = IMAGE, value_name = "IMAGE")]
    pub image: String,
    /// Understood, without effect: the providers are built in
    #[arg(long, value_name = "IMAGE,…", value_delimiter = ',', action = clap::ArgAction::Append)]
    pub plugins: Vec<String>,
    /// Run an agent on every node
    #[arg(long)]
    pub use_node_agent: bool,
    /// Only the custom resource definitions
    #[arg(long)]
    pub crds_only: bool,
    /// Send nothing to the cluster; print with -o
    #[arg(long)]
    pub dry_run: bool,
    /// Print the objects
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,
    /// Wait until the server is ready
    #[arg(long)]
    pub wait: bool,
    /// Understood: objects are always applied, whether they exist or not
    #[arg(long = "apply")]
    _apply: bool,
    /// Run the server for restores only
    #[arg(long)]
    pub restore_only: bool,
    /// Copy pod volumes by file unless they opt out
    #[arg(long)]
    pub default_volumes_to_fs_backup: bool,
    /// Copy snapshots into the object store
    #[arg(long)]
    pub default_snapshot_move_data: bool,
    /// Wait for a new schedule's first time instead of making a backup at once
    #[arg(long)]
    pub schedule_skip_immediately: bool,
    /// Understood, without effect on our server
    #[arg(long)]
    pub disable_informer_cache: bool,
    /// How often repositories are maintained
    #[arg(long, value_name = "DURATION")]
    pub default_repo_maintain_frequency: Option<GoDuration>,
    /// How often expired backups are deleted
    #[arg(long, value_name = "DURATION")]
    pub garbage_collection_frequency: Option<GoDuration>,
    /// How long copying a pod's volumes may take
    #[arg(long, value_name = "DURATION")]
    pub pod_volume_operation_timeout: Option<GoDuration>,
    /// Backups run at once
    #[arg(long, value_name = "NUMBER")]
    pub concurrent_backups: Option<u32>,
    /// Blocks of items worked on at once
    #[arg(long, value_name = "NUMBER")]
    pub item_block_worker_count: Option<u32>,
    /// Who copies files
    #[arg(long, default_value = "kopia", value_name = "NAME")]
    pub uploader_type: String,
    /// A ConfigMap with settings of repositories
    #[arg(long, value_name = "NAME")]
    pub backup_repository_configmap: Option<String>,
    /// A ConfigMap with settings of maintenance jobs
    #[arg(long, value_name = "NAME")]
    pub repo_maintenance_job_configmap: Option<String>,
    /// A ConfigMap with settings of node agents
    #[arg(long, value_name = "NAME")]
    pub node_agent_configmap: Option<String>,
    /// The kubelet's folder on the nodes
    #[arg(long, default_value = "/var/lib/kubelet", value_name = "FOLDER")]
    pub kubelet_root_dir: String,
    /// Do not mount pods' volumes into the node agent
    #[arg(long)]
    pub node_agent_disable_host_path: bool,
    /// Run the node agent privileged
    #[arg(long)]
    pub privileged_node_agent: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "documented at the type")]
    pub pods: PodFlags,
    #[command(flatten)]
    compatible: CompatibleFlags,
}

/// How pods are made.
#[derive(Args, Clone, Debug)]
pub struct PodFlags {
    /// Annotations of the pods
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub pod_annotations: Vec<Pairs>,
    /// Labels of the pods
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub pod_labels: Vec<Pairs>,
    /// Annotations of the service account
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub sa_annotations: Vec<Pairs>,
    /// An existing service account to use instead of making one
    #[arg(long, value_name = "NAME")]
    pub service_account_name: Option<String>,
    /// The server's priority class
    #[arg(long, value_name = "NAME")]
    pub server_priority_class_name: Option<String>,
    /// The node agent's priority class
    #[arg(long, value_name = "NAME")]
    pub node_agent_priority_class_name: Option<String>,
    /// CPU that the server asks for; 0: nothing
    #[arg(long, default_value = "500m", value_name = "QUANTITY")]
    pub velero_pod_cpu_request: String,
    /// Memory that the server asks for
    #[arg(long, default_value = "128Mi", value_name = "QUANTITY")]
    pub velero_pod_mem_request: String,
    /// CPU that the server may use; 0: any
    #[arg(long, default_value = "1000m", value_name = "QUANTITY")]
    pub velero_pod_cpu_limit: String,
    /// Memory that the server may use; 0: any
    #[arg(long, default_value = "512Mi", value_name = "QUANTITY")]
    pub velero_pod_mem_limit: String,
    /// CPU that a node agent asks for; 0: nothing
    #[arg(long, default_value = "0", value_name = "QUANTITY")]
    pub node_agent_pod_cpu_request: String,
    /// Memory that a node agent asks for; 0: nothing
    #[arg(long, default_value = "0", value_name = "QUANTITY")]
    pub node_agent_pod_mem_request: String,
    /// CPU that a node agent may use; 0: any
    #[arg(long, default_value = "0", value_name = "QUANTITY")]
    pub node_agent_pod_cpu_limit: String,
    /// Memory that a node agent may use; 0: any
    #[arg(long, default_value = "0", value_name = "QUANTITY")]
    pub node_agent_pod_mem_limit: String,
}

/// Flags that are understood so that scripts keep working, without effect.
#[derive(Args, Clone, Debug)]
struct CompatibleFlags {
    #[arg(long = "use-node-agent-windows", hide = true)]
    _use_node_agent_windows: bool,
    #[arg(long = "csi-snapshot-early-frequent-polling", hide = true)]
    _csi_snapshot_early_frequent_polling: bool,
    #[arg(long = "keep-latest-maintenance-jobs", hide = true)]
    _keep_latest_maintenance_jobs: Option<i64>,
    #[arg(long = "maintenance-job-cpu-request", hide = true)]
    _maintenance_job_cpu_request: Option<String>,
    #[arg(long = "maintenance-job-mem-request", hide = true)]
    _maintenance_job_mem_request: Option<String>,
    #[arg(long = "maintenance-job-cpu-limit", hide = true)]
    _maintenance_job_cpu_limit: Option<String>,
    #[arg(long = "maintenance-job-mem-limit", hide = true)]
    _maintenance_job_mem_limit: Option<String>,
}

impl InstallFlags {
    /// Refuses flags that contradict each other.
    ///
    /// # Errors
    /// What contradicts what.
    pub(super) fn check(&self) -> Result<()> {
        if self.output == Some(Format::Table) {
            bail!("'table' format is not supported with 'install' command");
        }
        if self.dry_run && self.output.is_none() {
            bail!("--dry-run prints nothing without -o yaml or -o json");
        }
        if self.crds_only {
            return Ok(());
        }
        match (&self.provider, &self.bucket, self.no_default_backup_location) {
            (Some(_), Some(_), false) | (_, None, true) => {}
            (_, Some(_), true) => {
                bail!("cannot use both --bucket and --no-default-backup-location at the same time")
            }
            _ => bail!(
                "--provider and --bucket are needed for the default location, or --no-default-backup-location"
            ),
        }
        match (&self.secret_file, self.no_secret) {
            (Some(_), true) => bail!("cannot use both --secret-file and --no-secret"),
            (None, false) => bail!("one of --secret-file or --no-secret is required"),
            _ => Ok(()),
        }
    }
}
