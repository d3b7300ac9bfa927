//! Finding the objects that a command is about, in the cluster.

use anyhow::{Context as _, Result};
use refloat_cluster::typed::{Object, Objects};

use crate::{
    exit,
    flags::{ListFlags, SelectFlags},
    query::Query,
};

/// The named objects, all of which must exist, or those that match.
///
/// # Errors
/// Where one does not exist or the server cannot be asked.
pub async fn listed<K: Object>(objects: &Objects<K>, flags: &ListFlags) -> Result<Vec<K>> {
    if flags.names.is_empty() {
        return matching(objects, flags.selector.as_ref()).await;
    }
    let mut found = Vec::with_capacity(flags.names.len());
    for name in &flags.names {
        found.push(objects.get(name).await?);
    }
    Ok(found)
}

/// All objects that match, sorted by name.
///
/// # Errors
/// Where the server cannot be asked.
pub async fn matching<K: Object>(objects: &Objects<K>, query: Option<&Query>) -> Result<Vec<K>> {
    let query = query.map(Query::text).filter(|query| !query.is_empty());
    let mut found = objects.list(query).await?;
    found.sort_by(|a, b| a.object_name().cmp(b.object_name()));
    Ok(found)
}

/// Objects to change, and whether all that were named exist.
#[derive(Debug)]
pub struct Selected<K> {
    /// Those that exist.
    pub objects: Vec<K>,
    /// How many of the named ones could not be read; each has been complained about.
    pub failures: usize,
}

/// The objects to change. A name that does not exist is complained about and the others go on.
///
/// # Errors
/// Where the server cannot be asked at all.
pub async fn selected<K: Object>(objects: &Objects<K>, flags: &SelectFlags) -> Result<Selected<K>> {
    if flags.names.is_empty() {
        return Ok(Selected {
            objects: matching(objects, flags.selector.as_ref().map(Query::from).as_ref()).await?,
            failures: 0,
        });
    }
    let mut found = Selected {
        objects: Vec::new(),
        failures: 0,
    };
    for name in &flags.names {
        match objects.get(name).await {
            Ok(object) => found.objects.push(object),
            Err(error) if error.is_not_found() => {
                exit::complain(&format!("error: {}", exit::chain(&error.into())));
                found.failures += 1;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {} {name}", K::kind_name()));
            }
        }
    }
    Ok(found)
}

/// How a command ends that changed `done` objects and failed to change others.
#[must_use]
pub const fn outcome(done: usize, failures: usize) -> exit::Outcome {
    match (done, failures) {
        (_, 0) => exit::Outcome::Done,
        (0, _) => exit::Outcome::Nothing,
        _ => exit::Outcome::Unsuccessful,
    }
}
