//! `backup delete`: by a request to the server, or straight from the storage.

use anyhow::Result;
use clap::Args;
use refloat_cluster::typed::Object as _;
use refloat_engine::catalog;
use refloat_model::{Backup, DeleteBackupRequest};

use crate::{
    backup::local,
    exit::{self, Outcome},
    flags::{SelectFlags, StorageFlags},
    output::say,
    select,
    session::{self, Session},
};

/// Flags of `backup delete`.
#[derive(Args, Clone, Debug)]
pub struct DeleteFlags {
    #[command(flatten)]
    select: SelectFlags,
    /// Do not ask
    #[arg(long)]
    confirm: bool,
    #[command(flatten)]
    storage: StorageFlags,
}

impl DeleteFlags {
    /// Deletes backups.
    ///
    /// # Errors
    /// Where the server or storage cannot be asked.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        if !self.confirm && !session::confirmed("")? {
            return Ok(Outcome::Done);
        }
        match &self.storage.storage {
            Some(url) => self.in_storage(url).await,
            None => self.by_server(session).await,
        }
    }

    async fn by_server(&self, session: &Session) -> Result<Outcome> {
        let cluster = session.cluster().await?;
        let selected = select::selected(&cluster.objects::<Backup>(&session.namespace), &self.select).await?;
        if selected.objects.is_empty() {
            say("No backups found")?;
            return Ok(select::outcome(0, selected.failures));
        }
        let requests = cluster.objects::<DeleteBackupRequest>(&session.namespace);
        let (mut done, mut failures) = (0, selected.failures);
        for backup in &selected.objects {
            let name = backup.object_name();
            match requests.create(&DeleteBackupRequest::for_backup(backup)).await {
                Ok(_) => {
                    done += 1;
                    say(&format!(
                        "Request to delete backup {name:?} submitted successfully.\nThe backup will be fully deleted after \
                         all associated data (disk snapshots, backup files, restores) are removed."
                    ))?;
                }
                Err(error) => {
                    failures += 1;
                    exit::complain(&format!("error: {}", exit::chain(&error.into())));
                }
            }
        }
        Ok(select::outcome(done, failures))
    }

    async fn in_storage(&self, url: &str) -> Result<Outcome> {
        let location = Session::location(url).await?;
        let names = local::to_delete(&location, &self.select).await?;
        if names.is_empty() {
            say("No backups found")?;
        }
        let (mut done, mut failures) = (0, 0);
        for name in &names {
            // One that is half deleted has no description any more, but files; it is deleted too.
            let deleted = match catalog::read_backup(&location, name).await {
                Err(error) if matches!(error, refloat_engine::EngineError::BackupNotFound { .. }) => {
                    catalog::delete_backup(&location, name).await.and(Err(error))
                }
                _ => catalog::delete_backup(&location, name).await,
            };
            match deleted {
                Ok(()) => {
                    done += 1;
                    say(&format!("Backup {name:?} deleted."))?;
                }
                Err(error) => {
                    failures += 1;
                    exit::complain(&format!("error: {}", exit::chain(&error.into())));
                }
            }
        }
        Ok(select::outcome(done, failures))
    }
}
