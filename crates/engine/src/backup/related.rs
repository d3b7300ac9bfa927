//! Objects that are backed up because others refer to them: claims and priority classes of pods,
//! volumes of claims, bindings and roles of service accounts, definitions of custom resources; and, where
//! labels select, what [`super::claims`] finds.
//!
//! Most need nothing: a kind that is listed whole has them anyway. What remains is read one by one
//! after all lists are done, and may refer to more.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use refloat_model::{GroupResource, ObjectName};
use refloat_plan::{
    backup::{BackupPlan, RelatedVerdict, definition_of},
    backup_action::{RbacIndex, RelatedItem},
};
use tokio::sync::mpsc;

use super::collect::{Batch, Choice, Fetched, Gatherer, Kind, Shared, fetch, lock};
use super::{BackupJob, Planned, claims, hooks::Blocks};
use crate::{EngineError, error::chain, job_log::JobLog};

/// Kinds that others refer to: which of their objects are written already has to be known.
const REFERRED: [(&str, &str); 7] = [
    ("persistentvolumeclaims", ""),
    ("persistentvolumes", ""),
    ("pods", ""),
    ("priorityclasses", "scheduling.k8s.io"),
    ("clusterrolebindings", "rbac.authorization.k8s.io"),
    ("clusterroles", "rbac.authorization.k8s.io"),
    ("customresourcedefinitions", "apiextensions.k8s.io"),
];

/// What was referred to and what is written, at a few bytes per object.
#[derive(Default)]
pub(super) struct Related {
    /// And whether they come along whatever the filters and their own label say.
    wanted: BTreeMap<(GroupResource, ObjectName), bool>,
    written: HashSet<u64>,
    key: RandomState,
    kinds: Vec<GroupResource>,
}

impl Related {
    /// Takes note that an object is in the tarball.
    pub(super) fn written(&mut self, kind: &GroupResource, name: &ObjectName) {
        if REFERRED.iter().any(|(resource, group)| kind.is(resource, group)) {
            let hash = self.key.hash_one((kind, name));
            self.written.insert(hash);
        }
    }

    /// Takes note of what an object refers to, as far as the plan has it read by itself.
    /// With `all`, what the spec or a label excludes comes along as well.
    pub(super) fn wanted(&mut self, plan: &BackupPlan, items: Vec<RelatedItem>, all: bool) {
        for item in items {
            let verdict = plan.related_allowed(&item.resource, &item.name.namespace);
            if verdict == RelatedVerdict::Fetch || all {
                let must = self.wanted.entry((item.resource, item.name)).or_default();
                *must |= all;
            }
        }
    }

    /// Takes note that a kind has objects in the backup, for the sake of its definition.
    pub(super) fn kind_has_objects(&mut self, resource: &GroupResource) {
        self.kinds.push(resource.clone());
    }

    /// Whether an object that others may refer to is in the tarball.
    pub(super) fn is_written(&self, kind: &GroupResource, name: &ObjectName) -> bool {
        self.written.contains(&self.key.hash_one((kind, name)))
    }
}

/// Reads and writes what is referred to and not written yet, and what belongs to the claims among it.
pub(super) async fn collect(shared: &Arc<Shared>, sender: &mpsc::Sender<Batch>) -> Result<(), EngineError> {
    add_definitions(shared);
    loop {
        let next = lock(&shared.related).wanted.pop_first();
        let Some(((resource, name), must)) = next else {
            if claims::follow(shared).await? {
                continue;
            }
            return Ok(());
        };
        if lock(&shared.related).is_written(&resource, &name) {
            continue;
        }
        let Some(served) = shared.discovery.find(&resource) else {
            continue;
        };
        let kind = Kind::new(served.clone());
        let mut gatherer = Gatherer::new(shared, kind.clone(), sender);
        if resource.is("pods", "") {
            // One that only a claim brings along has its hooks too.
            gatherer.hold(Blocks::new(shared, &kind, sender), false);
        }
        let choice = if must { Choice::Must } else { Choice::Referred };
        let fetched = fetch(shared, &kind, &name, choice, &mut gatherer).await?;
        // Whether a kind has a definition is found out by asking for it.
        if fetched == Fetched::Missing && !resource.is("customresourcedefinitions", "apiextensions.k8s.io") {
            let text =
                format!("{resource} {name} is referred to but does not exist: it is not in the backup");
            shared.log.warn(&name.namespace, &text);
        }
        gatherer.finish_all().await?;
    }
}

/// Wants the definition of each custom resource that has objects.
fn add_definitions(shared: &Shared) {
    let definitions = GroupResource::new("customresourcedefinitions", "apiextensions.k8s.io");
    if !matches!(
        shared.plan.related_allowed(&definitions, ""),
        RelatedVerdict::Fetch
    ) {
        return;
    }
    let mut related = lock(&shared.related);
    for kind in std::mem::take(&mut related.kinds) {
        if let Some(name) = definition_of(&kind) {
            related.wanted.entry((definitions.clone(), name)).or_default();
        }
    }
}

/// The cluster role bindings that name service accounts; none are needed where the plan lists all
/// bindings anyway, or leaves them out.
pub(super) async fn bindings(
    job: &BackupJob,
    planned: &Planned,
    log: &JobLog,
) -> Result<RbacIndex, EngineError> {
    let mut index = RbacIndex::default();
    let kind = GroupResource::new("clusterrolebindings", "rbac.authorization.k8s.io");
    if planned.plan.related_allowed(&kind, "") != RelatedVerdict::Fetch {
        return Ok(index);
    }
    let Some(served) = planned.discovery.find(&kind) else {
        return Ok(index);
    };
    let mut pages = job.cluster.list_pages(served, None, None, job.options.page_size);
    loop {
        match pages.next().await {
            Ok(Some(json)) => {
                if let Ok(value) = serde_json::from_slice(&json) {
                    index.add(&value);
                }
            }
            Ok(None) => return Ok(index),
            Err(error) if error.code().is_some() => {
                log.error(
                    "",
                    &format!("bindings of service accounts are left out: {}", chain(&error)),
                );
                return Ok(index);
            }
            Err(error) => return Err(EngineError::cluster("the backup ended early", error)),
        }
    }
}
