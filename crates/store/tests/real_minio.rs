//! The store against a real S3 server.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use refloat_store::testing::contract::{contract, faults_in_turn, pattern};
use refloat_store::testing::{HttpFault, HttpFaults};
use refloat_store::{LocationConfig, ObjectStore, Store, StoreError, Tuning};
use refloat_testkit::minio::{KMS_KEY, Speaks, StandaloneMinio};
use tokio::sync::Mutex;

/// One server for the tests that run at the same time; it ends with the last of them.
async fn minio() -> Arc<StandaloneMinio> {
    static SHARED: OnceLock<Mutex<Weak<StandaloneMinio>>> = OnceLock::new();
    let mut shared = SHARED.get_or_init(Mutex::default).lock().await;
    if let Some(running) = shared.upgrade() {
        return running;
    }
    let started = start(Speaks::Http).await;
    *shared = Arc::downgrade(&started);
    started
}

async fn start(speaks: Speaks) -> Arc<StandaloneMinio> {
    let starting = tokio::task::spawn_blocking(move || StandaloneMinio::start(speaks));
    Arc::new(starting.await.unwrap().unwrap())
}

fn location(minio: &StandaloneMinio, bucket: &str) -> LocationConfig {
    let server = &minio.server;
    LocationConfig {
        provider: "velero.io/aws".to_owned(),
        bucket: bucket.to_owned(),
        prefix: "cluster-1".to_owned(),
        config: [
            ("region", "us-east-1"),
            ("s3Url", &server.endpoint),
            ("s3ForcePathStyle", "true"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into(),
        credential: Some(
            format!(
                "[default]\naws_access_key_id={}\naws_secret_access_key={}\n",
                server.access_key, server.secret_key
            )
            .into_bytes(),
        ),
        ca_cert: server.ca.as_ref().map(|path| std::fs::read(path).unwrap()),
        ..LocationConfig::default()
    }
}

async fn with_bucket(
    minio: &Arc<StandaloneMinio>,
    bucket: &'static str,
    object_lock: bool,
) -> LocationConfig {
    let server = Arc::clone(minio);
    tokio::task::spawn_blocking(move || server.server.create_bucket(bucket, object_lock))
        .await
        .unwrap()
        .unwrap();
    location(minio, bucket)
}

async fn request(minio: &Arc<StandaloneMinio>, path: &'static str, query: &'static str) -> String {
    let server = Arc::clone(minio);
    let asking = tokio::task::spawn_blocking(move || server.server.request("GET", path, query, &[], b""));
    String::from_utf8(asking.await.unwrap().unwrap().body).unwrap()
}

/// The name of a case, its settings, and a header that its objects have.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

/// Quick retries, and parts as small as S3 takes them.
fn quick() -> Tuning {
    Tuning {
        min_delay: Duration::from_millis(5),
        max_delay: Duration::from_millis(50),
        ..Tuning::default()
    }
}

async fn open(config: &LocationConfig) -> Store {
    Store::open_with(config, quick()).await.unwrap()
}

fn full_text(error: &StoreError) -> String {
    let source = error
        .source()
        .map_or(String::new(), |source| format!(": {source}"));
    format!("{error}{source}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_is_kept() {
    let minio = minio().await;
    let config = with_bucket(&minio, "contract", false).await;
    contract(Arc::new(open(&config).await)).await;
    let root = LocationConfig {
        prefix: String::new(),
        ..config
    };
    contract(Arc::new(open(&root).await)).await;
    let uploads = request(&minio, "/contract", "uploads=").await;
    assert!(
        !uploads.contains("<UploadId>"),
        "no unfinished upload stays: {uploads}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_is_kept_when_every_few_requests_one_fails() {
    let minio = minio().await;
    let config = with_bucket(&minio, "flaky", false).await;
    for every in [5, 7, 11] {
        let faults = Arc::new(HttpFaults::every(every));
        let tuning = Tuning {
            http_faults: Some(Arc::clone(&faults)),
            attempts: 8,
            ..quick()
        };
        contract(Arc::new(Store::open_with(&config, tuning).await.unwrap())).await;
        assert!(faults.requests() > 2000, "{}", faults.requests());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_of_an_upload_and_a_download_may_fail_once() {
    let minio = minio().await;
    let config = with_bucket(&minio, "in-turn", false).await;
    // Two parts, the second one short.
    let data = pattern((5 << 20) + 1000);
    for fault in HttpFault::ALL {
        for at in 1.. {
            let faults = Arc::new(HttpFaults::once(at, fault));
            let tuning = Tuning {
                http_faults: Some(Arc::clone(&faults)),
                ..quick()
            };
            let store = Store::open_with(&config, tuning).await.unwrap();
            let (small, large) = (format!("{fault:?}/{at}/small"), format!("{fault:?}/{at}/large"));
            store.put_once(&small, Bytes::from_static(b"x")).await.unwrap();
            let mut writer = store.put_stream(&large).await.unwrap();
            writer.write(data.clone()).await.unwrap();
            writer.finish().await.unwrap();
            assert_eq!(store.get(&small, 1).await.unwrap(), "x", "{fault:?} at {at}");
            assert!(
                store.get(&large, 6 << 20).await.unwrap() == data,
                "{fault:?} at {at}"
            );
            if faults.requests() < at {
                assert!(at > 7, "{at}");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_is_kept_with_faults_at_every_call() {
    let minio = minio().await;
    let config = with_bucket(&minio, "faults", false).await;
    faults_in_turn(Arc::new(open(&config).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_conditional_writes_is_asked_first() {
    let minio = minio().await;
    let config = with_bucket(&minio, "unconditional", false).await;
    let data = pattern((5 << 20) + 1);
    // Whatever comes first finds out: a small object, or the end of an upload.
    for small_first in [true, false] {
        let faults = Arc::new(HttpFaults::unconditional());
        let tuning = Tuning {
            http_faults: Some(faults),
            ..quick()
        };
        let store = Store::open_with(&config, tuning).await.unwrap();
        let (small, large) = (format!("{small_first}/small"), format!("{small_first}/large"));
        for round in 0..2 {
            for small_now in [small_first, !small_first] {
                let result = if small_now {
                    store.put_once(&small, Bytes::from_static(b"x")).await
                } else {
                    match store.put_stream(&large).await {
                        Ok(mut writer) => {
                            writer.write(data.clone()).await.unwrap();
                            writer.finish().await.map(|_| ())
                        }
                        Err(e) => Err(e),
                    }
                };
                match result {
                    Ok(()) => assert_eq!(round, 0),
                    Err(e) => assert!(
                        round == 1 && e.reason() == "ObjectAlreadyExists",
                        "{}",
                        full_text(&e)
                    ),
                }
            }
        }
        assert_eq!(store.get(&small, 1).await.unwrap(), "x");
        assert!(store.get(&large, 6 << 20).await.unwrap() == data);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_versioned_bucket_with_object_lock_works() {
    let minio = minio().await;
    let config = with_bucket(&minio, "locked", true).await;
    let rule =
        b"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
        <Mode>COMPLIANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
    let server = Arc::clone(&minio);
    let asking = tokio::task::spawn_blocking(move || {
        server.server.request("PUT", "/locked", "object-lock=", &[], rule)
    });
    assert_eq!(asking.await.unwrap().unwrap().status, 200);
    contract(Arc::new(open(&config).await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_url_can_be_fetched_and_names_the_public_host() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let minio = minio().await;
    let mut config = with_bucket(&minio, "signed", false).await;
    let store = open(&config).await;
    let key = "backups/b 1/ü+%&=.tar.gz";
    store.put_once(key, Bytes::from_static(b"fetched")).await.unwrap();
    let url = store
        .presign_get(key, Duration::from_mins(10))
        .await
        .unwrap()
        .unwrap();
    let client = reqwest::Client::new();
    let answer = client.get(url.as_str()).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.bytes().await.unwrap()),
        (200, Bytes::from_static(b"fetched"))
    );

    let public = minio.server.endpoint.replace("127.0.0.1", "localhost");
    config.config.insert("publicUrl".to_owned(), public.clone());
    let url = open(&config)
        .await
        .presign_get(key, Duration::from_mins(10))
        .await
        .unwrap()
        .unwrap();
    assert!(
        url.as_str()
            .starts_with(&format!("{public}/signed/cluster-1/backups/")),
        "{url:?}"
    );
    assert_eq!(
        client.get(url.as_str()).send().await.unwrap().status().as_u16(),
        200
    );
    let gone = store
        .presign_get("backups/none", Duration::from_mins(10))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        client.get(gone.as_str()).send().await.unwrap().status().as_u16(),
        404,
        "the CLI takes it as absent"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_credentials_and_a_missing_bucket_are_told_apart() {
    let minio = minio().await;
    let good = with_bucket(&minio, "right", false).await;
    let hush = minio.server.secret_key.clone();
    let credential = |id: &str, secret: &str| {
        Some(format!("[default]\naws_access_key_id={id}\naws_secret_access_key={secret}\n").into_bytes())
    };
    for (config, reason, words) in [
        (
            LocationConfig {
                credential: credential(&minio.server.access_key, "wrong-secret"),
                ..good.clone()
            },
            "BadCredentials",
            "SignatureDoesNotMatch",
        ),
        (
            LocationConfig {
                credential: credential("nobody", &hush),
                ..good.clone()
            },
            "BadCredentials",
            "InvalidAccessKeyId",
        ),
        (
            LocationConfig {
                bucket: "missing".to_owned(),
                ..good.clone()
            },
            "NoSuchBucket",
            "create it or correct",
        ),
    ] {
        let store = open(&config).await;
        for error in [
            store.check().await.unwrap_err(),
            store
                .put_once("backups/b/x", Bytes::from_static(b"x"))
                .await
                .unwrap_err(),
            store.get("backups/b/x", 1).await.unwrap_err(),
        ] {
            let text = full_text(&error);
            assert_eq!(error.reason(), reason, "{text}");
            assert!(
                !error.is_retryable() && !text.contains(&hush) && !text.contains("Signature="),
                "{text}"
            );
            assert!(text.contains(&store.display_name().to_owned()), "{text}");
        }
        assert!(full_text(&store.check().await.unwrap_err()).contains(words));
    }
    assert_eq!(open(&good).await.check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_credentials_at_all_are_named_as_the_cause() {
    let minio = minio().await;
    let mut config = with_bucket(&minio, "anonymous", false).await;
    config.credential = None;
    // No such profile, so whatever the environment of the test has is not used.
    config
        .config
        .insert("profile".to_owned(), "refloat-has-no-such-profile".to_owned());
    let started = std::time::Instant::now();
    let error = open(&config).await.check().await.unwrap_err();
    let text = full_text(&error);
    println!("{:?} {text}", started.elapsed());
    assert_eq!(error.reason(), "BadCredentials", "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_down_is_a_passing_error() {
    let minio = start(Speaks::Http).await;
    let config = with_bucket(&minio, "down", false).await;
    let store = open(&config).await;
    store.check().await.unwrap();
    drop(minio);
    let error = store.check().await.unwrap_err();
    assert!(
        error.is_retryable() && error.reason() == "Temporary",
        "{}",
        full_text(&error)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_verified_unless_told_otherwise() {
    let minio = start(Speaks::Https).await;
    let config = with_bucket(&minio, "tls", false).await;
    open(&config).await.check().await.unwrap();

    let untrusted = LocationConfig {
        ca_cert: None,
        ..config.clone()
    };
    let error = open(&untrusted).await.check().await.unwrap_err();
    let text = full_text(&error);
    assert!(
        error.reason() == "CertificateNotTrusted" && !error.is_retryable(),
        "{text}"
    );
    assert!(
        text.contains("put its CA into spec.objectStorage.caCert") && text.contains("UnknownIssuer"),
        "{text}"
    );
    let mut insecure = untrusted;
    insecure
        .config
        .insert("insecureSkipTLSVerify".to_owned(), "true".to_owned());
    open(&insecure).await.check().await.unwrap();

    let expired = start(Speaks::ExpiredHttps).await;
    let error = open(&location(&expired, "tls")).await.check().await.unwrap_err();
    let text = full_text(&error);
    assert!(
        error.reason() == "CertificateNotTrusted" && text.to_lowercase().contains("expired"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_tags_and_checksums_are_as_the_settings_say() {
    let minio = start(Speaks::Https).await;
    let config = with_bucket(&minio, "settings", false).await;
    let key_file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(key_file.path(), [7; 32]).unwrap();
    let with = |settings: &[(&str, &str)]| {
        let mut config = config.clone();
        config
            .config
            .extend(settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        config
    };
    let data = pattern(7 << 20);
    let key_path = key_file.path().to_str().unwrap();
    let cases: [Case; 6] = [
        ("plain", &[("checksumAlgorithm", "")], ""),
        (
            "crc32",
            &[("checksumAlgorithm", "CRC32")],
            "x-amz-checksum-crc32c:",
        ),
        (
            "sse-s3",
            &[("serverSideEncryption", "AES256")],
            "x-amz-server-side-encryption: AES256",
        ),
        (
            "sse-kms",
            &[("kmsKeyId", KMS_KEY)],
            "x-amz-server-side-encryption: aws:kms",
        ),
        ("sse-c", &[("customerKeyEncryptionFile", key_path)], ""),
        (
            "tagged",
            &[("tagging", "team=a%20b&kind=backup")],
            "x-amz-tagging-count: 2",
        ),
    ];
    for (name, settings, _) in cases {
        let store = open(&with(settings)).await;
        let (small, large) = (format!("{name}/small"), format!("{name}/large"));
        store
            .put_once(&small, Bytes::from_static(b"x"))
            .await
            .unwrap_or_else(|e| panic!("{name}: {}", full_text(&e)));
        let mut writer = store.put_stream(&large).await.unwrap();
        writer.write(data.clone()).await.unwrap();
        writer
            .finish()
            .await
            .unwrap_or_else(|e| panic!("{name}: {}", full_text(&e)));
        assert_eq!(store.get(&small, 1).await.unwrap(), "x", "{name}");
        assert!(store.get(&large, 7 << 20).await.unwrap() == data, "{name}");
        let error = store
            .put_once(&small, Bytes::from_static(b"y"))
            .await
            .unwrap_err();
        assert!(
            matches!(error, StoreError::AlreadyExists { .. }),
            "{name}: {error:?}"
        );
        let signed = store.presign_get(&small, Duration::from_mins(1)).await.unwrap();
        assert_eq!(signed.is_none(), name == "sse-c", "{name}");
    }
    for (path, tag) in [
        (
            "/settings/cluster-1/tagged/small",
            "<Key>team</Key><Value>a b</Value>",
        ),
        (
            "/settings/cluster-1/tagged/large",
            "<Key>kind</Key><Value>backup</Value>",
        ),
    ] {
        let tags = request(&minio, path, "tagging=").await;
        assert!(tags.contains(tag), "{tags}");
    }
    // What is encrypted with a customer's key cannot be read without it.
    assert!(open(&config).await.get("sse-c/small", 1).await.is_err());
    let heads = heads(&minio, &cases.map(|(name, _, header)| (name, header))).await;
    for (name, _, header) in cases {
        assert!(heads[name].contains(header), "{name}: {}", heads[name]);
    }
}

/// The headers of both objects of each case, fetched over signed URLs.
async fn heads(minio: &Arc<StandaloneMinio>, cases: &[(&str, &str)]) -> BTreeMap<String, String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store = open(&location(minio, "settings")).await;
    let client = reqwest::Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .build()
        .unwrap();
    let mut heads = BTreeMap::new();
    for (name, _) in cases {
        let url = store
            .presign_get(&format!("{name}/large"), Duration::from_mins(1))
            .await
            .unwrap()
            .unwrap();
        let answer = client
            .get(url.as_str())
            .header("x-amz-checksum-mode", "ENABLED")
            .send()
            .await
            .unwrap();
        let lines = answer
            .headers()
            .iter()
            .map(|(k, v)| format!("{k}: {}\n", v.to_str().unwrap_or_default()));
        heads.insert((*name).to_owned(), lines.collect());
    }
    heads
}
