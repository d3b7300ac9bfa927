//! `restore logs`.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use refloat_cluster::Cluster;
use refloat_model::{Backup, DownloadTargetKind, GoDuration, Restore, RestorePhase};

use crate::{
    exit::Outcome,
    files::Files,
    flags::{StorageFlags, TlsFlags, length},
    session::Session,
};

/// Flags of `restore logs`.
#[derive(Args, Clone, Debug)]
pub struct LogsFlags {
    /// The restore
    #[arg(value_name = "RESTORE")]
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
            Some(url) => Files::Storage(Session::location(url).await?),
            None => {
                let cluster = session.cluster().await?;
                let restore = cluster.objects::<Restore>(&session.namespace).find(name).await?;
                let restore = restore.with_context(|| format!("restore {name:?} does not exist"))?;
                let phase = restore
                    .status
                    .as_ref()
                    .map(|status| status.phase)
                    .unwrap_or_default();
                if !has_log(phase) {
                    bail!(
                        "logs for restore {name:?} are not available until it has finished; it is {phase:?}, try again later"
                    );
                }
                let limit = length(self.timeout, Duration::from_secs(60));
                of_restore(session, &cluster, &restore, &self.tls, limit).await?
            }
        };
        if !files
            .copy(DownloadTargetKind::RestoreLog, name, &mut std::io::stdout())
            .await?
        {
            bail!("restore {name:?} has no log");
        }
        Ok(Outcome::Done)
    }
}

/// The files of a restore, which are where its backup is.
pub(super) async fn of_restore(
    session: &Session,
    cluster: &Cluster,
    restore: &Restore,
    tls: &TlsFlags,
    limit: Duration,
) -> Result<Files> {
    let backup = match restore.spec.backup_name.as_str() {
        "" => None,
        name => cluster.objects::<Backup>(&session.namespace).find(name).await?,
    };
    let location = backup
        .map(|backup| backup.spec.storage_location)
        .unwrap_or_default();
    Files::of_server(cluster, &session.namespace, &location, tls, limit).await
}

const fn has_log(phase: RestorePhase) -> bool {
    matches!(
        phase,
        RestorePhase::Completed
            | RestorePhase::PartiallyFailed
            | RestorePhase::Failed
            | RestorePhase::WaitingForPluginOperations
            | RestorePhase::WaitingForPluginOperationsPartiallyFailed
    )
}
