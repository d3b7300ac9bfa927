//! `backup pin` and `backup unpin`: whether a backup stays although its time is over or a policy does
//! not keep it.

use anyhow::Result;
use clap::Args;
use refloat_cluster::typed::Object as _;
use refloat_model::{Backup, labels};
use serde_json::json;

use crate::{
    exit::{self, Outcome},
    flags::SelectFlags,
    output::say,
    select,
    session::Session,
};

/// Flags of `backup pin` and `backup unpin`.
#[derive(Args, Clone, Debug)]
pub struct PinFlags {
    #[command(flatten)]
    select: SelectFlags,
}

impl PinFlags {
    /// Sets or removes the annotation.
    ///
    /// # Errors
    /// Where the server cannot be asked.
    pub async fn run(&self, session: &Session, pin: bool) -> Result<Outcome> {
        let cluster = session.cluster().await?;
        let backups = cluster.objects::<Backup>(&session.namespace);
        let selected = select::selected(&backups, &self.select).await?;
        if selected.objects.is_empty() {
            say("No backups found")?;
        }
        let what = if pin { "pinned" } else { "unpinned" };
        let value = pin.then_some("true");
        let patch = json!({ "metadata": { "annotations": { labels::PINNED: value } } });
        let (mut done, mut failures) = (0, selected.failures);
        for backup in &selected.objects {
            let name = backup.object_name();
            match backups.merge_patch(name, &patch).await {
                Ok(_) => {
                    done += 1;
                    say(&format!("Backup {name} {what}"))?;
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
