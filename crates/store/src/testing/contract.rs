//! What [`ObjectStore`] promises, as a suite that every store passes. It panics where a promise is broken.
#![expect(clippy::unwrap_used, reason = "a suite for tests: a panic is how it fails")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::faults::{Fault, FaultKind, FaultStore};
use crate::{ObjectStore, StoreError};

const MIB: usize = 1 << 20;

/// Runs the whole suite below the prefix `contract/`, which must be empty, and leaves it empty.
pub async fn contract(store: Arc<dyn ObjectStore>) {
    one_piece(&*store).await;
    odd_keys(&*store).await;
    written_once(&store).await;
    in_parts(&*store).await;
    unfinished_is_invisible(&store).await;
    ranges(&*store).await;
    listing(&*store).await;
    signed_urls(&*store).await;
    wrong_keys(&*store).await;
    assert_eq!(
        list(&*store, "contract/").await,
        BTreeSet::new(),
        "the suite cleans up"
    );
    assert_eq!(
        prefixes(&*store, "").await.get("contract/"),
        None,
        "no empty prefix stays"
    );
}

/// `len` bytes that differ at every place a part or a page could be mixed up.
pub fn pattern(len: usize) -> Bytes {
    let mut data = vec![0; len];
    let mut word = 0_u64;
    for chunk in data.chunks_mut(8) {
        word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
        chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
    }
    data.into()
}

async fn list(store: &dyn ObjectStore, prefix: &str) -> BTreeSet<String> {
    store
        .list(prefix)
        .map_ok(|entry| entry.key)
        .try_collect()
        .await
        .unwrap()
}

/// The prefixes that have objects. MinIO also names those in which all objects of a versioned bucket are deleted.
async fn prefixes(store: &dyn ObjectStore, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for below in store.list_prefixes(prefix).await.unwrap() {
        if store.list(&below).try_next().await.unwrap().is_some() {
            found.insert(below);
        }
    }
    found
}

async fn collect(store: &dyn ObjectStore, key: &str, range: Option<std::ops::Range<u64>>) -> Bytes {
    let mut stream = store.get_stream(key, range).await.unwrap();
    let (length, mut all) = (stream.range.end - stream.range.start, BytesMut::new());
    while let Some(bytes) = stream.try_next().await.unwrap() {
        all.extend_from_slice(&bytes);
    }
    assert_eq!(all.len() as u64, length, "the stream is as long as announced");
    all.freeze()
}

async fn one_piece(store: &dyn ObjectStore) {
    let key = "contract/one/object";
    assert!(store.get(key, 10).await.unwrap_err().is_not_found());
    assert!(store.get_stream(key, None).await.unwrap_err().is_not_found());
    assert!(store.head(key).await.unwrap_err().is_not_found());
    assert!(!store.exists(key).await.unwrap());
    store
        .delete(key)
        .await
        .expect("deleting what is not there is no error");

    store.put_once(key, Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(store.get(key, 5).await.unwrap(), "hello");
    let error = store.get(key, 4).await.unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::TooLarge {
                size: 5,
                limit: 4,
                ..
            }
        ),
        "{error:?}"
    );
    let entry = store.head(key).await.unwrap();
    assert_eq!((entry.key.as_str(), entry.size), (key, 5));
    assert!(
        store.head("contract/one").await.unwrap_err().is_not_found(),
        "a prefix is no object"
    );
    assert!(
        store.get("contract/one", 10).await.unwrap_err().is_not_found(),
        "a prefix is no object"
    );

    store.put_once("contract/one/empty", Bytes::new()).await.unwrap();
    assert_eq!(store.get("contract/one/empty", 0).await.unwrap(), "");
    assert_eq!(collect(store, "contract/one/empty", Some(0..10)).await, "");
    let writer = store.put_stream("contract/one/empty-stream").await.unwrap();
    assert_eq!(writer.finish().await.unwrap(), 0);
    assert_eq!(store.head("contract/one/empty-stream").await.unwrap().size, 0);

    store.delete(key).await.unwrap();
    assert!(!store.exists(key).await.unwrap());
    assert_eq!(store.delete_prefix("contract/one/").await.unwrap(), 2);
    assert_eq!(store.delete_prefix("contract/one/").await.unwrap(), 0);
}

async fn odd_keys(store: &dyn ObjectStore) {
    let names = [
        "sp ace",
        "plus+",
        "per%20cent",
        "%",
        "ünïcödé-日本-🦀",
        "a=b&c?d#e",
        "~!@$^*()[]{}|;:',<>`\"",
        "dots..",
        "-x",
    ];
    for (i, name) in names.iter().enumerate() {
        let key = format!("contract/odd/{name}/{name}");
        store
            .put_once(&key, Bytes::from(i.to_string()))
            .await
            .unwrap_or_else(|e| panic!("{key}: {e:?}"));
    }
    let expected: BTreeSet<_> = names
        .iter()
        .map(|name| format!("contract/odd/{name}/{name}"))
        .collect();
    assert_eq!(list(store, "contract/odd/").await, expected);
    let folders: BTreeSet<_> = names.iter().map(|name| format!("contract/odd/{name}/")).collect();
    assert_eq!(prefixes(store, "contract/odd/").await, folders);
    for (i, name) in names.iter().enumerate() {
        let key = format!("contract/odd/{name}/{name}");
        assert_eq!(store.get(&key, 10).await.unwrap(), i.to_string(), "{key}");
        store.delete(&key).await.unwrap();
        assert!(!store.exists(&key).await.unwrap(), "{key}");
    }
}

async fn written_once(store: &Arc<dyn ObjectStore>) {
    let key = "contract/once/object";
    store.put_once(key, Bytes::from_static(b"first")).await.unwrap();
    let error = store
        .put_once(key, Bytes::from_static(b"second"))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error:?}");
    let second = async {
        let mut writer = store.put_stream(key).await?;
        writer.write(Bytes::from_static(b"third")).await?;
        writer.finish().await
    };
    let error = second.await.unwrap_err();
    assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error:?}");
    assert_eq!(store.get(key, 10).await.unwrap(), "first");

    for round in 0..3 {
        let key = format!("contract/once/race-{round}");
        let tries = stream::iter(0..8).map(|i| {
            let (store, key) = (Arc::clone(store), key.clone());
            async move { (i, store.put_once(&key, Bytes::from(format!("by {i}"))).await) }
        });
        let results: Vec<_> = tries.buffer_unordered(8).collect().await;
        let winners: Vec<_> = results
            .iter()
            .filter(|(_, result)| result.is_ok())
            .map(|(i, _)| *i)
            .collect();
        assert_eq!(winners.len(), 1, "exactly one wins: {results:?}");
        for (_, result) in results {
            assert!(
                matches!(result, Ok(()) | Err(StoreError::AlreadyExists { .. })),
                "{result:?}"
            );
        }
        assert_eq!(store.get(&key, 10).await.unwrap(), format!("by {}", winners[0]));
    }
    // Two streams to one key: both begin, one ends well.
    let key = "contract/once/streams";
    let mut writers = Vec::new();
    for _ in 0..2 {
        let mut writer = store.put_stream(key).await.unwrap();
        writer.write(pattern(6 * MIB)).await.unwrap();
        writers.push(writer);
    }
    let mut ended = Vec::new();
    for writer in writers {
        ended.push(writer.finish().await);
    }
    assert!(
        matches!(&ended[..], [Ok(_), Err(StoreError::AlreadyExists { .. })]),
        "{ended:?}"
    );
    assert_eq!(store.get(key, 6 << 20).await.unwrap(), pattern(6 * MIB));
    store.delete_prefix("contract/once/").await.unwrap();
}

async fn in_parts(store: &dyn ObjectStore) {
    let data = pattern(17 * MIB + 12345);
    for (key, step) in [
        ("contract/parts/large-steps", 3 * MIB + 1),
        ("contract/parts/small-steps", 10_007),
    ] {
        let mut writer = store.put_stream(key).await.unwrap();
        for piece in data.chunks(step) {
            writer.write(data.slice_ref(piece)).await.unwrap();
        }
        assert_eq!(writer.finish().await.unwrap(), data.len() as u64);
        assert!(
            collect(store, key, None).await == data,
            "{key} comes back as it was"
        );
    }
    store
        .put_once("contract/parts/at-once", data.clone())
        .await
        .unwrap();
    assert!(
        store
            .get("contract/parts/at-once", data.len() as u64)
            .await
            .unwrap()
            == data
    );
    assert_eq!(store.delete_prefix("contract/parts/").await.unwrap(), 3);
}

async fn unfinished_is_invisible(store: &Arc<dyn ObjectStore>) {
    let data = pattern(12 * MIB);
    for end in ["abort", "drop", "cancel"] {
        let key = format!("contract/unfinished/{end}");
        let mut writer = store.put_stream(&key).await.unwrap();
        writer.write(data.clone()).await.unwrap();
        assert!(
            !store.exists(&key).await.unwrap(),
            "nothing is visible before the end"
        );
        assert_eq!(list(&**store, "contract/unfinished/").await, BTreeSet::new());
        assert_eq!(prefixes(&**store, "contract/").await, BTreeSet::new());
        match end {
            "abort" => writer.abort().await.unwrap(),
            "drop" => drop(writer),
            _ => {
                // Cancelled in the middle: it cannot be finished as if nothing had happened.
                let cancelled = tokio::time::timeout(Duration::ZERO, writer.write(data.clone())).await;
                if cancelled.is_err() {
                    assert!(writer.finish().await.is_err(), "bytes would be missing");
                }
            }
        }
        assert!(!store.exists(&key).await.unwrap(), "{end}");
        store
            .put_once(&key, Bytes::from_static(b"free"))
            .await
            .expect("the key is still free");
        store.delete(&key).await.unwrap();
    }
}

async fn ranges(store: &dyn ObjectStore) {
    let key = "contract/range";
    let data = pattern(6 * MIB + 3);
    let size = data.len() as u64;
    store.put_once(key, data.clone()).await.unwrap();
    for range in [
        0..1,
        5..9,
        0..size,
        size - 1..size,
        MIB as u64..5 * MIB as u64,
        size - 2..size + 100,
    ] {
        let (from, to) = (
            usize::try_from(range.start).unwrap(),
            usize::try_from(range.end.min(size)).unwrap(),
        );
        let stream = store.get_stream(key, Some(range.clone())).await.unwrap();
        assert_eq!(
            (stream.size, stream.range.clone()),
            (size, range.start..range.end.min(size))
        );
        drop(stream);
        assert!(
            collect(store, key, Some(range.clone())).await == data[from..to],
            "{range:?}"
        );
    }
    for range in [size..size + 1, size + 10..size + 20, 7..7] {
        assert_eq!(collect(store, key, Some(range.clone())).await, "", "{range:?}");
    }
    store.delete(key).await.unwrap();
}

async fn listing(store: &dyn ObjectStore) {
    // More than one page of any service.
    let keys: BTreeSet<String> = (0..1100)
        .map(|i| format!("contract/list/{}/{i:05}", i % 7))
        .collect();
    stream::iter(&keys)
        .map(|key| store.put_once(key, Bytes::from_static(b"x")))
        .buffer_unordered(16)
        .try_collect::<()>()
        .await
        .unwrap();
    let mut entries: Vec<_> = store
        .list("contract/list/")
        .try_collect::<Vec<_>>()
        .await
        .unwrap();
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(
        entries
            .iter()
            .map(|entry| entry.key.clone())
            .collect::<BTreeSet<_>>(),
        keys
    );
    assert_eq!(entries.len(), keys.len(), "nothing is listed twice");
    assert!(entries.iter().all(|entry| entry.size == 1));
    let folders: Vec<String> = (0..7).map(|i| format!("contract/list/{i}/")).collect();
    assert_eq!(store.list_prefixes("contract/list/").await.unwrap(), folders);
    assert_eq!(
        prefixes(store, "contract/").await,
        ["contract/list/".to_owned()].into()
    );
    assert!(store.check().await.unwrap().contains(&"contract/".to_owned()));
    let some = list(store, "contract/list/3/0000").await;
    assert_eq!(
        some,
        ["contract/list/3/00003".to_owned()].into(),
        "a prefix need not end at a slash"
    );
    assert_eq!(list(store, "contract/lis").await.len(), 1100);
    assert_eq!(list(store, "contract/nothing/").await, BTreeSet::new());
    assert_eq!(
        store.list_prefixes("contract/nothing/").await.unwrap(),
        Vec::<String>::new()
    );
    assert_eq!(store.delete_prefix("contract/list/").await.unwrap(), 1100);
}

async fn signed_urls(store: &dyn ObjectStore) {
    let key = "contract/signed/a b+c%.txt";
    store.put_once(key, Bytes::from_static(b"signed")).await.unwrap();
    if let Some(url) = store.presign_get(key, Duration::from_mins(10)).await.unwrap() {
        assert!(url.as_str().starts_with("http"));
        assert!(!format!("{url:?}").contains("ignature="), "Debug hides it");
    }
    store.delete(key).await.unwrap();
}

async fn wrong_keys(store: &dyn ObjectStore) {
    for key in [
        "",
        "/contract",
        "contract/",
        "contract//x",
        "contract/../x",
        "contract/\n",
        " contract",
    ] {
        let refused = [
            store.put_once(key, Bytes::new()).await.err(),
            store.put_stream(key).await.err(),
            store.get(key, 1).await.err(),
            store.head(key).await.err(),
            store.delete(key).await.err(),
        ];
        for error in refused {
            assert!(
                matches!(error, Some(StoreError::BadKey { .. })),
                "{key:?}: {error:?}"
            );
        }
    }
}

/// Lets every call of a small piece of work fail in turn, in every way, and checks that the work either ends
/// well or says so, does not hang, and leaves only whole objects.
pub async fn faults_in_turn(store: Arc<dyn ObjectStore>) {
    let counting = FaultStore::new(Arc::clone(&store), None);
    work(&counting, "contract/faults-none", &pattern(11 * MIB))
        .await
        .unwrap();
    let calls = counting.calls();
    assert!(calls > 8, "{calls}");
    let large = pattern(11 * MIB);
    for kind in FaultKind::ALL {
        for at in 1..=calls {
            let prefix = format!("contract/faults-{kind:?}-{at}");
            let faulty = FaultStore::new(
                Arc::clone(&store),
                Some(Fault {
                    at,
                    kind,
                    lasting: false,
                }),
            );
            let result = tokio::time::timeout(Duration::from_mins(1), work(&faulty, &prefix, &large))
                .await
                .expect("no hang");
            assert!(faulty.fired(), "call {at} was made");
            match (kind, result) {
                (FaultKind::Slow, result) => result.unwrap(),
                (_, Ok(())) => panic!("{kind:?} at call {at} went unnoticed"),
                (FaultKind::ErrorPermanent, Err(e)) => assert!(!e.is_retryable(), "{e:?}"),
                (_, Err(e)) => assert!(e.is_retryable(), "{e:?}"),
            }
            let entries: Vec<_> = store.list(&format!("{prefix}/")).try_collect().await.unwrap();
            for entry in entries {
                let expected = if entry.key.ends_with("/large") {
                    large.clone()
                } else {
                    Bytes::from_static(b"small")
                };
                assert!(
                    store.get(&entry.key, 11 << 20).await.unwrap() == expected,
                    "{} is whole",
                    entry.key
                );
            }
            store.delete_prefix(&format!("{prefix}/")).await.unwrap();
        }
    }
    store.delete_prefix("contract/faults-none/").await.unwrap();
    assert_eq!(list(&*store, "contract/").await, BTreeSet::new());
}

async fn work(store: &dyn ObjectStore, prefix: &str, data: &Bytes) -> Result<(), StoreError> {
    let (small, large) = (format!("{prefix}/small"), format!("{prefix}/large"));
    store.put_once(&small, Bytes::from_static(b"small")).await?;
    let mut writer = store.put_stream(&large).await?;
    writer.write(data.slice(..6 * MIB)).await?;
    writer.write(data.slice(6 * MIB..)).await?;
    writer.finish().await?;
    assert_eq!(store.get(&small, 10).await?, "small");
    let mut read = BytesMut::new();
    let mut stream = store.get_stream(&large, None).await?;
    while let Some(bytes) = stream.try_next().await? {
        read.extend_from_slice(&bytes);
    }
    assert!(read == *data, "no error, so every byte");
    assert_eq!(
        store
            .list(&format!("{prefix}/"))
            .try_collect::<Vec<_>>()
            .await?
            .len(),
        2
    );
    assert_eq!(
        store.list_prefixes(&format!("{prefix}/")).await?,
        Vec::<String>::new()
    );
    store.head(&large).await?;
    store.presign_get(&small, Duration::from_mins(1)).await?;
    Ok(())
}
