//! The parts of descriptions about volumes and asynchronous operations.

use std::collections::BTreeMap;

use anyhow::Result;
use refloat_model::{
    data_movement::{DataPathPhase, MoveProgress},
    pod_volume::PodVolumeBackup,
    volume_info::BackupVolumeInfo,
};
use serde_json::Value;

use crate::{backup::describe::Known, exit, output::describe::Description};

/// The phases in the order in which they are shown.
pub(crate) const PHASES: [(DataPathPhase, &str); 8] = [
    (DataPathPhase::Completed, "Completed"),
    (DataPathPhase::Failed, "Failed"),
    (DataPathPhase::Canceled, "Canceled"),
    (DataPathPhase::InProgress, "In Progress"),
    (DataPathPhase::Canceling, "Canceling"),
    (DataPathPhase::Prepared, "Prepared"),
    (DataPathPhase::Accepted, "Accepted"),
    (DataPathPhase::New, "New"),
];

/// One copy of a pod's volume.
#[derive(Clone, Debug)]
pub struct PodVolume {
    /// `namespace/name` of the pod.
    pub pod: String,
    /// The volume's name in the pod.
    pub volume: String,
    /// Where it is in its life.
    pub phase: DataPathPhase,
    /// How far it is.
    pub progress: MoveProgress,
    /// Bytes that the earlier copy had not.
    pub incremental: i64,
}

impl PodVolume {
    fn label(&self) -> String {
        let MoveProgress {
            total_bytes: total,
            bytes_done: done,
        } = self.progress;
        let volume = &self.volume;
        match self.phase {
            DataPathPhase::InProgress if total != 0 => {
                #[allow(clippy::cast_precision_loss, reason = "for people to read")]
                let percent = done as f64 / total as f64 * 100.0;
                format!("{volume} ({percent:.2}%)")
            }
            DataPathPhase::Completed if self.incremental > 0 => {
                format!("{volume} (size: {total}, incremental size: {})", self.incremental)
            }
            DataPathPhase::Completed if total > 0 => format!("{volume} (size: {total})"),
            _ => volume.clone(),
        }
    }
}

/// Copies of pod volumes under their heading, `depth` tabs deep, by phase and with details by pod.
pub fn pod_volumes(out: &mut Description, depth: usize, volumes: &[PodVolume], details: bool) {
    let tabs = "\t".repeat(depth);
    for (phase, name) in PHASES {
        let inside: Vec<_> = volumes.iter().filter(|volume| volume.phase == phase).collect();
        if inside.is_empty() {
            continue;
        }
        if !details {
            out.line(format_args!("{tabs}{name}:\t{}", inside.len()));
            continue;
        }
        out.line(format_args!("{tabs}{name}:"));
        for (pod, labels) in by_pod(&inside) {
            out.line(format_args!("{tabs}\t{pod}: {}", labels.join(", ")));
        }
    }
}

/// The labels of copies by their pods, sorted.
pub(crate) fn by_pod(copies: &[&PodVolume]) -> BTreeMap<String, Vec<String>> {
    let mut by_pod: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for copy in copies {
        by_pod.entry(copy.pod.clone()).or_default().push(copy.label());
    }
    by_pod.values_mut().for_each(|labels| labels.sort());
    by_pod
}

/// The copies of pod volumes that a backup has.
pub(crate) fn copies(known: &Known) -> Vec<PodVolume> {
    let copy = |copy: &PodVolumeBackup| {
        let status = copy.status.clone().unwrap_or_default();
        let pod = &copy.spec.pod;
        PodVolume {
            pod: format!(
                "{}/{}",
                pod.namespace.as_deref().unwrap_or_default(),
                pod.name.as_deref().unwrap_or_default()
            ),
            volume: copy.spec.volume.clone(),
            phase: status.phase,
            progress: status.progress.unwrap_or_default(),
            incremental: status.incremental_bytes,
        }
    };
    known.pod_volumes.iter().map(copy).collect()
}

/// The section `Backup Volumes`.
pub fn of_backup(out: &mut Description, known: &Known, details: bool) {
    out.line("Backup Volumes:");
    let none = Vec::new();
    let volumes = match &known.volumes {
        Ok(volumes) => volumes.as_ref().unwrap_or(&none),
        Err(error) => {
            out.line(format_args!(
                "\t<error getting backup volume info: {}>",
                exit::chain(error)
            ));
            return;
        }
    };
    let by_method = |method: &str| {
        volumes
            .iter()
            .filter(|volume| volume.backup_method == method)
            .collect::<Vec<_>>()
    };
    native_snapshots(out, &by_method("NativeSnapshot"), details);
    out.blank();
    csi_snapshots(out, &by_method("CSISnapshot"), details);
    out.blank();
    let Some(first) = known.pod_volumes.first() else {
        out.line("\tPod Volume Backups: <none included>");
        return;
    };
    let uploader = &first.spec.uploader_type;
    let more = if details {
        ""
    } else {
        " (specify --details for more information)"
    };
    out.line(format_args!("\tPod Volume Backups - {uploader}{more}:"));
    pod_volumes(out, 2, &copies(known), details);
}

/// A field inside the details of a volume, as text.
pub(crate) fn detail(volume: &BackupVolumeInfo, part: &str, field: &str) -> String {
    match volume.details.get(part).and_then(|part| part.get(field)) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// A field beside the details of a volume that this program has no name for, as text.
pub(crate) fn detail_text(volume: &BackupVolumeInfo, field: &str) -> String {
    volume
        .details
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn native_snapshots(out: &mut Description, volumes: &[&BackupVolumeInfo], details: bool) {
    if volumes.is_empty() {
        out.line("\tVelero-Native Snapshots: <none included>");
        return;
    }
    out.line("\tVelero-Native Snapshots:");
    for volume in volumes {
        if !details {
            out.line(format_args!(
                "\t\t{}: specify --details for more information",
                volume.pv_name
            ));
            continue;
        }
        out.line(format_args!("\t\t{}:", volume.pv_name));
        let of = |field: &str| detail(volume, "nativeSnapshotInfo", field);
        out.line(format_args!("\t\t\tSnapshot ID:\t{}", of("snapshotHandle")));
        out.line(format_args!("\t\t\tType:\t{}", of("volumeType")));
        out.line(format_args!("\t\t\tAvailability Zone:\t{}", of("volumeAZ")));
        out.line(format_args!("\t\t\tIOPS:\t{}", of("iops")));
        out.line(format_args!("\t\t\tResult:\t{}", volume.result));
    }
}

fn csi_snapshots(out: &mut Description, volumes: &[&BackupVolumeInfo], details: bool) {
    if volumes.is_empty() {
        out.line("\tCSI Snapshots: <none included>");
        return;
    }
    out.line("\tCSI Snapshots:");
    for volume in volumes {
        out.line(format_args!("\t\t{}/{}:", volume.pvc_namespace, volume.pvc_name));
        if volume.preserve_local_snapshot {
            snapshot(out, volume, details);
        }
        if volume.snapshot_data_moved {
            data_movement(out, volume, details);
        }
    }
}

fn snapshot(out: &mut Description, volume: &BackupVolumeInfo, details: bool) {
    if !details {
        out.line("\t\t\tSnapshot: included, specify --details for more information");
        return;
    }
    let of = |field: &str| detail(volume, "csiSnapshotInfo", field);
    out.line("\t\t\tSnapshot:");
    if !volume.snapshot_data_moved && !of("operationID").is_empty() {
        out.line(format_args!("\t\t\t\tOperation ID: {}", of("operationID")));
    }
    out.line(format_args!("\t\t\t\tSnapshot Content Name: {}", of("vscName")));
    out.line(format_args!(
        "\t\t\t\tStorage Snapshot ID: {}",
        of("snapshotHandle")
    ));
    out.line(format_args!("\t\t\t\tSnapshot Size (bytes): {}", of("size")));
    out.line(format_args!("\t\t\t\tCSI Driver: {}", of("driver")));
    out.line(format_args!("\t\t\t\tResult: {}", volume.result));
}

fn data_movement(out: &mut Description, volume: &BackupVolumeInfo, details: bool) {
    if !details {
        out.line("\t\t\tData Movement: included, specify --details for more information");
        return;
    }
    let of = |field: &str| detail(volume, "snapshotDataMovementInfo", field);
    let mover = of("dataMover");
    out.line("\t\t\tData Movement:");
    out.line(format_args!("\t\t\t\tOperation ID: {}", of("operationID")));
    out.line(format_args!(
        "\t\t\t\tData Mover: {}",
        if mover.is_empty() { "velero" } else { &mover }
    ));
    out.line(format_args!("\t\t\t\tUploader Type: {}", of("uploaderType")));
    out.line(format_args!("\t\t\t\tMoved data Size (bytes): {}", of("size")));
    if !matches!(of("incrementalSize").as_str(), "" | "0") {
        out.line(format_args!(
            "\t\t\t\tIncremental data Size (bytes): {}",
            of("incrementalSize")
        ));
    }
    out.line(format_args!("\t\t\t\tResult: {}", volume.result));
}

/// Asynchronous operations: their numbers, or each of them once they have been read.
/// `counts`: attempted, completed, failed.
pub fn operations(
    out: &mut Description,
    what: &str,
    counts: [i64; 3],
    read: Option<&Result<Option<Vec<Value>>>>,
) {
    let [attempted, completed, failed] = counts;
    if attempted == 0 {
        return;
    }
    match read {
        None => out.field(
            &format!("{what} Item Operations"),
            format_args!(
                "{completed} of {attempted} completed successfully, {failed} failed (specify --details for more information)"
            ),
        ),
        Some(Err(error)) => out.field(
            &format!("{what} Item Operations"),
            format_args!("<error getting operation info: {}>", exit::chain(error)),
        ),
        Some(Ok(read)) => {
            out.line(format_args!("{what} Item Operations:"));
            for operation in read.iter().flatten() {
                one_operation(out, what, operation);
            }
        }
    }
}

fn one_operation(out: &mut Description, what: &str, operation: &Value) {
    let text = |pointer: &str| match operation.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let item = |at: &str| {
        let (resource, group) = (text(&format!("{at}/Resource")), text(&format!("{at}/Group")));
        let kind = if group.is_empty() {
            resource
        } else {
            format!("{resource}.{group}")
        };
        format!(
            "{kind} {}/{}",
            text(&format!("{at}/Namespace")),
            text(&format!("{at}/Name"))
        )
    };
    out.line(format_args!(
        "\tOperation for {}:",
        item("/spec/resourceIdentifier")
    ));
    out.line(format_args!(
        "\t\t{what} Item Action Plugin:\t{}",
        text(&format!("/spec/{}ItemAction", what.to_lowercase()))
    ));
    out.line(format_args!("\t\tOperation ID:\t{}", text("/spec/operationID")));
    let updated = operation
        .pointer("/spec/postOperationItems")
        .and_then(Value::as_array)
        .map_or(0, Vec::len);
    if updated > 0 {
        out.line("\t\tItems to Update:");
        for index in 0..updated {
            out.line(format_args!(
                "\t\t\t{}",
                item(&format!("/spec/postOperationItems/{index}"))
            ));
        }
    }
    out.line(format_args!("\t\tPhase:\t{}", text("/status/phase")));
    if !text("/status/error").is_empty() {
        out.line(format_args!("\t\tOperation Error:\t{}", text("/status/error")));
    }
    if !matches!(text("/status/nTotal").as_str(), "" | "0") {
        let (done, total, units) = (
            text("/status/nCompleted"),
            text("/status/nTotal"),
            text("/status/operationUnits"),
        );
        out.line(format_args!(
            "\t\tProgress:\t{done} of {total} complete ({units})"
        ));
    }
    for (name, pointer) in [
        ("Progress description", "/status/description"),
        ("Created", "/status/created"),
        ("Started", "/status/started"),
        ("Updated", "/status/updated"),
    ] {
        if !text(pointer).is_empty() {
            out.line(format_args!("\t\t{name}:\t{}", text(pointer)));
        }
    }
}
