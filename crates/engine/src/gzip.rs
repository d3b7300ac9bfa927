//! Gzip on several cores into an object of the store.
//!
//! The bytes are cut into blocks and each block becomes a gzip member of its own; members are
//! compressed side by side and written in order. A file of several members is one gzip file by
//! RFC 1952, and every reader (Go's, zlib's, `gunzip`) yields the concatenation.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use futures::{StreamExt, stream::FuturesOrdered};
use refloat_store::{ObjectWriter, StoreError};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;

/// How many bytes a member holds before compression. Larger members compress hardly better.
pub(crate) const BLOCK: usize = 512 * 1024;
/// Blocks that are being compressed or wait to be written, at most.
const IN_FLIGHT: usize = 4;
/// Fast, and on the JSON of a cluster within a few percent of the default level's size.
const LEVEL: Compression = Compression::new(1);

/// Compresses and writes.
pub(crate) struct GzipWriter {
    writer: Box<dyn ObjectWriter>,
    pending: FuturesOrdered<JoinHandle<Bytes>>,
    hash: Sha256,
    size: u64,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Bytes in the store.
    pub size: u64,
    /// Their SHA-256 in hexadecimal.
    pub sha256: String,
}

impl GzipWriter {
    pub(crate) fn new(writer: Box<dyn ObjectWriter>) -> Self {
        Self {
            writer,
            pending: FuturesOrdered::new(),
            hash: Sha256::new(),
            size: 0,
        }
    }

    /// Takes in a block; waits while too many are under way.
    pub(crate) async fn block(&mut self, block: Vec<u8>) -> Result<(), StoreError> {
        while self.pending.len() >= IN_FLIGHT {
            self.write_next().await?;
        }
        self.pending
            .push_back(tokio::task::spawn_blocking(move || member(&block)));
        Ok(())
    }

    async fn write_next(&mut self) -> Result<(), StoreError> {
        let Some(done) = self.pending.next().await else {
            return Ok(());
        };
        let member = done.expect("compression neither panics nor is it aborted");
        self.hash.update(&member);
        self.size += member.len() as u64;
        self.writer.write(member).await
    }

    /// Makes the object visible.
    pub(crate) async fn finish(mut self) -> Result<Written, StoreError> {
        while !self.pending.is_empty() {
            self.write_next().await?;
        }
        self.writer.finish().await?;
        Ok(Written {
            size: self.size,
            sha256: hex(&self.hash.finalize()),
        })
    }

    /// Throws away what was written.
    pub(crate) async fn abort(self) -> Result<(), StoreError> {
        self.writer.abort().await
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One block as a gzip member of its own.
pub(crate) fn member(block: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(block.len() / 6 + 128), LEVEL);
    encoder.write_all(block).expect("writing to memory does not fail");
    Bytes::from(encoder.finish().expect("writing to memory does not fail"))
}
