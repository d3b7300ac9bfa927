//! Finds objects in all backups of a location without unpacking them: by each backup's index, or
//! where there is none (Velero wrote the backup) by its resource list. Only a search for values opens
//! tarballs, and of those only the ones that hold a candidate whose content is not known yet.
//!
//! Memory: one line, and for each object that matches some bytes by which it is told whether it has
//! changed since the backup before.

mod contents;
mod index;

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
};

use futures::StreamExt;
use jiff::Timestamp;
use refloat_model::{Backup, GroupResource, ObjectName, index::IndexKind};
use refloat_plan::{find::Query, selector::Selector};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{EngineError, Location, catalog};

/// What is looked for, and where.
#[derive(Debug)]
pub struct FindJob {
    /// The places to look in.
    pub locations: Vec<Location>,
    /// Which objects.
    pub query: Query,
    /// Which labels they must have; absent: any.
    pub selector: Option<Selector>,
    /// A text that a field must contain; absent: any.
    pub value: Option<String>,
    /// Stops it.
    pub cancel: CancellationToken,
}

/// An object in a backup.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The location's name.
    pub location: String,
    /// The backup.
    pub backup: String,
    /// When the backup was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// `resource[.group]`.
    pub resource: String,
    /// Its namespace; empty: cluster-scoped.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether it is the same as in the backup before that holds it.
    pub change: ChangeMark,
    /// The first field that contains the value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// Whether an object is the same as in the backup before that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ChangeMark {
    /// No earlier backup holds it.
    First,
    /// It is the same.
    Same,
    /// Somebody has changed it.
    Changed,
    /// One of the two backups has no index.
    Unknown,
}

/// What a search went through.
#[derive(Clone, Debug, Default, Serialize)]
pub struct FindTotals {
    /// Backups.
    pub backups: u64,
    /// Objects that match.
    pub objects: u64,
    /// Backups without an index, whose changes and labels are not known.
    pub without_index: Vec<String>,
    /// Backups that could not be read, and why.
    pub problems: Vec<String>,
}

/// Looks, and sends what is found: backup by backup, the oldest first. A receiver that is dropped
/// ends it early.
///
/// # Errors
/// If a location cannot be listed; [`EngineError::Cancelled`].
pub async fn run_find(job: FindJob, found: mpsc::Sender<Found>) -> Result<FindTotals, EngineError> {
    let cancel = job.cancel.clone();
    tokio::select! {
        () = cancel.cancelled() => Err(EngineError::Cancelled),
        totals = find(&job, &found) => totals,
    }
}

async fn find(job: &FindJob, found: &mpsc::Sender<Found>) -> Result<FindTotals, EngineError> {
    let mut totals = FindTotals::default();
    for location in &job.locations {
        let mut backups = by_time(location, &mut totals).await?;
        let mut history = History::default();
        for backup in backups.drain(..) {
            totals.backups += 1;
            let name = backup.metadata.name.clone().unwrap_or_default();
            let searching = Search {
                job,
                location,
                backup: &backup,
                name: &name,
                found,
            };
            match searching.run(&mut history, &mut totals).await {
                Err(error @ (EngineError::Damaged { .. } | EngineError::Hostile { .. })) => {
                    totals.problems.push(crate::error::chain(&error));
                }
                other => other?,
            }
            if found.is_closed() {
                return Ok(totals);
            }
        }
    }
    Ok(totals)
}

/// All backups of a location, the oldest first.
async fn by_time(location: &Location, totals: &mut FindTotals) -> Result<Vec<Backup>, EngineError> {
    let names = catalog::list_backups(location).await?;
    let reading = futures::stream::iter(names)
        .map(|name| async move { catalog::read_backup(location, &name).await })
        .buffered(16);
    let mut reading = std::pin::pin!(reading);
    let mut backups = Vec::new();
    while let Some(read) = reading.next().await {
        match read {
            Ok(backup) => backups.push(backup),
            // Deleted since it was listed.
            Err(EngineError::BackupNotFound { .. }) => {}
            Err(error @ EngineError::Damaged { .. }) => totals.problems.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    backups.sort_by_key(|backup| (begun(backup), backup.metadata.name.clone()));
    Ok(backups)
}

fn begun(backup: &Backup) -> Option<Timestamp> {
    let started = backup.status.as_ref()?.start_timestamp.as_ref();
    started
        .or(backup.metadata.creation_timestamp.as_ref())
        .map(|time| time.0)
}

/// What earlier backups of a location told of objects that match.
#[derive(Default)]
struct History {
    keys: RandomState,
    /// An object's hash in the latest backup that held it; `None` inside: that had no index.
    hashes: HashMap<u64, Option<u64>>,
    /// The first field with the wanted value in that backup; `None` inside: no field has it.
    fields: HashMap<u64, Option<Box<str>>>,
}

impl History {
    fn key(&self, kind: &GroupResource, name: &ObjectName) -> u64 {
        self.keys.hash_one((kind, name))
    }

    /// Takes note of an object and tells whether it has changed.
    fn mark(&mut self, key: u64, hash: Option<u64>) -> ChangeMark {
        match (self.hashes.insert(key, hash), hash) {
            (None, _) => ChangeMark::First,
            (Some(Some(old)), Some(new)) if old == new => ChangeMark::Same,
            (Some(Some(_)), Some(_)) => ChangeMark::Changed,
            _ => ChangeMark::Unknown,
        }
    }

    /// Whether it is known what an object with that hash holds.
    fn knows(&self, key: u64, hash: Option<u64>) -> bool {
        let same = hash.is_some() && self.hashes.get(&key) == Some(&hash);
        same && self.fields.contains_key(&key)
    }
}

/// An object that matches by its name and labels.
struct Candidate {
    resource: GroupResource,
    name: ObjectName,
    hash: Option<u64>,
}

/// The search through one backup.
struct Search<'a> {
    job: &'a FindJob,
    location: &'a Location,
    backup: &'a Backup,
    name: &'a str,
    found: &'a mpsc::Sender<Found>,
}

impl Search<'_> {
    async fn run(&self, history: &mut History, totals: &mut FindTotals) -> Result<(), EngineError> {
        let indexed = self
            .location
            .store()
            .exists(&refloat_model::layout::backup_index(self.name))
            .await
            .map_err(|source| {
                EngineError::store(format!("cannot look into backup {:?}", self.name), source)
            })?;
        if !indexed {
            totals.without_index.push(self.name.to_owned());
        }
        if let Some(value) = &self.job.value {
            self.read_contents(indexed, value, history).await?;
        }
        let mut candidates = self.candidates(indexed).await?;
        while let Some(candidate) = candidates.recv().await {
            let candidate = candidate?;
            let key = history.key(&candidate.resource, &candidate.name);
            let change = history.mark(key, candidate.hash);
            let field = history.fields.get(&key).cloned().flatten();
            if self.job.value.is_some() && field.is_none() {
                continue;
            }
            totals.objects += 1;
            let found = Found {
                location: self.location.name().to_owned(),
                backup: self.name.to_owned(),
                time: begun(self.backup),
                resource: candidate.resource.to_string(),
                namespace: candidate.name.namespace.to_string(),
                name: candidate.name.name,
                change,
                field: field.map(String::from),
            };
            if self.found.send(found).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What matches by name and labels, one after the other.
    async fn candidates(
        &self,
        indexed: bool,
    ) -> Result<mpsc::Receiver<Result<Candidate, EngineError>>, EngineError> {
        let (query, selector) = (self.job.query.clone(), self.job.selector.clone());
        if indexed {
            let wanted = move |kind: &IndexKind, name: &ObjectName, labels: Option<&Map<String, Value>>| {
                query.matches(&kind.group_resource(), &kind.kind, name)
                    && selector
                        .as_ref()
                        .is_none_or(|selector| selector.matches_json(labels))
            };
            return index::by_index(self.location, self.name, wanted).await;
        }
        if selector.is_some() {
            // A resource list knows no labels: nothing of this backup can be told to match.
            return Ok(mpsc::channel(1).1);
        }
        index::by_list(self.location, self.name, query).await
    }

    /// Finds out which candidates hold the value, as far as it is not known from an earlier backup
    /// with the same content.
    async fn read_contents(
        &self,
        indexed: bool,
        value: &str,
        history: &mut History,
    ) -> Result<(), EngineError> {
        let mut open = HashSet::new();
        let mut candidates = self.candidates(indexed).await?;
        while let Some(candidate) = candidates.recv().await {
            let candidate = candidate?;
            let key = history.key(&candidate.resource, &candidate.name);
            if !history.knows(key, candidate.hash) {
                open.insert(key);
            }
        }
        if open.is_empty() {
            return Ok(());
        }
        history.fields.extend(open.iter().map(|key| (*key, None)));
        let keys = history.keys.clone();
        let wanted = move |kind: &GroupResource, name: &ObjectName| {
            let key = keys.hash_one((kind, name));
            open.contains(&key).then_some(key)
        };
        let cancel = &self.job.cancel;
        let mut answers = contents::look_through(self.location, self.backup, value, cancel, wanted).await?;
        while let Some(answer) = answers.recv().await {
            let (key, field) = answer?;
            history.fields.insert(key, Some(field));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_from_the_backup_before() {
        let mut history = History::default();
        let key = history.key(&GroupResource::parse("pods"), &ObjectName::new("a", "b"));
        assert!(!history.knows(key, Some(1)));
        history.fields.insert(key, None);
        assert_eq!(history.mark(key, Some(1)), ChangeMark::First);
        assert!(history.knows(key, Some(1)) && !history.knows(key, Some(2)));
        assert_eq!(history.mark(key, Some(1)), ChangeMark::Same);
        assert_eq!(history.mark(key, Some(2)), ChangeMark::Changed);
        assert_eq!(history.mark(key, None), ChangeMark::Unknown);
        assert!(!history.knows(key, None));
        assert_eq!(history.mark(key, Some(2)), ChangeMark::Unknown);
    }
}
