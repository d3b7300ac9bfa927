//! Memory while large objects go up and down: alone in its process, so that the peak is its own.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Instant;

use bytes::Bytes;
use futures::TryStreamExt;
use refloat_store::{LocationConfig, ObjectStore, Store};
use refloat_testkit::minio::{Speaks, StandaloneMinio};

const MIB: u64 = 1 << 20;

/// The peak of resident memory so far, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn large_objects_need_little_memory() {
    let minio = tokio::task::spawn_blocking(|| StandaloneMinio::start(Speaks::Http))
        .await
        .unwrap()
        .unwrap();
    let server = minio.server.clone();
    tokio::task::spawn_blocking(move || server.create_bucket("memory", false))
        .await
        .unwrap()
        .unwrap();
    let server = &minio.server;
    let mut config = LocationConfig::from_url(&format!("s3://memory?s3Url={}", server.endpoint)).unwrap();
    config.credential = Some(
        format!(
            "[default]\naws_access_key_id={}\naws_secret_access_key={}\n",
            server.access_key, server.secret_key
        )
        .into_bytes(),
    );
    let folder = tempfile::tempdir().unwrap();
    let disk = LocationConfig::from_url(&format!("file://{}", folder.path().display())).unwrap();
    for config in [config, disk] {
        let store = Store::open(&config).await.unwrap();
        let (before, size) = (peak(), 400 * MIB);
        let started = Instant::now();
        let mut writer = store.put_stream("large").await.unwrap();
        let piece = Bytes::from(vec![7; 1 << 20]);
        for _ in 0..size / MIB {
            writer.write(Bytes::copy_from_slice(&piece)).await.unwrap();
        }
        assert_eq!(writer.finish().await.unwrap(), size);
        let up = started.elapsed();
        let mut stream = store.get_stream("large", None).await.unwrap();
        let mut read = 0;
        while let Some(bytes) = stream.try_next().await.unwrap() {
            read += bytes.len() as u64;
        }
        assert_eq!(read, size);
        let (down, grown) = (started.elapsed() - up, peak() - before);
        println!(
            "{}: up {up:?}, down {down:?}, {} MiB more at the peak",
            store.display_name(),
            grown / MIB
        );
        assert!(grown < 48 * MIB, "{} MiB", grown / MIB);
    }
}
