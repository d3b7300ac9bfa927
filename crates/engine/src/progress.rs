//! How far a backup or restore is: counters that the engine writes and anybody reads.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Counters of one job. Clones share them; reading never waits.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    total: AtomicU64,
    done: AtomicU64,
    bytes: AtomicU64,
}

impl Progress {
    /// Items that are known of; an estimate while a backup still lists.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.total.load(Ordering::Relaxed).max(self.done())
    }

    /// Items done.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.0.done.load(Ordering::Relaxed)
    }

    /// Bytes of objects done, before compression.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_total(&self, items: u64) {
        self.0.total.store(items, Ordering::Relaxed);
    }

    pub(crate) fn add_total(&self, items: u64) {
        self.0.total.fetch_add(items, Ordering::Relaxed);
    }

    pub(crate) fn add_done(&self, items: u64, bytes: u64) {
        self.0.done.fetch_add(items, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn reset(&self) {
        for counter in [&self.0.total, &self.0.done, &self.0.bytes] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}
