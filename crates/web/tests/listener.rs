//! The listener with and without TLS, and with clients that misbehave.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use refloat_web::{
    Listener, TlsFiles, WebError,
    health::{Vitals, router},
};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

struct Well;

impl Vitals for Well {
    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }

    fn ready(&self) -> Result<(), String> {
        Err("not yet".to_owned())
    }
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn get<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("the server reads");
    let mut answer = Vec::new();
    // The other side may end a TLS connection without saying so.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).expect("the answer is text")
}

#[tokio::test]
async fn plain_requests_are_answered_until_the_stop() {
    let listener = Listener::bind(anywhere(), None, "a test", "--flag")
        .await
        .unwrap();
    let (address, stop) = (listener.address(), CancellationToken::new());
    let served = tokio::spawn(listener.serve(router(Arc::new(Well)), stop.clone()));
    // A client that says nothing keeps nobody from being served, nor the server from stopping.
    let _silent = TcpStream::connect(address).await.unwrap();
    let answer = get(TcpStream::connect(address).await.unwrap(), "/healthz").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"),
        "{answer}"
    );
    let answer = get(TcpStream::connect(address).await.unwrap(), "/readyz").await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.ends_with("not yet\n"),
        "{answer}"
    );
    stop.cancel();
    timeout(Duration::from_secs(10), served).await.unwrap().unwrap();
    assert!(
        TcpStream::connect(address).await.is_err(),
        "the port is free again"
    );
}

#[tokio::test]
async fn with_a_certificate_clients_speak_tls() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        certificate: folder.path().join("tls.crt"),
        key: folder.path().join("tls.key"),
    };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let listener = Listener::bind(anywhere(), Some(&files), "a test", "--flag")
        .await
        .unwrap();
    assert!(listener.is_tls());
    let (address, stop) = (listener.address(), CancellationToken::new());
    let served = tokio::spawn(listener.serve(router(Arc::new(Well)), stop.clone()));
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap();
    let answer = get(stream, "/metrics").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("# EOF\n"),
        "{answer}"
    );
    stop.cancel();
    served.await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_used_is_named() {
    let taken = Listener::bind(anywhere(), None, "a test", "--flag")
        .await
        .unwrap();
    let error = Listener::bind(taken.address(), None, "a test", "--flag")
        .await
        .err()
        .unwrap();
    assert!(matches!(error, WebError::Listen { .. }));
    assert!(error.to_string().contains("--flag"), "{error}");
    let files = TlsFiles {
        certificate: "/nowhere/tls.crt".into(),
        key: "/nowhere/tls.key".into(),
    };
    let error = Listener::bind(anywhere(), Some(&files), "a test", "--flag")
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("/nowhere/tls.crt"), "{error}");
}
