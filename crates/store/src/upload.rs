//! An object on its way up, in parts: memory holds one part being filled, one waiting and those in flight.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use opendal::options::WriteOptions;
use opendal::raw::oio::{Write, Writer};
use opendal::raw::{OpWrite, Service};
use opendal::{Buffer, Operator};

use crate::error::{At, Cause, StoreError};
use crate::object::ObjectWriter;
use crate::retry::Tuning;
use crate::store::Inner;

/// Smaller pieces are copied together: a list entry for each would cost more than the copy.
const COPY_BELOW: usize = 16 * 1024;

/// With the part size doubling every thousand parts, ten thousand of 5 MiB and more reach 5 TB, the largest
/// object of S3, and an upload below 5 GB needs no more memory than a small one. All parts of a thousand are
/// equally large, as Cloudflare R2 wants them all: there an object ends at 5 GB.
fn part_size(base: usize, index: usize) -> usize {
    base.saturating_mul(1 << (index / 1000).min(9))
}

/// Begins an upload below OpenDAL's `Writer`: that one holds back a short last part until it is closed, and when
/// sending it then fails, forgets it, so that closing again would end a shorter object well.
pub(crate) fn begin(operator: &Operator, path: &str, options: WriteOptions) -> opendal::Result<Writer> {
    let (options, _) = OpWrite::from_options(&operator.service().capability(), options)?;
    operator.service().write(operator.context(), path, options)
}

pub(crate) struct Upload {
    store: Arc<Inner>,
    at: Box<At>,
    mark: String,
    /// None once finished or aborted.
    writer: Option<Writer>,
    full: Vec<Bytes>,
    tail: BytesMut,
    pending: usize,
    parts: usize,
    written: u64,
    /// A call failed or was cancelled: bytes may be missing.
    broken: bool,
}

impl Upload {
    pub(crate) fn new(store: Arc<Inner>, at: Box<At>, mark: String, writer: Writer) -> Self {
        Self {
            store,
            at,
            mark,
            writer: Some(writer),
            full: Vec::new(),
            tail: BytesMut::new(),
            pending: 0,
            parts: 0,
            written: 0,
            broken: false,
        }
    }

    fn push(&mut self, data: Bytes) {
        self.pending += data.len();
        if data.len() < COPY_BELOW {
            self.tail.extend_from_slice(&data);
            if self.tail.len() >= 4 * COPY_BELOW {
                self.full.push(self.tail.split().freeze());
            }
        } else {
            if !self.tail.is_empty() {
                self.full.push(self.tail.split().freeze());
            }
            self.full.push(data);
        }
    }

    fn take_part(&mut self) -> Buffer {
        if !self.tail.is_empty() {
            self.full.push(self.tail.split().freeze());
        }
        self.pending = 0;
        self.parts += 1;
        Buffer::from(std::mem::take(&mut self.full))
    }

    fn usable(&mut self) -> Result<&mut Writer, StoreError> {
        match &mut self.writer {
            Some(writer) if !self.broken => Ok(writer),
            _ => Err(StoreError::Other {
                at: self.at.clone(),
                cause: Cause::new("an earlier write failed or was cancelled, so bytes would be missing"),
            }),
        }
    }

    async fn send_part(&mut self) -> Result<(), StoreError> {
        let part = self.take_part();
        self.usable()?;
        // Stays so when this call is dropped while it waits.
        self.broken = true;
        if let Some(writer) = &mut self.writer {
            let mut failures = 0;
            while let Err(e) = writer.write(part.clone()).await {
                self.store.tuning.pause(&self.at, &e, true, &mut failures).await?;
            }
        }
        self.broken = false;
        Ok(())
    }
}

/// Ends by itself: each try has a time limit, and their number is limited.
async fn abort(tuning: &Tuning, at: &At, mut writer: Writer) -> Result<(), StoreError> {
    let mut failures = 0;
    while let Err(e) = writer.abort().await {
        tuning.pause(at, &e, true, &mut failures).await?;
    }
    Ok(())
}

#[async_trait]
impl ObjectWriter for Upload {
    async fn write(&mut self, mut data: Bytes) -> Result<(), StoreError> {
        self.usable()?;
        self.written += data.len() as u64;
        while !data.is_empty() {
            let room = part_size(self.store.tuning.part_size, self.parts) - self.pending;
            let piece = data.split_to(room.min(data.len()));
            let fills = piece.len() == room;
            self.push(piece);
            if fills {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<u64, StoreError> {
        self.usable()?;
        if self.pending > 0 {
            self.send_part().await?;
        }
        let at = self.at.clone();
        let tuning = self.store.tuning.clone();
        self.broken = true;
        if let Some(writer) = &mut self.writer {
            let mut failures = 0;
            while let Err(e) = writer.close().await {
                if let Err(error) = tuning.pause(&at, &e, true, &mut failures).await {
                    self.store.settle(&at.key, &self.mark, error).await?;
                    break;
                }
            }
        }
        self.writer = None;
        Ok(self.written)
    }

    async fn abort(mut self: Box<Self>) -> Result<(), StoreError> {
        let at = At::new("aborting the upload of", &self.at.key, &self.at.location);
        match self.writer.take() {
            Some(writer) => abort(&self.store.tuning, &at, writer).await,
            None => Ok(()),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        let at = At::new("aborting the upload of", &self.at.key, &self.at.location);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            tracing::warn!(%at, "no runtime is left; the service keeps the unfinished upload until its own clean-up");
            return;
        };
        let tuning = self.store.tuning.clone();
        runtime.spawn(async move {
            if let Err(error) = abort(&tuning, &at, writer).await {
                tracing::warn!(%error, "an unfinished upload stays until the service's own clean-up");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::part_size;

    #[test]
    fn ten_thousand_parts_hold_five_terabytes_and_few_hold_little() {
        let base = 5 * 1024 * 1024;
        assert_eq!(
            (part_size(base, 0), part_size(base, 999), part_size(base, 1000)),
            (base, base, 2 * base)
        );
        let total: u64 = (0..10_000).map(|index| part_size(base, index) as u64).sum();
        assert!(total >= 5_000_000_000_000, "{total}");
        assert!(part_size(base, 9_999) <= 5 << 30, "S3's largest part");
    }
}
