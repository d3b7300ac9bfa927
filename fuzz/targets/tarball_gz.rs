//! A backup's tarball as it is stored: an error at most, and a cut one is never whole.

#![no_main]

use refloat_engine::fuzzing::read_archive;

libfuzzer_sys::fuzz_target!(|packed: &[u8]| {
    if read_archive(packed).is_ok() && !packed.is_empty() {
        // The last eight bytes of a gzip member are its checksum and length.
        assert!(
            read_archive(&packed[..packed.len() - 1]).is_err(),
            "one byte is missing and nobody notices"
        );
    }
});
