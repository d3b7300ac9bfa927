//! `backup delete`: by a request to the server, or straight from the storage.

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use refloat_cluster::typed::Object as _;
use refloat_engine::{Location, catalog, volume_data};
use refloat_model::{Backup, DeleteBackupRequest, labels::ORPHAN_VOLUME_DATA};

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
    /// Delete backups although they refer to snapshots or copies of volumes, which stay behind then
    #[arg(long)]
    orphan_volume_data: bool,
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
            let mut request = DeleteBackupRequest::for_backup(backup);
            if self.orphan_volume_data {
                let annotation = (ORPHAN_VOLUME_DATA.to_owned(), "true".to_owned());
                request
                    .metadata
                    .annotations
                    .get_or_insert_default()
                    .extend([annotation]);
            }
            match requests.create(&request).await {
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
            let deleted = self.delete_in(&location, name).await;
            match deleted {
                Ok(()) => {
                    done += 1;
                    say(&format!("Backup {name:?} deleted."))?;
                }
                Err(error) => {
                    failures += 1;
                    exit::complain(&format!("error: {}", exit::chain(&error)));
                }
            }
        }
        Ok(select::outcome(done, failures))
    }

    /// Deletes one backup, unless that would orphan volume data.
    async fn delete_in(&self, location: &Location, name: &str) -> Result<()> {
        if !self.orphan_volume_data {
            const REMEDY: &str = "--orphan-volume-data deletes the backup all the same";
            let found = volume_data::find(location, name).await;
            let found = found.with_context(|| {
                format!("cannot tell whether backup {name:?} refers to volume data; {REMEDY}")
            })?;
            ensure!(
                found.is_empty(),
                "backup {name:?} refers to volume data, which nothing would refer to any more: {found}; delete it by \
                 Velero, which deletes the data too; {REMEDY} and leaves the data behind"
            );
        }
        // One that is half deleted has no description any more, but files; it is deleted too.
        match catalog::read_backup(location, name).await {
            Err(error) if matches!(error, refloat_engine::EngineError::BackupNotFound { .. }) => {
                catalog::delete_backup(location, name).await?;
                Err(error.into())
            }
            _ => Ok(catalog::delete_backup(location, name).await?),
        }
    }
}
