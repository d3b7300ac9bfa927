//! Where everything is in a bucket: Velero's keys below the location's prefix.
//!
//! `velero-backup.json` makes a backup exist; what it does not reach does not exist.

use crate::DownloadTargetKind;

/// The first-level folders that a location may contain. Velero refuses a location with others.
pub const TOP_LEVEL: [&str; 6] = ["backups", "restores", "restic", "kopia", "metadata", "plugins"];

/// The folder of all backups.
pub const BACKUPS: &str = "backups/";
/// The folder of all restores.
pub const RESTORES: &str = "restores/";
/// The version of the tarball's format.
pub const FORMAT_VERSION: &str = "1.1.0";
/// The major version of the backup format, `status.version`.
pub const MAJOR_VERSION: i64 = 1;

/// `backups/<name>/`.
#[must_use]
pub fn backup_dir(backup: &str) -> String {
    format!("backups/{backup}/")
}

/// `restores/<name>/`.
#[must_use]
pub fn restore_dir(restore: &str) -> String {
    format!("restores/{restore}/")
}

/// The object that makes a backup exist.
#[must_use]
pub fn backup_metadata(backup: &str) -> String {
    format!("backups/{backup}/velero-backup.json")
}

/// The index of a backup's objects: our own file, which Velero leaves alone and deletes with the rest.
#[must_use]
pub fn backup_index(backup: &str) -> String {
    format!("backups/{backup}/{backup}-refloat-index.jsonl.gz")
}

/// The file of a restore plan that says what becomes of every object: our own.
#[must_use]
pub fn plan_listing(plan: &str) -> String {
    format!("restores/{plan}/{plan}-refloat-plan.jsonl.gz")
}

/// A restore plan that was made without a server: the `RestorePlan` with its status. Our own.
#[must_use]
pub fn plan_metadata(plan: &str) -> String {
    format!("restores/{plan}/refloat-plan.json")
}

/// A file of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the file of that name")]
pub enum BackupFile {
    Contents,
    Log,
    PodVolumeBackups,
    VolumeSnapshots,
    ItemOperations,
    ResourceList,
    CsiVolumeSnapshotClasses,
    Results,
    VolumeInfo,
    CsiVolumeSnapshots,
    CsiVolumeSnapshotContents,
}

impl BackupFile {
    /// Its key.
    #[must_use]
    pub fn key(self, backup: &str) -> String {
        let end = match self {
            Self::Contents => ".tar.gz",
            Self::Log => "-logs.gz",
            Self::PodVolumeBackups => "-podvolumebackups.json.gz",
            Self::VolumeSnapshots => "-volumesnapshots.json.gz",
            Self::ItemOperations => "-itemoperations.json.gz",
            Self::ResourceList => "-resource-list.json.gz",
            Self::CsiVolumeSnapshotClasses => "-csi-volumesnapshotclasses.json.gz",
            Self::Results => "-results.gz",
            Self::VolumeInfo => "-volumeinfo.json.gz",
            Self::CsiVolumeSnapshots => "-csi-volumesnapshots.json.gz",
            Self::CsiVolumeSnapshotContents => "-csi-volumesnapshotcontents.json.gz",
        };
        format!("backups/{backup}/{backup}{end}")
    }
}

/// A file of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the file of that name")]
pub enum RestoreFile {
    Log,
    Results,
    ResourceList,
    ItemOperations,
    VolumeInfo,
}

impl RestoreFile {
    /// Its key. Only the volume info lacks the prefix `restore-`.
    #[must_use]
    pub fn key(self, restore: &str) -> String {
        match self {
            Self::Log => format!("restores/{restore}/restore-{restore}-logs.gz"),
            Self::Results => format!("restores/{restore}/restore-{restore}-results.gz"),
            Self::ResourceList => format!("restores/{restore}/restore-{restore}-resource-list.json.gz"),
            Self::ItemOperations => format!("restores/{restore}/restore-{restore}-itemoperations.json.gz"),
            Self::VolumeInfo => format!("restores/{restore}/{restore}-volumeinfo.json.gz"),
        }
    }
}

/// The key of what a download request asks for.
#[must_use]
pub fn download_key(kind: DownloadTargetKind, name: &str) -> String {
    use DownloadTargetKind as Kind;
    match kind {
        Kind::BackupLog => BackupFile::Log.key(name),
        Kind::BackupContents => BackupFile::Contents.key(name),
        Kind::BackupVolumeSnapshots => BackupFile::VolumeSnapshots.key(name),
        Kind::BackupItemOperations => BackupFile::ItemOperations.key(name),
        Kind::BackupResourceList => BackupFile::ResourceList.key(name),
        Kind::BackupResults => BackupFile::Results.key(name),
        Kind::BackupVolumeInfos => BackupFile::VolumeInfo.key(name),
        Kind::CsiBackupVolumeSnapshots => BackupFile::CsiVolumeSnapshots.key(name),
        Kind::CsiBackupVolumeSnapshotContents => BackupFile::CsiVolumeSnapshotContents.key(name),
        Kind::RestoreLog => RestoreFile::Log.key(name),
        Kind::RestoreResults => RestoreFile::Results.key(name),
        Kind::RestoreResourceList => RestoreFile::ResourceList.key(name),
        Kind::RestoreItemOperations => RestoreFile::ItemOperations.key(name),
        Kind::RestoreVolumeInfo => RestoreFile::VolumeInfo.key(name),
    }
}
