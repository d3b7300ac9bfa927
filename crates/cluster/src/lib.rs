//! The only user of the Kubernetes client: connecting, discovery, streaming lists, writes with
//! adaptive concurrency, commands in containers, typed access to custom resources and leases.
//!
//! Everything above speaks of kinds as [`refloat_model::resource::ApiResource`] and of objects as
//! JSON; nothing above sees the client. Each call has a timeout, each error says what was being
//! done to what, and whether trying again can help.

pub mod apply;
pub mod client;
pub mod discovery;
pub mod error;
pub mod exec;
#[doc(hidden)]
pub mod fuzzing;
pub mod lease;
pub mod limiter;
pub mod listing;
mod splitter;
pub mod typed;

pub use client::{Cluster, ConnectOptions};
pub use discovery::Discovery;
pub use error::ClusterError;
pub use limiter::Limiter;
