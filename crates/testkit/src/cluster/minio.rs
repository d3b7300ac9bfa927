//! MinIO: the one of the cluster, and further ones for tests that need their own, also with TLS.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use rand::RngExt;
use rand::distr::Alphanumeric;

use super::Cluster;
use crate::pki::Pki;
use crate::s3::{Minio, hex};
use crate::testbed::{self, Part};

/// What certificate a MinIO shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificate {
    /// A good one of the cluster's authority, [`Minio::ca`].
    Valid,
    /// One of the same authority that has expired.
    Expired,
}

impl Cluster {
    /// Starts another, empty MinIO on loopback, with credentials of its own, and waits until it takes requests.
    /// It may be killed by its `part` (see [`Cluster::process`]) and is gone with the cluster at the latest.
    /// Without a `certificate` it speaks plain HTTP. One with an expired certificate takes no requests of ours.
    pub fn start_minio(&self, part: &str, certificate: Option<Certificate>) -> Result<Minio> {
        let port = self.reserve_ports(&[part])?[part];
        let minio = launch(self, part, "127.0.0.1", port, certificate)?;
        let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        self.wait_for(part, Duration::from_secs(60), || {
            minio.is_ready() || (certificate == Some(Certificate::Expired) && listens())
        })?;
        Ok(minio)
    }
}

/// Starts MinIO without waiting for it.
pub(super) fn launch(
    cluster: &Cluster,
    part: &str,
    host: &str,
    port: u16,
    certificate: Option<Certificate>,
) -> Result<Minio> {
    let scheme = if certificate.is_some() { "https" } else { "http" };
    let minio = Minio {
        endpoint: format!("{scheme}://{host}:{port}"),
        region: "us-east-1".to_owned(),
        access_key: format!("refloat{}", hex(&rand::rng().random::<[u8; 4]>())),
        secret_key: rand::rng()
            .sample_iter(Alphanumeric)
            .take(32)
            .map(char::from)
            .collect(),
        ca: certificate.map(|_| cluster.pki_folder().join("ca.crt")),
    };
    let folder = cluster.folder.join(part);
    let [data, certificates] = ["data", "certificates"].map(|name| folder.join(name));
    fs::create_dir_all(&data)?;
    fs::create_dir_all(&certificates)?;
    if let Some(certificate) = certificate {
        write_certificate(cluster, part, host, &certificates, certificate)?;
    }
    let address = format!("{host}:{port}");
    let args: [&OsStr; 6] = [
        "server".as_ref(),
        "--certs-dir".as_ref(),
        certificates.as_os_str(),
        "--address".as_ref(),
        address.as_ref(),
        data.as_os_str(),
    ];
    let env: [(&str, &OsStr); 5] = [
        ("MINIO_ROOT_USER", minio.access_key.as_ref()),
        ("MINIO_ROOT_PASSWORD", minio.secret_key.as_ref()),
        ("MINIO_BROWSER", "off".as_ref()),
        ("MINIO_UPDATE", "off".as_ref()),
        ("HOME", folder.as_os_str()),
    ];
    cluster.start_program(part, &testbed::build(&Part::Minio)?, &args, &env)?;
    Ok(minio)
}

fn write_certificate(
    cluster: &Cluster,
    part: &str,
    host: &str,
    folder: &Path,
    kind: Certificate,
) -> Result<()> {
    let pki = Pki::open(&cluster.pki_folder())?;
    let names = ["localhost", host];
    match kind {
        Certificate::Valid => pki.issue(part, part, "refloat", &names)?,
        Certificate::Expired => pki.issue_expired(part, part, "refloat", &names)?,
    }
    for (from, to) in [("crt", "public.crt"), ("key", "private.key")] {
        fs::copy(
            cluster.pki_folder().join(format!("{part}.{from}")),
            folder.join(to),
        )?;
    }
    Ok(())
}
