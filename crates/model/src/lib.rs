//! What things are: Velero's custom resources, the names and formats of everything in a bucket,
//! and the identifiers that every other layer speaks.
//!
//! This crate knows no clock, disk, network or async runtime. It depends on nothing else of Refloat.
//! The source of every wire format here is Velero 1.18 (`velero.io/v1`, `v2alpha1`); what a type
//! promises is that a document written by Velero is read, and that what we write is read by Velero.

pub mod archive;
pub mod backup;
pub mod crds;
pub mod data_movement;
pub mod deletion;
pub mod download;
pub mod duration;
pub mod hooks;
pub mod index;
pub mod labels;
pub mod layout;
pub mod location;
pub mod pod_volume;
pub mod repository;
pub mod resource;
pub mod restore;
pub mod restore_plan;
pub mod results;
pub mod schedule;
pub mod serde_null;
pub mod server_status;
pub mod volume_info;

pub use backup::{Backup, BackupPhase, BackupSpec, BackupStatus};
pub use deletion::DeleteBackupRequest;
pub use download::{DownloadRequest, DownloadTargetKind};
pub use duration::GoDuration;
pub use location::{BackupStorageLocation, VolumeSnapshotLocation};
pub use resource::{GroupResource, GroupVersionKind, ObjectName};
pub use restore::{Restore, RestorePhase, RestoreSpec, RestoreStatus};
pub use restore_plan::RestorePlan;
pub use results::{ResultSet, Results};
pub use schedule::Schedule;
pub use server_status::ServerStatusRequest;

/// The API group of Velero's custom resources.
pub const VELERO_GROUP: &str = "velero.io";

/// The API group of our own custom resources.
pub const REFLOAT_GROUP: &str = "refloat.io";

/// The version of Velero whose behaviour and formats this release implements. Reported to the
/// `velero` CLI, which warns when major.minor differ from its own.
pub const VELERO_VERSION: &str = "v1.18.3";
