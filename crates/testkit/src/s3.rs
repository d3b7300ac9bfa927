//! The MinIO of a cluster, and as much of the S3 protocol as is needed to prepare it for a test: any single
//! signed request. What the product does with a bucket goes through the product's own store.

use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Where a MinIO is and how to get in.
#[derive(Clone, Serialize, Deserialize)]
pub struct Minio {
    /// For example `http://127.0.0.1:20000`.
    pub endpoint: String,
    /// The region it says it is in.
    pub region: String,
    /// Access key of the root user.
    pub access_key: String,
    /// Its secret: never printed, see `Debug`.
    pub secret_key: String,
    /// The authority of its certificate (a PEM file); `None` if it speaks plain HTTP.
    pub ca: Option<PathBuf>,
}

impl std::fmt::Debug for Minio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Minio")
            .field("endpoint", &self.endpoint)
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// The answer to one request.
#[derive(Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, as it came.
    pub body: Vec<u8>,
}

impl Minio {
    /// Creates a bucket; with `object_lock` it is versioned and takes retention dates.
    pub fn create_bucket(&self, name: &str, object_lock: bool) -> Result<()> {
        let headers: &[_] = if object_lock {
            &[("x-amz-bucket-object-lock-enabled", "true")]
        } else {
            &[]
        };
        let answer = self.request("PUT", &format!("/{name}"), "", headers, b"")?;
        ensure!(
            answer.status == 200,
            "creating bucket {name} at {}: {} {}",
            self.endpoint,
            answer.status,
            String::from_utf8_lossy(&answer.body)
        );
        Ok(())
    }

    /// Sends one signed request. `path` and `query` (sorted by key) are already percent-encoded; header names
    /// are in lower case and sorted.
    ///
    /// # Errors
    /// The connection fails or the answer is not HTTP. A status that tells of an error is an answer.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Answer> {
        let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let host = self.host();
        let digest = hex(&Sha256::digest(body));
        let mut signed = vec![
            ("host", host),
            ("x-amz-content-sha256", &digest),
            ("x-amz-date", &now),
        ];
        signed.extend(headers);
        signed.sort_unstable();
        let authorization = self.authorization(method, path, query, &signed, &digest, &now);

        let target = if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{query}")
        };
        let mut head = format!("{method} {target} HTTP/1.0\r\n");
        for (name, value) in &signed {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        let _ = write!(
            head,
            "authorization: {authorization}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        self.exchange(head.as_bytes(), body)
            .with_context(|| format!("sending {method} {path} to MinIO at {}", self.endpoint))
    }

    /// Whether the server answers and can take requests.
    pub fn is_ready(&self) -> bool {
        let host = self.host();
        let head = format!("GET /minio/health/ready HTTP/1.0\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        self.exchange(head.as_bytes(), b"")
            .is_ok_and(|answer| answer.status == 200)
    }

    fn host(&self) -> &str {
        self.endpoint
            .split_once("://")
            .map_or(&self.endpoint, |(_, host)| host)
    }

    fn exchange(&self, head: &[u8], body: &[u8]) -> Result<Answer> {
        let host = self.host();
        let mut socket = TcpStream::connect(host).with_context(|| format!("connecting to {host}"))?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut bytes = match &self.ca {
            None => converse(&mut socket, head, body)?,
            Some(ca) => {
                let name = host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned();
                let connection = ClientConnection::new(tls_client(ca)?, ServerName::try_from(name)?)?;
                converse(&mut StreamOwned::new(connection, socket), head, body)?
            }
        };
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .context("the answer has no end of headers")?;
        let status = String::from_utf8_lossy(&bytes[..end])
            .split(' ')
            .nth(1)
            .and_then(|word| word.parse().ok())
            .context("the answer has no HTTP status")?;
        Ok(Answer {
            status,
            body: bytes.split_off(end + 4),
        })
    }

    /// AWS Signature Version 4, as the S3 documentation describes it.
    fn authorization(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body_digest: &str,
        now: &str,
    ) -> String {
        let names = headers
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(";");
        let lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let request = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{body_digest}");
        let day = &now[..8];
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let text = format!(
            "AWS4-HMAC-SHA256\n{now}\n{scope}\n{}",
            hex(&Sha256::digest(request))
        );
        let mut key = hmac(format!("AWS4{}", self.secret_key).as_bytes(), day.as_bytes());
        for part in [self.region.as_str(), "s3", "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        let signature = hex(&hmac(&key, text.as_bytes()));
        format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
            self.access_key
        )
    }
}

/// Sends the request and reads until the server, which was asked to, closes the connection.
fn converse(stream: &mut (impl Read + Write), head: &[u8], body: &[u8]) -> Result<Vec<u8>> {
    stream.write_all(head).context("sending the request")?;
    stream.write_all(body).context("sending the request")?;
    stream.flush()?;
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        // A server may close the connection without saying so in TLS; HTTP/1.0 ends that way.
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(bytes),
        Err(e) => Err(e).context("reading the answer"),
    }
}

fn tls_client(ca: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).context("reading the authority's certificate")? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(
        config.with_root_certificates(roots).with_no_client_auth(),
    ))
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 64;
    let mut padded = if key.len() > BLOCK {
        Sha256::digest(key).to_vec()
    } else {
        key.to_vec()
    };
    padded.resize(BLOCK, 0);
    let pad = |byte: u8| padded.iter().map(|b| b ^ byte).collect::<Vec<_>>();
    let inner = Sha256::new()
        .chain_update(pad(0x36))
        .chain_update(text)
        .finalize();
    Sha256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::{hex, hmac};

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        assert_eq!(
            hex(&hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&hmac(
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First"
            )),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }
}
