//! Rules that users keep in ConfigMaps: read once, before a backup or restore does anything.
//!
//! All are in the namespace of the Backup or Restore. What is wrong with one that a spec names is
//! [`EngineError::Rules`], in Velero's words where it has some.

use k8s_openapi::api::core::v1::ConfigMap;
use refloat_cluster::Cluster;
use refloat_model::{BackupSpec, RestoreSpec, backup::TypedLocalReference, labels};
use refloat_plan::{
    PlanError,
    resource_modifier::ResourceModifiers,
    resource_policy::ResourcePolicies,
    restore_item::{NameMap, Transforms},
};

use crate::{EngineError, error::chain};

/// The rules that a restore's `resourceModifier` names, checked.
///
/// # Errors
/// [`EngineError::Rules`] if there are none of that name or they cannot be used, else why they cannot be
/// read.
pub async fn resource_modifiers(
    cluster: &Cluster,
    namespace: &str,
    spec: &RestoreSpec,
) -> Result<Option<ResourceModifiers>, EngineError> {
    let Some(name) = config_map_name(spec.resource_modifier.as_ref()) else {
        return Ok(None);
    };
    let place = format!("{namespace}/{name}");
    let Some(map) = find(cluster, namespace, name).await? else {
        return Err(EngineError::Rules {
            reason: format!(
                "failed to get resource modifiers configmap {place}: spec.resourceModifier names it, and it does not \
                 exist; create it, or leave the field out"
            ),
        });
    };
    let read = ResourceModifiers::read(&map.data.unwrap_or_default());
    read.map(Some).map_err(|error| {
        let words = match error {
            PlanError::ResourceModifiers { read: true, .. } => "Validation error in",
            _ => "Error in parsing",
        };
        EngineError::Rules {
            reason: format!("{words} resource modifiers provided in configmap {place}: {error}"),
        }
    })
}

/// The policies that a backup's `resourcePolicy` names, checked, also against the spec.
///
/// # Errors
/// [`EngineError::Rules`] if there are none of that name or they cannot be used, else why they cannot be
/// read.
pub async fn resource_policies(
    cluster: &Cluster,
    namespace: &str,
    spec: &BackupSpec,
) -> Result<Option<ResourcePolicies>, EngineError> {
    let Some(name) = config_map_name(spec.resource_policy.as_ref()) else {
        return Ok(None);
    };
    let place = format!("{namespace}/{name}");
    let Some(map) = find(cluster, namespace, name).await? else {
        return Err(EngineError::Rules {
            reason: format!(
                "fail to get ResourcePolicies {place} ConfigMap: spec.resourcePolicy names it, and it does not exist; \
                 create it, or leave the field out"
            ),
        });
    };
    let policies = ResourcePolicies::read(&map.data.unwrap_or_default()).map_err(|error| {
        let words = match error {
            PlanError::ResourcePolicies { read: true, .. } => "fail to validate ResourcePolicies in",
            _ => "fail to read the ResourcePolicies from",
        };
        EngineError::Rules {
            reason: format!("{words} ConfigMap {place} with error {error}"),
        }
    })?;
    match policies.conflict(spec) {
        Some(reason) => Err(EngineError::Rules { reason }),
        None => Ok(Some(policies)),
    }
}

/// What a restore changes in objects: the two maps that hold for all restores, and `modifiers`. The
/// second part is a warning, where the maps may not be read.
pub(crate) async fn transforms(
    cluster: &Cluster,
    namespace: &str,
    modifiers: Option<ResourceModifiers>,
) -> Result<(Transforms, Option<String>), EngineError> {
    let mut warning = None;
    let mut maps = Vec::new();
    for label in [labels::CHANGE_STORAGE_CLASS, labels::CHANGE_IMAGE_NAME] {
        let selector = format!("{},{label}=RestoreItemAction", labels::PLUGIN_CONFIG);
        let found = cluster
            .objects::<ConfigMap>(namespace)
            .list(Some(&selector))
            .await;
        maps.push(match found {
            Ok(found) => name_map(&selector, found),
            Err(error) if error.code() == Some(403) => {
                warning = Some(format!(
                    "the maps of storage classes and images in namespace {namespace} may not be read, and none is \
                     applied: {}",
                    chain(&error)
                ));
                NameMap::Ok(Default::default())
            }
            Err(error) => return Err(EngineError::cluster("cannot read the maps of names", error)),
        });
    }
    let mut maps = maps.into_iter();
    let transforms = Transforms {
        storage_classes: maps.next().unwrap_or_else(|| Ok(Default::default())),
        images: maps.next().unwrap_or_else(|| Ok(Default::default())),
        modifiers,
    };
    Ok((transforms, warning))
}

fn name_map(selector: &str, mut found: Vec<ConfigMap>) -> NameMap {
    if found.len() > 1 {
        let mut names: Vec<String> = found.into_iter().filter_map(|map| map.metadata.name).collect();
        names.sort();
        return Err(format!(
            "found more than one ConfigMap matching label selector {selector:?}: {}; leave the label on one of them",
            names.join(", ")
        ));
    }
    Ok(found.pop().and_then(|map| map.data).unwrap_or_default())
}

/// The name in a reference to a ConfigMap.
fn config_map_name(reference: Option<&TypedLocalReference>) -> Option<&str> {
    let reference = reference?;
    reference
        .kind
        .eq_ignore_ascii_case("configmap")
        .then_some(reference.name.as_str())
}

async fn find(cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<ConfigMap>, EngineError> {
    let found = cluster.config_map(namespace, name).await;
    found
        .map_err(|error| EngineError::cluster(format!("cannot read the ConfigMap {namespace}/{name}"), error))
}
