//! What can go wrong while a backup or restore runs as a whole. What goes wrong with one object is
//! not here: that is data, in the results.

use refloat_cluster::ClusterError;
use refloat_model::archive::PathError;
use refloat_store::StoreError;

/// The error of this crate. `Display` says what was being done and to what; the cause is in
/// `source()` and is not repeated.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The bucket has no such backup.
    #[error(
        "there is no backup {name:?} in {location} (backups/{name}/velero-backup.json is missing); `refloat backup get` \
         lists those that are there"
    )]
    BackupNotFound {
        /// The backup.
        name: String,
        /// The location.
        location: String,
    },
    /// The bucket has no such restore.
    #[error("there is no restore {name:?} in {location}; `refloat restore get` lists those that are there")]
    RestoreNotFound {
        /// The restore.
        name: String,
        /// The location.
        location: String,
    },
    /// The bucket has no such restore plan.
    #[error("there is no restore plan {name:?} in {location}; `refloat restore plan` makes one")]
    PlanNotFound {
        /// The plan.
        name: String,
        /// The location.
        location: String,
    },
    /// The cluster is not any more what a plan was made for.
    #[error("plan {plan:?} does not hold any more: {differences}; nothing was written: plan again")]
    Moved {
        /// The plan.
        plan: String,
        /// The first differences.
        differences: String,
    },
    /// Objects that a restore is limited to are not in the backup.
    #[error("backup {backup:?} has no object {objects}; `refloat backup find` tells which backups have it")]
    ObjectNotFound {
        /// The backup.
        backup: String,
        /// The objects, separated by commas.
        objects: String,
    },
    /// The bucket has a backup of that name.
    #[error("backup {name:?} already exists in {location}; choose another name or delete it first")]
    AlreadyExists {
        /// The backup.
        name: String,
        /// The location.
        location: String,
    },
    /// A name that cannot be a backup's or restore's.
    #[error("{name:?} cannot be used as a name: lower-case letters, digits, '-' and '.' only")]
    BadName {
        /// The name.
        name: String,
    },
    /// The location is read-only.
    #[error("{location} is read-only; set spec.accessMode to ReadWrite to add or delete backups")]
    ReadOnly {
        /// The location.
        location: String,
    },
    /// The location holds what is not Velero's.
    #[error(
        "{location} contains invalid top-level directories: [{found}]; give backups a bucket or a prefix of their own"
    )]
    ForeignContent {
        /// The location.
        location: String,
        /// The folders, separated by blanks.
        found: String,
    },
    /// The bucket did not do what was asked.
    #[error("{doing}")]
    Store {
        /// What was being done.
        doing: String,
        /// The store's error.
        #[source]
        source: Box<StoreError>,
    },
    /// The API server did not do what was asked.
    #[error("{doing}")]
    Cluster {
        /// What was being done.
        doing: String,
        /// The API server's error.
        #[source]
        source: Box<ClusterError>,
    },
    /// The plan cannot be made.
    #[error("{doing}")]
    Plan {
        /// What was being done.
        doing: String,
        /// The planner's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Rules that a spec names cannot be used.
    #[error("{reason}")]
    Rules {
        /// What is wrong with them, and where they are.
        reason: String,
    },
    /// A file of the bucket cannot be read as what it should be.
    #[error("{key} is damaged or was not written by a backup: {problem}")]
    Damaged {
        /// The file's key.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An entry of a tarball has a path that is refused.
    #[error("{key} is not to be trusted")]
    Hostile {
        /// The tarball's key.
        key: String,
        /// The refusal.
        #[source]
        source: PathError,
    },
    /// The backup was written in a format that this release does not know.
    #[error(
        "backup {name:?} has format version {version:?}, and this release reads 1.x; use a newer release"
    )]
    UnknownFormat {
        /// The backup.
        name: String,
        /// Its version.
        version: String,
    },
    /// The scratch file cannot be written or read.
    #[error("cannot use the scratch file in {dir}; free some space or set VELERO_SCRATCH_DIR")]
    Scratch {
        /// Its folder.
        dir: String,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
    /// It was asked to stop.
    #[error("stopped on request")]
    Cancelled,
}

impl EngineError {
    /// The same call may work later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store { source, .. } => source.is_retryable(),
            Self::Cluster { source, .. } => source.is_retryable(),
            Self::Scratch { .. } => true,
            _ => false,
        }
    }

    /// One word in CamelCase for conditions and events.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::BackupNotFound { .. } => "BackupNotFound",
            Self::RestoreNotFound { .. } => "RestoreNotFound",
            Self::PlanNotFound { .. } => "PlanNotFound",
            Self::Moved { .. } => "PlanOutdated",
            Self::ObjectNotFound { .. } => "ObjectNotFound",
            Self::AlreadyExists { .. } => "BackupAlreadyExists",
            Self::BadName { .. } => "BadName",
            Self::ReadOnly { .. } => "ReadOnly",
            Self::ForeignContent { .. } => "ForeignContent",
            Self::Store { source, .. } => source.reason(),
            Self::Cluster { source, .. } => source.reason(),
            Self::Plan { .. } => "PlanFailed",
            Self::Rules { .. } => "InvalidRules",
            Self::Damaged { .. } => "DamagedFile",
            Self::Hostile { .. } => "HostileArchive",
            Self::UnknownFormat { .. } => "UnknownFormat",
            Self::Scratch { .. } => "ScratchFailed",
            Self::Cancelled => "Cancelled",
        }
    }

    pub(crate) fn store(doing: impl Into<String>, source: StoreError) -> Self {
        Self::Store {
            doing: doing.into(),
            source: Box::new(source),
        }
    }

    pub(crate) fn cluster(doing: impl Into<String>, source: ClusterError) -> Self {
        Self::Cluster {
            doing: doing.into(),
            source: Box::new(source),
        }
    }

    pub(crate) fn damaged(key: &str, problem: impl std::fmt::Display) -> Self {
        Self::Damaged {
            key: key.to_owned(),
            problem: problem.to_string(),
        }
    }
}

/// An error and all that caused it, in one line, each part once.
#[must_use]
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}
