//! Objects by key: the only way in which Refloat reaches a bucket or a backup folder.
//!
//! [`Store`] implements [`ObjectStore`] over OpenDAL for S3 and its imitations, Azure Blob, Google Cloud Storage,
//! Alibaba Cloud OSS, a folder and memory. An object is written once, whole or not at all, and never changed;
//! reads are exactly as long as announced. Settings and secrets are those of Velero's plugins. This crate knows
//! no Kubernetes: recovery works without an API server.

mod credentials;
mod disk;
mod download;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod listing;
mod location;
mod object;
mod provider;
mod retry;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tls;
mod transport;
mod upload;

pub use error::{At, Cause, StoreError};
pub use location::LocationConfig;
pub use object::{Entry, ObjectStore, ObjectStream, ObjectWriter, SignedUrl, check_key};
pub use retry::Tuning;
pub use store::Store;
