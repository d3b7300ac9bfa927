//! Finds what belongs to the claims of a backup with a label selector: the running pods that mount
//! them, and the claims of their volume groups.
//!
//! Without a selector all of these are listed anyway, and nothing is done here. With one, pods are
//! listed once in each namespace that has a selected claim, and of them only the names of those with
//! claims are kept; a group is listed once.

use std::collections::{BTreeSet, HashMap, HashSet};

use refloat_cluster::{ClusterError, listing::Listing as Pages};
use refloat_model::{GroupResource, ObjectName};
use refloat_plan::{
    backup::RelatedVerdict,
    backup_action::{BoundClaim, RelatedItem, claims},
};
use serde_json::Value;

use super::{
    collect::{Shared, lock},
    item::Item,
};
use crate::{EngineError, error::chain};

/// Claim → the pods that mount it, of one namespace.
type Mounts = HashMap<String, Vec<String>>;

/// What is known of the claims so far.
#[derive(Default)]
pub(super) struct Claims {
    /// Claims that are in the backup and were not looked into yet.
    new: BTreeSet<BoundClaim>,
    seen: HashSet<ObjectName>,
    mounts: HashMap<String, Mounts>,
    /// Namespace and group.
    groups: HashSet<(String, String)>,
}

impl Claims {
    /// Takes note of a claim that is in the backup.
    pub(super) fn add(&mut self, claim: BoundClaim) {
        if self.seen.insert(claim.name.clone()) {
            self.new.insert(claim);
        }
    }
}

/// Finds what belongs to the claims that came in since the last call, and has it read. Returns
/// whether there were any: what is read may bring more claims.
pub(super) async fn follow(shared: &Shared) -> Result<bool, EngineError> {
    let mut any = false;
    loop {
        let next = lock(&shared.claims).new.pop_first();
        let Some(claim) = next else { return Ok(any) };
        any = true;
        let mut items = pods_of(shared, &claim).await?;
        items.extend(group_of(shared, &claim).await?);
        lock(&shared.related).wanted(&shared.plan, items, false);
    }
}

/// The running pods that mount a claim.
async fn pods_of(shared: &Shared, claim: &BoundClaim) -> Result<Vec<RelatedItem>, EngineError> {
    let namespace = &*claim.name.namespace;
    let pods = GroupResource::new("pods", "");
    if shared.plan.related_allowed(&pods, namespace) != RelatedVerdict::Fetch {
        return Ok(Vec::new());
    }
    if !lock(&shared.claims).mounts.contains_key(namespace) {
        let mut mounts = Mounts::new();
        let take = |pod: &Value, name: &str| {
            for claim in claims::mounted_claims(pod) {
                mounts.entry(claim.to_owned()).or_default().push(name.to_owned());
            }
        };
        list(shared, &pods, namespace, None, take).await?;
        lock(&shared.claims).mounts.insert(namespace.to_owned(), mounts);
    }
    let found = lock(&shared.claims);
    let names = found
        .mounts
        .get(namespace)
        .and_then(|mounts| mounts.get(&*claim.name.name));
    let items = names
        .into_iter()
        .flatten()
        .map(|name| claims::pod(namespace, name));
    Ok(items.collect())
}

/// The claims of a claim's volume group.
async fn group_of(shared: &Shared, claim: &BoundClaim) -> Result<Vec<RelatedItem>, EngineError> {
    let namespace = &*claim.name.namespace;
    let group = (namespace.to_owned(), claim.group.clone());
    let mut items = Vec::new();
    if claim.group.is_empty() || !lock(&shared.claims).groups.insert(group) {
        return Ok(items);
    }
    let selector = format!("{}={}", shared.group_label, claim.group);
    let kind = GroupResource::new("persistentvolumeclaims", "");
    list(shared, &kind, namespace, Some(&selector), |_, name| {
        items.push(claims::claim(namespace, name));
    })
    .await?;
    Ok(items)
}

/// Lists a kind in a namespace and hands out each object. What may not be listed is an error in the
/// results.
async fn list(
    shared: &Shared,
    kind: &GroupResource,
    namespace: &str,
    selector: Option<&str>,
    mut take: impl FnMut(&Value, &str),
) -> Result<(), EngineError> {
    let Some(served) = shared.discovery.find(kind) else {
        return Ok(());
    };
    let mut pages = shared
        .cluster
        .list_pages(served, Some(namespace), selector, shared.page_size);
    match each(&mut pages, &mut take).await {
        Ok(()) => Ok(()),
        Err(error) if shared.cluster.answers_others(&error).await => {
            let text = format!(
                "{kind} that belong to claims of this backup are not looked for: {}",
                chain(&error)
            );
            shared.log.error(namespace, &text);
            Ok(())
        }
        Err(error) => Err(EngineError::cluster("the backup ended early", error)),
    }
}

async fn each(pages: &mut Pages<'_>, take: &mut impl FnMut(&Value, &str)) -> Result<(), ClusterError> {
    while let Some(json) = pages.next().await? {
        let parsed = serde_json::from_slice::<Value>(&json).ok();
        let item = serde_json::from_slice::<Item<'_>>(&json).ok();
        if let (Some(object), Some(item)) = (parsed, item) {
            take(&object, &item.metadata.name);
        }
    }
    Ok(())
}
