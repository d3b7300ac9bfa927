//! Tarballs as a backup writes them, and as nobody should.

use std::io::{Cursor, Write};

use flate2::{Compression, write::GzEncoder};
use tar::{EntryType, Header};

use super::*;

/// Writes entries without any of the checks of the tar library.
fn tarball(entries: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (path, kind, body) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        header.set_size(body.len() as u64);
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        tar.append(&header, *body).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn names(packed: &[u8]) -> Result<Vec<String>, ArchiveError> {
    let mut names = Vec::new();
    read(
        Cursor::new(packed),
        |_, _| true,
        |object| {
            names.push(format!(
                "{} {} {}",
                object.resource,
                object.name,
                object.json.len()
            ));
            Ok::<(), ArchiveError>(())
        },
    )?;
    Ok(names)
}

const FILE: EntryType = EntryType::Regular;
const POD: &str = "resources/pods/namespaces/shop/web.json";

#[test]
fn objects_come_once_though_they_are_stored_twice() {
    let packed = tarball(&[
        ("metadata/version", FILE, b"1.1.0\n"),
        ("resources/", EntryType::Directory, b""),
        (POD, FILE, b"{}"),
        (
            "resources/pods/v1-preferredversion/namespaces/shop/web.json",
            FILE,
            b"{}",
        ),
        (
            "resources/clusterroles.rbac.authorization.k8s.io/cluster/system:a.json",
            FILE,
            b"{\"a\":1}",
        ),
    ]);
    assert_eq!(
        names(&packed).unwrap(),
        [
            "pods shop/web 2",
            "clusterroles.rbac.authorization.k8s.io system:a 7"
        ]
    );
}

#[test]
fn what_no_backup_contains_is_refused() {
    let refused = |entries: &[(&str, EntryType, &[u8])]| names(&tarball(entries)).unwrap_err();
    assert!(matches!(
        refused(&[("resources/../../etc/passwd", FILE, b"x")]),
        ArchiveError::Path(_)
    ));
    assert!(matches!(
        refused(&[("/etc/passwd", FILE, b"x")]),
        ArchiveError::Path(_)
    ));
    assert!(matches!(
        refused(&[(POD, EntryType::Symlink, b"")]),
        ArchiveError::NotAFile(_)
    ));
    assert!(matches!(
        refused(&[(POD, EntryType::Link, b"")]),
        ArchiveError::NotAFile(_)
    ));
    assert!(matches!(
        refused(&[(POD, EntryType::Char, b"")]),
        ArchiveError::NotAFile(_)
    ));
    assert!(matches!(
        refused(&[(POD, FILE, b"{}"), (POD, FILE, b"{}")]),
        ArchiveError::Twice(_)
    ));
    assert!(matches!(
        refused(&[("metadata/version", FILE, b"2.0.0\n")]),
        ArchiveError::Format(_)
    ));
}

#[test]
fn a_cut_tarball_is_an_error_wherever_it_is_cut() {
    let body: Vec<u8> = (0..60_000u32).flat_map(u32::to_le_bytes).collect();
    let packed = tarball(&[("metadata/version", FILE, b"1.1.0\n"), (POD, FILE, &body)]);
    assert!(names(&packed).is_ok());
    for length in (0..packed.len()).step_by(packed.len() / 97 + 1) {
        assert!(
            names(&packed[..length]).is_err(),
            "cut at {length} of {}",
            packed.len()
        );
    }
}

/// A gzip member may end where an entry does, so a file that is cut there is whole gzip.
#[test]
fn a_tarball_without_its_end_is_an_error() {
    let packed = tarball(&[("metadata/version", FILE, b"1.1.0\n"), (POD, FILE, b"{}")]);
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(&*packed)
        .read_to_end(&mut tar)
        .unwrap();
    let repacked = |length: usize| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&tar[..length]).unwrap();
        gzip.finish().unwrap()
    };
    assert!(names(&repacked(tar.len())).is_ok());
    for length in [0, 1024, 2048] {
        let error = names(&repacked(length)).unwrap_err();
        assert!(matches!(error, ArchiveError::Io(_)), "cut at {length}: {error}");
    }
}

/// Some bits carry nothing (padding, codes that are never used); a flip of any other is noticed.
#[test]
fn flipped_bits_are_an_error_or_change_nothing() {
    let packed = tarball(&[("metadata/version", FILE, b"1.1.0\n"), (POD, FILE, &[7; 5000])]);
    let bodies = |packed: &[u8]| {
        let mut bodies = Vec::new();
        read(
            Cursor::new(packed),
            |_, _| true,
            |object| {
                bodies.push(object.json.to_vec());
                Ok::<(), ArchiveError>(())
            },
        )
        .map(|()| bodies)
    };
    let whole = bodies(&packed).unwrap();
    for at in 10..packed.len() {
        let mut damaged = packed.clone();
        damaged[at] ^= 0x10;
        if let Ok(found) = bodies(&damaged) {
            assert_eq!(found, whole, "bit flipped at {at}");
        }
    }
}

/// The tar library would read a long name, or any extension, into memory whole.
#[test]
fn a_bomb_in_the_headers_is_not_unpacked() {
    for kind in [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader] {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(1 << 40);
        header.set_cksum();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(header.as_bytes()).unwrap();
        for _ in 0..4 {
            gzip.write_all(&[b'a'; 1 << 20]).unwrap();
        }
        let ArchiveError::Io(error) = names(&gzip.finish().unwrap()).unwrap_err() else {
            panic!("{kind:?}")
        };
        assert!(
            error.to_string().contains("longer than any path"),
            "{kind:?}: {error}"
        );
    }
}

#[test]
fn an_entry_that_is_passed_over_is_no_bomb_either() {
    for path in ["resources/pods/v1/cluster/web.json", "other", "resources/"] {
        let mut header = Header::new_gnu();
        header.set_entry_type(if path.ends_with('/') {
            EntryType::Directory
        } else {
            FILE
        });
        header.set_size(1 << 40);
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(header.as_bytes()).unwrap();
        let refused = names(&gzip.finish().unwrap()).unwrap_err();
        assert!(matches!(refused, ArchiveError::TooLong(_)), "{path}: {refused}");
    }
}

#[test]
fn a_bomb_is_not_unpacked() {
    let mut header = Header::new_gnu();
    header.set_entry_type(FILE);
    header.set_size(1 << 40);
    header.as_mut_bytes()[..POD.len()].copy_from_slice(POD.as_bytes());
    header.set_cksum();
    let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
    gzip.write_all(header.as_bytes()).unwrap();
    for _ in 0..4 {
        gzip.write_all(&[0; 1 << 20]).unwrap();
    }
    assert!(matches!(
        names(&gzip.finish().unwrap()).unwrap_err(),
        ArchiveError::TooLong(_)
    ));
}
