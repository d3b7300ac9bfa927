//! Doors for the fuzz targets in `fuzz/`; not part of the crate's interface.

use crate::archive_reader::{self, ArchiveError};

/// Reads a gzipped tarball to its end; how many objects and bytes of objects it has, or why it is refused.
///
/// # Errors
/// The reason, with its causes.
pub fn read_archive(packed: &[u8]) -> Result<(usize, usize), String> {
    let (mut objects, mut bytes) = (0, 0);
    let done = archive_reader::read::<ArchiveError>(
        packed,
        |_, _| true,
        |object| {
            objects += 1;
            bytes += object.json.len();
            Ok(())
        },
    );
    done.map(|()| (objects, bytes))
        .map_err(|error| crate::error::chain(&error))
}
