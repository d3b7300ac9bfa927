//! Which data of volumes a backup's files refer to: snapshots and file copies that were made by a
//! Velero server. The files are the only reference to that data that is left once a cluster is gone,
//! so whoever deletes a backup looks here first.
//!
//! The files are read as streams, one entry at a time: what is in memory does not grow with them.

use std::{
    cell::Cell,
    fmt,
    io::{self, BufReader, Read},
    rc::Rc,
};

use refloat_model::layout::BackupFile;
use serde::{
    Deserializer,
    de::{SeqAccess, Visitor},
};
use serde_json::Value;

use crate::{EngineError, Location, archive_reader::ChannelReader, catalog::check_name};

/// The longest entry: an object of the cluster, or a description of one.
const LONGEST_ENTRY: u64 = 8 * 1024 * 1024;
/// How many names are told of each kind of data.
const EXAMPLES: usize = 3;
/// How to tell whether an entry names volume data: the name to tell it by.
type Name = fn(&Value) -> Option<String>;

/// Files that may name volume data, what each of them names, and how to tell.
const FILES: [(BackupFile, &str, Name); 6] = [
    (BackupFile::VolumeInfo, "volumes with data", saved_volume),
    (
        BackupFile::VolumeSnapshots,
        "snapshots of the storage provider",
        native_snapshot,
    ),
    (
        BackupFile::PodVolumeBackups,
        "file copies of pods' volumes",
        file_copy,
    ),
    (BackupFile::CsiVolumeSnapshots, "CSI snapshots", object_name),
    (
        BackupFile::CsiVolumeSnapshotContents,
        "contents of CSI snapshots",
        object_name,
    ),
    (
        BackupFile::ItemOperations,
        "operations on volumes",
        volume_operation,
    ),
];

/// What a backup's files refer to. `Display` says it in one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeData {
    found: Vec<Found>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    what: &'static str,
    count: u64,
    examples: Vec<String>,
}

impl VolumeData {
    /// Whether the backup refers to none: its files can be deleted and nothing is lost but them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
}

impl fmt::Display for VolumeData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, found) in self.found.iter().enumerate() {
            let before = if at > 0 { ", " } else { "" };
            let more = if found.count > found.examples.len() as u64 {
                ", …"
            } else {
                ""
            };
            let names = found.examples.join(", ");
            write!(f, "{before}{} {} ({names}{more})", found.count, found.what)?;
        }
        Ok(())
    }
}

/// Finds the volume data that the files of a backup refer to. Files that are not there name none, so
/// that a deletion which was interrupted can be repeated.
///
/// # Errors
/// If a file cannot be read, or is not what it should be: then nobody can tell.
pub async fn find(location: &Location, backup: &str) -> Result<VolumeData, EngineError> {
    check_name(backup)?;
    let mut data = VolumeData::default();
    for (file, what, names_data) in FILES {
        let key = file.key(backup);
        let stream = match location.store().get_stream(&key, None).await {
            Err(error) if error.is_not_found() => continue,
            other => other.map_err(|source| EngineError::store(format!("cannot read {key}"), source))?,
        };
        let reader = ChannelReader::over(stream);
        let reading = tokio::task::spawn_blocking(move || {
            let mut found = Found {
                what,
                count: 0,
                examples: Vec::new(),
            };
            let unpacked = flate2::read::MultiGzDecoder::new(reader);
            each_entry(unpacked, |entry| {
                if let Some(name) = names_data(&entry) {
                    found.count += 1;
                    if found.examples.len() < EXAMPLES {
                        found.examples.push(name);
                    }
                }
            })
            .map(|()| found)
        });
        let found = reading.await.map_err(|error| EngineError::damaged(&key, error))?;
        let found = found.map_err(|problem| EngineError::damaged(&key, problem))?;
        if found.count > 0 {
            data.found.push(found);
        }
    }
    Ok(data)
}

/// Reads a JSON list (or `null`, as Go writes empty ones) and hands out its entries one by one.
fn each_entry(unpacked: impl Read, take: impl FnMut(Value)) -> Result<(), serde_json::Error> {
    let allowed = Rc::new(Cell::new(LONGEST_ENTRY));
    let reader = Rationed {
        inner: unpacked,
        allowed: allowed.clone(),
    };
    let mut document = serde_json::Deserializer::from_reader(BufReader::new(reader));
    document.deserialize_any(Entries { take, allowed })?;
    document.end()
}

/// Ends with an error where more is read than is allowed.
struct Rationed<R> {
    inner: R,
    allowed: Rc<Cell<u64>>,
}

impl<R: Read> Read for Rationed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let left = self.allowed.get().checked_sub(count as u64);
        let left = left.ok_or_else(|| io::Error::other("an entry is longer than any object"))?;
        self.allowed.set(left);
        Ok(count)
    }
}

struct Entries<F> {
    take: F,
    allowed: Rc<Cell<u64>>,
}

impl<'de, F: FnMut(Value)> Visitor<'de> for Entries<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(entry) = list.next_element::<Value>()? {
            self.allowed.set(LONGEST_ENTRY);
            (self.take)(entry);
        }
        Ok(())
    }
}

fn text<'a>(entry: &'a Value, pointer: &str) -> &'a str {
    entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A namespace, or none, and names, as one reads them.
fn path(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    parts.join("/")
}

/// An entry of the list of volumes whose data was saved. One that failed before there was a snapshot
/// has no handle.
fn saved_volume(entry: &Value) -> Option<String> {
    const HANDLES: [&str; 4] = [
        "/csiSnapshotInfo/snapshotHandle",
        "/snapshotDataMovementInfo/snapshotHandle",
        "/nativeSnapshotInfo/snapshotHandle",
        "/pvbInfo/snapshotHandle",
    ];
    let method = text(entry, "/backupMethod");
    let skipped = entry.get("skipped").and_then(Value::as_bool).unwrap_or_default();
    let nothing = text(entry, "/result") == "failed" && HANDLES.iter().all(|at| text(entry, at).is_empty());
    if method.is_empty() || skipped || nothing {
        return None;
    }
    let claim = path(&[text(entry, "/pvcNamespace"), text(entry, "/pvcName")]);
    let pod = path(&[
        text(entry, "/pvbInfo/podNamespace"),
        text(entry, "/pvbInfo/podName"),
        text(entry, "/pvbInfo/volumeName"),
    ]);
    let volume = [claim.as_str(), text(entry, "/pvName"), pod.as_str()]
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or("unnamed");
    Some(format!("{volume} by {method}"))
}

fn native_snapshot(entry: &Value) -> Option<String> {
    let id = text(entry, "/status/providerSnapshotID");
    let volume = text(entry, "/spec/persistentVolumeName");
    (!id.is_empty()).then(|| format!("{volume}: {id}"))
}

fn file_copy(entry: &Value) -> Option<String> {
    let id = text(entry, "/status/snapshotID");
    let volume = path(&[
        text(entry, "/spec/pod/namespace"),
        text(entry, "/spec/pod/name"),
        text(entry, "/spec/volume"),
    ]);
    (!id.is_empty()).then_some(volume)
}

fn object_name(entry: &Value) -> Option<String> {
    Some(path(&[
        text(entry, "/metadata/namespace"),
        text(entry, "/metadata/name"),
    ]))
}

/// An operation that ran on after the objects were stored, such as moving a snapshot. Velero writes the
/// object it is about without names for its JSON, that is, with capitals.
fn volume_operation(entry: &Value) -> Option<String> {
    const KINDS: [&str; 4] = [
        "persistentvolumeclaims",
        "persistentvolumes",
        "volumesnapshots",
        "volumesnapshotcontents",
    ];
    let about = entry.pointer("/spec/resourceIdentifier")?;
    let kind = text(about, "/Resource");
    let failed = text(entry, "/status/phase") == "Failed";
    if failed || !KINDS.contains(&kind) {
        return None;
    }
    let name = path(&[text(about, "/Namespace"), text(about, "/Name")]);
    Some(format!("{kind} {name}: {}", text(entry, "/spec/operationID")))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;

    fn packed(value: &Value) -> bytes::Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(value.to_string().as_bytes()).unwrap();
        encoder.finish().unwrap().into()
    }

    async fn with(files: &[(BackupFile, Value)]) -> Location {
        let location = Location::from_url("memory://volume-data").await.unwrap();
        for (file, value) in files {
            location
                .store()
                .put_once(&file.key("b"), packed(value))
                .await
                .unwrap();
        }
        location
    }

    async fn found(file: BackupFile, value: Value) -> String {
        let location = with(&[(file, value)]).await;
        find(&location, "b").await.unwrap().to_string()
    }

    #[tokio::test]
    async fn each_file_that_velero_writes_tells_of_its_data() {
        let volumes = json!([
            {"pvcName": "data", "pvcNamespace": "shop", "pvName": "pv1", "backupMethod": "CSISnapshot",
             "snapshotDataMoved": true, "skipped": false, "result": "succeeded",
             "snapshotDataMovementInfo": {"snapshotHandle": "k1", "operationID": "du-1"}},
            {"pvName": "pv2", "skipped": true, "skippedReason": "policy", "snapshotDataMoved": false},
            {"pvName": "pv3", "backupMethod": "NativeSnapshot", "skipped": false, "result": "failed",
             "nativeSnapshotInfo": {"snapshotHandle": ""}},
            {"backupMethod": "PodVolumeBackup", "skipped": false,
             "pvbInfo": {"podNamespace": "shop", "podName": "db-0", "volumeName": "logs", "snapshotHandle": "k2"}}
        ]);
        assert_eq!(
            found(BackupFile::VolumeInfo, volumes).await,
            "2 volumes with data (shop/data by CSISnapshot, shop/db-0/logs by PodVolumeBackup)"
        );
        let snapshots = json!([
            {"spec": {"persistentVolumeName": "pv1", "providerVolumeID": "vol-1"},
             "status": {"providerSnapshotID": "snap-1", "phase": "Completed"}},
            {"spec": {"persistentVolumeName": "pv2"}, "status": {"phase": "Failed"}}
        ]);
        assert_eq!(
            found(BackupFile::VolumeSnapshots, snapshots).await,
            "1 snapshots of the storage provider (pv1: snap-1)"
        );
        let copy = |volume: &str, id: &str| {
            json!({"kind": "PodVolumeBackup", "spec": {"pod": {"namespace": "shop", "name": "db-0"}, "volume": volume},
                "status": {"phase": "Completed", "snapshotID": id}})
        };
        let copies = json!([
            copy("a", "1"),
            copy("b", "2"),
            copy("c", ""),
            copy("d", "4"),
            copy("e", "5")
        ]);
        assert_eq!(
            found(BackupFile::PodVolumeBackups, copies).await,
            "4 file copies of pods' volumes (shop/db-0/a, shop/db-0/b, shop/db-0/d, …)"
        );
        let csi = json!([{"metadata": {"name": "s", "namespace": "shop"}}]);
        assert_eq!(
            found(BackupFile::CsiVolumeSnapshots, csi).await,
            "1 CSI snapshots (shop/s)"
        );
        let operation = |resource: &str, phase: &str| {
            json!({"spec": {"backupName": "b", "operationID": "du-1", "resourceIdentifier":
                {"Group": "", "Resource": resource, "Namespace": "shop", "Name": "data"}}, "status": {"phase": phase}})
        };
        let operations = json!([
            operation("persistentvolumeclaims", "Completed"),
            operation("persistentvolumeclaims", "Failed"),
            operation("widgets", "Completed")
        ]);
        assert_eq!(
            found(BackupFile::ItemOperations, operations).await,
            "1 operations on volumes (persistentvolumeclaims shop/data: du-1)"
        );
    }

    #[tokio::test]
    async fn a_backup_of_objects_alone_refers_to_nothing() {
        let skipped = json!([{"pvName": "pv1", "skipped": true, "skippedReason": "not part of this backup"}]);
        let location = with(&[
            (BackupFile::VolumeInfo, skipped),
            (BackupFile::VolumeSnapshots, json!(null)),
            (BackupFile::PodVolumeBackups, json!([])),
        ])
        .await;
        assert!(find(&location, "b").await.unwrap().is_empty());
        assert!(find(&location, "another").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_understood_is_no_promise() {
        for bad in [json!({"a": 1}), json!("text")] {
            let location = with(&[(BackupFile::VolumeInfo, bad)]).await;
            assert!(matches!(
                find(&location, "b").await,
                Err(EngineError::Damaged { .. })
            ));
        }
        let huge = json!([{"pvName": "x".repeat(9 * 1024 * 1024)}]);
        let location = with(&[(BackupFile::VolumeInfo, huge)]).await;
        let error = find(&location, "b").await.unwrap_err().to_string();
        assert!(error.contains("longer than any object"), "{error}");
    }

    #[test]
    fn many_entries_are_read_although_together_they_are_long() {
        let mut count = 0;
        let entry = json!({"metadata": {"name": "x".repeat(1024 * 1024)}}).to_string();
        let text = format!("[{}]", vec![entry; 20].join(","));
        each_entry(text.as_bytes(), |_| count += 1).unwrap();
        assert_eq!(count, 20);
    }
}
