//! Listings, page by page, with a retry for each page.

use std::sync::Arc;

use futures::stream::{BoxStream, StreamExt};
use opendal::options::ListOptions;
use opendal::raw::oio::{List, Lister};
use opendal::raw::{OpList, Service};
use opendal::{EntryMode, Metadata, Operator};

use crate::disk::Disk;
use crate::error::{At, StoreError};
use crate::object::Entry;
use crate::retry::Tuning;
use crate::store::Inner;

/// A listing below OpenDAL's `Lister`: that one is over after its first error, and here a page is asked for
/// again.
struct Pages {
    lister: Lister,
    at: Box<At>,
    tuning: Tuning,
}

impl Pages {
    fn begin(
        operator: &Operator,
        path: &str,
        recursive: bool,
        at: Box<At>,
        tuning: &Tuning,
    ) -> Result<Self, StoreError> {
        let options = OpList::from(ListOptions {
            recursive,
            ..ListOptions::default()
        });
        let path = if path.is_empty() { "/" } else { path };
        match operator.service().list(operator.context(), path, options) {
            Ok(lister) => Ok(Self {
                lister,
                at,
                tuning: tuning.clone(),
            }),
            Err(e) => Err(StoreError::from_opendal(at, &e, false)),
        }
    }

    async fn next(&mut self) -> Result<Option<(String, Metadata)>, StoreError> {
        let mut failures = 0;
        loop {
            match self.lister.next().await {
                Ok(entry) => return Ok(entry.map(opendal::raw::oio::Entry::into_parts)),
                Err(e) => self.tuning.pause(&self.at, &e, false, &mut failures).await?,
            }
        }
    }
}

impl Inner {
    /// Everything that begins with `prefix`; an entry whose key ends in `/` is a marker that some tools leave.
    pub(crate) async fn list_all(
        self: Arc<Self>,
        prefix: String,
    ) -> Result<BoxStream<'static, Result<Entry, StoreError>>, StoreError> {
        let at = At::new("listing", &prefix, &self.name);
        self.check_disk(&at).await?;
        let pages = Pages::begin(&self.operator, &self.path(&prefix), true, at, &self.tuning)?;
        let entries = futures::stream::try_unfold((self, pages), |(inner, mut pages)| async move {
            while let Some((path, found)) = pages.next().await? {
                if let Some(entry) = inner.listed(&pages.at, &path, &found).await? {
                    return Ok(Some((entry, (inner, pages))));
                }
            }
            Ok(None)
        });
        Ok(entries.boxed())
    }

    async fn listed(&self, at: &At, path: &str, found: &Metadata) -> Result<Option<Entry>, StoreError> {
        let is_marker = path.ends_with('/');
        match found.mode() {
            // Folders of a disk and of memory are no objects.
            _ if is_marker && !self.marks => Ok(None),
            _ if self.disk.is_some() && Disk::hides(path) => Ok(None),
            EntryMode::Unknown if !is_marker => {
                match self.tuning.retry(at, false, || self.operator.stat(path)).await {
                    Ok(found) => Ok(Some(self.entry(path, &found))),
                    // Deleted since it was listed.
                    Err(e) if e.is_not_found() => Ok(None),
                    Err(e) => Err(e),
                }
            }
            _ => Ok(Some(self.entry(path, found))),
        }
    }

    /// The distinct beginnings of keys up to the next slash after `prefix`, sorted.
    pub(crate) async fn prefixes(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let at = At::new("listing", prefix, &self.name);
        self.check_disk(&at).await?;
        let path = self.path(prefix);
        let mut pages = Pages::begin(&self.operator, &path, false, at, &self.tuning)?;
        let mut prefixes = Vec::new();
        while let Some((below, _)) = pages.next().await? {
            if !below.ends_with('/') || below == path || below == "/" {
                continue;
            }
            if let Some(disk) = &self.disk
                && !disk.has_object(&pages.at, &below).await?
            {
                continue;
            }
            prefixes.push(below.strip_prefix(&self.prefix).unwrap_or(&below).to_owned());
        }
        prefixes.sort_unstable();
        prefixes.dedup();
        Ok(prefixes)
    }
}
