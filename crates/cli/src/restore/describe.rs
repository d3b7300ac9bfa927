//! `restore describe`.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use refloat_cluster::{Cluster, typed::Object as _};
use refloat_model::{
    DownloadTargetKind, Restore, RestorePhase, Results,
    labels::{RESTORE_NAME, label_value},
    pod_volume::PodVolumeRestore,
    volume_info::BackupVolumeInfo,
};
use serde_json::Value;

use crate::{
    backup::{
        describe::{FETCH_LIMIT, or_complain},
        sections,
    },
    exit::{self, Outcome},
    files::{Fetched, Files, ResourceList},
    flags::{ListFlags, StorageFlags, TlsFlags},
    output::{
        self,
        describe::{Description, Tone, choice, joined},
        when,
    },
    restore::{local, logs},
    select, selector,
    session::Session,
    volumes::{self, PodVolume},
};

const NONE: &str = "<none>";

/// Flags of `restore describe`.
#[derive(Args, Clone, Debug)]
pub struct DescribeFlags {
    #[command(flatten)]
    list: ListFlags,
    /// Show more: items, operations, volumes
    #[arg(long)]
    details: bool,
    #[command(flatten)]
    tls: TlsFlags,
    #[command(flatten)]
    storage: StorageFlags,
}

/// Everything that a description tells.
struct Known {
    restore: Restore,
    results: Option<Fetched<Results>>,
    volumes: Fetched<Vec<BackupVolumeInfo>>,
    resources: Option<Fetched<ResourceList>>,
    operations: Option<Fetched<Vec<Value>>>,
    pod_volumes: Vec<PodVolumeRestore>,
}

impl DescribeFlags {
    /// Prints descriptions.
    ///
    /// # Errors
    /// Where a restore does not exist or the server or storage cannot be asked.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        let (cluster, location) = match &self.storage.storage {
            Some(url) => (None, Some(Session::location(url).await?)),
            None => (Some(session.cluster().await?), None),
        };
        let restores = match (&location, &cluster) {
            (Some(location), _) => local::listed(location, &self.list).await?,
            (None, Some(cluster)) => {
                select::listed(&cluster.objects::<Restore>(&session.namespace), &self.list).await?
            }
            (None, None) => Vec::new(),
        };
        for (index, restore) in restores.into_iter().enumerate() {
            let files = match (&location, &cluster) {
                (Some(location), _) => Files::Storage(location.clone()),
                (None, Some(cluster)) => {
                    logs::of_restore(session, cluster, &restore, &self.tls, FETCH_LIMIT).await?
                }
                (None, None) => bail!("there is neither a storage nor a cluster"),
            };
            let known = self.learn(session, cluster.as_ref(), &files, restore).await;
            let text = describe(session, &known, self.details);
            let apart = if index == 0 { "" } else { "\n\n" };
            output::print(&format!("{apart}{text}"))?;
        }
        Ok(Outcome::Done)
    }

    async fn learn(
        &self,
        session: &Session,
        cluster: Option<&Cluster>,
        files: &Files,
        restore: Restore,
    ) -> Known {
        let name = restore.object_name();
        let status = restore.status.clone().unwrap_or_default();
        let results = if status.warnings + status.errors > 0 {
            Some(files.json(DownloadTargetKind::RestoreResults, name).await)
        } else {
            None
        };
        // A server has no URLs for a restore that wrote nothing, and asking costs half a minute.
        let wrote = !matches!(
            status.phase,
            RestorePhase::New | RestorePhase::FailedValidation | RestorePhase::InProgress
        );
        let volumes = if wrote {
            files.json(DownloadTargetKind::RestoreVolumeInfo, name).await
        } else {
            Ok(None)
        };
        let (mut resources, mut operations) = (None, None);
        if self.details && wrote {
            resources = Some(files.json(DownloadTargetKind::RestoreResourceList, name).await);
            if status.restore_item_operations_attempted > 0 {
                operations = Some(files.json(DownloadTargetKind::RestoreItemOperations, name).await);
            }
        }
        let mut pod_volumes = Vec::new();
        if let Some(cluster) = cluster {
            let by_name = format!("{RESTORE_NAME}={}", label_value(name));
            let found = cluster.objects(&session.namespace).list(Some(&by_name)).await;
            pod_volumes = or_complain(found.context("cannot list pod volume restores"));
        }
        Known {
            results,
            volumes,
            resources,
            operations,
            pod_volumes,
            restore,
        }
    }
}

fn describe(session: &Session, known: &Known, details: bool) -> String {
    let mut out = Description::new(session.colour);
    let restore = &known.restore;
    let status = restore.status.clone().unwrap_or_default();
    out.metadata(&restore.metadata);
    out.blank();
    phase(&mut out, session, restore);
    out.blank();
    out.field(
        "Started",
        when::point(status.start_timestamp.as_ref(), &session.zone, "<n/a>"),
    );
    out.field(
        "Completed",
        when::point(status.completion_timestamp.as_ref(), &session.zone, "<n/a>"),
    );
    out.validation_errors(&status.validation_errors);
    results(&mut out, known);
    spec(&mut out, known, details);
    out.blank();
    volumes::operations(
        &mut out,
        "Restore",
        [
            status.restore_item_operations_attempted,
            status.restore_item_operations_completed,
            status.restore_item_operations_failed,
        ],
        known.operations.as_ref(),
    );
    if let Some(hooks) = &status.hook_status {
        out.blank();
        out.line(format_args!("HooksAttempted: \t{}", hooks.hooks_attempted));
        out.line(format_args!("HooksFailed: \t{}", hooks.hooks_failed));
    }
    if details {
        out.blank();
        sections::resource_list(&mut out, "restore", known.resources.as_ref());
    }
    out.finish()
}

fn phase(out: &mut Description, session: &Session, restore: &Restore) {
    let status = restore.status.clone().unwrap_or_default();
    let tone = match status.phase {
        RestorePhase::Completed => Tone::Good,
        RestorePhase::FailedValidation | RestorePhase::PartiallyFailed | RestorePhase::Failed => Tone::Bad,
        _ => Tone::Plain,
    };
    let deleting = if restore.metadata.deletion_timestamp.is_some() {
        " (Deleting)"
    } else {
        ""
    };
    let note = match status.phase {
        RestorePhase::Failed | RestorePhase::PartiallyFailed => {
            format!(
                " (run '{} restore logs {}' for more information)",
                session.program,
                restore.object_name()
            )
        }
        _ => String::new(),
    };
    let phase = out.toned(format_args!("{:?}{deleting}", status.phase), tone);
    out.field("Phase", format_args!("{phase}{note}"));
    if !status.failure_reason.is_empty() {
        out.field("Failure reason", &status.failure_reason);
    }
    if let Some(progress) = &status.progress {
        let (total, done) = if status.phase == RestorePhase::InProgress {
            ("Estimated total items to be restored", "Items restored so far")
        } else {
            ("Total items to be restored", "Items restored")
        };
        out.field(total, progress.total_items);
        out.field(done, progress.items_restored);
    }
}

fn results(out: &mut Description, known: &Known) {
    let status = known.restore.status.clone().unwrap_or_default();
    let problem = match &known.results {
        None => return,
        Some(Ok(Some(results))) => return out.results(results, status.warnings > 0, status.errors > 0),
        Some(Ok(None)) => "not found".to_owned(),
        Some(Err(error)) => exit::chain(error),
    };
    out.field("Warnings", format_args!("<error getting warnings: {problem}>"));
    out.blank();
    out.field("Errors", format_args!("<error getting errors: {problem}>"));
}

fn spec(out: &mut Description, known: &Known, details: bool) {
    let spec = &known.restore.spec;
    out.blank();
    out.field("Backup", &spec.backup_name);
    out.blank();
    out.line("Namespaces:");
    let all = matches!(&spec.included_namespaces[..], [] | [_])
        && spec.included_namespaces.iter().all(|name| name == "*");
    let included = if all {
        "all namespaces found in the backup".into()
    } else {
        joined(&spec.included_namespaces, "")
    };
    out.line(format_args!("\tIncluded:\t{included}"));
    out.line(format_args!(
        "\tExcluded:\t{}",
        joined(&spec.excluded_namespaces, NONE)
    ));
    out.blank();
    out.line("Resources:");
    out.filter(&spec.included_resources, &spec.excluded_resources);
    let cluster_scoped = choice(spec.include_cluster_resources, "excluded", "included", "auto");
    out.line(format_args!("\tCluster-scoped:\t{cluster_scoped}"));
    out.blank();
    out.map("Namespace mappings", Some(&spec.namespace_mapping));
    out.blank();
    out.field("Label selector", selector::format(spec.label_selector.as_ref()));
    out.blank();
    let either: Vec<_> = spec
        .or_label_selectors
        .iter()
        .map(|one| selector::format(Some(one)))
        .collect();
    out.field(
        "Or label selector",
        if either.is_empty() {
            NONE.to_owned()
        } else {
            either.join(" or ")
        },
    );
    out.blank();
    out.field("Restore PVs", choice(spec.restore_pvs, "false", "true", "auto"));
    pod_volumes(out, &known.pod_volumes, details);
    csi_snapshots(out, &known.volumes, details);
    out.blank();
    let policy = if spec.existing_resource_policy.is_empty() {
        NONE
    } else {
        &spec.existing_resource_policy
    };
    out.line(format_args!("Existing Resource Policy: \t{policy}"));
    out.field("ItemOperationTimeout", spec.item_operation_timeout);
    out.blank();
    out.field(
        "Preserve Service NodePorts",
        choice(spec.preserve_node_ports, "false", "true", "auto"),
    );
    if let Some(modifier) = &spec.resource_modifier {
        out.blank();
        out.line("Resource modifier:");
        out.line(format_args!("\tType:\t{}", modifier.kind));
        out.line(format_args!("\tName:\t{}", modifier.name));
    }
    if let Some(uploader) = &spec.uploader_config {
        out.blank();
        out.line("Uploader config:");
        if uploader.write_sparse_files == Some(true) {
            out.line("\tWrite Sparse Files:\ttrue");
        }
        if uploader.parallel_files_download > 0 {
            out.line(format_args!(
                "\tParallel Restore:\t{}",
                uploader.parallel_files_download
            ));
        }
    }
}

fn pod_volumes(out: &mut Description, restores: &[PodVolumeRestore], details: bool) {
    let Some(first) = restores.first() else { return };
    out.blank();
    let more = if details {
        ""
    } else {
        " (specify --details for more information)"
    };
    out.line(format_args!("{} Restores{more}:", first.spec.uploader_type));
    let copies: Vec<_> = restores
        .iter()
        .map(|restore| {
            let status = restore.status.clone().unwrap_or_default();
            let pod = &restore.spec.pod;
            PodVolume {
                pod: format!(
                    "{}/{}",
                    pod.namespace.as_deref().unwrap_or_default(),
                    pod.name.as_deref().unwrap_or_default()
                ),
                volume: restore.spec.volume.clone(),
                phase: status.phase,
                progress: status.progress.unwrap_or_default(),
                incremental: 0,
            }
        })
        .collect();
    volumes::pod_volumes(out, 1, &copies, details);
}

fn csi_snapshots(out: &mut Description, volumes: &Fetched<Vec<BackupVolumeInfo>>, details: bool) {
    let volumes = match volumes {
        Ok(None) => return,
        Ok(Some(volumes)) => volumes,
        Err(error) => {
            out.line(format_args!(
                "\t<error getting restore volume info: {}>",
                exit::chain(error)
            ));
            return;
        }
    };
    out.blank();
    let method = |volume: &BackupVolumeInfo| volumes::detail_text(volume, "restoreMethod") == "CSISnapshot";
    let (moved, kept): (Vec<_>, Vec<_>) = volumes
        .iter()
        .filter(|volume| method(volume))
        .partition(|volume| volume.snapshot_data_moved);
    if moved.is_empty() && kept.is_empty() {
        out.line("CSI Snapshot Restores: <none included>");
        return;
    }
    out.line("CSI Snapshot Restores:");
    for volume in kept.iter().chain(&moved) {
        let (part, what) = if volume.snapshot_data_moved {
            ("snapshotDataMovementInfo", "Data Movement")
        } else {
            ("csiSnapshotInfo", "Snapshot")
        };
        out.line(format_args!("\t{}/{}:", volume.pvc_namespace, volume.pvc_name));
        if !details {
            out.line(format_args!("\t\t{what}: specify --details for more information"));
            continue;
        }
        out.line(format_args!("\t\t{what}:"));
        let fields: [(&str, &str); 3] = if volume.snapshot_data_moved {
            [
                ("Operation ID", "operationID"),
                ("Data Mover", "dataMover"),
                ("Uploader Type", "uploaderType"),
            ]
        } else {
            [
                ("Snapshot Content Name", "vscName"),
                ("Storage Snapshot ID", "snapshotHandle"),
                ("CSI Driver", "driver"),
            ]
        };
        for (name, field) in fields {
            out.line(format_args!(
                "\t\t\t{name}: {}",
                volumes::detail(volume, part, field)
            ));
        }
    }
}
