//! The description of a backup: which sections it has, in Velero's order and words.

use refloat_cluster::typed::Object as _;
use refloat_model::{
    BackupPhase, BackupSpec, BackupStatus, DeleteBackupRequest, deletion::DeleteBackupRequestPhase,
    hooks::BackupResourceHook,
};

use crate::{
    backup::describe::Known,
    exit,
    files::{Fetched, ResourceList},
    output::{
        describe::{Description, Tone, choice, joined},
        when,
    },
    selector,
    session::Session,
    volumes,
};

const NONE: &str = "<none>";

/// The whole description.
#[must_use]
pub fn describe(session: &Session, known: &Known, details: bool) -> String {
    let mut out = Description::new(session.colour);
    let backup = &known.backup;
    let status = backup.status.clone().unwrap_or_default();
    out.metadata(&backup.metadata);
    out.blank();
    phase(&mut out, session, backup.object_name(), &status);
    policies(&mut out, &backup.spec);
    out.validation_errors(&status.validation_errors);
    out.blank();
    results(&mut out, known, &status);
    out.blank();
    spec(&mut out, &backup.spec);
    out.blank();
    progress(&mut out, session, known, &status, details);
    if !known.deletions.is_empty() {
        out.blank();
        deletions(&mut out, session, &known.deletions);
    }
    out.finish()
}

fn phase(out: &mut Description, session: &Session, name: &str, status: &BackupStatus) {
    let tone = match status.phase {
        BackupPhase::Completed => Tone::Good,
        BackupPhase::FailedValidation | BackupPhase::PartiallyFailed | BackupPhase::Failed => Tone::Bad,
        _ => Tone::Plain,
    };
    let note = match status.phase {
        BackupPhase::Failed | BackupPhase::PartiallyFailed => {
            format!(
                " (run `{} backup logs {name}` for more information)",
                session.program
            )
        }
        _ => String::new(),
    };
    let phase = out.toned(format_args!("{:?}", status.phase), tone);
    out.field("Phase", format_args!("{phase}{note}"));
    if status.phase == BackupPhase::Queued {
        out.field("Queue position", status.queue_position);
    }
    if !status.failure_reason.is_empty() {
        out.field("Failure reason", &status.failure_reason);
    }
}

fn results(out: &mut Description, known: &Known, status: &BackupStatus) {
    match &known.results {
        None => {}
        Some(Ok(Some(results))) => out.results(results, status.warnings > 0, status.errors > 0),
        Some(Ok(None)) => {
            out.field("Errors", status.errors);
            out.field("Warnings", status.warnings);
        }
        Some(Err(error)) => {
            let error = exit::chain(error);
            out.field("Warnings", format_args!("<error getting warnings: {error}>"));
            out.blank();
            out.field("Errors", format_args!("<error getting errors: {error}>"));
        }
    }
}

/// The ConfigMap of resource policies and the uploader's settings, where there are any.
pub(crate) fn policies(out: &mut Description, spec: &BackupSpec) {
    if let Some(policy) = &spec.resource_policy {
        out.blank();
        out.line("Resource policies:");
        out.line(format_args!("\tType:\t{}", policy.kind));
        out.line(format_args!("\tName:\t{}", policy.name));
    }
    if let Some(config) = spec
        .uploader_config
        .as_ref()
        .filter(|config| config.parallel_files_upload > 0)
    {
        out.blank();
        out.line("Uploader config:");
        out.line(format_args!(
            "\tParallel files upload:\t{}",
            config.parallel_files_upload
        ));
    }
}

/// The spec alone; schedules show it for their template.
pub(crate) fn spec(out: &mut Description, spec: &BackupSpec) {
    out.line("Namespaces:");
    out.filter(&spec.included_namespaces, &spec.excluded_namespaces);
    out.blank();
    resources(out, spec);
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
    out.field("Storage Location", &spec.storage_location);
    out.blank();
    out.field(
        "Velero-Native Snapshot PVs",
        choice(spec.snapshot_volumes, "false", "true", "auto"),
    );
    if let Some(by_file) = spec.default_volumes_to_fs_backup {
        out.field("File System Backup (Default)", by_file);
    }
    out.field(
        "Snapshot Move Data",
        choice(spec.snapshot_move_data, "false", "true", "auto"),
    );
    out.field(
        "Data Mover",
        if spec.datamover.is_empty() {
            "velero"
        } else {
            &spec.datamover
        },
    );
    out.blank();
    out.field("TTL", spec.ttl);
    out.blank();
    out.field("CSISnapshotTimeout", spec.csi_snapshot_timeout);
    out.field("ItemOperationTimeout", spec.item_operation_timeout);
    out.blank();
    hooks(out, spec);
    if !spec.ordered_resources.is_empty() {
        out.blank();
        out.line("OrderedResources:");
        for (kind, names) in &spec.ordered_resources {
            out.line(format_args!("\t{kind}: {names}"));
        }
    }
}

fn resources(out: &mut Description, spec: &BackupSpec) {
    out.line("Resources:");
    let scoped = [
        ("Included cluster-scoped", &spec.included_cluster_scoped_resources),
        ("Excluded cluster-scoped", &spec.excluded_cluster_scoped_resources),
        (
            "Included namespace-scoped",
            &spec.included_namespace_scoped_resources,
        ),
        (
            "Excluded namespace-scoped",
            &spec.excluded_namespace_scoped_resources,
        ),
    ];
    let old = spec.include_cluster_resources.is_some()
        || !spec.included_resources.is_empty()
        || !spec.excluded_resources.is_empty();
    if old {
        out.filter(&spec.included_resources, &spec.excluded_resources);
        let cluster_scoped = choice(spec.include_cluster_resources, "excluded", "included", "auto");
        out.line(format_args!("\tCluster-scoped:\t{cluster_scoped}"));
        return;
    }
    for (name, names) in scoped {
        let none = if name == "Included namespace-scoped" {
            "*"
        } else {
            NONE
        };
        out.line(format_args!("\t{name}:\t{}", joined(names, none)));
    }
}

fn hooks(out: &mut Description, spec: &BackupSpec) {
    if spec.hooks.resources.is_empty() {
        out.field("Hooks", NONE);
        return;
    }
    out.line("Hooks:");
    out.line("\tResources:");
    for set in &spec.hooks.resources {
        out.line(format_args!("\t\t{}:", set.name));
        out.line("\t\t\tNamespaces:");
        out.line(format_args!(
            "\t\t\t\tIncluded:\t{}",
            joined(&set.included_namespaces, "*")
        ));
        out.line(format_args!(
            "\t\t\t\tExcluded:\t{}",
            joined(&set.excluded_namespaces, NONE)
        ));
        out.blank();
        out.line("\t\t\tResources:");
        out.line(format_args!(
            "\t\t\t\tIncluded:\t{}",
            joined(&set.included_resources, "*")
        ));
        out.line(format_args!(
            "\t\t\t\tExcluded:\t{}",
            joined(&set.excluded_resources, NONE)
        ));
        out.blank();
        out.line(format_args!(
            "\t\t\tLabel selector:\t{}",
            selector::format(set.label_selector.as_ref())
        ));
        for (name, hooks) in [("Pre", &set.pre), ("Post", &set.post)] {
            for hook in hooks {
                exec_hook(out, name, hook);
            }
        }
    }
}

fn exec_hook(out: &mut Description, name: &str, hook: &BackupResourceHook) {
    out.blank();
    out.line(format_args!("\t\t\t{name} Exec Hook:"));
    out.line(format_args!("\t\t\t\tContainer:\t{}", hook.exec.container));
    out.line(format_args!("\t\t\t\tCommand:\t{}", hook.exec.command.join(" ")));
    let on_error = hook
        .exec
        .on_error
        .map(|mode| format!("{mode:?}"))
        .unwrap_or_default();
    out.line(format_args!("\t\t\t\tOn Error:\t{on_error}"));
    out.line(format_args!("\t\t\t\tTimeout:\t{}", hook.exec.timeout));
}

fn progress(out: &mut Description, session: &Session, known: &Known, status: &BackupStatus, details: bool) {
    out.field("Backup Format Version", &status.format_version);
    out.blank();
    out.field(
        "Started",
        when::point(status.start_timestamp.as_ref(), &session.zone, "<n/a>"),
    );
    out.field(
        "Completed",
        when::point(status.completion_timestamp.as_ref(), &session.zone, "<n/a>"),
    );
    out.blank();
    out.field(
        "Expiration",
        when::point(status.expiration.as_ref(), &session.zone, "<nil>"),
    );
    out.blank();
    if let Some(progress) = &status.progress {
        let (total, done) = if status.phase == BackupPhase::InProgress {
            ("Estimated total items to be backed up", "Items backed up so far")
        } else {
            ("Total items to be backed up", "Items backed up")
        };
        out.field(total, progress.total_items);
        out.field(done, progress.items_backed_up);
        out.blank();
    }
    volumes::operations(
        out,
        "Backup",
        [
            status.backup_item_operations_attempted,
            status.backup_item_operations_completed,
            status.backup_item_operations_failed,
        ],
        known.operations.as_ref(),
    );
    if details {
        resource_list(out, "backup", known.resources.as_ref());
        out.blank();
    }
    volumes::of_backup(out, known, details);
    if let Some(hooks) = &status.hook_status {
        out.blank();
        out.field("HooksAttempted", hooks.hooks_attempted);
        out.field("HooksFailed", hooks.hooks_failed);
    }
}

/// The items by kind, or why they are not known.
pub(crate) fn resource_list(out: &mut Description, what: &str, list: Option<&Fetched<ResourceList>>) {
    match list {
        None => {}
        Some(Ok(Some(kinds))) => out.resource_list(kinds),
        Some(Ok(None)) => out.field("Resource List", format_args!("<{what} resource list not found>")),
        Some(Err(error)) => {
            out.field(
                "Resource List",
                format_args!("<error getting {what} resource list: {}>", exit::chain(error)),
            );
        }
    }
}

fn deletions(out: &mut Description, session: &Session, requests: &[DeleteBackupRequest]) {
    let failed = |request: &&DeleteBackupRequest| {
        request.status.as_ref().is_some_and(|status| {
            status.phase == DeleteBackupRequestPhase::Processed && !status.errors.is_empty()
        })
    };
    let failures = requests.iter().filter(failed).count();
    let count = if failures > 0 {
        format!(" ({failures} failed)")
    } else {
        String::new()
    };
    out.line(format_args!("Deletion Attempts{count}:"));
    for (index, request) in requests.iter().enumerate() {
        if index > 0 {
            out.blank();
        }
        let status = request.status.clone().unwrap_or_default();
        let created = when::point(request.metadata.creation_timestamp.as_ref(), &session.zone, NONE);
        out.line(format_args!("\t{created}: {:?}", status.phase));
        if !status.errors.is_empty() {
            out.line("\tErrors:");
            for error in &status.errors {
                out.line(format_args!("\t\t{error}"));
            }
        }
    }
}
