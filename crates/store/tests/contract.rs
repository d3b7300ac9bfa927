//! The contract suite against memory and a folder, clean and with faults, and what is special about a folder.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use refloat_store::testing::contract::{contract, faults_in_turn, pattern};
use refloat_store::{LocationConfig, ObjectStore, Store, StoreError};

async fn memory() -> Arc<dyn ObjectStore> {
    let config = LocationConfig::from_url("memory://test/some/prefix").unwrap();
    Arc::new(Store::open(&config).await.unwrap())
}

async fn folder(path: &Path) -> Store {
    let config = LocationConfig::from_url(&format!("file://{}", path.display())).unwrap();
    Store::open(&config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    contract(memory().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract_with_faults() {
    faults_in_turn(memory().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_keeps_the_contract() {
    let temporary = tempfile::tempdir().unwrap();
    contract(Arc::new(folder(temporary.path()).await)).await;
    assert_eq!(
        std::fs::read_dir(temporary.path()).unwrap().count(),
        0,
        "no temporary file, no empty folder"
    );

    let config = LocationConfig {
        provider: "velero.io/filesystem".to_owned(),
        bucket: temporary.path().to_str().unwrap().to_owned(),
        prefix: "/a/prefix/".to_owned(),
        ..LocationConfig::default()
    };
    contract(Arc::new(Store::open(&config).await.unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_keeps_the_contract_with_faults() {
    let temporary = tempfile::tempdir().unwrap();
    faults_in_turn(Arc::new(folder(temporary.path()).await)).await;
    assert_eq!(
        std::fs::read_dir(temporary.path()).unwrap().count(),
        0,
        "no temporary file, no empty folder"
    );
}

#[tokio::test]
async fn a_file_is_whole_under_its_name_and_remains_of_a_crash_are_hidden() {
    let temporary = tempfile::tempdir().unwrap();
    let store = folder(temporary.path()).await;
    store
        .put_once("backups/b/velero-backup.json", pattern(100_000))
        .await
        .unwrap();
    let file = temporary.path().join("backups/b/velero-backup.json");
    assert_eq!(std::fs::read(&file).unwrap(), pattern(100_000));

    // As a killed process leaves them.
    std::fs::write(temporary.path().join("backups/b/.refloat-tmp-1"), b"half").unwrap();
    std::fs::create_dir(temporary.path().join("backups/c")).unwrap();
    std::fs::write(temporary.path().join("backups/c/.refloat-tmp-2"), b"half").unwrap();
    std::fs::create_dir(temporary.path().join("lost+found")).unwrap();
    assert_eq!(store.list_prefixes("backups/").await.unwrap(), ["backups/b/"]);
    assert_eq!(store.check().await.unwrap(), ["backups/"]);
    assert_eq!(store.delete_prefix("backups/b/").await.unwrap(), 1);
    assert!(
        !temporary.path().join("backups/b").exists(),
        "the remains are gone as well"
    );
}

#[tokio::test]
async fn a_vanished_mount_is_no_empty_location() {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join("mount");
    let store = folder(&path).await;
    store
        .put_once("backups/b/x", Bytes::from_static(b"x"))
        .await
        .unwrap();
    std::fs::rename(&path, temporary.path().join("elsewhere")).unwrap();
    for _ in 0..2 {
        for error in [
            store.check().await.unwrap_err(),
            store.head("backups/b/x").await.unwrap_err(),
            store.get("backups/b/x", 1).await.unwrap_err(),
            store.put_once("backups/b/y", Bytes::new()).await.unwrap_err(),
            store.delete_prefix("backups/").await.unwrap_err(),
        ] {
            assert!(matches!(error, StoreError::NoSuchBucket { .. }), "{error:?}");
        }
        // The empty folder below a mount point.
        std::fs::create_dir_all(&path).unwrap();
    }
}

#[tokio::test]
async fn a_read_only_location_refuses_every_write() {
    let temporary = tempfile::tempdir().unwrap();
    folder(temporary.path())
        .await
        .put_once("backups/b/x", Bytes::from_static(b"x"))
        .await
        .unwrap();
    let mut config = LocationConfig::from_url(&format!("file://{}", temporary.path().display())).unwrap();
    config.read_only = true;
    let store = Store::open(&config).await.unwrap();
    assert_eq!(store.get("backups/b/x", 1).await.unwrap(), "x");
    for error in [
        store.put_once("backups/b/y", Bytes::new()).await.unwrap_err(),
        store.put_stream("backups/b/y").await.err().unwrap(),
        store.delete("backups/b/x").await.unwrap_err(),
        store.delete_prefix("backups/").await.unwrap_err(),
    ] {
        assert!(
            matches!(error, StoreError::ReadOnly { .. }) && !error.is_retryable(),
            "{error:?}"
        );
        assert!(
            error.to_string().contains("set spec.accessMode to ReadWrite"),
            "{error}"
        );
    }
    assert_eq!(store.get("backups/b/x", 1).await.unwrap(), "x");
}
