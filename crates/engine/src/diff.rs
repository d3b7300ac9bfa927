//! Compares a backup with another one, or with the cluster as it is now.
//!
//! Both sides are sorted by kind and name into scratch files and then read side by side, so memory
//! does not grow with the number of objects. What counts as a difference is decided in
//! [`refloat_plan::diff`].

mod live;

use std::{cmp::Ordering, collections::BTreeSet};

use refloat_cluster::Cluster;
use refloat_model::{Backup, GroupResource, resource::ApiResource};
use refloat_plan::{
    diff::{Change, Difference, Scope, ScopeLists, difference},
    find::short_names,
};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    EngineError, Location,
    restore::{check_format, sort::sort_tarball},
    spool::{Record, Spool, listed_order},
};

/// What is compared.
#[derive(Debug)]
pub struct DiffJob {
    /// The first side.
    pub from: DiffBackup,
    /// The second side.
    pub to: DiffTarget,
    /// Which objects; empty lists: all.
    pub lists: ScopeLists,
    /// Whether what secrets hold is told.
    pub reveal: bool,
    /// Stops it.
    pub cancel: CancellationToken,
}

/// A backup as a side of a comparison.
#[derive(Clone, Debug)]
pub struct DiffBackup {
    /// Where it is.
    pub location: Location,
    /// What its `velero-backup.json` holds.
    pub backup: Backup,
}

/// The second side of a comparison.
#[derive(Debug)]
pub enum DiffTarget {
    /// Another backup.
    Backup(Box<DiffBackup>),
    /// What the first backup would hold if it were made now.
    Live {
        /// The cluster.
        cluster: Cluster,
        /// Objects per LIST request.
        page_size: u32,
    },
}

/// How many objects there are of each sort.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DiffTotals {
    /// On both sides, and the same.
    pub same: u64,
    /// On both sides, and different.
    pub changed: u64,
    /// On the second side only.
    pub added: u64,
    /// On the first side only.
    pub removed: u64,
    /// What could not be compared, one line each.
    pub problems: Vec<String>,
}

impl DiffTotals {
    /// Whether the sides are the same.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.changed + self.added + self.removed == 0
    }
}

/// Compares, and sends each object that differs, kind by kind in the order of their names. A
/// receiver that is dropped ends it early.
///
/// # Errors
/// If a side cannot be read; [`EngineError::Cancelled`].
pub async fn run_diff(job: DiffJob, found: mpsc::Sender<Difference>) -> Result<DiffTotals, EngineError> {
    let cancel = job.cancel.clone();
    tokio::select! {
        () = cancel.cancelled() => Err(EngineError::Cancelled),
        totals = diff(job, found) => totals,
    }
}

async fn diff(job: DiffJob, found: mpsc::Sender<Difference>) -> Result<DiffTotals, EngineError> {
    let mut from = read(&job.from, &job.cancel).await?;
    let mut known = kinds_of(&from)?;
    let mut totals = DiffTotals::default();
    let (scope, mut to) = match &job.to {
        DiffTarget::Backup(other) => {
            let to = read(other, &job.cancel).await?;
            known.extend(kinds_of(&to)?);
            (scope(&job.lists, &known)?, to)
        }
        DiffTarget::Live { cluster, page_size } => {
            let live = live::Live::find_out(cluster, *page_size, &job.from.backup).await?;
            let mut served = live.discovery.resources.clone();
            served.append(&mut known);
            let scope = scope(&job.lists, &served)?;
            let to = live.collect(&scope, &from, &mut totals.problems).await?;
            (scope, to)
        }
    };
    for unknown in scope.unresolved() {
        totals.problems.push(format!(
            "kind {unknown:?} is on neither side; nothing of it is compared"
        ));
    }
    let conceals = !job.reveal;
    let merging = tokio::task::spawn_blocking(move || {
        let take = |difference| found.blocking_send(difference).is_ok();
        merge(&mut from, &mut to, &scope, conceals, &mut totals, take)?;
        Ok(totals)
    });
    merging
        .await
        .unwrap_or_else(|error| Err(EngineError::damaged("the scratch file", error)))
}

fn scope(lists: &ScopeLists, known: &[ApiResource]) -> Result<Scope, EngineError> {
    Scope::new(lists, known).map_err(|source| EngineError::Plan {
        doing: "cannot compare what is asked for".into(),
        source: source.into(),
    })
}

/// Sorts a backup's objects.
async fn read(side: &DiffBackup, cancel: &CancellationToken) -> Result<Spool, EngineError> {
    let name = side.backup.metadata.name.as_deref().unwrap_or_default();
    crate::catalog::check_name(name)?;
    check_format(&side.backup, name)?;
    sort_tarball(&side.location, &side.backup, cancel, |_, _| true).await
}

/// The kinds of a backup with the names that users write: read from each kind's first object.
fn kinds_of(spool: &Spool) -> Result<Vec<ApiResource>, EngineError> {
    let mut kinds = Vec::new();
    for held in spool.inventory() {
        let first = match spool.blocks(&held.resource).first() {
            Some(block) => spool.read(*block)?.into_iter().next(),
            None => None,
        };
        let object: serde_json::Value = first
            .and_then(|record| serde_json::from_slice(&record.json).ok())
            .unwrap_or_default();
        let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        let api_version = text("apiVersion");
        kinds.push(ApiResource {
            aliases: short_names(&held.resource),
            group_resource: held.resource,
            version: api_version.rsplit('/').next().unwrap_or_default().to_owned(),
            kind: text("kind"),
            namespaced: held.namespaced,
            verbs: Vec::new(),
        });
    }
    Ok(kinds)
}

/// Reads both sides kind by kind, in the order of names.
fn merge(
    from: &mut Spool,
    to: &mut Spool,
    scope: &Scope,
    conceals: bool,
    totals: &mut DiffTotals,
    mut take: impl FnMut(Difference) -> bool,
) -> Result<(), EngineError> {
    let inventories = [from.inventory(), to.inventory()];
    let kinds: BTreeSet<GroupResource> = inventories
        .into_iter()
        .flatten()
        .map(|kind| kind.resource)
        .filter(|kind| scope.kind(kind))
        .collect();
    for kind in kinds {
        let (mut left, mut right) = (from.sorted(&kind)?, to.sorted(&kind)?);
        let (mut old, mut new) = (left.next(from)?, right.next(to)?);
        loop {
            let order = match (&old, &new) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => listed_order(&old.name, &new.name),
            };
            let was = if order.is_le() {
                std::mem::replace(&mut old, left.next(from)?)
            } else {
                None
            };
            let is = if order.is_ge() {
                std::mem::replace(&mut new, right.next(to)?)
            } else {
                None
            };
            let Some(name) = was.as_ref().or(is.as_ref()).map(|record| record.name.clone()) else {
                break;
            };
            if !scope.object(&kind, &name) {
                continue;
            }
            let json = |record: &Option<Record>| record.as_ref().map(|record| record.json.clone());
            let (was, is) = (json(&was), json(&is));
            let difference = difference(&kind, &name, was.as_deref(), is.as_deref(), conceals);
            count(totals, difference.as_ref());
            if let Some(difference) = difference
                && !take(difference)
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn count(totals: &mut DiffTotals, difference: Option<&Difference>) {
    let counter = match difference.map(|difference| &difference.change) {
        None => &mut totals.same,
        Some(Change::Added) => &mut totals.added,
        Some(Change::Removed) => &mut totals.removed,
        Some(Change::Changed { .. }) => &mut totals.changed,
    };
    *counter += 1;
}

#[cfg(test)]
mod tests {
    use refloat_model::ObjectName;

    use super::*;

    fn spool(objects: &[(&str, &str, &str)]) -> Spool {
        let mut spool = Spool::create().unwrap();
        for (kind, name, json) in objects {
            let (namespace, name) = name.split_once('/').unwrap_or(("", name));
            let name = ObjectName::new(namespace, name);
            spool
                .add(&GroupResource::parse(kind), &name, json.as_bytes())
                .unwrap();
        }
        spool.seal().unwrap();
        spool
    }

    #[test]
    fn both_sides_are_read_in_step() {
        let mut from = spool(&[
            ("pods", "b/z", r#"{"spec":1}"#),
            ("pods", "b/a", r#"{"spec":1}"#),
            ("pods", "a/a", r#"{"spec":1}"#),
            ("events", "a/a", "{}"),
            ("jobs.batch", "a/a", r#"{"kind":"Job","apiVersion":"batch/v1"}"#),
        ]);
        let mut to = spool(&[
            ("secrets", "a/s", "{}"),
            ("pods", "a/a", r#"{"spec":1,"status":2}"#),
            ("pods", "b/m", "{}"),
            ("pods", "b/z", r#"{"spec":2}"#),
        ]);
        let kinds = kinds_of(&from).unwrap();
        assert_eq!((kinds[2].kind.as_str(), kinds[2].version.as_str()), ("Job", "v1"));
        let scope = Scope::new(&ScopeLists::default(), &[]).unwrap();
        let mut totals = DiffTotals::default();
        let mut seen = Vec::new();
        merge(&mut from, &mut to, &scope, true, &mut totals, |one| {
            let sign = match one.change {
                Change::Added => '+',
                Change::Removed => '-',
                Change::Changed { .. } => '~',
            };
            seen.push(format!("{sign}{} {}", one.resource, one.name));
            true
        })
        .unwrap();
        assert_eq!(
            seen,
            [
                "-jobs.batch a/a",
                "-pods b/a",
                "+pods b/m",
                "~pods b/z",
                "+secrets a/s"
            ]
        );
        assert_eq!(
            (totals.same, totals.changed, totals.added, totals.removed),
            (1, 1, 2, 2)
        );
    }
}
