//! The HTTP client: pooled connections, TLS by rustls with ring, the system's roots and the location's own.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::error::StoreError;

/// How long a TCP and TLS handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A client that trusts the system's certificates and those in `ca` (PEM), or any with `insecure`. Certificates
/// of the system come from its usual folders, or from `SSL_CERT_FILE`. Proxies are those of the environment.
pub(crate) fn client(
    ca: Option<&[u8]>,
    insecure: bool,
    location: &str,
) -> Result<reqwest::Client, StoreError> {
    let wrong = |problem: String| StoreError::config("caCert", location, problem);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| wrong(format!("no TLS version is usable: {e}")))?;
    let tls = if insecure {
        tls.dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustAnyone(provider)))
            .with_no_client_auth()
    } else {
        let mut roots = system_roots().clone();
        for certificate in ca.into_iter().flat_map(CertificateDer::pem_slice_iter) {
            let certificate = certificate.map_err(|e| wrong(format!("it is not PEM: {e}")))?;
            roots
                .add(certificate)
                .map_err(|e| wrong(format!("a certificate in it is not usable: {e}")))?;
        }
        if ca.is_some_and(|pem| CertificateDer::pem_slice_iter(pem).next().is_none()) {
            return Err(wrong(
                "it holds no certificate; it is PEM text (-----BEGIN CERTIFICATE-----)".to_owned(),
            ));
        }
        tls.with_root_certificates(roots).with_no_client_auth()
    };
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(16)
        .tcp_keepalive(Duration::from_secs(30))
        .user_agent(concat!("refloat/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| wrong(format!("no HTTP client can be made: {e}")))
}

fn system_roots() -> &'static RootCertStore {
    static ROOTS: OnceLock<RootCertStore> = OnceLock::new();
    ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (added, ignored) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            tracing::warn!(
                ignored,
                "the system has no trusted certificates; https needs a caCert"
            );
        }
        roots
    })
}

/// For `insecureSkipTLSVerify`: takes any certificate, but still checks that the peer holds its key.
#[derive(Debug)]
struct TrustAnyone(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::client;

    #[test]
    fn a_wrong_ca_is_explained() {
        let error = client(Some(b"not a certificate"), false, "s3://b").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`caCert` of s3://b is wrong: it holds no certificate"),
            "{error}"
        );
    }

    #[test]
    fn a_ca_of_ours_is_taken() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec!["x".to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        client(Some(certificate.pem().as_bytes()), false, "s3://b").unwrap();
        client(None, true, "s3://b").unwrap();
    }
}
