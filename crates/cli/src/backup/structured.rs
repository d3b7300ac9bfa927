//! The description of a backup for programs, under the keys of `velero backup describe -o json`: scripts that
//! read Velero's read ours. Its odd spellings (`onError:`, `uploderType`) are part of that.

use anyhow::Result;
use refloat_cluster::typed::Object as _;
use refloat_model::{
    BackupPhase, BackupSpec, BackupStatus, DeleteBackupRequest, Results,
    deletion::DeleteBackupRequestPhase,
    hooks::{BackupResourceHook, BackupResourceHookSpec},
    results::ResultSet,
    volume_info::BackupVolumeInfo,
};
use serde_json::{Map, Value, json};

use crate::{
    backup::describe::Known,
    exit,
    flags::Format,
    output::{
        describe::{choice, joined},
        encode, when,
    },
    selector,
    session::Session,
    volumes::{self, PodVolume},
};

const NONE: &str = "<none>";
const NONE_INCLUDED: &str = "<none included>";
const MORE: &str = "specify --details for more information";

/// The whole description.
///
/// # Errors
/// Where it cannot be serialised.
pub fn structured(session: &Session, known: &Known, details: bool) -> Result<String> {
    let backup = &known.backup;
    let status = backup.status.clone().unwrap_or_default();
    let mut out = Map::new();
    let metadata = json!({
        "name": backup.object_name(),
        "namespace": backup.metadata.namespace.as_deref().unwrap_or_default(),
        "labels": backup.metadata.labels,
        "annotations": backup.metadata.annotations,
    });
    out.insert("metadata".into(), metadata);
    out.insert("phase".into(), json!(status.phase));
    if let Some(policy) = &backup.spec.resource_policy {
        let policy = json!({ "type": policy.kind, "name": policy.name });
        out.insert("resourcePolicies".into(), policy);
    }
    if !status.validation_errors.is_empty() {
        out.insert("validationErrors".into(), json!(status.validation_errors));
    }
    if !status.failure_reason.is_empty() {
        out.insert("failureReason".into(), json!(status.failure_reason));
    }
    if let Some((errors, warnings)) = results(known, &status) {
        out.insert("errors".into(), errors);
        out.insert("warnings".into(), warnings);
    }
    out.insert("spec".into(), spec(&backup.spec));
    out.insert("status".into(), ended(session, known, &status, details));
    if !known.deletions.is_empty() {
        out.insert("deletionAttempts".into(), deletions(session, &known.deletions));
    }
    encode::document(&Value::Object(out), Format::Json)
}

/// Errors and warnings.
fn results(known: &Known, status: &BackupStatus) -> Option<(Value, Value)> {
    let show = |messages: &ResultSet, count: i64| {
        if count == 0 {
            return json!({});
        }
        let namespaces = if messages.namespaces.is_empty() {
            json!([])
        } else {
            json!(messages.namespaces)
        };
        json!({ "velero": messages.velero, "cluster": messages.cluster, "namespace": namespaces })
    };
    Some(match known.results.as_ref()? {
        Ok(Some(Results { warnings, errors })) => {
            (show(errors, status.errors), show(warnings, status.warnings))
        }
        Ok(None) => (
            json!({ "count": status.errors }),
            json!({ "count": status.warnings }),
        ),
        Err(error) => {
            let error = exit::chain(error);
            (
                json!({ "errorGettingErrors": error }),
                json!({ "errorGettingWarnings": error }),
            )
        }
    })
}

fn filter(included: &[String], excluded: &[String]) -> Value {
    json!({ "included": joined(included, "*"), "excluded": joined(excluded, NONE) })
}

fn spec(spec: &BackupSpec) -> Value {
    let mut resources = filter(&spec.included_resources, &spec.excluded_resources);
    resources["clusterScoped"] = json!(choice(
        spec.include_cluster_resources,
        "excluded",
        "included",
        "auto"
    ));
    // Velero leaves these out of its JSON; a reader of filters needs them.
    for (key, names) in [
        ("includedClusterScoped", &spec.included_cluster_scoped_resources),
        ("excludedClusterScoped", &spec.excluded_cluster_scoped_resources),
        (
            "includedNamespaceScoped",
            &spec.included_namespace_scoped_resources,
        ),
        (
            "excludedNamespaceScoped",
            &spec.excluded_namespace_scoped_resources,
        ),
    ] {
        if !names.is_empty() {
            resources[key] = json!(joined(names, NONE));
        }
    }
    let mut out = json!({
        "namespaces": filter(&spec.included_namespaces, &spec.excluded_namespaces),
        "resources": resources,
        "labelSelector": selector::format(spec.label_selector.as_ref()),
        "storageLocation": spec.storage_location,
        "veleroNativeSnapshotPVs": choice(spec.snapshot_volumes, "false", "true", "auto"),
        "veleroSnapshotMoveData": choice(spec.snapshot_move_data, "false", "true", "auto"),
        "dataMover": if spec.datamover.is_empty() { NONE } else { &spec.datamover },
        "TTL": spec.ttl.to_string(),
        "CSISnapshotTimeout": spec.csi_snapshot_timeout.to_string(),
    });
    if !spec.hooks.resources.is_empty() {
        let sets = spec
            .hooks
            .resources
            .iter()
            .map(|set| (set.name.clone(), hooks(set)));
        out["hooks"] = json!({ "resources": sets.collect::<Map<_, _>>() });
    }
    if !spec.ordered_resources.is_empty() {
        out["orderedResources"] = json!(spec.ordered_resources);
    }
    out
}

fn hooks(set: &BackupResourceHookSpec) -> Value {
    let execs = |hooks: &[BackupResourceHook]| {
        let one = |hook: &BackupResourceHook| {
            json!({
                "container": hook.exec.container,
                "command": hook.exec.command.join(" "),
                "onError:": hook.exec.on_error.map(|mode| format!("{mode:?}")).unwrap_or_default(),
                "timeout": hook.exec.timeout.to_string(),
            })
        };
        hooks.iter().map(one).collect::<Vec<_>>()
    };
    json!({
        "namespaces": filter(&set.included_namespaces, &set.excluded_namespaces),
        "resources": filter(&set.included_resources, &set.excluded_resources),
        "labelSelector": selector::format(set.label_selector.as_ref()),
        "preExecHook": execs(&set.pre),
        "postExecHook": execs(&set.post),
    })
}

fn ended(session: &Session, known: &Known, status: &BackupStatus, details: bool) -> Value {
    let mut out = json!({
        "backupFormatVersion": status.format_version,
        "started": when::point(status.start_timestamp.as_ref(), &session.zone, "<n/a>"),
        "completed": when::point(status.completion_timestamp.as_ref(), &session.zone, "<n/a>"),
        "expiration": when::point(status.expiration.as_ref(), &session.zone, "<nil>"),
    });
    if let Some(progress) = &status.progress {
        let [total, done] = if status.phase == BackupPhase::InProgress {
            ["estimatedTotalItemsToBeBackedUp", "itemsBackedUpSoFar"]
        } else {
            ["totalItemsToBeBackedUp", "itemsBackedUp"]
        };
        out[total] = json!(progress.total_items);
        out[done] = json!(progress.items_backed_up);
    }
    if details {
        match &known.resources {
            None => {}
            Some(Ok(Some(kinds))) => out["resourceList"] = json!(kinds),
            Some(Ok(None)) => out["errorGettingResourceList"] = json!("<backup resource list not found>"),
            Some(Err(error)) => {
                let text = format!("<error getting backup resource list: {}>", exit::chain(error));
                out["errorGettingResourceList"] = json!(text);
            }
        }
    }
    out["backupVolumes"] = backup_volumes(known, details);
    if let Some(hooks) = &status.hook_status {
        out["hooksAttempted"] = json!(hooks.hooks_attempted);
        out["hooksFailed"] = json!(hooks.hooks_failed);
    }
    out
}

fn backup_volumes(known: &Known, details: bool) -> Value {
    let none = Vec::new();
    let volumes = match &known.volumes {
        Ok(volumes) => volumes.as_ref().unwrap_or(&none),
        Err(error) => {
            let text = format!("error getting backup volume info: {}", exit::chain(error));
            return json!({ "errorGetBackupVolumeInfo": text });
        }
    };
    let by_method = |method: &str, show: fn(&BackupVolumeInfo, bool) -> (String, Value)| {
        let found: Map<_, _> = volumes
            .iter()
            .filter(|volume| volume.backup_method == method)
            .map(|volume| show(volume, details))
            .collect();
        if found.is_empty() {
            json!(NONE_INCLUDED)
        } else {
            Value::Object(found)
        }
    };
    json!({
        "nativeSnapshots": by_method("NativeSnapshot", native_snapshot),
        "csiSnapshots": by_method("CSISnapshot", csi_snapshot),
        "podVolumeBackups": match known.pod_volumes.first() {
            None => json!(NONE_INCLUDED),
            Some(first) => json!({
                "uploderType": first.spec.uploader_type,
                "podVolumeBackupsDetails": pod_volumes(&volumes::copies(known), details),
            }),
        },
    })
}

/// Copies of pod volumes by phase: how many, or with details which, by pod.
fn pod_volumes(copies: &[PodVolume], details: bool) -> Value {
    let mut out = Map::new();
    for (phase, name) in volumes::PHASES {
        let inside: Vec<_> = copies.iter().filter(|copy| copy.phase == phase).collect();
        if inside.is_empty() {
            continue;
        }
        let shown = if details {
            let pods = volumes::by_pod(&inside).into_iter();
            json!(
                pods.map(|(pod, labels)| json!({ pod: labels.join(", ") }))
                    .collect::<Vec<_>>()
            )
        } else {
            json!(inside.len())
        };
        out.insert(name.to_owned(), shown);
    }
    Value::Object(out)
}

fn number(text: &str) -> i64 {
    text.parse().unwrap_or_default()
}

fn native_snapshot(volume: &BackupVolumeInfo, details: bool) -> (String, Value) {
    let get = |key| volumes::detail(volume, "nativeSnapshotInfo", key);
    let shown = if details {
        json!({
            "snapshotID": get("snapshotHandle"),
            "type": get("volumeType"),
            "availabilityZone": get("volumeAZ"),
            "IOPS": get("iops"),
            "result": volume.result,
        })
    } else {
        json!(MORE)
    };
    (volume.pv_name.clone(), shown)
}

fn csi_snapshot(volume: &BackupVolumeInfo, details: bool) -> (String, Value) {
    let included = json!(format!("included, {MORE}"));
    let mut out = Map::new();
    if volume.preserve_local_snapshot {
        let get = |key| volumes::detail(volume, "csiSnapshotInfo", key);
        let mut snapshot = json!({
            "snapshotContentName": get("vscName"),
            "storageSnapshotID": get("snapshotHandle"),
            "snapshotSize(bytes)": number(&get("size")),
            "csiDriver": get("driver"),
            "result": volume.result,
        });
        if !volume.snapshot_data_moved {
            snapshot["operationID"] = json!(get("operationID"));
        }
        out.insert(
            "snapshot".into(),
            if details { snapshot } else { included.clone() },
        );
    }
    if volume.snapshot_data_moved {
        let get = |key| volumes::detail(volume, "snapshotDataMovementInfo", key);
        let mover = Some(get("dataMover")).filter(|name| !name.is_empty());
        let movement = json!({
            "operationID": get("operationID"),
            "dataMover": mover.as_deref().unwrap_or("velero"),
            "uploaderType": get("uploaderType"),
            "result": volume.result,
            "size": number(&get("size")),
            "incrementalSize": number(&get("incrementalSize")),
        });
        out.insert("dataMovement".into(), if details { movement } else { included });
    }
    let name = format!("{}/{}", volume.pvc_namespace, volume.pvc_name);
    (name, Value::Object(out))
}

fn deletions(session: &Session, requests: &[DeleteBackupRequest]) -> Value {
    let shown = requests.iter().map(|request| {
        let status = request.status.clone().unwrap_or_default();
        let created = request.metadata.creation_timestamp.as_ref();
        let mut shown = json!({
            "creationTimestamp": when::point(created, &session.zone, NONE),
            "phase": status.phase,
        });
        if !status.errors.is_empty() {
            shown["errors"] = json!(status.errors);
        }
        shown
    });
    let failed = requests.iter().filter(|request| {
        let status = request.status.as_ref();
        status.is_some_and(|s| s.phase == DeleteBackupRequestPhase::Processed && !s.errors.is_empty())
    });
    let mut out = json!({ "deleteBackupRequests": shown.collect::<Vec<_>>() });
    match failed.count() {
        0 => {}
        count => out["failed"] = json!(count),
    }
    out
}
