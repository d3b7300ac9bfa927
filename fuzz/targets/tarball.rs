//! A backup's tarball after gzip: an error at most, memory within bounds, the same twice.

#![no_main]

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use refloat_engine::fuzzing::read_archive;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // Half of the inputs get checksums that are right: no mutation finds those by itself.
    let Some((&first, tar)) = data.split_first() else { return };
    let mut tar = tar.to_vec();
    if first & 1 == 1 {
        put_checksums_right(&mut tar);
    }
    let mut gzip = GzEncoder::new(Vec::with_capacity(tar.len() + 64), Compression::none());
    gzip.write_all(&tar).expect("writing to memory does not fail");
    let packed = gzip.finish().expect("writing to memory does not fail");
    let found = read_archive(&packed);
    if let Ok((objects, bytes)) = &found {
        // A sparse entry could claim more than there is; nothing we take is sparse.
        assert!(*bytes <= tar.len() && objects * 512 <= tar.len(), "{objects} objects of {bytes} bytes");
    }
    assert_eq!(read_archive(&packed), found);
});

/// Goes from header to header, as their sizes say, and writes the sum of each.
fn put_checksums_right(tar: &mut [u8]) {
    let mut at = 0;
    while let Some(header) = tar.get_mut(at..at + 512) {
        at += 512;
        if header.iter().all(|byte| *byte == 0) {
            continue;
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = std::str::from_utf8(&header[124..136]).unwrap_or_default();
        let Ok(size) = usize::from_str_radix(size.trim_matches(['\0', ' ']), 8) else { return };
        at = at.saturating_add(size.div_ceil(512).saturating_mul(512));
        if at > tar.len() {
            return;
        }
    }
}
