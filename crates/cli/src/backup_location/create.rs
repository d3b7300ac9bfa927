//! `backup-location create`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use refloat_model::{
    BackupStorageLocation, GoDuration,
    location::{AccessMode, BackupStorageLocationSpec, ObjectStorageLocation},
};

use super::{bundle, credential, get};
use crate::{
    exit::Outcome,
    flags::{Format, OutputFlags, Pairs, merged},
    output::{encode, say},
    session::Session,
};

/// Whether a location may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Access {
    /// Backups may be added and deleted.
    #[value(name = "ReadWrite")]
    ReadWrite,
    /// Only restores.
    #[value(name = "ReadOnly")]
    ReadOnly,
}

/// Flags of `backup-location create`.
#[derive(Args, Clone, Debug)]
pub struct CreateFlags {
    /// The location's name
    name: String,
    /// Who stores: aws, azure, gcp, alibabacloud, filesystem
    #[arg(long, value_name = "PROVIDER")]
    provider: String,
    /// The bucket (or folder, for filesystem)
    #[arg(long, value_name = "BUCKET")]
    bucket: String,
    /// In front of every key
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Settings of the provider
    #[arg(long, value_name = "KEY=VALUE,…")]
    config: Vec<Pairs>,
    /// The secret and the key in it that hold the credentials
    #[arg(long, value_name = "SECRET=KEY")]
    credential: Vec<Pairs>,
    /// A PEM bundle to trust when talking to the object store
    #[arg(long, value_name = "FILE")]
    cacert: Option<PathBuf>,
    /// Make it the location of backups that name none
    #[arg(long)]
    default: bool,
    /// Whether it may be written
    #[arg(long, value_enum, default_value = "ReadWrite", value_name = "MODE")]
    access_mode: Access,
    /// How often backups found in it become objects; 0s: never [default: 1m]
    #[arg(long, value_name = "DURATION")]
    backup_sync_period: Option<GoDuration>,
    /// How often it is probed; 0s: never [default: 1m]
    #[arg(long, value_name = "DURATION")]
    validation_frequency: Option<GoDuration>,
    /// Labels of the location
    #[arg(long, value_name = "KEY=VALUE,…")]
    labels: Vec<Pairs>,
    #[command(flatten)]
    output: OutputFlags,
}

impl CreateFlags {
    /// Creates the location.
    ///
    /// # Errors
    /// Why it could not be created.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        let location = self.location(session)?;
        if let Some(format) = self.output.output {
            let text = match format {
                Format::Table => get::table(session, std::slice::from_ref(&location)).render(&self.output),
                _ => encode::objects("BackupStorageLocation", &[location], format)?,
            };
            crate::output::print(&text)?;
            return Ok(Outcome::Done);
        }
        let cluster = session.cluster().await?;
        let locations = cluster.objects::<BackupStorageLocation>(&session.namespace);
        if self.default && locations.list(None).await?.iter().any(|other| other.spec.default) {
            bail!(
                "there is a default backup storage location already; unset it first (\"{} backup-location set NAME \
                 --default=false\") or leave out --default",
                session.program
            );
        }
        locations.create(&location).await?;
        say(&format!(
            "Backup storage location {:?} configured successfully.",
            self.name
        ))?;
        Ok(Outcome::Done)
    }

    fn location(&self, session: &Session) -> Result<BackupStorageLocation> {
        let spec = BackupStorageLocationSpec {
            provider: self.provider.clone(),
            config: merged(&self.config),
            credential: credential(&self.credential)?,
            object_storage: ObjectStorageLocation {
                bucket: self.bucket.clone(),
                prefix: self.prefix.clone().unwrap_or_default(),
                ca_cert: bundle(self.cacert.as_deref())?,
                ca_cert_ref: None,
            },
            default: self.default,
            access_mode: Some(match self.access_mode {
                Access::ReadWrite => AccessMode::ReadWrite,
                Access::ReadOnly => AccessMode::ReadOnly,
            }),
            backup_sync_period: self.backup_sync_period,
            validation_frequency: self.validation_frequency,
        };
        let mut location = BackupStorageLocation::new(&self.name, spec);
        location.metadata.namespace = Some(session.namespace.clone());
        location.metadata.labels = Some(merged(&self.labels)).filter(|labels| !labels.is_empty());
        Ok(location)
    }
}
