//! Locations as their custom resources describe them: the secrets that they name reach the store.

#[path = "peers/scene.rs"]
mod scene;

use anyhow::{Context, Result, ensure};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use refloat_engine::Location;
use refloat_model::BackupStorageLocation;
use refloat_testkit::velero::credentials_file;
use scene::{Scene, run};
use serde_json::json;

/// A location with a secret for credentials and one for the customer's key.
async fn encrypted(scene: &Scene, key: &[u8]) -> Result<Location> {
    let minio = scene.test.minio()?;
    let data = json!({
        "cloud": BASE64_STANDARD.encode(credentials_file(minio)),
        "key": BASE64_STANDARD.encode(key),
    });
    let name = format!("keys-{}", key.len());
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "data": data,
        "metadata": {"name": name, "namespace": scene.id}});
    scene.create(&secret.to_string()).await?;
    let location: BackupStorageLocation = serde_json::from_value(json!({
        "apiVersion": "velero.io/v1", "kind": "BackupStorageLocation",
        "metadata": {"name": "encrypted", "namespace": scene.id},
        "spec": {
            "provider": "aws", "objectStorage": {"bucket": scene.id},
            "credential": {"name": name, "key": "cloud"},
            "config": {
                "region": minio.region, "s3Url": minio.endpoint, "s3ForcePathStyle": "true",
                "customerKeyEncryptionSecret": format!("{name}/key"),
            },
        },
    }))?;
    Ok(Location::open(&scene.cluster, &location, None).await?)
}

#[test]
fn the_customers_key_goes_with_every_request() -> Result<()> {
    let scene = Scene::new("sse-c")?;
    scene.namespace(&scene.id)?;
    scene.test.create_bucket(&scene.id)?;
    run(async {
        let location = encrypted(&scene, &[7; 32]).await?;
        // S3 takes such keys over TLS only, and says so where it is sent one without.
        let refused = location
            .store()
            .put_once("backups/a", Bytes::from_static(b"x"))
            .await;
        let error = refused.err().context("it was stored without the key")?;
        let text = format!("{:#}", anyhow::Error::from(error));
        ensure!(text.contains("secure connection"), "{text}");
        let short = encrypted(&scene, &[7; 31]).await;
        let text = format!("{:#}", short.err().context("it was taken")?);
        ensure!(text.contains("31 bytes") && text.contains("exactly 32"), "{text}");
        Ok(())
    })
}

#[test]
fn a_credentials_file_that_cannot_be_read_is_named() -> Result<()> {
    let scene = Scene::new("no-file")?;
    let location: BackupStorageLocation = serde_json::from_value(json!({
        "apiVersion": "velero.io/v1", "kind": "BackupStorageLocation", "metadata": {"name": "x", "namespace": "velero"},
        "spec": {"provider": "aws", "objectStorage": {"bucket": "b"}},
    }))?;
    let file = std::path::Path::new("/nowhere/credentials");
    let error = run(Location::open(&scene.cluster, &location, Some(file)))
        .err()
        .context("it was opened")?;
    let text = format!("{:#}", anyhow::Error::from(error));
    ensure!(text.contains("/nowhere/credentials cannot be read"), "{text}");
    Ok(())
}
