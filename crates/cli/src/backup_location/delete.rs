//! `backup-location delete`: the location, and the objects that stand for what is in its bucket. The
//! bucket itself stays as it is.

use anyhow::Result;
use clap::Args;
use refloat_cluster::{
    Cluster,
    typed::{Object, Objects},
};
use refloat_model::{
    Backup, BackupStorageLocation,
    labels::{STORAGE_LOCATION, label_value},
    repository::BackupRepository,
};

use crate::{
    exit::{self, Outcome},
    flags::SelectFlags,
    output::say,
    select,
    session::{self, Session},
};

/// Flags of `backup-location delete`.
#[derive(Args, Clone, Debug)]
pub struct DeleteFlags {
    #[command(flatten)]
    select: SelectFlags,
    /// Do not ask
    #[arg(long)]
    confirm: bool,
}

impl DeleteFlags {
    /// Deletes locations.
    ///
    /// # Errors
    /// Where the server cannot be asked.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        if !self.confirm && !session::confirmed("")? {
            return Ok(Outcome::Done);
        }
        let cluster = session.cluster().await?;
        let locations = cluster.objects::<BackupStorageLocation>(&session.namespace);
        let selected = select::selected(&locations, &self.select).await?;
        if selected.objects.is_empty() {
            say("No backup-locations found")?;
        }
        let (mut done, mut failures) = (0, selected.failures);
        for location in &selected.objects {
            match delete(&cluster, &session.namespace, location.object_name()).await {
                Ok(()) => done += 1,
                Err(error) => {
                    failures += 1;
                    exit::complain(&format!("error: {}", exit::chain(&error)));
                }
            }
        }
        Ok(select::outcome(done, failures))
    }
}

async fn delete(cluster: &Cluster, namespace: &str, name: &str) -> Result<()> {
    cluster
        .objects::<BackupStorageLocation>(namespace)
        .delete(name)
        .await?;
    say(&format!("Backup storage location {name:?} deleted successfully."))?;
    remove_all(&cluster.objects::<Backup>(namespace), name, "Backup").await?;
    remove_all(
        &cluster.objects::<BackupRepository>(namespace),
        name,
        "Backup repository",
    )
    .await
}

async fn remove_all<K: Object>(objects: &Objects<K>, location: &str, what: &str) -> Result<()> {
    let selector = format!("{STORAGE_LOCATION}={}", label_value(location));
    for object in objects.list(Some(&selector)).await? {
        objects.delete(object.object_name()).await?;
        say(&format!(
            "{what} associated with deleted BSL(s) {:?} deleted successfully.",
            object.object_name()
        ))?;
    }
    Ok(())
}
