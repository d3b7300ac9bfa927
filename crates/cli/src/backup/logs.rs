//! `backup logs`.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use refloat_engine::catalog;
use refloat_model::{Backup, BackupPhase, DownloadTargetKind, GoDuration};

use crate::{
    exit::Outcome,
    files::Files,
    flags::{StorageFlags, TlsFlags, length},
    session::Session,
};

/// How long fetching may take unless `--timeout` says otherwise.
pub(super) const FETCH_LIMIT: Duration = Duration::from_secs(60);

/// Flags of `backup logs`.
#[derive(Args, Clone, Debug)]
pub struct LogsFlags {
    /// The backup
    #[arg(value_name = "BACKUP")]
    name: String,
    /// How long to wait for the log [default: 1m]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<GoDuration>,
    #[command(flatten)]
    tls: TlsFlags,
    #[command(flatten)]
    storage: StorageFlags,
}

impl LogsFlags {
    /// Prints the log.
    ///
    /// # Errors
    /// Where there is none or it cannot be fetched.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        let name = &self.name;
        let files = match &self.storage.storage {
            Some(url) => {
                let location = Session::location(url).await?;
                catalog::read_backup(&location, name).await?;
                Files::Storage(location)
            }
            None => {
                let cluster = session.cluster().await?;
                let backup = cluster.objects::<Backup>(&session.namespace).find(name).await?;
                let backup = backup.with_context(|| format!("backup {name:?} does not exist"))?;
                let phase = backup.status.map(|status| status.phase).unwrap_or_default();
                if !has_log(phase) {
                    bail!(
                        "logs for backup {name:?} are not available until it has finished; it is {phase:?}, try again later"
                    );
                }
                let limit = length(self.timeout, FETCH_LIMIT);
                Files::of_server(
                    &cluster,
                    &session.namespace,
                    &backup.spec.storage_location,
                    &self.tls,
                    limit,
                )
                .await?
            }
        };
        if !files
            .copy(DownloadTargetKind::BackupLog, name, &mut std::io::stdout())
            .await?
        {
            bail!("backup {name:?} has no log");
        }
        Ok(Outcome::Done)
    }
}

const fn has_log(phase: BackupPhase) -> bool {
    matches!(
        phase,
        BackupPhase::Completed
            | BackupPhase::PartiallyFailed
            | BackupPhase::Failed
            | BackupPhase::WaitingForPluginOperations
            | BackupPhase::WaitingForPluginOperationsPartiallyFailed
    )
}
