//! Accepting connections: bounded in number and time, with TLS where there is a certificate.

use std::{
    fs::File,
    io::BufReader,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::WebError;

/// Connections at once; more wait.
const MOST_CONNECTIONS: usize = 256;
/// How long a client may take to send a request's head, or to agree on TLS.
const HEAD_LIMIT: Duration = Duration::from_secs(15);
/// How long a connection may live, so that a client that stops reading does not hold a stream for ever.
const CONNECTION_LIMIT: Duration = Duration::from_secs(3600);
/// How long open connections may finish at the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// The files of a server's TLS identity, PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate with its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// A bound port that serves nothing yet.
pub struct Listener {
    tcp: TcpListener,
    tls: Option<TlsAcceptor>,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address`; port 0 takes a free one. `purpose` and `flag` go into the error.
    ///
    /// # Errors
    /// [`WebError::Listen`], [`WebError::Tls`].
    pub async fn bind(
        address: SocketAddr,
        tls: Option<&TlsFiles>,
        purpose: &'static str,
        flag: &'static str,
    ) -> Result<Self, WebError> {
        let tls = tls.map(acceptor).transpose()?;
        let failed = |source| WebError::Listen {
            address,
            purpose,
            flag,
            source,
        };
        let tcp = match TcpListener::bind(address).await {
            // All addresses of both families, on a machine that has no IPv6.
            Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
            }
            other => other,
        };
        let tcp = tcp.map_err(failed)?;
        let address = tcp.local_addr().map_err(failed)?;
        Ok(Self { tcp, tls, address })
    }

    /// The address with the real port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether clients are to speak TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Answers requests until `stop`, then lets open connections finish for a few seconds.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let open = TaskTracker::new();
        loop {
            let next = async {
                let permit = Arc::clone(&room).acquire_owned().await;
                let permit = permit.expect("the semaphore is never closed");
                (permit, self.tcp.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                () = stop.cancelled() => break,
                next = next => next,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // For example too many open files: the next try needs a pause.
                    warn!(%error, "cannot accept a connection; trying again");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            };
            let (tls, router, stop) = (self.tls.clone(), router.clone(), stop.clone());
            open.spawn(async move {
                if timeout(CONNECTION_LIMIT, connection(stream, tls, router, stop))
                    .await
                    .is_err()
                {
                    debug!("closing a connection that has lived too long");
                }
                drop(permit);
            });
        }
        open.close();
        let _ = timeout(FAREWELL, open.wait()).await;
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router, stop: CancellationToken) {
    match tls {
        None => exchange(stream, router, stop).await,
        Some(tls) => match timeout(HEAD_LIMIT, tls.accept(stream)).await {
            Ok(Ok(stream)) => exchange(stream, router, stop).await,
            Ok(Err(error)) => debug!(%error, "a client could not agree on TLS"),
            Err(_) => debug!("a client took too long to agree on TLS"),
        },
    }
}

async fn exchange<S>(stream: S, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(hyper_util::rt::TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT);
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(served);
    let result = tokio::select! {
        result = served.as_mut() => result,
        () = stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        debug!(error = %error, "a connection broke");
    }
}

fn acceptor(files: &TlsFiles) -> Result<TlsAcceptor, WebError> {
    let failed = |what, path: &Path, source: Box<dyn std::error::Error + Send + Sync>| WebError::Tls {
        what,
        path: path.to_owned(),
        source,
    };
    let certificate = |source| failed("certificate", &files.certificate, source);
    let file = File::open(&files.certificate).map_err(|error| certificate(error.into()))?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_reader_iter(BufReader::new(file))
        .collect::<Result<_, _>>()
        .map_err(|error| certificate(error.into()))?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| failed("key", &files.key, error.into()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| certificate(error.into()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
