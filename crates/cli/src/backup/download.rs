//! `backup download`: the tarball as it is stored.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use refloat_engine::catalog;
use refloat_model::{Backup, DownloadTargetKind, GoDuration};

use crate::{
    exit::Outcome,
    files::{Files, Target},
    flags::{StorageFlags, TlsFlags, length},
    output::say,
    session::Session,
};

/// Flags of `backup download`.
#[derive(Args, Clone, Debug)]
pub struct DownloadFlags {
    /// The backup
    name: String,
    /// The file to write [default: NAME-data.tar.gz in the current folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the file if it exists
    #[arg(long)]
    force: bool,
    /// How long the download may take [default: 1m]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<GoDuration>,
    #[command(flatten)]
    tls: TlsFlags,
    #[command(flatten)]
    storage: StorageFlags,
}

impl DownloadFlags {
    /// Writes the file.
    ///
    /// # Errors
    /// Where it exists already, or the backup does not, or it cannot be fetched.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        let name = &self.name;
        let path = self
            .output
            .clone()
            .unwrap_or_else(|| PathBuf::from(format!("{name}-data.tar.gz")));
        let mut target = Target::new(path, self.force)?;
        let files = match &self.storage.storage {
            Some(url) => {
                let location = Session::location(url).await?;
                catalog::read_backup(&location, name).await?;
                Files::Storage(location)
            }
            None => {
                let cluster = session.cluster().await?;
                let backup = cluster.objects::<Backup>(&session.namespace).get(name).await?;
                let limit = length(self.timeout, super::logs::FETCH_LIMIT);
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
            .copy(DownloadTargetKind::BackupContents, name, target.sink())
            .await?
        {
            bail!("backup {name:?} has no contents; it may have failed");
        }
        let path = target.keep(self.force)?;
        say(&format!(
            "Backup {name} has been successfully downloaded to {}",
            path.display()
        ))?;
        Ok(Outcome::Done)
    }
}
