//! Opening a storage location: from its custom resource with the secrets that it names, or from a
//! URL without any cluster.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Secret, SecretKeySelector};
use refloat_cluster::Cluster;
use refloat_model::{
    BackupStorageLocation, GroupResource, ObjectName, layout, location::AccessMode, resource::ApiResource,
};
use refloat_store::{LocationConfig, ObjectStore, Store};

use crate::EngineError;

/// A place for backups that can be read, and written unless it is read-only. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Location {
    store: Arc<dyn ObjectStore>,
    name: String,
    read_only: bool,
}

impl Location {
    /// Opens the location of a custom resource: reads the secrets that it names, or where it names
    /// none the credentials file that the server was started with. Does not reach for the bucket
    /// yet; [`validate`](Self::validate) does.
    ///
    /// # Errors
    /// If a secret cannot be read or a setting is wrong.
    pub async fn open(
        cluster: &Cluster,
        bsl: &BackupStorageLocation,
        default_credential_file: Option<&Path>,
    ) -> Result<Self, EngineError> {
        let name = bsl.metadata.name.clone().unwrap_or_default();
        let namespace = bsl.metadata.namespace.clone().unwrap_or_default();
        let spec = &bsl.spec;
        let doing = format!("cannot open backup storage location {name:?}");
        let credential = match (&spec.credential, default_credential_file) {
            (Some(selector), _) => Some(secret_value(cluster, &namespace, selector, &doing).await?),
            (None, Some(path)) => Some(credential_file(path, &doing).await?),
            (None, None) => None,
        };
        let storage = &spec.object_storage;
        if storage.ca_cert.is_some() && storage.ca_cert_ref.is_some() {
            return Err(EngineError::Plan {
                doing,
                source: "spec.objectStorage has both caCert and caCertRef; remove one of them".into(),
            });
        }
        let ca_cert = match (&storage.ca_cert, &storage.ca_cert_ref) {
            (Some(bytes), _) => Some(bytes.0.clone()),
            (None, Some(selector)) => Some(secret_value(cluster, &namespace, selector, &doing).await?),
            (None, None) => None,
        };
        let read_only = spec.access_mode == Some(AccessMode::ReadOnly);
        let customer_key = customer_key(cluster, &namespace, &spec.config, &doing).await?;
        let config = LocationConfig {
            provider: spec.provider.clone(),
            bucket: storage.bucket.clone(),
            prefix: storage.prefix.clone(),
            ca_cert,
            config: spec.config.clone(),
            credential,
            customer_key,
            // A restore puts its log beside the backups even where backups may not be added; the
            // engine refuses the writes that `ReadOnly` is about.
            read_only: false,
            create: false,
        };
        let store = Store::open(&config)
            .await
            .map_err(|source| EngineError::store(doing, source))?;
        Ok(Self {
            store: Arc::new(store),
            name,
            read_only,
        })
    }

    /// Opens the location of a URL: `file:///backups`, `s3://bucket/prefix?region=…`. Credentials
    /// come from the environment, as the provider's own tools take them.
    ///
    /// # Errors
    /// If the URL or the environment is wrong.
    pub async fn from_url(url: &str) -> Result<Self, EngineError> {
        let doing = || "cannot open the storage given as a URL".to_owned();
        let config = LocationConfig::from_url(url).map_err(|source| EngineError::store(doing(), source))?;
        let store = Store::open(&config)
            .await
            .map_err(|source| EngineError::store(doing(), source))?;
        let name = store.display_name().to_owned();
        Ok(Self {
            store: Arc::new(store),
            name,
            read_only: config.read_only,
        })
    }

    /// A location over any store, for tests that need a fault in it.
    #[must_use]
    pub fn over(store: Arc<dyn ObjectStore>, name: &str) -> Self {
        Self {
            store,
            name: name.to_owned(),
            read_only: false,
        }
    }

    /// Whether the location can be reached and holds nothing but backups.
    ///
    /// # Errors
    /// If it cannot be listed, or has top-level folders that are not Velero's.
    pub async fn validate(&self) -> Result<(), EngineError> {
        let doing = || format!("cannot list backup storage location {:?}", self.name);
        let found = self
            .store
            .check()
            .await
            .map_err(|source| EngineError::store(doing(), source))?;
        let foreign: Vec<&str> = found
            .iter()
            .map(|prefix| prefix.trim_end_matches('/'))
            .filter(|prefix| !layout::TOP_LEVEL.contains(prefix))
            .collect();
        if foreign.is_empty() {
            return Ok(());
        }
        Err(EngineError::ForeignContent {
            location: self.name.clone(),
            found: foreign.join(" "),
        })
    }

    /// A URL that reads the object without credentials for the time `ttl`; `None` where the
    /// provider has no such thing. The URL is a secret until it expires.
    ///
    /// # Errors
    /// If it cannot be signed.
    pub async fn presign(&self, key: &str, ttl: Duration) -> Result<Option<String>, EngineError> {
        let doing = || format!("cannot sign a URL for {key}");
        let url = self.store.presign_get(key, ttl).await;
        Ok(url
            .map_err(|source| EngineError::store(doing(), source))?
            .map(|url| url.as_str().to_owned()))
    }

    /// The store itself.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The custom resource's name, or the URL without secrets.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether backups may be neither added nor deleted.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Refuses what a read-only location does not allow.
    ///
    /// # Errors
    /// [`EngineError::ReadOnly`].
    pub(crate) fn writable(&self) -> Result<(), EngineError> {
        if self.read_only {
            Err(EngineError::ReadOnly {
                location: self.name.clone(),
            })
        } else {
            Ok(())
        }
    }
}

/// The credentials file that the server was started with.
async fn credential_file(path: &Path, doing: &str) -> Result<Vec<u8>, EngineError> {
    tokio::fs::read(path).await.map_err(|error| EngineError::Plan {
        doing: doing.to_owned(),
        source: format!("the credentials file {} cannot be read: {error}", path.display()).into(),
    })
}

/// The value of a secret's key.
async fn secret_value(
    cluster: &Cluster,
    namespace: &str,
    selector: &SecretKeySelector,
    doing: &str,
) -> Result<Vec<u8>, EngineError> {
    let secrets = ApiResource {
        group_resource: GroupResource::new("secrets", ""),
        version: "v1".into(),
        kind: "Secret".into(),
        namespaced: true,
        aliases: Vec::new(),
        verbs: Vec::new(),
    };
    let name = ObjectName::new(namespace, selector.name.clone());
    let bytes = cluster
        .get(&secrets, &name)
        .await
        .map_err(|source| EngineError::cluster(doing, source))?;
    let secret: Secret = serde_json::from_slice(&bytes).map_err(|error| EngineError::Plan {
        doing: format!("{doing}: secret {name} is not a secret"),
        source: error.into(),
    })?;
    let value = secret
        .data
        .unwrap_or_default()
        .remove(&selector.key)
        .map(|bytes| bytes.0);
    value.ok_or_else(|| EngineError::Plan {
        doing: doing.to_owned(),
        source: format!(
            "secret {name} has no key {:?}; add it or correct spec.credential.key",
            selector.key
        )
        .into(),
    })
}

/// The customer's encryption key, which `customerKeyEncryptionSecret: name/key` names.
async fn customer_key(
    cluster: &Cluster,
    namespace: &str,
    config: &BTreeMap<String, String>,
    doing: &str,
) -> Result<Option<Vec<u8>>, EngineError> {
    // The setting stays: the provider goes by it, and takes the key beside it.
    let Some(reference) = config.get("customerKeyEncryptionSecret") else {
        return Ok(None);
    };
    let Some((name, key)) = reference.split_once('/') else {
        return Err(EngineError::Plan {
            doing: doing.to_owned(),
            source: "spec.config.customerKeyEncryptionSecret is not of the form <secret>/<key>".into(),
        });
    };
    let selector = SecretKeySelector {
        name: name.to_owned(),
        key: key.to_owned(),
        ..SecretKeySelector::default()
    };
    secret_value(cluster, namespace, &selector, doing).await.map(Some)
}
