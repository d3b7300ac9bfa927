//! Decisions about new backups.

use std::time::Duration;

use super::*;
use refloat_model::location::BackupStorageLocationStatus;

fn location(name: &str) -> BackupStorageLocation {
    BackupStorageLocation::new(name, Default::default())
}

const SNAPSHOTS: &str = "volumesnapshots.snapshot.storage.k8s.io";
const SNAPSHOT_CONTENTS: &str = "volumesnapshotcontents.snapshot.storage.k8s.io";

fn snapshots(name: &str, provider: &str) -> VolumeSnapshotLocation {
    let mut location = VolumeSnapshotLocation::new(name, Default::default());
    provider.clone_into(&mut location.spec.provider);
    location
}

fn facts(options: &ServerOptions, locations: Vec<BackupStorageLocation>) -> Facts<'_> {
    let server = ServerVersion {
        git_version: "v1.34.4".into(),
        major: "1".into(),
        minor: "34".into(),
    };
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    Facts {
        locations,
        snapshot_locations: Vec::new(),
        server,
        options,
        now,
    }
}

fn backup(spec: BackupSpec) -> Backup {
    Backup::new("a", spec)
}

#[test]
fn defaults_labels_and_expiration_are_filled_in() {
    let options = ServerOptions {
        default_snapshot_move_data: true,
        ..ServerOptions::default()
    };
    let (prepared, errors) = prepare(
        &backup(BackupSpec::default()),
        &facts(&options, vec![location("default")]),
    );
    assert_eq!(errors, Vec::<String>::new());
    let spec = &prepared.spec;
    assert_eq!(spec.storage_location, "default");
    assert_eq!(spec.ttl, GoDuration::from_hours(720));
    assert_eq!(spec.item_operation_timeout, GoDuration::from_hours(4));
    assert_eq!(
        (spec.default_volumes_to_fs_backup, spec.snapshot_move_data),
        (Some(false), Some(true))
    );
    // In the fields by scope, as Velero writes them, also where the backup filters nothing.
    assert!(spec.excluded_resources.is_empty());
    assert_eq!(spec.excluded_namespace_scoped_resources, [SNAPSHOTS]);
    assert_eq!(spec.excluded_cluster_scoped_resources, [SNAPSHOT_CONTENTS]);
    let status = prepared.status.as_ref().unwrap();
    assert_eq!(
        status.expiration.as_ref().unwrap().0.as_second(),
        1_700_000_000 + 720 * 3600
    );
    assert_eq!((status.version, status.format_version.as_str()), (1, "1.1.0"));
    assert_eq!(
        prepared.metadata.labels.as_ref().unwrap()[labels::STORAGE_LOCATION],
        "default"
    );
    let annotations = prepared.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations[labels::SOURCE_GIT_VERSION], "v1.34.4");
    assert_eq!(annotations[labels::RESOURCE_TIMEOUT], "10m0s");
}

#[test]
fn preparing_twice_changes_nothing_more() {
    let options = ServerOptions::default();
    let facts = facts(&options, vec![location("default")]);
    let (once, _) = prepare(&backup(BackupSpec::default()), &facts);
    let (twice, errors) = prepare(&once, &facts);
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(once, twice);
}

#[test]
fn what_the_backup_says_wins() {
    let options = ServerOptions {
        default_volumes_to_fs_backup: true,
        ..ServerOptions::default()
    };
    let spec = BackupSpec {
        ttl: GoDuration::from_hours(1),
        default_volumes_to_fs_backup: Some(false),
        storage_location: "mine".into(),
        included_namespace_scoped_resources: vec!["pods".into()],
        ..BackupSpec::default()
    };
    let mut default = location("default");
    default.spec.default = true;
    let (prepared, errors) = prepare(&backup(spec), &facts(&options, vec![default, location("mine")]));
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(prepared.spec.ttl, GoDuration(Duration::from_secs(3600)));
    assert_eq!(prepared.spec.default_volumes_to_fs_backup, Some(false));
    assert_eq!(prepared.spec.storage_location, "mine");
    assert_eq!(prepared.spec.excluded_namespace_scoped_resources, [SNAPSHOTS]);
    assert_eq!(
        prepared.spec.excluded_resources,
        Vec::<String>::new(),
        "the two kinds of filters are not mixed"
    );
    let old = BackupSpec {
        included_resources: vec!["pods".into()],
        ..BackupSpec::default()
    };
    let (prepared, _) = prepare(&backup(old), &facts(&options, vec![location("default")]));
    assert_eq!(prepared.spec.excluded_resources, [SNAPSHOTS, SNAPSHOT_CONTENTS]);
    assert!(prepared.spec.excluded_cluster_scoped_resources.is_empty());
}

#[test]
fn the_location_must_exist_be_writable_and_available() {
    let options = ServerOptions::default();
    let named = |name: &str| {
        backup(BackupSpec {
            storage_location: name.into(),
            ..BackupSpec::default()
        })
    };
    let mut read_only = location("ro");
    read_only.spec.access_mode = Some(AccessMode::ReadOnly);
    let mut broken = location("broken");
    broken.status = Some(BackupStorageLocationStatus {
        phase: Some(LocationPhase::Unavailable),
        message: "no bucket".into(),
        ..Default::default()
    });
    let facts = facts(&options, vec![read_only, broken]);
    for (name, part) in [
        ("none", "does not exist"),
        ("ro", "read-only"),
        ("broken", "unavailable (no bucket)"),
    ] {
        let (_, errors) = prepare(&named(name), &facts);
        assert!(errors.len() == 1 && errors[0].contains(part), "{errors:?}");
    }
    let (_, errors) = prepare(&named(""), &facts);
    assert!(
        errors.len() == 1 && errors[0].contains("neither a default one"),
        "{errors:?}"
    );
}

#[test]
fn snapshot_locations_are_checked_and_completed() {
    let options = ServerOptions::default();
    let mut facts = facts(&options, vec![location("default")]);
    facts.snapshot_locations = vec![
        snapshots("a1", "aws"),
        snapshots("g1", "gcp"),
        snapshots("g2", "gcp"),
    ];
    let with = |names: &[&str]| BackupSpec {
        volume_snapshot_locations: names.iter().map(|&name| name.to_owned()).collect(),
        ..BackupSpec::default()
    };
    let (prepared, errors) = prepare(&backup(with(&[])), &facts);
    assert_eq!(errors, Vec::<String>::new());
    assert_eq!(
        prepared.spec.volume_snapshot_locations,
        ["a1"],
        "gcp has two, so neither is the default"
    );
    let (_, errors) = prepare(&backup(with(&["g1", "g2", "x"])), &facts);
    assert_eq!(errors.len(), 2, "{errors:?}");
}
