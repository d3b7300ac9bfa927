//! `backup get`: a table, or the objects themselves.

use std::cmp::Ordering;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use refloat_model::Backup;

use crate::{
    backup::local,
    exit::Outcome,
    flags::{Format, ListFlags, OutputFlags, StorageFlags},
    output::{self, encode, table::Table, when},
    select, selector,
    session::Session,
};

/// Flags of `backup get`.
#[derive(Args, Clone, Debug)]
pub struct GetFlags {
    #[command(flatten)]
    list: ListFlags,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    storage: StorageFlags,
}

impl GetFlags {
    /// Prints backups.
    ///
    /// # Errors
    /// Where one does not exist or the server or storage cannot be asked.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        let mut backups = match &self.storage.storage {
            Some(url) => local::listed(&Session::location(url).await?, &self.list).await?,
            None => {
                let cluster = session.cluster().await?;
                select::listed(&cluster.objects::<Backup>(&session.namespace), &self.list).await?
            }
        };
        let text = match self.output.output.unwrap_or(Format::Table) {
            Format::Table => {
                backups.sort_by(|a, b| by_name_newest_first(name(a), name(b)));
                table(session, &backups).render(&self.output)
            }
            format => encode::objects("Backup", &backups, format)?,
        };
        output::print(&text)?;
        Ok(Outcome::Done)
    }
}

fn name(backup: &Backup) -> &str {
    backup.metadata.name.as_deref().unwrap_or_default()
}

/// By name, but those that differ only in the time at their end: newest first.
fn by_name_newest_first(a: &str, b: &str) -> Ordering {
    let stem = |name: &str| {
        let (stem, stamp) = name.rsplit_once('-')?;
        let good = stamp.len() == 14 && stamp.bytes().all(|byte| byte.is_ascii_digit());
        good.then(|| stem.to_owned())
    };
    match (stem(a), stem(b)) {
        (Some(left), Some(right)) if left == right => b.cmp(a),
        _ => a.cmp(b),
    }
}

/// The backups as a table.
#[must_use]
pub fn table(session: &Session, backups: &[Backup]) -> Table {
    let mut table = Table::new(&[
        "NAME",
        "STATUS",
        "ERRORS",
        "WARNINGS",
        "CREATED",
        "EXPIRES",
        "STORAGE LOCATION",
        "QUEUE POSITION",
        "SELECTOR",
    ]);
    let now = Session::now();
    for backup in backups {
        let status = backup.status.clone().unwrap_or_default();
        let phase = if backup.metadata.deletion_timestamp.is_some() {
            "Deleting".into()
        } else {
            format!("{:?}", status.phase)
        };
        let queue = if status.queue_position == 0 {
            String::new()
        } else {
            status.queue_position.to_string()
        };
        table.push(
            vec![
                name(backup).to_owned(),
                phase,
                status.errors.to_string(),
                status.warnings.to_string(),
                when::point(status.start_timestamp.as_ref(), &session.zone, "<nil>"),
                when::distance(expiry(backup), now),
                backup.spec.storage_location.clone(),
                queue,
                selector::format(backup.spec.label_selector.as_ref()),
            ],
            &backup.metadata,
        );
    }
    table
}

fn expiry(backup: &Backup) -> Option<Timestamp> {
    if let Some(time) = backup
        .status
        .as_ref()
        .and_then(|status| status.expiration.as_ref())
    {
        return Some(time.0);
    }
    let created = backup.metadata.creation_timestamp.as_ref()?;
    if backup.spec.ttl.is_zero() {
        None
    } else {
        created.0.checked_add(backup.spec.ttl.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_of_a_schedule_come_newest_first() {
        let mut names = ["b", "a-20260101000000", "a-20260102000000", "a-x", "a"];
        names.sort_by(|a, b| by_name_newest_first(a, b));
        assert_eq!(names, ["a", "a-20260102000000", "a-20260101000000", "a-x", "b"]);
    }
}
