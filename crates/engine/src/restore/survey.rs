//! Looks through the sorted objects before any is created: how many are selected, which namespaces
//! they need, and which others they refer to that the filters would leave out.

use std::collections::HashSet;

use refloat_model::{GroupResource, ObjectName};
use refloat_plan::{restore::RestorePlan, restore_item::related};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{EngineError, spool::Spool};

/// What a survey found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Objects that will be tried.
    pub total: u64,
    /// Namespaces (as in the backup) that have such objects.
    pub occupied: HashSet<String>,
    /// Objects that come along because others refer to them.
    related: HashSet<(GroupResource, ObjectName)>,
}

/// The labels of an object, everything else passed over.
#[derive(Deserialize)]
struct Labelled {
    metadata: Labels,
}

#[derive(Deserialize)]
struct Labels {
    #[serde(default)]
    labels: Option<Map<String, Value>>,
}

impl Survey {
    /// Looks at everything that the plan names. Blocks.
    pub(super) fn take(plan: &RestorePlan, spool: &Spool) -> Result<Self, EngineError> {
        let mut survey = Self::default();
        let steps = plan.classes.iter().flat_map(|class| &class.resources);
        for step in steps {
            let kind = &step.group_resource;
            let refers =
                plan.needs_related() && (kind.is("pods", "") || kind.is("persistentvolumeclaims", ""));
            for block in spool.blocks(kind) {
                for record in spool.read(block)? {
                    let labels = labels(&record.json);
                    let name = &record.name;
                    if !plan.selects(kind, &name.namespace, &name.name, labels.as_ref()) {
                        continue;
                    }
                    survey.count(kind, name);
                    if refers {
                        survey.refer(plan, kind, &record.json);
                    }
                }
            }
        }
        survey.follow_claims(plan, spool)?;
        Ok(survey)
    }

    /// Whether an object comes along because another one refers to it.
    pub(super) fn is_related(&self, kind: &GroupResource, name: &ObjectName) -> bool {
        !self.related.is_empty() && self.related.contains(&(kind.clone(), name.clone()))
    }

    fn count(&mut self, kind: &GroupResource, name: &ObjectName) {
        self.total += 1;
        if !name.namespace.is_empty()
            && !kind.is("namespaces", "")
            && !self.occupied.contains(&*name.namespace)
        {
            self.occupied.insert(name.namespace.to_string());
        }
    }

    fn refer(&mut self, plan: &RestorePlan, kind: &GroupResource, json: &[u8]) {
        let Ok(object) = serde_json::from_slice::<Value>(json) else {
            return;
        };
        for item in related(kind, &object) {
            if plan.allows_related(&item.resource, &item.name.namespace) {
                self.related.insert((item.resource, item.name));
            }
        }
    }

    /// Claims that come along with pods refer to volumes in their turn.
    fn follow_claims(&mut self, plan: &RestorePlan, spool: &Spool) -> Result<(), EngineError> {
        let claims = GroupResource::new("persistentvolumeclaims", "");
        if !self.related.iter().any(|(kind, _)| *kind == claims) {
            return Ok(());
        }
        for block in spool.blocks(&claims) {
            for record in spool.read(block)? {
                if self.is_related(&claims, &record.name) {
                    self.refer(plan, &claims, &record.json);
                }
            }
        }
        Ok(())
    }
}

fn labels(json: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice::<Labelled>(json).ok()?.metadata.labels
}
