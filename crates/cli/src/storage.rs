//! Where a backup is: in the storage of `--storage`, or in the storage location that the server's
//! custom resources name. The program reads the bucket itself in both cases.

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::SecretKeySelector;
use refloat_cluster::{Cluster, typed::Object as _};
use refloat_engine::{Location, catalog};
use refloat_model::{Backup, BackupStorageLocation};

use crate::session::Session;

/// The secret that `velero install` makes, and the key in it: for locations that name none.
const DEFAULT_SECRET: (&str, &str) = ("cloud-credentials", "cloud");

/// A backup and the place where it is.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The place.
    pub location: Location,
    /// What `velero-backup.json` holds.
    pub backup: Backup,
}

/// Finds a backup.
///
/// # Errors
/// Where there is none of that name, or its storage cannot be read.
pub async fn find(session: &Session, storage: Option<&str>, name: &str) -> Result<Stored> {
    if let Some(url) = storage {
        let location = Session::location(url).await?;
        let backup = catalog::read_backup(&location, name).await?;
        return Ok(Stored { location, backup });
    }
    let cluster = session.cluster().await?;
    let known = cluster.objects::<Backup>(&session.namespace).find(name).await?;
    let Some(known) = known else {
        bail!(
            "backup {name:?} does not exist in namespace {}; `{} backup get` lists those that do",
            session.namespace,
            session.program
        );
    };
    let location = open(session, &cluster, &known.spec.storage_location).await?;
    let backup = catalog::read_backup(&location, name).await?;
    Ok(Stored { location, backup })
}

/// Opens one of the server's storage locations.
///
/// # Errors
/// Where there is none of that name, or it cannot be used from here.
pub async fn open(session: &Session, cluster: &Cluster, name: &str) -> Result<Location> {
    let namespace = &session.namespace;
    let found = cluster
        .objects::<BackupStorageLocation>(namespace)
        .find(name)
        .await?;
    let Some(mut resource) = found else {
        bail!(
            "backup storage location {name:?} does not exist in namespace {namespace}; `{} backup-location get` lists \
             those that do",
            session.program
        );
    };
    if resource.spec.credential.is_none() {
        let (secret, key) = DEFAULT_SECRET;
        // Without leave to read it, the environment of this program has to do.
        let there = cluster.secret_value(namespace, secret, key).await;
        if matches!(there, Ok(Some(_))) {
            resource.spec.credential = Some(SecretKeySelector {
                name: secret.to_owned(),
                key: key.to_owned(),
                ..SecretKeySelector::default()
            });
        }
    }
    Location::open(cluster, &resource, None).await.with_context(|| {
        format!(
            "cannot use backup storage location {:?} from here; --storage with a URL names the same place by another way",
            resource.object_name()
        )
    })
}

/// All places to look for backups in: the one of `--storage`, the one that is named, or all of the
/// server's.
///
/// # Errors
/// Where one cannot be used.
pub async fn all(session: &Session, storage: Option<&str>, named: Option<&str>) -> Result<Vec<Location>> {
    if let Some(url) = storage {
        return Ok(vec![Session::location(url).await?]);
    }
    let cluster = session.cluster().await?;
    let names = match named {
        Some(name) => vec![name.to_owned()],
        None => cluster
            .objects::<BackupStorageLocation>(&session.namespace)
            .list(None)
            .await?
            .into_iter()
            .map(|location| location.object_name().to_owned())
            .collect(),
    };
    if names.is_empty() {
        bail!(
            "there is no backup storage location in namespace {}; `{} backup-location create` makes one, --storage names \
             a place without a server",
            session.namespace,
            session.program
        );
    }
    let mut opened = Vec::with_capacity(names.len());
    for name in &names {
        opened.push(open(session, &cluster, name).await?);
    }
    Ok(opened)
}
