//! `backup-location set`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use refloat_cluster::typed::Object as _;
use refloat_model::BackupStorageLocation;
use serde_json::{Map, Value, json};

use super::{bundle, credential};
use crate::{exit::Outcome, flags::Pairs, output::say, session::Session};

/// Flags of `backup-location set`.
#[derive(Args, Clone, Debug)]
pub struct SetFlags {
    /// The location
    name: String,
    /// Whether it is the location of backups that name none
    #[arg(long)]
    default: Option<bool>,
    /// The secret and the key in it that hold the credentials
    #[arg(long, value_name = "SECRET=KEY")]
    credential: Vec<Pairs>,
    /// A PEM bundle to trust when talking to the object store
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
}

impl SetFlags {
    /// Changes the location. Unlike Velero's, this changes only what is asked for: leaving out
    /// `--cacert` does not remove the certificates.
    ///
    /// # Errors
    /// Where there is no such location, or another one is the default.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        let cluster = session.cluster().await?;
        let locations = cluster.objects::<BackupStorageLocation>(&session.namespace);
        locations.get(&self.name).await?;
        let mut spec = Map::new();
        if let Some(default) = self.default {
            let defaults = locations
                .list(None)
                .await?
                .into_iter()
                .filter(|location| location.spec.default);
            let names: Vec<_> = defaults
                .map(|location| location.object_name().to_owned())
                .collect();
            if default && names == [self.name.clone()] {
                say(&format!(
                    "Backup storage location {:?} is already the default backup storage location.",
                    self.name
                ))?;
                return Ok(Outcome::Done);
            }
            if default && !names.is_empty() {
                bail!(
                    "{} is the default backup storage location; unset it first: \"{} backup-location set {} --default=false\"",
                    names.join(", "),
                    session.program,
                    names[0]
                );
            }
            spec.insert("default".into(), default.into());
        }
        if let Some(selector) = credential(&self.credential)? {
            spec.insert("credential".into(), serde_json::to_value(selector)?);
        }
        if let Some(bundle) = bundle(self.cacert.as_deref())? {
            spec.insert("objectStorage".into(), json!({ "caCert": bundle }));
        }
        locations
            .merge_patch(&self.name, &json!({ "spec": Value::Object(spec) }))
            .await?;
        say(&format!(
            "Backup storage location {:?} configured successfully.",
            self.name
        ))?;
        Ok(Outcome::Done)
    }
}
