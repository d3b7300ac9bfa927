//! `backup create`: through a server, or without one.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use refloat_cluster::{
    Cluster,
    typed::{Object as _, Objects},
};
use refloat_model::{
    Backup, BackupPhase, BackupSpec, BackupStorageLocation, Schedule, VolumeSnapshotLocation,
};
use refloat_plan::schedule::{backup_of, timestamped_name};

use crate::{
    backup::{get, local, scope::Scope},
    exit::{self, Outcome},
    flags::{Format, OutputFlags, Pairs, StorageFlags, merged},
    output::{encode, say},
    progress::Counts,
    session::Session,
    wait::{self, Waited},
};

/// Flags of `backup create`.
#[derive(Args, Clone, Debug)]
pub struct CreateFlags {
    /// The backup's name; with --from-schedule made from the schedule's and the time
    #[arg(required_unless_present = "from_schedule")]
    pub name: Option<String>,
    /// Use the template of this schedule; all filters are ignored
    #[arg(long, value_name = "SCHEDULE")]
    pub from_schedule: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "documented at the type")]
    pub scope: Scope,
    /// With --storage: a file with resource policies, in place of a ConfigMap; it holds the policies or
    /// the ConfigMap's manifest
    #[arg(
        long,
        value_name = "FILE",
        requires = "storage",
        conflicts_with = "resource_policies_configmap"
    )]
    pub resource_policies_file: Option<PathBuf>,
    /// Labels of the backup
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub labels: Vec<Pairs>,
    /// Annotations of the backup
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub annotations: Vec<Pairs>,
    /// Wait until it has ended and show how far it is
    #[arg(short, long)]
    pub wait: bool,
    /// Do not ask whether the named locations exist
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "documented at the type")]
    pub output: OutputFlags,
    #[command(flatten)]
    #[allow(missing_docs, reason = "documented at the type")]
    pub storage: StorageFlags,
}

impl CreateFlags {
    /// Creates the backup.
    ///
    /// # Errors
    /// Why it could not be created.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        if let Some(url) = &self.storage.storage {
            return self.without_server(session, url).await;
        }
        let described = if self.from_schedule.is_none() {
            Some(self.backup(session)?)
        } else {
            None
        };
        if let (Some(backup), Some(format)) = (&described, self.output.output) {
            return print(session, &self.output, format, backup);
        }
        let cluster = session.cluster().await?;
        let backup = match (described, &self.from_schedule) {
            (Some(backup), _) => {
                if !self.force {
                    check_locations(&cluster, &session.namespace, &backup.spec).await?;
                }
                backup
            }
            (None, schedule) => {
                let schedule = schedule.as_deref().unwrap_or_default();
                self.backup_of_schedule(session, &cluster, schedule).await?
            }
        };
        if let Some(format) = self.output.output {
            return print(session, &self.output, format, &backup);
        }
        let backups = cluster.objects::<Backup>(&session.namespace);
        backups.create(&backup).await?;
        let name = backup.object_name();
        if self.from_schedule.is_some() {
            say("Creating backup from schedule, all other filters are ignored.")?;
        }
        say(&format!("Backup request {name:?} submitted successfully."))?;
        if self.wait {
            return wait_for(session, &backups, name).await;
        }
        let program = &session.program;
        say(&format!(
            "Run `{program} backup describe {name}` or `{program} backup logs {name}` for more details."
        ))?;
        Ok(Outcome::Done)
    }

    /// The backup that the flags describe.
    ///
    /// # Errors
    /// Where the flags contradict each other.
    pub fn backup(&self, session: &Session) -> Result<Backup> {
        let spec = self.scope.spec()?;
        let problems = refloat_plan::validation::validate_backup(&spec);
        if !problems.is_empty() {
            bail!("the backup's specification is invalid: {}", problems.join("; "));
        }
        let mut backup = Backup::new(self.name.as_deref().unwrap_or_default(), spec);
        backup.metadata.namespace = Some(session.namespace.clone());
        self.mark(&mut backup.metadata);
        Ok(backup)
    }

    fn mark(&self, metadata: &mut ObjectMeta) {
        let (labels, annotations) = (merged(&self.labels), merged(&self.annotations));
        if !labels.is_empty() {
            metadata.labels.get_or_insert_default().extend(labels);
        }
        if !annotations.is_empty() {
            metadata.annotations.get_or_insert_default().extend(annotations);
        }
    }

    async fn backup_of_schedule(&self, session: &Session, cluster: &Cluster, name: &str) -> Result<Backup> {
        let name = name.trim();
        if name.is_empty() {
            bail!("--from-schedule needs the name of a schedule");
        }
        let schedule = cluster.objects::<Schedule>(&session.namespace).get(name).await?;
        let made_up = || timestamped_name(&schedule, Session::now());
        let mut backup = backup_of(&schedule, &self.name.clone().unwrap_or_else(made_up));
        self.mark(&mut backup.metadata);
        Ok(backup)
    }

    async fn without_server(&self, session: &Session, url: &str) -> Result<Outcome> {
        if self.from_schedule.is_some() {
            bail!(
                "--from-schedule needs a server, and --storage works without one; give the filters instead"
            );
        }
        let backup = self.backup(session)?;
        if let Some(format) = self.output.output {
            return print(session, &self.output, format, &backup);
        }
        local::create(session, url, backup, self.resource_policies_file.as_deref()).await
    }
}

/// Whether the locations that a spec names exist.
///
/// # Errors
/// Which does not.
pub async fn check_locations(cluster: &Cluster, namespace: &str, spec: &BackupSpec) -> Result<()> {
    if !spec.storage_location.is_empty() {
        cluster
            .objects::<BackupStorageLocation>(namespace)
            .get(&spec.storage_location)
            .await?;
    }
    for name in &spec.volume_snapshot_locations {
        cluster
            .objects::<VolumeSnapshotLocation>(namespace)
            .get(name)
            .await?;
    }
    Ok(())
}

fn print(session: &Session, flags: &OutputFlags, format: Format, backup: &Backup) -> Result<Outcome> {
    let text = match format {
        Format::Table => get::table(session, std::slice::from_ref(backup)).render(flags),
        _ => encode::objects("Backup", std::slice::from_ref(backup), format)?,
    };
    crate::output::print(&text)?;
    Ok(Outcome::Done)
}

async fn wait_for(session: &Session, backups: &Objects<Backup>, name: &str) -> Result<Outcome> {
    say(
        "Waiting for backup to complete. You may safely press ctrl-c to stop waiting - your backup will continue in the \
         background.",
    )?;
    let ended = |backup: &Backup| {
        backup
            .status
            .as_ref()
            .is_some_and(|status| status.phase.is_final())
    };
    let waited = wait::for_end(backups, name, &format!("Backing up {name}"), ended, counts).await?;
    let program = &session.program;
    match waited {
        Waited::Ended(backup) => {
            let status = backup.status.unwrap_or_default();
            say(&format!(
                "Backup completed with status: {:?}. You may check for more information using the commands \
                 `{program} backup describe {name}` and `{program} backup logs {name}`.",
                status.phase
            ))?;
            Ok(outcome(status.phase))
        }
        Waited::Gone => bail!("backup {name:?} was deleted before it ended"),
        Waited::Left => {
            exit::complain(&format!(
                "No longer waiting; backup {name} goes on. `{program} backup describe {name}` tells how far it is."
            ));
            Ok(Outcome::Interrupted)
        }
    }
}

fn counts(backup: &Backup) -> Counts {
    let progress = backup
        .status
        .as_ref()
        .and_then(|status| status.progress)
        .unwrap_or_default();
    let number = |value: i64| u64::try_from(value).unwrap_or_default();
    Counts {
        done: number(progress.items_backed_up),
        total: number(progress.total_items),
        bytes: None,
    }
}

/// How a command ends whose backup ended in `phase`.
#[must_use]
pub const fn outcome(phase: BackupPhase) -> Outcome {
    if matches!(phase, BackupPhase::Completed) {
        Outcome::Done
    } else {
        Outcome::Unsuccessful
    }
}
