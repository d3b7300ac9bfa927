//! `restore create`: through a server, or without one.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use refloat_cluster::{
    Cluster,
    typed::{Object as _, Objects},
};
use refloat_model::{
    Backup, GoDuration, Restore, RestorePhase, RestoreSpec,
    backup::TypedLocalReference,
    labels::{OBJECTS, SCHEDULE_NAME},
    restore::{RestoreStatusSpec, RestoreUploaderConfig},
};

use refloat_plan::restore::objects::{self, ObjectRef};

use crate::{
    exit::{self, Outcome},
    flags::{Format, List, Mappings, OutputFlags, Pairs, StorageFlags, list, merged},
    output::{encode, say},
    progress::Counts,
    restore::{get, local, plan},
    selector::{OrSelector, Selector},
    session::Session,
    wait::{self, Waited},
};

/// What becomes of objects that exist and differ from the backup's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExistingPolicy {
    /// They stay.
    None,
    /// They are patched.
    Update,
    /// They are patched, or deleted and created again where a field cannot be changed; never claims,
    /// volumes, namespaces and definitions.
    Recreate,
}

/// Flags of `restore create`.
#[derive(Args, Clone, Debug)]
pub struct CreateFlags {
    /// The restore's name [default: the backup's or schedule's, and the time]
    pub name: Option<String>,
    /// The backup to restore from
    #[arg(
        long,
        value_name = "BACKUP",
        conflicts_with = "from_schedule",
        required_unless_present_any = ["from_schedule", "plan"]
    )]
    pub from_backup: Option<String>,
    /// Restore from the latest successful backup of this schedule
    #[arg(long, value_name = "SCHEDULE")]
    pub from_schedule: Option<String>,
    /// Apply this plan, by its name or hash, exactly as it is; refused if the cluster has changed since
    #[arg(long, value_name = "PLAN", conflicts_with_all = ["from_backup", "from_schedule", "objects"])]
    pub plan: Option<String>,
    /// Only this object, as resource/namespace/name or resource/name; may be given again
    #[arg(
        long = "object",
        value_name = "OBJECT",
        conflicts_with_all = ["include_resources", "exclude_resources", "exclude_namespaces", "selector", "or_selector"]
    )]
    pub objects: Vec<ObjectRef>,
    /// With --from-schedule: whether a PartiallyFailed backup will do
    #[arg(long)]
    pub allow_partially_failed: Option<bool>,
    /// Namespaces to include; '*': all
    #[arg(long, value_name = "NAMESPACE,…", default_value = "*")]
    pub include_namespaces: List,
    /// Namespaces to exclude
    #[arg(long, value_name = "NAMESPACE,…")]
    pub exclude_namespaces: Option<List>,
    /// Into which namespaces: from the backup's name to the cluster's
    #[arg(long, value_name = "FROM:TO,…")]
    pub namespace_mappings: Vec<Mappings>,
    /// Resources to include, as resource.group; '*': all
    #[arg(long, value_name = "RESOURCE,…")]
    pub include_resources: Option<List>,
    /// Resources to exclude, as resource.group
    #[arg(long, value_name = "RESOURCE,…")]
    pub exclude_resources: Option<List>,
    /// Whether to include cluster-scoped resources
    #[arg(long)]
    pub include_cluster_resources: Option<bool>,
    /// Only objects that match this label selector
    #[arg(short = 'l', long, conflicts_with = "or_selector")]
    pub selector: Option<Selector>,
    /// Only objects that match any of these label selectors: "a=b or c=d"
    #[arg(long, value_name = "SELECTOR or SELECTOR…")]
    pub or_selector: Option<OrSelector>,
    /// What becomes of objects that exist already
    #[arg(long, value_enum, value_name = "POLICY")]
    pub existing_resource_policy: Option<ExistingPolicy>,
    /// Resources whose status is restored too
    #[arg(long, value_name = "RESOURCE,…")]
    pub status_include_resources: Option<List>,
    /// Resources whose status is not restored
    #[arg(long, value_name = "RESOURCE,…")]
    pub status_exclude_resources: Option<List>,
    /// Whether to restore volumes from snapshots
    #[arg(long)]
    pub restore_volumes: Option<bool>,
    /// Whether services keep their node ports
    #[arg(long)]
    pub preserve_nodeports: Option<bool>,
    /// A ConfigMap with rules that change objects
    #[arg(long, value_name = "NAME")]
    pub resource_modifier_configmap: Option<String>,
    /// With --storage: a file with rules that change objects, in place of a ConfigMap; it holds the rules
    /// or the ConfigMap's manifest
    #[arg(
        long,
        value_name = "FILE",
        requires = "storage",
        conflicts_with = "resource_modifier_configmap"
    )]
    pub resource_modifier_file: Option<PathBuf>,
    /// A ConfigMap with rules for what is restored
    #[arg(long, value_name = "NAME")]
    pub resource_policies_configmap: Option<String>,
    /// Whether files get holes where they have zeros
    #[arg(long)]
    pub write_sparse_files: Option<bool>,
    /// How many files are written at once
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(0..))]
    pub parallel_files_download: Option<i64>,
    /// How long asynchronous operations may take
    #[arg(long, value_name = "DURATION")]
    pub item_operation_timeout: Option<GoDuration>,
    /// Labels of the restore
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub labels: Vec<Pairs>,
    /// Annotations of the restore
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub annotations: Vec<Pairs>,
    /// Wait until it has ended and show how far it is
    #[arg(short, long)]
    pub wait: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "documented at the type")]
    pub output: OutputFlags,
    #[command(flatten)]
    #[allow(missing_docs, reason = "documented at the type")]
    pub storage: StorageFlags,
}

impl CreateFlags {
    /// Creates the restore.
    ///
    /// # Errors
    /// Why it could not be created.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        let mut restore = self.restore(session);
        if let Some(wanted) = &self.plan {
            plan::apply(
                session,
                self.storage.storage.as_deref(),
                wanted,
                self.name.is_some(),
                &mut restore,
            )
            .await?;
        }
        if let Some(url) = &self.storage.storage {
            if self.from_schedule.is_some() {
                local::latest_of_schedule(url, &mut restore, self.allow_partially_failed == Some(true))
                    .await?;
            }
            if let Some(format) = self.output.output {
                return print(session, &self.output, format, &restore);
            }
            return local::create(session, url, restore, self.resource_modifier_file.as_deref()).await;
        }
        let cluster = session.cluster().await?;
        self.resolve(session, &cluster, &mut restore).await?;
        if let Some(format) = self.output.output {
            return print(session, &self.output, format, &restore);
        }
        let restores = cluster.objects::<Restore>(&session.namespace);
        restores.create(&restore).await?;
        let name = restore.object_name();
        say(&format!("Restore request {name:?} submitted successfully."))?;
        if self.wait {
            return wait_for(session, &restores, name).await;
        }
        let program = &session.program;
        say(&format!(
            "Run `{program} restore describe {name}` or `{program} restore logs {name}` for more details."
        ))?;
        Ok(Outcome::Done)
    }

    /// The restore that the flags describe.
    #[must_use]
    pub fn restore(&self, session: &Session) -> Restore {
        let source = self.from_schedule.as_ref().or(self.from_backup.as_ref());
        let name = self.name.clone().unwrap_or_else(|| {
            format!(
                "{}-{}",
                source.map(String::as_str).unwrap_or_default(),
                session.stamp()
            )
        });
        let mut restore = Restore::new(&name, self.spec());
        restore.metadata.namespace = Some(session.namespace.clone());
        restore.metadata.labels = Some(merged(&self.labels)).filter(|labels| !labels.is_empty());
        restore.metadata.annotations =
            Some(merged(&self.annotations)).filter(|annotations| !annotations.is_empty());
        self.pick_objects(&mut restore);
        restore
    }

    /// Limits the restore to single objects: the filters to their kinds and namespaces, so that a server which does
    /// not know the annotation restores no more than those, and the annotation to the objects.
    fn pick_objects(&self, restore: &mut Restore) {
        if self.objects.is_empty() {
            return;
        }
        let distinct = |texts: Vec<&str>| {
            let texts: BTreeSet<String> = texts.into_iter().map(str::to_owned).collect();
            texts.into_iter().collect::<Vec<_>>()
        };
        let spec = &mut restore.spec;
        spec.included_resources = distinct(self.objects.iter().map(ObjectRef::kind).collect());
        let namespaces: Vec<&str> = self.objects.iter().map(ObjectRef::namespace).collect();
        if namespaces.iter().all(|namespace| !namespace.is_empty()) {
            spec.included_namespaces = distinct(namespaces);
        } else {
            spec.include_cluster_resources = Some(true);
        }
        let annotations = restore.metadata.annotations.get_or_insert_default();
        annotations.insert(OBJECTS.to_owned(), objects::annotation(&self.objects));
    }

    fn spec(&self) -> RestoreSpec {
        // As with Velero, kinds to exclude alone ask for no status: with them and an empty list of kinds to
        // include, all others would get theirs.
        let status = self
            .status_include_resources
            .as_ref()
            .map(|included| RestoreStatusSpec {
                included_resources: included.0.clone(),
                excluded_resources: list(self.status_exclude_resources.as_ref()),
            });
        let parallel = self.parallel_files_download.unwrap_or_default();
        let uploader = (self.write_sparse_files.is_some() || parallel > 0).then_some(RestoreUploaderConfig {
            write_sparse_files: self.write_sparse_files,
            parallel_files_download: parallel,
        });
        RestoreSpec {
            backup_name: self.from_backup.clone().unwrap_or_default(),
            schedule_name: self.from_schedule.clone().unwrap_or_default(),
            included_namespaces: self.include_namespaces.0.clone(),
            excluded_namespaces: list(self.exclude_namespaces.as_ref()),
            included_resources: list(self.include_resources.as_ref()),
            excluded_resources: list(self.exclude_resources.as_ref()),
            namespace_mapping: self
                .namespace_mappings
                .iter()
                .flat_map(|pairs| pairs.0.clone())
                .collect(),
            label_selector: self.selector.clone().map(|Selector(selector)| selector),
            or_label_selectors: self
                .or_selector
                .clone()
                .map(|OrSelector(selectors)| selectors)
                .unwrap_or_default(),
            restore_pvs: self.restore_volumes,
            restore_status: status,
            preserve_node_ports: self.preserve_nodeports,
            include_cluster_resources: self.include_cluster_resources,
            existing_resource_policy: match self.existing_resource_policy {
                None => String::new(),
                Some(ExistingPolicy::None) => "none".into(),
                Some(ExistingPolicy::Update) => "update".into(),
                Some(ExistingPolicy::Recreate) => "recreate".into(),
            },
            item_operation_timeout: self.item_operation_timeout.unwrap_or_default(),
            resource_modifier: self
                .resource_modifier_configmap
                .as_ref()
                .map(|name| TypedLocalReference {
                    api_group: Some(String::new()),
                    kind: "configmap".into(),
                    name: name.clone(),
                }),
            resource_policy: self
                .resource_policies_configmap
                .as_ref()
                .map(|name| TypedLocalReference {
                    api_group: None,
                    kind: "configmap".into(),
                    name: name.clone(),
                }),
            uploader_config: uploader,
            ..RestoreSpec::default()
        }
    }

    /// Checks that the source exists; with `--allow-partially-failed` chooses the backup here,
    /// because the server chooses only among completed ones.
    pub(super) async fn resolve(
        &self,
        session: &Session,
        cluster: &Cluster,
        restore: &mut Restore,
    ) -> Result<()> {
        let backups = cluster.objects::<Backup>(&session.namespace);
        if let Some(name) = &self.from_backup {
            backups.get(name).await?;
        }
        if let Some(schedule) = &self.from_schedule {
            let found = backups.list(Some(&format!("{SCHEDULE_NAME}={schedule}"))).await?;
            if found.is_empty() {
                bail!("no backups found for the schedule {schedule}");
            }
            if self.allow_partially_failed == Some(true)
                && let Some(backup) = latest(found, true)
            {
                restore.spec.backup_name = backup.object_name().to_owned();
                restore.spec.schedule_name.clear();
            }
        }
        Ok(())
    }
}

/// The backup that was begun last, of those that can be restored.
pub(super) fn latest(backups: Vec<Backup>, partially_failed: bool) -> Option<Backup> {
    use refloat_model::BackupPhase::{Completed, PartiallyFailed};
    let begun = |backup: &Backup| backup.status.as_ref()?.start_timestamp.clone().map(|time| time.0);
    let good = |backup: &Backup| {
        let phase = backup
            .status
            .as_ref()
            .map(|status| status.phase)
            .unwrap_or_default();
        phase == Completed || partially_failed && phase == PartiallyFailed
    };
    backups.into_iter().filter(good).max_by_key(begun)
}

fn print(session: &Session, flags: &OutputFlags, format: Format, restore: &Restore) -> Result<Outcome> {
    let text = match format {
        Format::Table => get::table(session, std::slice::from_ref(restore)).render(flags),
        _ => encode::objects("Restore", std::slice::from_ref(restore), format)?,
    };
    crate::output::print(&text)?;
    Ok(Outcome::Done)
}

async fn wait_for(session: &Session, restores: &Objects<Restore>, name: &str) -> Result<Outcome> {
    say(
        "Waiting for restore to complete. You may safely press ctrl-c to stop waiting - your restore will continue in the \
         background.",
    )?;
    let ended = |restore: &Restore| {
        restore
            .status
            .as_ref()
            .is_some_and(|status| status.phase.is_final())
    };
    let waited = wait::for_end(restores, name, &format!("Restoring {name}"), ended, counts).await?;
    let program = &session.program;
    match waited {
        Waited::Ended(restore) => {
            let status = restore.status.unwrap_or_default();
            say(&format!(
                "Restore completed with status: {:?}. You may check for more information using the commands \
                 `{program} restore describe {name}` and `{program} restore logs {name}`.",
                status.phase
            ))?;
            Ok(outcome(status.phase))
        }
        Waited::Gone => bail!("restore {name:?} was deleted before it ended"),
        Waited::Left => {
            exit::complain(&format!(
                "No longer waiting; restore {name} goes on. `{program} restore describe {name}` tells how far it is."
            ));
            Ok(Outcome::Interrupted)
        }
    }
}

fn counts(restore: &Restore) -> Counts {
    let progress = restore
        .status
        .as_ref()
        .and_then(|status| status.progress)
        .unwrap_or_default();
    let number = |value: i64| u64::try_from(value).unwrap_or_default();
    Counts {
        done: number(progress.items_restored),
        total: number(progress.total_items),
        bytes: None,
    }
}

/// How a command ends whose restore ended in `phase`.
#[must_use]
pub const fn outcome(phase: RestorePhase) -> Outcome {
    if matches!(phase, RestorePhase::Completed) {
        Outcome::Done
    } else {
        Outcome::Unsuccessful
    }
}
