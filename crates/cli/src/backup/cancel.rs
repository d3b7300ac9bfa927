//! `backup cancel`: asks the server to stop.

use anyhow::Result;
use clap::Args;
use refloat_model::Backup;

use crate::{
    cancel::{self, NamesFlags},
    exit::Outcome,
    session::Session,
};

/// Flags of `backup cancel`.
#[derive(Args, Clone, Debug)]
pub struct CancelFlags {
    #[command(flatten)]
    names: NamesFlags,
}

impl CancelFlags {
    /// Asks for it.
    ///
    /// # Errors
    /// Where the server cannot be asked.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        let cluster = session.cluster().await?;
        let objects = cluster.objects::<Backup>(&session.namespace);
        let phase = |object: &Backup| {
            let phase = object
                .status
                .as_ref()
                .map(|status| status.phase)
                .unwrap_or_default();
            (format!("{phase:?}"), phase.is_final())
        };
        cancel::request(&cluster, &objects, &self.names, phase).await
    }
}
