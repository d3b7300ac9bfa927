//! A MinIO on its own, for tests that need S3 and no cluster.

use std::ffi::OsStr;
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rand::RngExt;

use crate::pki::Pki;
use crate::process::{ProcessId, start_detached};
use crate::s3::{Minio, hex};
use crate::testbed::{self, Part};

/// The name of the key that a [`StandaloneMinio`] encrypts with when asked for `aws:kms`.
pub const KMS_KEY: &str = "refloat-test-key";

/// What a [`StandaloneMinio`] speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// Plain HTTP.
    Http,
    /// HTTPS with a certificate of the authority [`Minio::ca`], on `localhost` and `127.0.0.1`.
    Https,
    /// HTTPS with a certificate of the same authority whose time is over.
    ExpiredHttps,
}

/// A running, empty MinIO on loopback with credentials and files of its own; it ends when dropped.
#[derive(Debug)]
pub struct StandaloneMinio {
    /// Where it is and how to get in.
    pub server: Minio,
    process: ProcessId,
    folder: PathBuf,
}

impl StandaloneMinio {
    /// Starts one and waits until it takes requests (with an expired certificate: until it listens). Builds it
    /// first where that was never done.
    pub fn start(speaks: Speaks) -> Result<Self> {
        let program = testbed::build(&Part::Minio)?;
        let name = format!("refloat-minio-{}", hex(&rand::rng().random::<[u8; 8]>()));
        let folder = std::env::temp_dir().join(name);
        let files = ["data", "certificates"].map(|name| folder.join(name));
        for path in &files {
            fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))?;
        }
        let ca = write_certificate(&folder, &files[1], speaks)?;
        let scheme = if speaks == Speaks::Http { "http" } else { "https" };
        // Freed again at once: another process may take it in between, which shows as an error below.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let server = Minio {
            endpoint: format!("{scheme}://127.0.0.1:{port}"),
            region: "us-east-1".to_owned(),
            access_key: format!("refloat{}", hex(&rand::rng().random::<[u8; 4]>())),
            secret_key: hex(&rand::rng().random::<[u8; 16]>()),
            ca,
        };
        let address = format!("127.0.0.1:{port}");
        let args: [&OsStr; 6] = [
            "server".as_ref(),
            "--certs-dir".as_ref(),
            files[1].as_os_str(),
            "--address".as_ref(),
            address.as_ref(),
            files[0].as_os_str(),
        ];
        let kms = format!(
            "{KMS_KEY}:{}",
            BASE64_STANDARD.encode(rand::rng().random::<[u8; 32]>())
        );
        let env: [(&str, &OsStr); 6] = [
            ("MINIO_ROOT_USER", server.access_key.as_ref()),
            ("MINIO_ROOT_PASSWORD", server.secret_key.as_ref()),
            ("MINIO_KMS_SECRET_KEY", kms.as_ref()),
            ("MINIO_BROWSER", "off".as_ref()),
            ("MINIO_UPDATE", "off".as_ref()),
            ("HOME", folder.as_os_str()),
        ];
        let process = start_detached(&program, args, env, &folder.join("log"))?;
        let minio = Self {
            server,
            process,
            folder,
        };
        minio.wait(speaks, port)?;
        Ok(minio)
    }

    fn wait(&self, speaks: Speaks, port: u16) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let ready = match speaks {
                Speaks::ExpiredHttps => TcpStream::connect(("127.0.0.1", port)).is_ok(),
                // It says that it is ready a little before it takes requests.
                _ => self
                    .server
                    .request("GET", "/", "", &[], b"")
                    .is_ok_and(|answer| answer.status == 200),
            };
            if ready {
                return Ok(());
            }
            let log = || fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            ensure!(self.process.is_alive(), "MinIO ended at once:\n{}", log());
            ensure!(
                Instant::now() < deadline,
                "MinIO is not ready after a minute:\n{}",
                log()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for StandaloneMinio {
    fn drop(&mut self) {
        if let Err(error) = self.process.stop(Duration::ZERO) {
            testbed::progress(&format!("{error:#}"));
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The certificate's authority, where there is one.
fn write_certificate(folder: &Path, certificates: &Path, speaks: Speaks) -> Result<Option<PathBuf>> {
    if speaks == Speaks::Http {
        return Ok(None);
    }
    let pki_folder = folder.join("pki");
    let pki = Pki::create(&pki_folder)?;
    let names = ["localhost", "127.0.0.1"];
    match speaks {
        Speaks::ExpiredHttps => pki.issue_expired("minio", "minio", "refloat", &names)?,
        _ => pki.issue("minio", "minio", "refloat", &names)?,
    }
    fs::copy(pki_folder.join("minio.crt"), certificates.join("public.crt"))?;
    fs::copy(pki_folder.join("minio.key"), certificates.join("private.key"))?;
    Ok(Some(pki_folder.join("ca.crt")))
}
