//! Writes a backup's tarball while its objects arrive.
//!
//! Each object goes in twice, one copy right after the other: readers of the format want both, and
//! the second costs a few bytes after compression because the first is still in the window.

use std::io::Read;

use refloat_model::{ObjectName, archive, layout, resource::ApiResource};
use refloat_store::{ObjectWriter, StoreError};
use tar::{EntryType, Header};

use crate::gzip::{BLOCK, GzipWriter, Written};

/// A tarball under way.
pub(crate) struct ArchiveWriter {
    tar: tar::Builder<Vec<u8>>,
    gzip: GzipWriter,
    modified: u64,
}

impl ArchiveWriter {
    /// Begins a tarball whose entries carry the time `modified` (seconds since 1970).
    pub(crate) fn begin(writer: Box<dyn ObjectWriter>, modified: u64) -> Self {
        let tar = tar::Builder::new(Vec::with_capacity(BLOCK * 2));
        let mut archive = Self {
            tar,
            gzip: GzipWriter::new(writer),
            modified,
        };
        let version = format!("{}\n", layout::FORMAT_VERSION);
        archive.entry(archive::VERSION_ENTRY, &[version.as_bytes()]);
        archive
    }

    /// Adds an object whose JSON is the concatenation of `parts`. Its name is one that
    /// [`archive::can_hold`].
    pub(crate) async fn object(
        &mut self,
        resource: &ApiResource,
        name: &ObjectName,
        parts: &[&[u8]],
    ) -> Result<(), StoreError> {
        self.entry(&archive::object_path(&resource.group_resource, name), parts);
        self.entry(
            &archive::preferred_path(&resource.group_resource, &resource.version, name),
            parts,
        );
        if self.tar.get_ref().len() >= BLOCK {
            let block = std::mem::replace(self.tar.get_mut(), Vec::with_capacity(BLOCK * 2));
            self.gzip.block(block).await?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, parts: &[&[u8]]) {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o755);
        header.set_mtime(self.modified);
        header.set_size(parts.iter().map(|part| part.len() as u64).sum());
        self.tar
            .append_data(&mut header, path, Parts { parts, at: 0 })
            .expect(
                "writing to memory does not fail, and names that an archive cannot hold do not come here",
            );
    }

    /// Ends the tarball and makes it visible.
    pub(crate) async fn finish(mut self) -> Result<Written, StoreError> {
        self.tar.finish().expect("writing to memory does not fail");
        let rest = std::mem::take(self.tar.get_mut());
        self.gzip.block(rest).await?;
        self.gzip.finish().await
    }

    /// Throws the tarball away.
    pub(crate) async fn abort(self) -> Result<(), StoreError> {
        self.gzip.abort().await
    }
}

/// Reads slices one after the other.
struct Parts<'a> {
    parts: &'a [&'a [u8]],
    at: usize,
}

impl Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while let Some((first, rest)) = self.parts.split_first() {
            let left = &first[self.at..];
            if left.is_empty() {
                self.parts = rest;
                self.at = 0;
                continue;
            }
            let count = left.len().min(buffer.len());
            buffer[..count].copy_from_slice(&left[..count]);
            self.at += count;
            return Ok(count);
        }
        Ok(0)
    }
}
