//! Does what a plan says: writes backups, restores them, reads and deletes what is in a bucket.
//!
//! The engine makes no choices of its own: what is backed up, in which order it is restored and what
//! becomes of each object is decided in `refloat-plan`. What it adds is bytes in motion with bounded
//! memory, and the order of writes that keeps a half-written backup from ever being seen:
//! `velero-backup.json` goes last, once, and is final.

mod archive_reader;
mod archive_writer;
pub mod backup;
pub mod catalog;
pub mod diff;
mod error;
pub mod find;
#[doc(hidden)]
pub mod fuzzing;
mod gaps;
mod gzip;
mod hook;
mod job_log;
mod kind_list;
pub mod location;
pub mod plans;
pub mod progress;
pub mod restore;
pub mod rules;
mod spool;
pub mod volume_data;

pub use backup::{BackupJob, BackupOptions, BackupReport, run_backup};
pub use error::EngineError;
pub use location::Location;
pub use progress::Progress;
pub use restore::{
    PlanReport, RestoreJob, RestoreOptions, RestoreReport, check_plan, run_plan, run_restore, stream_plan,
};
