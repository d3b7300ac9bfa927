//! Doors for the fuzz targets in `fuzz/`; not part of the crate's interface.

use crate::splitter::Splitter;

/// Splits a LIST answer that arrives in chunks of `chunk` bytes into its objects and the rest.
/// `None`: it is refused.
#[must_use]
pub fn split_list(answer: &[u8], chunk: usize) -> Option<(Vec<Vec<u8>>, Vec<u8>)> {
    let mut splitter = Splitter::default();
    let mut objects = Vec::new();
    for piece in answer.chunks(chunk.max(1)) {
        splitter.feed(piece);
        while let Some(object) = splitter.next_object().ok()? {
            objects.push(object.to_vec());
        }
    }
    Some((objects, splitter.finish().ok()?))
}
