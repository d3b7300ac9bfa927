//! The server: watches Velero's custom resources and does what they ask for.
//!
//! Each kind has a controller whose reconcile function brings one object to where it should be; what
//! is to be done is decided in pure functions beside it. Only the holder of a lease writes. Whatever
//! a server had begun when it died, its successor goes on with.

mod backup;
mod cancel;
mod context;
mod controller;
mod deletion;
mod download;
pub mod error;
mod events;
mod gc;
mod location;
mod metrics;
pub mod options;
mod patch;
mod queue;
mod restore;
mod restore_plan;
mod schedule;
pub mod server;
mod server_status;
mod startup;

pub use error::ControllerError;
pub use options::{DownloadUrlPolicy, ServerOptions};
pub use server::run;
