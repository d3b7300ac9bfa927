//! A backup's `resourcePolicy`: which kinds go into it, and what becomes of volumes.
//!
//! Read from a ConfigMap as strictly as Velero reads it. The part about kinds, `includeExcludePolicy`,
//! complements the spec's filters by scope, and the spec wins. The part about volumes,
//! `volumePolicies`, is checked in full and has no effect before this program moves the data of
//! volumes.

use std::collections::BTreeMap;

use refloat_model::{BackupSpec, resource::ApiResource};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::{
    PlanError, backup,
    config_text::{self, Text},
    filter::{NameSet, resolve},
    quantity::Quantity,
};

/// Checked policies.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourcePolicies {
    /// How many rules about volumes there are.
    pub volume_policies: usize,
    kinds: Option<IncludeExcludePolicy>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    version: Text,
    #[serde(default, deserialize_with = "config_text::list")]
    volume_policies: Vec<VolumePolicy>,
    #[serde(default)]
    include_exclude_policy: Option<IncludeExcludePolicy>,
}

/// Kinds by scope, each list as in a backup's spec but without `*`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct IncludeExcludePolicy {
    #[serde(deserialize_with = "config_text::list")]
    included_cluster_scoped_resources: Vec<String>,
    #[serde(deserialize_with = "config_text::list")]
    excluded_cluster_scoped_resources: Vec<String>,
    #[serde(deserialize_with = "config_text::list")]
    included_namespace_scoped_resources: Vec<String>,
    #[serde(deserialize_with = "config_text::list")]
    excluded_namespace_scoped_resources: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VolumePolicy {
    #[serde(default)]
    conditions: Option<VolumeConditions>,
    #[serde(default)]
    action: Option<Action>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Action {
    #[serde(default, rename = "type")]
    kind: Text,
    /// Any map; nobody reads it yet.
    #[serde(default, rename = "parameters")]
    _parameters: Option<BTreeMap<String, IgnoredAny>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
struct VolumeConditions {
    capacity: Text,
    storage_class: Option<Vec<Text>>,
    nfs: Option<Nfs>,
    csi: Option<Csi>,
    volume_types: Option<Vec<Text>>,
    pvc_labels: Option<BTreeMap<String, Text>>,
    pvc_phase: Option<Vec<Text>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nfs {
    #[serde(default, rename = "server")]
    _server: Text,
    #[serde(default, rename = "path")]
    _path: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Csi {
    #[serde(default)]
    driver: Text,
    #[serde(default)]
    volume_attributes: Option<BTreeMap<String, Text>>,
}

impl ResourcePolicies {
    /// Reads and checks the data of a ConfigMap.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn read(data: &BTreeMap<String, String>) -> Result<Self, PlanError> {
        let refuse = |read| move |reason| PlanError::ResourcePolicies { read, reason };
        let text = config_text::only_text(data).map_err(refuse(false))?;
        let document = config_text::read(text).map_err(|error| {
            refuse(false)(format!(
                "failed to decode yaml data into resource policies  {error}"
            ))
        })?;
        Self::check(document).map_err(refuse(true))
    }

    fn check(document: Document) -> Result<Self, String> {
        if document.version.0 != "v1" {
            return Err(format!(
                "incompatible version number {} with supported version v1",
                document.version.0
            ));
        }
        for (index, policy) in document.volume_policies.iter().enumerate() {
            policy
                .check()
                .map_err(|reason| format!("volumePolicies[{index}]: {reason}"))?;
        }
        if let Some(kinds) = &document.include_exclude_policy {
            kinds
                .check()
                .map_err(|reason| format!("includeExcludePolicy: {reason}"))?;
        }
        Ok(Self {
            volume_policies: document.volume_policies.len(),
            kinds: document.include_exclude_policy,
        })
    }

    /// Why these policies cannot be used with a spec, if they cannot.
    #[must_use]
    pub fn conflict(&self, spec: &BackupSpec) -> Option<String> {
        (self.kinds.is_some() && backup::uses_old_filters(spec)).then(|| {
            "include-resources, exclude-resources and include-cluster-resources are old filter parameters.\n\
             They cannot be used with include-exclude policies."
                .to_owned()
        })
    }

    /// The spec with the policy's lists of kinds added, where the spec says nothing else about them.
    /// `discovered` tells what is a kind of which scope.
    #[must_use]
    pub fn complement(&self, spec: &BackupSpec, discovered: &[ApiResource]) -> BackupSpec {
        let mut spec = spec.clone();
        let Some(kinds) = &self.kinds else { return spec };
        // What the server always excludes may be written in terms of the old filters, which would then
        // seem to be used.
        spec.excluded_resources.clear();
        let namespaced = Lists {
            includes: &mut spec.included_namespace_scoped_resources,
            excludes: &mut spec.excluded_namespace_scoped_resources,
            namespaced: true,
        };
        namespaced.add(
            &kinds.included_namespace_scoped_resources,
            &kinds.excluded_namespace_scoped_resources,
            discovered,
        );
        let cluster = Lists {
            includes: &mut spec.included_cluster_scoped_resources,
            excludes: &mut spec.excluded_cluster_scoped_resources,
            namespaced: false,
        };
        cluster.add(
            &kinds.included_cluster_scoped_resources,
            &kinds.excluded_cluster_scoped_resources,
            discovered,
        );
        spec
    }
}

/// A spec's two lists for one scope.
struct Lists<'a> {
    includes: &'a mut Vec<String>,
    excludes: &'a mut Vec<String>,
    namespaced: bool,
}

impl Lists<'_> {
    /// Adds each kind that neither list has: excludes first, so that they win in the policy itself.
    fn add(self, include: &[String], exclude: &[String], discovered: &[ApiResource]) {
        let Self {
            includes,
            excludes,
            namespaced,
        } = self;
        let named = |written: &String| match resolve(written, discovered) {
            Some(kind) if kind.namespaced == namespaced => Some(kind.group_resource.to_string()),
            Some(_) => None,
            None => Some(written.clone()),
        };
        for (from, into_excludes) in [(exclude, true), (include, false)] {
            for kind in from.iter().filter_map(named) {
                if has(includes, &kind, discovered) || has(excludes, &kind, discovered) {
                    continue;
                }
                if into_excludes {
                    excludes.push(kind);
                } else {
                    includes.push(kind);
                }
            }
        }
    }
}

/// Whether a list has a kind, by any of its names or by a pattern.
fn has(list: &[String], kind: &str, discovered: &[ApiResource]) -> bool {
    let names = list.iter().map(|written| match resolve(written, discovered) {
        Some(known) => known.group_resource.to_string(),
        None => written.clone(),
    });
    let names: Vec<String> = names.collect();
    NameSet::new("", names.iter().map(String::as_str)).is_ok_and(|set| set.contains(kind))
}

impl IncludeExcludePolicy {
    fn check(&self) -> Result<(), String> {
        let lists = [
            (
                &self.included_cluster_scoped_resources,
                &self.excluded_cluster_scoped_resources,
            ),
            (
                &self.included_namespace_scoped_resources,
                &self.excluded_namespace_scoped_resources,
            ),
        ];
        for (includes, excludes) in lists {
            if includes.iter().chain(excludes).any(|kind| kind == "*") {
                return Err("cannot use '*' in includes or excludes filters in the policy".to_owned());
            }
            if let Some(both) = excludes.iter().find(|kind| includes.contains(kind)) {
                return Err(format!(
                    "excludes list cannot contain an item in the includes list: {both}"
                ));
            }
            NameSet::new("", includes.iter().chain(excludes).map(String::as_str))
                .map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

impl VolumePolicy {
    fn check(&self) -> Result<(), String> {
        let kind = self.action.as_ref().map_or("", |action| action.kind.0.as_str());
        if !matches!(kind, "skip" | "snapshot" | "fs-backup" | "custom") {
            return Err(format!(
                "invalid action type {kind}; use skip, snapshot, fs-backup or custom"
            ));
        }
        let Some(conditions) = &self.conditions else {
            return Ok(());
        };
        conditions.check_capacity()?;
        if let Some(csi) = &conditions.csi
            && csi.driver.0.is_empty()
            && csi.volume_attributes.is_some()
        {
            return Err("csi driver should not be empty when filtering by volume attributes".to_owned());
        }
        Ok(())
    }
}

impl VolumeConditions {
    /// `lower,upper`, either of which may be left out.
    fn check_capacity(&self) -> Result<(), String> {
        let text = self.capacity.0.as_str();
        if text.is_empty() {
            return Ok(());
        }
        let [lower, upper] = text.split(',').collect::<Vec<_>>()[..] else {
            return Err(format!(
                "wrong format of Capacity {text}; write \"10Gi,100Gi\", \"10Gi,\" or \",100Gi\""
            ));
        };
        let amount = |text: &str| match text.trim() {
            "" => Ok(Quantity::default()),
            given => Quantity::parse(given)
                .ok_or_else(|| format!("wrong format of Capacity {text}: it is no quantity such as 10Gi")),
        };
        let (lower, upper) = (amount(lower)?, amount(upper)?);
        if upper < lower && (lower.is_zero() || !upper.is_zero()) {
            return Err(format!(
                "illegal values for capacity {text}: the upper bound is below the lower one"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
