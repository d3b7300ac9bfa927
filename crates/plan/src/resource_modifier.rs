//! Rules that change objects on their way into a cluster: a restore's `resourceModifier`.
//!
//! Read from a ConfigMap as Velero reads it, and applied as Velero applies them: which rules match is
//! decided by the object before any of them, then all that match are applied in order. What fails
//! about one object is an error in the results, and the object is created without that change.
//! Different: what could never be applied (a pattern, an expression, a patch that cannot be read) is
//! found when the rules are read, so that the restore is refused before it changes anything.

mod glob;
mod json_patch;

use std::collections::BTreeMap;

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    PlanError,
    config_text::{self, StrictSelector, Text},
    filter::NameSet,
    json,
    selector::Selector,
    strategic_patch,
};
use json_patch::{Failure, Operation};

/// Checked rules.
#[derive(Clone, Debug)]
pub struct ResourceModifiers {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
struct Rule {
    namespaces: NameSet,
    group_resource: Regex,
    name: Option<Regex>,
    labels: Option<Selector>,
    matches: Vec<Operation>,
    change: Change,
}

#[derive(Clone, Debug)]
enum Change {
    Json(Vec<Operation>),
    Merge(Vec<Value>),
    Strategic(Vec<Value>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Document {
    #[serde(default)]
    version: Text,
    #[serde(default, deserialize_with = "config_text::list")]
    resource_modifier_rules: Vec<RuleText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct RuleText {
    #[serde(default)]
    conditions: Option<ConditionsText>,
    #[serde(default, deserialize_with = "config_text::list")]
    patches: Vec<PatchText>,
    #[serde(default, deserialize_with = "config_text::list")]
    merge_patches: Vec<PatchDataText>,
    #[serde(default, deserialize_with = "config_text::list")]
    strategic_patches: Vec<PatchDataText>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ConditionsText {
    #[serde(default, deserialize_with = "config_text::list")]
    namespaces: Vec<Text>,
    #[serde(default)]
    group_resource: Text,
    #[serde(default)]
    resource_name_regex: Text,
    #[serde(default)]
    label_selector: Option<StrictSelector>,
    #[serde(default, deserialize_with = "config_text::list")]
    matches: Vec<MatchText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MatchText {
    #[serde(default)]
    path: Text,
    #[serde(default)]
    value: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchText {
    #[serde(default)]
    operation: Text,
    #[serde(default)]
    from: Text,
    #[serde(default)]
    path: Text,
    #[serde(default)]
    value: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct PatchDataText {
    #[serde(default)]
    patch_data: Text,
}

impl ResourceModifiers {
    /// Reads and checks the data of a ConfigMap.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn read(data: &BTreeMap<String, String>) -> Result<Self, PlanError> {
        let refuse = |read| move |reason| PlanError::ResourceModifiers { read, reason };
        let text = config_text::only_text(data).map_err(refuse(false))?;
        let document = config_text::read(text).map_err(|error| {
            let reason = format!("failed to decode yaml data into resource modifiers, err: {error}");
            refuse(false)(reason)
        })?;
        Self::check(document).map_err(refuse(true))
    }

    fn check(document: Document) -> Result<Self, String> {
        let version = document.version.0;
        if !version.eq_ignore_ascii_case("v1") {
            return Err(format!(
                "unsupported resource modifier version {version}; write `version: v1`"
            ));
        }
        if document.resource_modifier_rules.is_empty() {
            return Err("resource modifier rules cannot be empty".to_owned());
        }
        let numbered = document.resource_modifier_rules.into_iter().enumerate();
        let rules = numbered.map(|(index, rule)| {
            Rule::new(rule).map_err(|reason| format!("resourceModifierRules[{index}]: {reason}"))
        });
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
        })
    }

    /// Changes an object, whose kind has these names (`deployments.apps`; two, where it was converted to
    /// another group). Hands out what went wrong: an error each for the results.
    #[must_use]
    pub fn apply(&self, kinds: &[&str], object: &mut Value) -> Vec<String> {
        let matching: Vec<&Rule> = self
            .rules
            .iter()
            .filter(|rule| rule.matches(kinds, object))
            .collect();
        let applied = matching.into_iter().map(|rule| rule.apply(object));
        applied.filter_map(Result::err).collect()
    }
}

impl Rule {
    fn new(text: RuleText) -> Result<Self, String> {
        let conditions = text.conditions.unwrap_or_default();
        let pattern = conditions.group_resource.0;
        if pattern.is_empty() {
            return Err(
                "groupResource cannot be empty; name a kind as pods or deployments.apps, or ** for all"
                    .to_owned(),
            );
        }
        let names = conditions.namespaces.iter().map(|Text(name)| name.as_str());
        let namespaces = NameSet::new("conditions.namespaces", names).map_err(|error| error.to_string())?;
        let group_resource = glob::compile(&pattern)
            .map_err(|reason| format!("groupResource {pattern:?} is no pattern: {reason}"))?;
        let expression = conditions.resource_name_regex.0;
        let name = match expression.as_str() {
            "" => None,
            text => {
                let compiled = Regex::new(text);
                Some(compiled.map_err(|_| format!("resourceNameRegex {text:?} is no regular expression"))?)
            }
        };
        let labels = match conditions.label_selector {
            None => None,
            Some(selector) => {
                let compiled = Selector::compile(&selector.into());
                Some(compiled.map_err(|error| format!("labelSelector: {error}"))?)
            }
        };
        let matches = conditions.matches.iter().map(|one| {
            Operation::test(&one.path.0, &one.value.0).map_err(|error| format!("matches: {error}"))
        });
        Ok(Self {
            namespaces,
            group_resource,
            name,
            labels,
            matches: matches.collect::<Result<_, _>>()?,
            change: Change::new(&text.patches, &text.merge_patches, &text.strategic_patches)?,
        })
    }

    /// Whether all conditions hold. Namespaces are those of the backup, and mean nothing to
    /// cluster-scoped objects.
    fn matches(&self, kinds: &[&str], object: &Value) -> bool {
        let namespace = json::text(object, &["metadata", "namespace"]).unwrap_or_default();
        let name = json::text(object, &["metadata", "name"]).unwrap_or_default();
        let in_namespace =
            namespace.is_empty() || self.namespaces.is_empty() || self.namespaces.contains(namespace);
        in_namespace
            && kinds.iter().any(|kind| self.group_resource.is_match(kind))
            && self.name.as_ref().is_none_or(|regex| regex.is_match(name))
            && self
                .labels
                .as_ref()
                .is_none_or(|selector| selector.matches_json(json::object(object, &["metadata", "labels"])))
            && self.matches.iter().all(|test| test.holds(object))
    }

    fn apply(&self, object: &mut Value) -> Result<(), String> {
        let mut changed = object.clone();
        match &self.change {
            Change::Json(operations) => {
                for operation in operations {
                    match operation.apply(&mut changed) {
                        Ok(()) => {}
                        // Not an error: the patch is meant for objects that pass its tests.
                        Err(Failure::Test) => return Ok(()),
                        Err(Failure::Other(error)) => {
                            return Err(format!(
                                "error in applying patch error in applying JSON Patch {error}"
                            ));
                        }
                    }
                }
            }
            Change::Merge(patches) => {
                for patch in patches {
                    ::json_patch::merge(&mut changed, patch);
                }
            }
            Change::Strategic(patches) => {
                for patch in patches {
                    strategic_patch::apply(&mut changed, patch).map_err(|error| {
                        format!("error in applying patch error in applying Strategic Patch {error}")
                    })?;
                }
            }
        }
        if json::text(&changed, &["kind"]).is_none_or(str::is_empty) {
            return Err(
                "error in applying patch error in unmarshalling modified object: Object 'Kind' is missing"
                    .to_owned(),
            );
        }
        *object = changed;
        Ok(())
    }
}

impl Change {
    fn new(
        patches: &[PatchText],
        merge_patches: &[PatchDataText],
        strategic_patches: &[PatchDataText],
    ) -> Result<Self, String> {
        let given = [
            !patches.is_empty(),
            !merge_patches.is_empty(),
            !strategic_patches.is_empty(),
        ];
        match given.iter().filter(|given| **given).count() {
            0 => {
                return Err("no patch data found; give patches, mergePatches or strategicPatches".to_owned());
            }
            1 => {}
            _ => {
                return Err(
                    "only one of patches, mergePatches, strategicPatches can be specified; make a rule for each"
                        .to_owned(),
                );
            }
        }
        if !patches.is_empty() {
            let numbered = patches.iter().enumerate();
            let operations = numbered.map(|(index, patch)| {
                Operation::new(&patch.operation.0, &patch.path.0, &patch.from.0, &patch.value.0)
                    .map_err(|error| format!("patches[{index}]: {error}"))
            });
            return Ok(Self::Json(operations.collect::<Result<_, _>>()?));
        }
        if merge_patches.is_empty() {
            Ok(Self::Strategic(patch_data(
                "strategicPatches",
                strategic_patches,
            )?))
        } else {
            Ok(Self::Merge(patch_data("mergePatches", merge_patches)?))
        }
    }
}

/// Patches that are written as YAML or JSON in a text.
fn patch_data(field: &str, patches: &[PatchDataText]) -> Result<Vec<Value>, String> {
    let numbered = patches.iter().enumerate();
    let read = numbered.map(
        |(
            index,
            PatchDataText {
                patch_data: Text(text),
            },
        )| {
            let fault = |what: &str| format!("{field}[{index}].patchData {what}");
            let patch: Value =
                config_text::read(text).map_err(|error| fault(&format!("is no YAML: {error}")))?;
            if patch.is_object() {
                Ok(patch)
            } else {
                Err(fault(
                    "must be an object such as {\"metadata\": {\"labels\": {\"a\": \"b\"}}}",
                ))
            }
        },
    );
    read.collect()
}

#[cfg(test)]
mod tests;
