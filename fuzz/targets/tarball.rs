//! A backup's tarball after gzip: an error at most, memory within bounds, the same twice.

#![no_main]

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use refloat_engine::fuzzing::read_archive;

libfuzzer_sys::fuzz_target!(|tar: &[u8]| {
    let mut gzip = GzEncoder::new(Vec::with_capacity(tar.len() + 64), Compression::none());
    gzip.write_all(tar).expect("writing to memory does not fail");
    let packed = gzip.finish().expect("writing to memory does not fail");
    let found = read_archive(&packed);
    if let Ok((objects, bytes)) = &found {
        // A sparse entry could claim more than there is; nothing we take is sparse.
        assert!(
            *bytes <= tar.len() && objects * 512 <= tar.len(),
            "{objects} objects of {bytes} bytes"
        );
    }
    assert_eq!(read_archive(&packed), found);
});
