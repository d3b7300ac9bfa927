//! `server`: every flag of `velero server`, by the same names and with the same defaults, and ours.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs as _},
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use refloat_cluster::ConnectOptions;
use refloat_controllers::options::{DownloadUrlPolicy, ServerOptions};
use refloat_model::GoDuration;
use refloat_web::TlsFiles;

use crate::{
    exit::Outcome,
    flags::{List, Mappings, list},
    logging::{self, LogFormat, LogLevel},
    session::Session,
    wait,
};

/// Flags of `server`.
#[derive(Args, Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "one per flag of Velero")]
pub struct ServerFlags {
    /// From which level on lines are logged
    #[arg(long, value_enum, default_value = "info", value_name = "LEVEL")]
    log_level: LogLevel,
    /// How log lines look
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    log_format: LogFormat,
    /// Where metrics and health are served
    #[arg(long, default_value = ":8085", value_name = "HOST:PORT", value_parser = address)]
    metrics_address: SocketAddr,
    /// How often backups found in a bucket become objects; 0s: never
    #[arg(long, default_value = "1m", value_name = "DURATION")]
    backup_sync_period: GoDuration,
    /// How long copying a pod's volumes may take
    #[arg(long, default_value = "4h", value_name = "DURATION")]
    fs_backup_timeout: GoDuration,
    /// Only restores: no backups, schedules or deletions
    #[arg(long)]
    restore_only: bool,
    /// Controllers that are not to run
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', action = clap::ArgAction::Append)]
    disable_controllers: Vec<String>,
    /// The order of kinds in restores: high priorities, "-", low priorities
    #[arg(long, value_name = "RESOURCE,…")]
    restore_resource_priorities: Option<List>,
    /// The location of backups that name none
    #[arg(long, default_value = "default", value_name = "NAME")]
    default_backup_storage_location: String,
    /// How often locations are probed; 0s: never
    #[arg(long, default_value = "1m", value_name = "DURATION")]
    store_validation_frequency: GoDuration,
    /// How long backups are kept that do not say
    #[arg(long, default_value = "720h", value_name = "DURATION")]
    default_backup_ttl: GoDuration,
    /// How often expired backups are deleted
    #[arg(long, default_value = "1h", value_name = "DURATION")]
    garbage_collection_frequency: GoDuration,
    /// How often asynchronous operations are looked at
    #[arg(long, default_value = "10s", value_name = "DURATION")]
    item_operation_sync_frequency: GoDuration,
    /// How long asynchronous operations may take
    #[arg(long, default_value = "4h", value_name = "DURATION")]
    default_item_operation_timeout: GoDuration,
    /// How long to wait for a resource to become what it should
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    resource_timeout: GoDuration,
    /// How long a restore waits for a namespace or volume that is being deleted
    #[arg(long, default_value = "10m", value_name = "DURATION")]
    terminating_resource_timeout: GoDuration,
    /// How often repositories are maintained [default: as they say]
    #[arg(long, value_name = "DURATION")]
    default_repo_maintain_frequency: Option<GoDuration>,
    /// Copy pod volumes by file unless they opt out
    #[arg(long)]
    default_volumes_to_fs_backup: bool,
    /// Copy snapshots into the object store
    #[arg(long)]
    default_snapshot_move_data: bool,
    /// The snapshot location of each provider
    #[arg(long, value_name = "PROVIDER:LOCATION,…")]
    default_volume_snapshot_locations: Vec<Mappings>,
    /// The label that groups claims for group snapshots
    #[arg(long, default_value = "velero.io/volume-group", value_name = "KEY")]
    volume_group_snapshot_label_key: String,
    /// Wait for a new schedule's first time instead of making a backup at once
    #[arg(long)]
    schedule_skip_immediately: bool,
    /// Objects per LIST request
    #[arg(long, default_value = "500", value_name = "NUMBER")]
    client_page_size: u32,
    /// The most requests to the API server at once
    #[arg(long, default_value = "30", value_name = "NUMBER")]
    max_concurrent_k8s_connections: usize,
    /// Backups run at once
    #[arg(long, default_value = "1", value_name = "NUMBER")]
    concurrent_backups: usize,
    /// Blocks of items worked on at once
    #[arg(long, default_value = "1", value_name = "NUMBER")]
    item_block_worker_count: usize,
    /// Who copies files; understood, without effect
    #[arg(long, default_value = "kopia", value_name = "NAME")]
    uploader_type: String,
    /// A ConfigMap with settings of repositories
    #[arg(long, value_name = "NAME")]
    backup_repository_configmap: Option<String>,
    /// A ConfigMap with settings of maintenance jobs
    #[arg(long, value_name = "NAME")]
    repo_maintenance_job_configmap: Option<String>,
    /// Understood, without effect: the client adapts to the API server instead
    #[arg(long, default_value = "100", value_name = "NUMBER")]
    client_qps: f32,
    /// Understood, without effect
    #[arg(long, default_value = "100", value_name = "NUMBER")]
    client_burst: u32,
    /// Understood, without effect: providers are built in
    #[arg(long, default_value = "/plugins", value_name = "FOLDER")]
    plugin_dir: PathBuf,
    /// Understood, without effect
    #[arg(long, default_value = "localhost:6060", value_name = "HOST:PORT")]
    profiler_address: String,
    /// Understood, without effect
    #[arg(long)]
    disable_informer_cache: bool,
    #[command(flatten)]
    compatible: CompatibleFlags,
    #[command(flatten)]
    own: OwnFlags,
}

/// Flags of some versions of Velero: understood so that manifests keep working, without effect.
#[derive(Args, Clone, Debug)]
struct CompatibleFlags {
    #[arg(long = "global-backup-volume-policies-configmap", hide = true)]
    global_backup_volume_policies_configmap: Option<String>,
    #[arg(long = "csi-snapshot-early-frequent-polling", hide = true)]
    csi_snapshot_early_frequent_polling: bool,
    #[arg(long = "keep-latest-maintenance-jobs", hide = true)]
    keep_latest_maintenance_jobs: Option<i64>,
    #[arg(long = "maintenance-job-cpu-request", hide = true)]
    maintenance_job_cpu_request: Option<String>,
    #[arg(long = "maintenance-job-mem-request", hide = true)]
    maintenance_job_mem_request: Option<String>,
    #[arg(long = "maintenance-job-cpu-limit", hide = true)]
    maintenance_job_cpu_limit: Option<String>,
    #[arg(long = "maintenance-job-mem-limit", hide = true)]
    maintenance_job_mem_limit: Option<String>,
}

/// Flags that Velero does not have.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Options that Velero does not have")]
struct OwnFlags {
    /// Restores run at once
    #[arg(long, default_value = "1", value_name = "NUMBER")]
    concurrent_restores: usize,
    /// The credentials of locations that name none [default: as the provider's own tools find them]
    #[arg(long, value_name = "FILE")]
    credential_file: Option<PathBuf>,
    /// Who serves downloads: signed (the bucket), server, or auto (the bucket where clients can reach it)
    #[arg(long, default_value = "auto", value_name = "POLICY")]
    download_url: DownloadUrlPolicy,
    /// Where downloads are served
    #[arg(long, default_value = ":8086", value_name = "HOST:PORT", value_parser = address)]
    download_address: SocketAddr,
    /// The URL under which clients reach it [default: made from the address]
    #[arg(long, value_name = "URL")]
    download_advertise_url: Option<String>,
    /// Its certificate, PEM; without one downloads are plain HTTP
    #[arg(long, value_name = "FILE", requires = "download_tls_key")]
    download_tls_certificate: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "download_tls_certificate")]
    download_tls_key: Option<PathBuf>,
    /// Work only while holding a lease, so that several replicas can run
    #[arg(long, default_value = "true", action = clap::ArgAction::Set)]
    leader_elect: bool,
    /// The lease's name
    #[arg(long, default_value = "refloat-server", value_name = "NAME")]
    lease_name: String,
    /// The name in the lease [default: the host's, and a random number]
    #[arg(long, value_name = "NAME")]
    lease_identity: Option<String>,
    /// How long a silent leader is believed to live
    #[arg(long, default_value = "15s", value_name = "DURATION")]
    lease_duration: GoDuration,
    /// How long a leader tries to renew before it gives up
    #[arg(long, default_value = "10s", value_name = "DURATION")]
    lease_renew_deadline: GoDuration,
    /// The pause between tries
    #[arg(long, default_value = "2s", value_name = "DURATION")]
    lease_retry_period: GoDuration,
}

impl ServerFlags {
    /// Runs the server until it is told to stop.
    ///
    /// # Errors
    /// Why it could not start or had to stop.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        logging::start(self.log_level, self.log_format);
        let options = self.options(session)?;
        for (flag, why) in self.without_effect(&options) {
            tracing::info!(flag, "this flag has no effect: {why}");
        }
        let connect = ConnectOptions {
            max_connections: options.max_concurrent_k8s_connections,
            ..ConnectOptions::default()
        };
        let cluster = session.cluster_with(connect).await?;
        let stop = wait::termination();
        refloat_controllers::server::run(options, cluster, stop)
            .await
            .context("the server had to stop")?;
        Ok(Outcome::Done)
    }

    /// The flags that are set to something and do nothing, each with the reason. One that has its default
    /// value is not told of: `velero install` writes some of them always.
    fn without_effect(&self, options: &ServerOptions) -> Vec<(&'static str, &'static str)> {
        const CLIENT: &str = "requests follow the API server's answers instead";
        const PLUGINS: &str = "providers are built in, there are no plugins";
        const VOLUMES: &str = "this release does not copy the data of volumes";
        const MAINTENANCE: &str = "this release has no repositories to maintain";
        let default = ServerOptions::default();
        let old = &self.compatible;
        #[rustfmt::skip]
        let flags = [
            (options.client_qps.to_bits() != default.client_qps.to_bits(), "--client-qps", CLIENT),
            (options.client_burst != default.client_burst, "--client-burst", CLIENT),
            (options.plugin_dir != default.plugin_dir, "--plugin-dir", PLUGINS),
            (options.profiler_address != default.profiler_address, "--profiler-address", "there is no profiler"),
            (options.disable_informer_cache, "--disable-informer-cache", "restores use no such cache"),
            (options.uploader_type != default.uploader_type, "--uploader-type", VOLUMES),
            (options.item_block_worker_count != default.item_block_worker_count, "--item-block-worker-count",
                "several kinds are listed at once, and no blocks are formed"),
            (options.fs_backup_timeout != default.fs_backup_timeout, "--fs-backup-timeout", VOLUMES),
            (options.item_operation_sync_frequency != default.item_operation_sync_frequency,
                "--item-operation-sync-frequency", "this release starts no asynchronous operations"),
            (!options.features.is_empty(), "--features", VOLUMES),
            (self.default_repo_maintain_frequency.is_some(), "--default-repo-maintain-frequency", MAINTENANCE),
            (self.backup_repository_configmap.is_some(), "--backup-repository-configmap", MAINTENANCE),
            (self.repo_maintenance_job_configmap.is_some(), "--repo-maintenance-job-configmap", MAINTENANCE),
            (old.global_backup_volume_policies_configmap.is_some(), "--global-backup-volume-policies-configmap", VOLUMES),
            (old.csi_snapshot_early_frequent_polling, "--csi-snapshot-early-frequent-polling", VOLUMES),
            (old.keep_latest_maintenance_jobs.is_some(), "--keep-latest-maintenance-jobs", MAINTENANCE),
            (old.maintenance_job_cpu_request.is_some(), "--maintenance-job-cpu-request", MAINTENANCE),
            (old.maintenance_job_mem_request.is_some(), "--maintenance-job-mem-request", MAINTENANCE),
            (old.maintenance_job_cpu_limit.is_some(), "--maintenance-job-cpu-limit", MAINTENANCE),
            (old.maintenance_job_mem_limit.is_some(), "--maintenance-job-mem-limit", MAINTENANCE),
        ];
        let set = flags.into_iter().filter(|(set, ..)| *set);
        set.map(|(_, flag, why)| (flag, why)).collect()
    }

    fn options(&self, session: &Session) -> Result<ServerOptions> {
        let own = &self.own;
        if self.max_concurrent_k8s_connections == 0
            || self.concurrent_backups == 0
            || own.concurrent_restores == 0
        {
            bail!(
                "--max-concurrent-k8s-connections, --concurrent-backups and --concurrent-restores must be at least 1"
            );
        }
        let download_tls = match (&own.download_tls_certificate, &own.download_tls_key) {
            (Some(certificate), Some(key)) => Some(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
            }),
            _ => None,
        };
        let features = session.global.features.as_deref().unwrap_or_default().split(',');
        Ok(ServerOptions {
            namespace: session.namespace.clone(),
            features: features
                .filter(|feature| !feature.is_empty())
                .map(str::to_owned)
                .collect(),
            plugin_dir: self.plugin_dir.clone(),
            metrics_address: self.metrics_address,
            backup_sync_period: self.backup_sync_period.0,
            fs_backup_timeout: self.fs_backup_timeout.0,
            restore_only: self.restore_only,
            disable_controllers: self.disable_controllers.clone(),
            restore_resource_priorities: list(self.restore_resource_priorities.as_ref()),
            default_backup_storage_location: self.default_backup_storage_location.clone(),
            store_validation_frequency: self.store_validation_frequency.0,
            client_qps: self.client_qps,
            client_burst: self.client_burst,
            client_page_size: self.client_page_size,
            profiler_address: self.profiler_address.clone(),
            terminating_resource_timeout: self.terminating_resource_timeout.0,
            default_backup_ttl: self.default_backup_ttl.0,
            volume_group_snapshot_label_key: self.volume_group_snapshot_label_key.clone(),
            default_repo_maintain_frequency: self.default_repo_maintain_frequency.unwrap_or_default().0,
            garbage_collection_frequency: self.garbage_collection_frequency.0,
            item_operation_sync_frequency: self.item_operation_sync_frequency.0,
            default_volumes_to_fs_backup: self.default_volumes_to_fs_backup,
            uploader_type: self.uploader_type.clone(),
            default_item_operation_timeout: self.default_item_operation_timeout.0,
            resource_timeout: self.resource_timeout.0,
            max_concurrent_k8s_connections: self.max_concurrent_k8s_connections,
            default_snapshot_move_data: self.default_snapshot_move_data,
            disable_informer_cache: self.disable_informer_cache,
            schedule_skip_immediately: self.schedule_skip_immediately,
            default_volume_snapshot_locations: self
                .default_volume_snapshot_locations
                .iter()
                .flat_map(|pairs| pairs.0.clone())
                .collect(),
            backup_repository_configmap: self.backup_repository_configmap.clone().unwrap_or_default(),
            repo_maintenance_job_configmap: self.repo_maintenance_job_configmap.clone().unwrap_or_default(),
            item_block_worker_count: self.item_block_worker_count,
            concurrent_backups: self.concurrent_backups,
            concurrent_restores: own.concurrent_restores,
            credential_file: own.credential_file.clone(),
            download_url: own.download_url,
            download_address: own.download_address,
            download_advertise_url: own.download_advertise_url.clone(),
            download_tls,
            leader_elect: own.leader_elect,
            lease_name: own.lease_name.clone(),
            lease_identity: own.lease_identity.clone().unwrap_or_default(),
            lease_duration: own.lease_duration.0,
            lease_renew_deadline: own.lease_renew_deadline.0,
            lease_retry_period: own.lease_retry_period.0,
        })
    }
}

/// `host:port`, where an empty host means all addresses of this machine, of both families.
///
/// # Errors
/// A text that says what is wrong with it.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    if let Some(port) = text.strip_prefix(':') {
        let port = port
            .parse()
            .map_err(|_| format!("{text:?} has no port number after the colon"))?;
        return Ok(SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port));
    }
    let mut found = text
        .to_socket_addrs()
        .map_err(|error| format!("{text:?} is not of the form host:port: {error}"))?;
    found.next().ok_or_else(|| format!("{text:?} has no address"))
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;
    use crate::command::{Command, CommandLine, GlobalFlags, parser};

    fn flags(line: &str) -> (ServerFlags, Session) {
        let matches = parser().try_get_matches_from(line.split(' ')).unwrap();
        let line = CommandLine::from_arg_matches(&matches).unwrap();
        let Command::Server(flags) = line.command else {
            panic!("not the server")
        };
        let session = Session {
            namespace: "velero".into(),
            ..Session::new(line.global, "velero".into())
        };
        (*flags, session)
    }

    fn options(line: &str) -> ServerOptions {
        let (flags, session) = flags(line);
        flags.options(&session).unwrap()
    }

    fn without_effect(line: &str) -> Vec<&'static str> {
        let (flags, session) = flags(line);
        let told = flags.without_effect(&flags.options(&session).unwrap());
        assert!(told.iter().all(|(_, why)| !why.is_empty()));
        told.into_iter().map(|(flag, _)| flag).collect()
    }

    #[test]
    fn each_flag_that_does_nothing_is_told_of_once_it_is_set() {
        assert!(without_effect("velero server").is_empty());
        assert!(without_effect("velero server --uploader-type=kopia --client-qps=100").is_empty());
        let set = "--client-qps=1 --client-burst=1 --plugin-dir=/x --profiler-address=x:1 --disable-informer-cache \
                   --uploader-type=restic --item-block-worker-count=2 --fs-backup-timeout=1h \
                   --item-operation-sync-frequency=1s --features=EnableCSI --default-repo-maintain-frequency=1h \
                   --backup-repository-configmap=a --repo-maintenance-job-configmap=b \
                   --global-backup-volume-policies-configmap=c --csi-snapshot-early-frequent-polling \
                   --keep-latest-maintenance-jobs=1 --maintenance-job-cpu-request=1 --maintenance-job-mem-request=1 \
                   --maintenance-job-cpu-limit=1 --maintenance-job-mem-limit=1";
        let told = without_effect(&format!("velero server {set}"));
        let names: Vec<&str> = set
            .split_whitespace()
            .map(|flag| flag.split('=').next().unwrap())
            .collect();
        assert_eq!(told, names);
        // What has an effect is not among them.
        assert!(without_effect("velero server --restore-only --client-page-size=10").is_empty());
    }

    #[test]
    fn the_defaults_are_those_of_the_options() {
        let _: GlobalFlags;
        assert_eq!(
            format!("{:?}", options("velero server")),
            format!("{:?}", ServerOptions::default())
        );
    }

    #[test]
    fn what_velero_install_writes_is_understood() {
        let options = options(
            "velero server --features=EnableCSI --uploader-type=kopia --default-volumes-to-fs-backup=true \
             --default-volume-snapshot-locations aws:a,gcp:b --metrics-address localhost:0 --leader-elect=false",
        );
        assert_eq!(options.features, ["EnableCSI"]);
        assert!(options.default_volumes_to_fs_backup && !options.leader_elect);
        assert_eq!(options.default_volume_snapshot_locations.len(), 2);
        assert!(options.metrics_address.ip().is_loopback());
    }

    #[test]
    fn addresses() {
        assert_eq!(address(":8085").unwrap().to_string(), "[::]:8085");
        assert!(address("8085").is_err());
        assert!(address(":x").unwrap_err().contains("port"));
    }
}
