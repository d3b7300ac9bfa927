//! What Refloat is tested with: real peers, built from pinned sources and run side by side on one machine.
//!
//! - [`testbed`] builds the programs;
//! - [`cluster`] runs them as a Kubernetes cluster with an S3 server;
//! - [`velero`] runs the real Velero beside such a cluster.
//!
//! Everything here blocks the calling thread; from asynchronous tests call it before the work starts, or on a
//! thread of its own.

pub mod cluster;
pub mod image;
pub mod minio;
pub mod packages;
pub mod pki;
pub mod process;
pub mod refloat_image;
pub mod s3;
pub mod testbed;
pub mod velero;
