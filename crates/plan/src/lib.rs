//! Pure decisions: what a backup lists and keeps, in which order a restore creates things, and how
//! each object is changed on its way.
//!
//! This crate knows no clock, disk, network or async runtime: time and all facts are arguments, and
//! what comes out is data that can be printed and compared. The rules are Velero's (1.18) unless a
//! comment says where and why they differ. Objects are JSON values of any shape: a field of an
//! unexpected type is left as it is, never a panic; numbers are never converted.

pub mod api_conversion;
pub mod backup;
pub mod backup_action;
mod config_text;
pub mod decision;
pub mod diff;
pub mod error;
pub mod existing;
pub mod filter;
pub mod find;
pub mod fingerprint;
#[cfg(test)]
mod fixture;
pub mod hooks;
mod json;
pub mod managed_fields;
pub mod merge_patch;
pub mod priorities;
mod quantity;
pub mod resource_modifier;
pub mod resource_policy;
pub mod restore;
pub mod restore_item;
pub mod retention;
pub mod schedule;
pub mod selector;
mod strategic_patch;
pub mod validation;

pub use error::PlanError;
