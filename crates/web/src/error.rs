//! What can go wrong in setting up the HTTP servers.

use std::{net::SocketAddr, path::PathBuf};

use refloat_cluster::ClusterError;

/// The error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// The port is taken or the address is not ours.
    #[error("cannot listen on {address} for {purpose}: choose another address with {flag}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What it was for.
        purpose: &'static str,
        /// The flag that sets it.
        flag: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A certificate or key file is not usable.
    #[error("cannot use {} as TLS {what}", .path.display())]
    Tls {
        /// `certificate` or `key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The API server did not hand out the signing key.
    #[error("cannot get the key that signs download links")]
    Key(#[source] ClusterError),
    /// The Secret holds something else.
    #[error(
        "the Secret {namespace}/{name} does not hold a key of 32 bytes: delete it, and a new one is made at the next start"
    )]
    BadKey {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}
