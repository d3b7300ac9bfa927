//! The order of kinds.
//!
//! Velero restores one object after the other, kinds in the order of its priorities and all other
//! kinds alphabetically. Here each prioritised kind is a class of its own; the others form a few
//! classes by what has to be there first.

use refloat_model::{GroupResource, resource::ApiResource};

use super::{ResourceStep, RestoreClass};
use crate::{backup::definition_of, filter::resolve, priorities::Priorities};

/// Where a kind goes that the priorities do not name. Between `First` and `Before` are the
/// priorities' high list, between `Quotas` and `Last` their low list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Right after definitions and namespaces: the admission of pods and claims asks for these.
    Classes,
    /// Before their owners, or the owners' controllers make new ones.
    Parts,
    /// The built-in kinds.
    Ordinary,
    /// Their operators are among the built-in kinds.
    Custom,
    /// After what they count, so that creations do not queue for the quota's update.
    Quotas,
    /// What can hinder other creations while its server is not running yet.
    Hindrances,
}

/// Sorts kinds into classes; empty ones are left out.
pub(super) fn classes(
    steps: Vec<ResourceStep>,
    priorities: &Priorities,
    target: &[ApiResource],
) -> Vec<RestoreClass> {
    let mut rest = steps;
    let mut classes = Vec::new();
    let take = |rest: &mut Vec<ResourceStep>,
                classes: &mut Vec<RestoreClass>,
                pick: &dyn Fn(&GroupResource) -> bool| {
        let (mut picked, left): (Vec<_>, Vec<_>) = std::mem::take(rest)
            .into_iter()
            .partition(|step| pick(&step.group_resource));
        *rest = left;
        if picked.is_empty() {
            return;
        }
        picked.sort_by_cached_key(|step| step.group_resource.to_string());
        let wait_established = picked.iter().any(|step| is_definitions(&step.group_resource));
        classes.push(RestoreClass {
            resources: picked,
            wait_established,
        });
    };
    // Definitions and namespaces go first whatever the priorities say: nothing works without them.
    take(&mut rest, &mut classes, &is_definitions);
    take(&mut rest, &mut classes, &|kind| kind.is("namespaces", ""));
    let high = ranked(&rest, &priorities.high, target);
    let low = ranked(&rest, &priorities.low, target);
    let unranked = |kind: &GroupResource| !high.contains(kind) && !low.contains(kind);
    let placed = |place: Place| move |kind: &GroupResource| unranked(kind) && place_of(kind) == place;
    take(&mut rest, &mut classes, &placed(Place::Classes));
    for first in &high {
        take(&mut rest, &mut classes, &|kind| kind == first);
    }
    for place in [Place::Parts, Place::Ordinary, Place::Custom, Place::Quotas] {
        take(&mut rest, &mut classes, &placed(place));
    }
    for last in low.iter().filter(|kind| !high.contains(kind)) {
        take(&mut rest, &mut classes, &|kind| kind == last);
    }
    take(&mut rest, &mut classes, &placed(Place::Hindrances));
    classes
}

/// The kinds of `steps` that a list of priorities names, in its order.
fn ranked(steps: &[ResourceStep], names: &[String], target: &[ApiResource]) -> Vec<GroupResource> {
    let mut kinds = Vec::new();
    for name in names {
        let meant = match resolve(name, target) {
            Some(api) => api.group_resource.clone(),
            None => unresolved(steps, name),
        };
        if steps.iter().any(|step| step.group_resource == meant) && !kinds.contains(&meant) {
            kinds.push(meant);
        }
    }
    kinds
}

/// A name that the cluster does not know: as it is written, or the kind of the backup with that
/// plural.
fn unresolved(steps: &[ResourceStep], name: &str) -> GroupResource {
    let written = GroupResource::parse(name);
    let same_plural =
        |step: &&ResourceStep| written.group.is_empty() && step.group_resource.resource == written.resource;
    steps
        .iter()
        .find(same_plural)
        .map_or(written, |step| step.group_resource.clone())
}

fn is_definitions(kind: &GroupResource) -> bool {
    kind.is("customresourcedefinitions", "apiextensions.k8s.io")
}

fn place_of(kind: &GroupResource) -> Place {
    match (kind.group.as_str(), kind.resource.as_str()) {
        ("node.k8s.io", "runtimeclasses")
        | ("networking.k8s.io", "ingressclasses" | "servicecidrs")
        | ("resource.k8s.io", "deviceclasses")
        | ("storage.k8s.io", "csidrivers" | "volumeattributesclasses") => Place::Classes,
        ("apps", "controllerrevisions") | ("", "podtemplates") => Place::Parts,
        ("", "resourcequotas") => Place::Quotas,
        ("apiregistration.k8s.io", "apiservices") | ("admissionregistration.k8s.io", _) => Place::Hindrances,
        _ if definition_of(kind).is_some() => Place::Custom,
        _ => Place::Ordinary,
    }
}
