//! Where the key that signs download links is kept: one Secret per installation, made at first use.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use refloat_cluster::Cluster;

use crate::{WebError, token::DownloadKey};

/// The Secret's name.
pub const SECRET: &str = "refloat-download-key";
/// The entry in it.
const ENTRY: &str = "key";

/// The installation's key. Replicas that start together agree on one: the first to create the
/// Secret wins.
///
/// # Errors
/// [`WebError::Key`] where the API server refuses, [`WebError::BadKey`] where the Secret holds
/// something else.
pub async fn load_or_create(cluster: &Cluster, namespace: &str) -> Result<DownloadKey, WebError> {
    if let Some(key) = load(cluster, namespace).await? {
        return Ok(key);
    }
    let key = DownloadKey::generate();
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(SECRET.to_owned()),
            labels: Some(BTreeMap::from([("component".to_owned(), "velero".to_owned())])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(
            ENTRY.to_owned(),
            ByteString(key.secret_bytes().to_vec()),
        )])),
        type_: Some("Opaque".to_owned()),
        ..Secret::default()
    };
    match cluster.objects::<Secret>(namespace).create(&secret).await {
        Ok(_) => Ok(key),
        // Another replica, or our own try whose answer was lost: what is there counts.
        Err(error) if error.is_already_exists() => {
            load(cluster, namespace).await?.ok_or_else(|| bad(namespace))
        }
        Err(error) => Err(WebError::Key(error)),
    }
}

async fn load(cluster: &Cluster, namespace: &str) -> Result<Option<DownloadKey>, WebError> {
    let secret = cluster
        .objects::<Secret>(namespace)
        .find(SECRET)
        .await
        .map_err(WebError::Key)?;
    let Some(secret) = secret else { return Ok(None) };
    let bytes = secret.data.and_then(|mut data| data.remove(ENTRY));
    let key = bytes.and_then(|ByteString(bytes)| DownloadKey::from_bytes(&bytes));
    key.map(Some).ok_or_else(|| bad(namespace))
}

fn bad(namespace: &str) -> WebError {
    WebError::BadKey {
        namespace: namespace.to_owned(),
        name: SECRET.to_owned(),
    }
}
