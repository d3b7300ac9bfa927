//! `restore delete`: the object, and with it the restore's files in the bucket. What was restored stays.

use anyhow::Result;
use clap::Args;
use refloat_cluster::typed::Object as _;
use refloat_engine::{EngineError, catalog};
use refloat_model::Restore;

use crate::{
    exit::{self, Outcome},
    flags::{SelectFlags, StorageFlags},
    output::say,
    restore::local,
    select,
    session::{self, Session},
};

/// Flags of `restore delete`.
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
    /// Deletes restores.
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
        let restores = cluster.objects::<Restore>(&session.namespace);
        let selected = select::selected(&restores, &self.select).await?;
        let (mut done, mut failures) = (0, selected.failures);
        if selected.objects.is_empty() {
            say("No restores found")?;
        }
        for restore in &selected.objects {
            let name = restore.object_name();
            match restores.delete(name).await {
                Ok(()) => {
                    done += 1;
                    say(&format!(
                        "Request to delete restore {name:?} submitted successfully.\nThe restore will be fully deleted after \
                         all associated data (restore files in object storage) are removed."
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
            say("No restores found")?;
        }
        let (mut done, mut failures) = (0, 0);
        for name in &names {
            let deleted = match catalog::read_restore(&location, name).await {
                Err(error @ EngineError::RestoreNotFound { .. }) => {
                    catalog::delete_restore(&location, name).await.and(Err(error))
                }
                _ => catalog::delete_restore(&location, name).await,
            };
            match deleted {
                Ok(()) => {
                    done += 1;
                    say(&format!("Restore {name:?} deleted."))?;
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
