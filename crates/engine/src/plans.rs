//! Restore plans that were made without a server: each is a file in the bucket.

use bytes::Bytes;
use refloat_model::{RestorePlan, layout};

use crate::{EngineError, Location, catalog};

/// The longest description of a plan; its objects are in another file.
const LONGEST: u64 = 1024 * 1024;
/// The fewest digits of a hash that name a plan.
const SHORTEST_HASH: usize = 8;

/// Writes a plan's description. A name is used once.
///
/// # Errors
/// If it cannot be written, or is there already.
pub async fn write_plan(location: &Location, plan: &RestorePlan) -> Result<(), EngineError> {
    let name = plan.metadata.name.as_deref().unwrap_or_default();
    catalog::check_name(name)?;
    let mut text = serde_json::to_vec_pretty(plan).map_err(|error| EngineError::Plan {
        doing: format!("cannot describe plan {name:?}"),
        source: error.into(),
    })?;
    text.push(b'\n');
    let written = location
        .store()
        .put_once(&layout::plan_metadata(name), Bytes::from(text))
        .await;
    written.map_err(|source| EngineError::store(format!("cannot write plan {name:?}"), source))
}

/// Reads a plan's description.
///
/// # Errors
/// [`EngineError::PlanNotFound`] where there is none.
pub async fn read_plan(location: &Location, name: &str) -> Result<RestorePlan, EngineError> {
    catalog::check_name(name)?;
    let key = layout::plan_metadata(name);
    match location.store().get(&key, LONGEST).await {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| EngineError::damaged(&key, error)),
        Err(error) if error.is_not_found() => Err(EngineError::PlanNotFound {
            name: name.to_owned(),
            location: location.name().to_owned(),
        }),
        Err(source) => Err(EngineError::store(format!("cannot read plan {name:?}"), source)),
    }
}

/// Finds a plan by its name or by the beginning of its hash.
///
/// # Errors
/// [`EngineError::PlanNotFound`] where there is none.
pub async fn find_plan(location: &Location, wanted: &str) -> Result<RestorePlan, EngineError> {
    match read_plan(location, wanted).await {
        Err(EngineError::PlanNotFound { .. }) => {}
        other => return other,
    }
    for name in catalog::list_restores(location).await? {
        match read_plan(location, &name).await {
            Ok(plan) if is_meant(&plan, wanted) => return Ok(plan),
            Ok(_) | Err(EngineError::PlanNotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(EngineError::PlanNotFound {
        name: wanted.to_owned(),
        location: location.name().to_owned(),
    })
}

/// Whether a plan is meant by its name or by the beginning of its hash (eight digits at least).
#[must_use]
pub fn is_meant(plan: &RestorePlan, wanted: &str) -> bool {
    let hash = plan
        .status
        .as_ref()
        .map(|status| status.hash.as_str())
        .unwrap_or_default();
    plan.metadata.name.as_deref() == Some(wanted)
        || (wanted.len() >= SHORTEST_HASH && hash.starts_with(&wanted.to_lowercase()))
}
