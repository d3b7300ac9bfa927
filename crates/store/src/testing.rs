//! For tests of this crate and of those above it: injected faults and the contract suite.

pub mod contract;
mod faults;
mod http;

pub use faults::{Fault, FaultKind, FaultStore};
pub use http::{HttpFault, HttpFaults};
