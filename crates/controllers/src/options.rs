//! How the server is to run: every flag of `velero server` with Velero's default, and our own.

use std::{
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use refloat_web::TlsFiles;

/// The flags of `velero server`, by their names there, and ours below. Durations of zero mean what
/// they mean to Velero: "never" for periods, "the default" for limits.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "one per flag of Velero")]
pub struct ServerOptions {
    /// The namespace of the custom resources.
    pub namespace: String,
    /// Feature flags such as `EnableCSI`.
    pub features: Vec<String>,
    /// Accepted; our providers are built in.
    pub plugin_dir: PathBuf,
    /// Where metrics and health are served.
    pub metrics_address: SocketAddr,
    /// How often backups found in a bucket become custom resources; zero: never.
    pub backup_sync_period: Duration,
    /// How long copying a pod's volumes may take.
    pub fs_backup_timeout: Duration,
    /// Only restores; nothing is backed up or deleted.
    pub restore_only: bool,
    /// Controllers, by Velero's names, that are not to run.
    pub disable_controllers: Vec<String>,
    /// The restore order, high priorities, then `-`, then low ones; empty: Velero's.
    pub restore_resource_priorities: Vec<String>,
    /// The location of backups that name none, where no location says it is the default.
    pub default_backup_storage_location: String,
    /// How often locations are probed; zero: never.
    pub store_validation_frequency: Duration,
    /// Accepted; our client adapts to the API server instead.
    pub client_qps: f32,
    /// Accepted, as `client_qps`.
    pub client_burst: u32,
    /// Objects per LIST request.
    pub client_page_size: u32,
    /// Accepted; there is no profiler.
    pub profiler_address: String,
    /// How long a restore waits for a namespace or volume that is being deleted.
    pub terminating_resource_timeout: Duration,
    /// How long backups are kept that do not say.
    pub default_backup_ttl: Duration,
    /// The label that groups claims for one group snapshot.
    pub volume_group_snapshot_label_key: String,
    /// How often repositories are maintained; zero: as they say.
    pub default_repo_maintain_frequency: Duration,
    /// How often expired backups are deleted.
    pub garbage_collection_frequency: Duration,
    /// How often asynchronous operations are looked at.
    pub item_operation_sync_frequency: Duration,
    /// Whether pod volumes are copied by file unless they opt out.
    pub default_volumes_to_fs_backup: bool,
    /// Accepted; which uploader copies files.
    pub uploader_type: String,
    /// How long asynchronous item operations may take.
    pub default_item_operation_timeout: Duration,
    /// How long to wait for a resource to become what it should.
    pub resource_timeout: Duration,
    /// The most connections to the API server at once.
    pub max_concurrent_k8s_connections: usize,
    /// Whether CSI snapshots are copied to the object store.
    pub default_snapshot_move_data: bool,
    /// Accepted; there is no informer cache.
    pub disable_informer_cache: bool,
    /// Whether schedules wait for their first time.
    pub schedule_skip_immediately: bool,
    /// `provider:location` pairs.
    pub default_volume_snapshot_locations: Vec<(String, String)>,
    /// A ConfigMap with settings of repositories.
    pub backup_repository_configmap: String,
    /// A ConfigMap with settings of maintenance jobs.
    pub repo_maintenance_job_configmap: String,
    /// Blocks of items worked on at once.
    pub item_block_worker_count: usize,
    /// Backups run at once.
    pub concurrent_backups: usize,

    /// Restores run at once.
    pub concurrent_restores: usize,
    /// The credentials file for locations that name none; absent: the provider's environment.
    pub credential_file: Option<PathBuf>,
    /// Who makes the URLs of downloads.
    pub download_url: DownloadUrlPolicy,
    /// Where our download server listens.
    pub download_address: SocketAddr,
    /// The URL under which clients reach it; absent: made from the address.
    pub download_advertise_url: Option<String>,
    /// Its certificate; absent: plain HTTP.
    pub download_tls: Option<TlsFiles>,
    /// Whether only the holder of a lease works.
    pub leader_elect: bool,
    /// The lease's name.
    pub lease_name: String,
    /// Our name in the lease; empty: host name and a random number.
    pub lease_identity: String,
    /// How long a silent leader is believed to live.
    pub lease_duration: Duration,
    /// How long a leader tries to renew before it gives up.
    pub lease_renew_deadline: Duration,
    /// The pause between tries.
    pub lease_retry_period: Duration,
}

/// Who makes the URLs of downloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DownloadUrlPolicy {
    /// The store where clients can be expected to reach it, else the server.
    #[default]
    Auto,
    /// The store, wherever it can sign.
    Signed,
    /// The server.
    Server,
}

impl std::str::FromStr for DownloadUrlPolicy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "signed" => Ok(Self::Signed),
            "server" => Ok(Self::Server),
            other => Err(format!("{other:?} is none of auto, signed, server")),
        }
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            namespace: "velero".to_owned(),
            features: Vec::new(),
            plugin_dir: PathBuf::from("/plugins"),
            metrics_address: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8085)),
            backup_sync_period: MINUTE,
            fs_backup_timeout: 4 * HOUR,
            restore_only: false,
            disable_controllers: Vec::new(),
            restore_resource_priorities: Vec::new(),
            default_backup_storage_location: "default".to_owned(),
            store_validation_frequency: MINUTE,
            client_qps: 100.0,
            client_burst: 100,
            client_page_size: 500,
            profiler_address: "localhost:6060".to_owned(),
            terminating_resource_timeout: 10 * MINUTE,
            default_backup_ttl: 720 * HOUR,
            volume_group_snapshot_label_key: "velero.io/volume-group".to_owned(),
            default_repo_maintain_frequency: Duration::ZERO,
            garbage_collection_frequency: HOUR,
            item_operation_sync_frequency: Duration::from_secs(10),
            default_volumes_to_fs_backup: false,
            uploader_type: "kopia".to_owned(),
            default_item_operation_timeout: 4 * HOUR,
            resource_timeout: 10 * MINUTE,
            max_concurrent_k8s_connections: 30,
            default_snapshot_move_data: false,
            disable_informer_cache: false,
            schedule_skip_immediately: false,
            default_volume_snapshot_locations: Vec::new(),
            backup_repository_configmap: String::new(),
            repo_maintenance_job_configmap: String::new(),
            item_block_worker_count: 1,
            concurrent_backups: 1,
            concurrent_restores: 1,
            credential_file: None,
            download_url: DownloadUrlPolicy::Auto,
            download_address: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 8086)),
            download_advertise_url: None,
            download_tls: None,
            leader_elect: true,
            lease_name: "refloat-server".to_owned(),
            lease_identity: String::new(),
            lease_duration: Duration::from_secs(15),
            lease_renew_deadline: Duration::from_secs(10),
            lease_retry_period: Duration::from_secs(2),
        }
    }
}

/// What `--restore-only` turns off, by Velero's names.
const NOT_IN_RESTORE_ONLY: [&str; 4] = ["backup", "backup-deletion", "gc", "schedule"];

impl ServerOptions {
    /// Whether the controller of that name (Velero's) is to run.
    #[must_use]
    pub fn runs(&self, controller: &str) -> bool {
        !(self.disable_controllers.iter().any(|name| name == controller)
            || self.restore_only && NOT_IN_RESTORE_ONLY.contains(&controller))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restore_only_and_disabled_controllers_do_not_run() {
        let mut options = ServerOptions::default();
        assert!(options.runs("backup"));
        options.disable_controllers = vec!["download-request".into()];
        assert!(!options.runs("download-request"));
        options.restore_only = true;
        assert!(!options.runs("backup") && !options.runs("backup-deletion"));
        assert!(options.runs("restore") && options.runs("backup-sync"));
    }
}
