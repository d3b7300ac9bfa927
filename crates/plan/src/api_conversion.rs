//! Objects that are stored in an API version which the target does not serve any more.
//!
//! A version that the target serves is used as it is, preferred or not. Otherwise [`RULES`] says into
//! which version the object is converted, and what else changes; each conversion is a warning in the
//! results. The rules follow Kubernetes' deprecation guide
//! (<https://kubernetes.io/docs/reference/using-api/deprecation-guide/>): what was removed from 1.16 to
//! 1.34. Defaults that differ between the versions need no rule, because the stored object has them
//! filled in. Velero converts nothing: such an object is lost there with a warning.

mod admission;
mod autoscaling;
mod definition;
mod endpoint_slice;
mod flow_control;
mod ingress;
mod policy;
mod runtime_class;
mod workload;

use std::{collections::HashMap, sync::Arc};

use refloat_model::{GroupResource, resource::ApiResource};
use serde_json::{Map, Value};

use crate::json;

/// Kinds as the target serves them, each in all its versions.
#[derive(Clone, Debug, Default)]
pub struct ServedKinds {
    /// By group and kind; the preferred version first.
    kinds: HashMap<String, Vec<Arc<ApiResource>>>,
}

/// What an object's API version means in the target.
#[derive(Clone, Debug, PartialEq)]
pub enum Settled {
    /// The target serves it, or (`None`) knows nothing of the kind.
    AsIs(Option<Arc<ApiResource>>),
    /// The object was converted.
    Converted {
        /// To this kind.
        api: Arc<ApiResource>,
        /// What is to be said about it.
        warning: String,
    },
    /// It cannot be restored, for this reason.
    Impossible(String),
}

/// What a conversion changes besides the version; it hands out what deserves a look.
type Change = fn(&mut Map<String, Value>, &mut Vec<String>) -> Result<(), String>;

/// A conversion of one kind.
struct Rule {
    group: &'static str,
    /// The old versions.
    versions: &'static [&'static str],
    kinds: &'static [&'static str],
    to: (&'static str, &'static str),
    change: Change,
}

const fn rule(
    group: &'static str,
    versions: &'static [&'static str],
    kinds: &'static [&'static str],
    to: (&'static str, &'static str),
    change: Change,
) -> Rule {
    Rule {
        group,
        versions,
        kinds,
        to,
        change,
    }
}

const RBAC: &str = "rbac.authorization.k8s.io";
const STORAGE: &str = "storage.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";
const FLOW: &str = "flowcontrol.apiserver.k8s.io";
const SNAPSHOT: &str = "snapshot.storage.k8s.io";

/// From what to what. The first rule whose new version is served holds.
#[rustfmt::skip]
const RULES: &[Rule] = &[
    // Removed in 1.16.
    rule("extensions", &["v1beta1"], &["NetworkPolicy"], ("networking.k8s.io", "v1"), same),
    rule("extensions", &["v1beta1"], &["Deployment", "DaemonSet", "ReplicaSet"], ("apps", "v1"), workload::convert),
    rule("apps", &["v1beta1", "v1beta2"], &["Deployment", "DaemonSet", "ReplicaSet", "StatefulSet"], ("apps", "v1"), workload::convert),
    rule("apps", &["v1beta1", "v1beta2"], &["ControllerRevision"], ("apps", "v1"), same),
    // Removed in 1.22.
    rule("extensions", &["v1beta1"], &["Ingress"], ("networking.k8s.io", "v1"), ingress::convert),
    rule("networking.k8s.io", &["v1beta1"], &["Ingress"], ("networking.k8s.io", "v1"), ingress::convert),
    // An old target that has only the other group's version of the same fields.
    rule("extensions", &["v1beta1"], &["Ingress"], ("networking.k8s.io", "v1beta1"), same),
    rule("networking.k8s.io", &["v1beta1"], &["IngressClass"], ("networking.k8s.io", "v1"), same),
    rule(RBAC, &["v1alpha1", "v1beta1"], &["Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"], (RBAC, "v1"), same),
    rule("apiextensions.k8s.io", &["v1beta1"], &["CustomResourceDefinition"], ("apiextensions.k8s.io", "v1"), definition::convert),
    rule(ADMISSION, &["v1beta1"], &["MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"], (ADMISSION, "v1"), admission::convert),
    rule("apiregistration.k8s.io", &["v1beta1"], &["APIService"], ("apiregistration.k8s.io", "v1"), same),
    rule("certificates.k8s.io", &["v1beta1"], &["CertificateSigningRequest"], ("certificates.k8s.io", "v1"), same),
    rule("coordination.k8s.io", &["v1beta1"], &["Lease"], ("coordination.k8s.io", "v1"), same),
    rule("scheduling.k8s.io", &["v1alpha1", "v1beta1"], &["PriorityClass"], ("scheduling.k8s.io", "v1"), same),
    rule(STORAGE, &["v1alpha1", "v1beta1"], &["CSIDriver", "CSINode", "StorageClass", "VolumeAttachment"], (STORAGE, "v1"), same),
    // Removed in 1.25.
    rule("batch", &["v2alpha1", "v1beta1"], &["CronJob"], ("batch", "v1"), same),
    rule("discovery.k8s.io", &["v1alpha1", "v1beta1"], &["EndpointSlice"], ("discovery.k8s.io", "v1"), endpoint_slice::convert),
    rule("events.k8s.io", &["v1beta1"], &["Event"], ("events.k8s.io", "v1"), same),
    rule("autoscaling", &["v2beta1"], &["HorizontalPodAutoscaler"], ("autoscaling", "v2"), autoscaling::convert),
    rule("policy", &["v1beta1"], &["PodDisruptionBudget"], ("policy", "v1"), policy::convert),
    rule("node.k8s.io", &["v1alpha1"], &["RuntimeClass"], ("node.k8s.io", "v1"), runtime_class::convert),
    rule("node.k8s.io", &["v1beta1"], &["RuntimeClass"], ("node.k8s.io", "v1"), same),
    // Removed in 1.26 and later.
    rule("autoscaling", &["v2beta2"], &["HorizontalPodAutoscaler"], ("autoscaling", "v2"), same),
    rule(FLOW, &["v1alpha1", "v1beta1", "v1beta2", "v1beta3"], &["FlowSchema"], (FLOW, "v1"), same),
    rule(FLOW, &["v1alpha1", "v1beta1", "v1beta2", "v1beta3"], &["PriorityLevelConfiguration"], (FLOW, "v1"), flow_control::convert),
    rule(STORAGE, &["v1alpha1", "v1beta1"], &["CSIStorageCapacity", "VolumeAttributesClass"], (STORAGE, "v1"), same),
    rule(ADMISSION, &["v1alpha1", "v1beta1"], &["ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"], (ADMISSION, "v1"), same),
    rule("networking.k8s.io", &["v1alpha1", "v1beta1"], &["IPAddress", "ServiceCIDR"], ("networking.k8s.io", "v1"), same),
    // CSI snapshots: definitions of their own, with the same fields.
    rule(SNAPSHOT, &["v1beta1"], &["VolumeSnapshot", "VolumeSnapshotClass", "VolumeSnapshotContent"], (SNAPSHOT, "v1"), same),
];

/// Kinds whose group changed.
const MOVED: [(&str, &str, &str); 5] = [
    ("deployments", "extensions", "apps"),
    ("daemonsets", "extensions", "apps"),
    ("replicasets", "extensions", "apps"),
    ("ingresses", "extensions", "networking.k8s.io"),
    ("networkpolicies", "extensions", "networking.k8s.io"),
];

/// Kinds that are gone for good, and what replaces them.
const REMOVED: [(&str, &[&str], &str); 2] = [
    (
        "podsecuritypolicies",
        &["policy", "extensions"],
        "Kubernetes 1.25 removed PodSecurityPolicy; label namespaces for Pod Security Admission instead",
    ),
    (
        "podpresets",
        &["settings.k8s.io"],
        "Kubernetes 1.20 removed PodPreset; use a mutating webhook or admission policy instead",
    ),
];

/// Why a kind is served by no release any more, and what to do instead.
#[must_use]
pub fn removed(resource: &GroupResource) -> Option<&'static str> {
    let found = REMOVED
        .iter()
        .find(|(name, groups, _)| resource.resource == *name && groups.contains(&resource.group.as_str()));
    found.map(|(_, _, advice)| *advice)
}

/// The kind that took the place of one whose group changed.
#[must_use]
pub fn moved(resource: &GroupResource) -> Option<GroupResource> {
    let found = MOVED.iter().find(|(name, group, _)| resource.is(name, group));
    found.map(|(name, _, group)| GroupResource::new(*name, *group))
}

impl ServedKinds {
    /// From what a server serves: the preferred versions, and all others.
    #[must_use]
    pub fn new<'a>(
        preferred: impl IntoIterator<Item = &'a ApiResource>,
        others: impl IntoIterator<Item = &'a ApiResource>,
    ) -> Self {
        let mut kinds: HashMap<String, Vec<Arc<ApiResource>>> = HashMap::new();
        for api in preferred.into_iter().chain(others) {
            let key = key(&api.group_resource.group, &api.kind);
            kinds.entry(key).or_default().push(Arc::new(api.clone()));
        }
        Self { kinds }
    }

    /// A kind in a version, if it is served.
    #[must_use]
    pub fn find(&self, group: &str, version: &str, kind: &str) -> Option<&Arc<ApiResource>> {
        self.versions(group, kind)
            .iter()
            .find(|api| api.version == version)
    }

    fn versions(&self, group: &str, kind: &str) -> &[Arc<ApiResource>] {
        self.kinds.get(&key(group, kind)).map_or(&[], Vec::as_slice)
    }

    /// Settles in which version an object is created, and converts it where that has to be.
    #[must_use]
    pub fn settle(&self, object: &mut Value) -> Settled {
        let Some((group, version, kind)) = names(object) else {
            return Settled::AsIs(None);
        };
        if let Some(api) = self.find(&group, &version, &kind) {
            return Settled::AsIs(Some(api.clone()));
        }
        let rules = RULES.iter().filter(|rule| {
            rule.group == group
                && rule.versions.contains(&version.as_str())
                && rule.kinds.contains(&kind.as_str())
        });
        for rule in rules {
            if let Some(api) = self.find(rule.to.0, rule.to.1, &kind) {
                return rule.convert(object, api);
            }
        }
        let served = self.versions(&group, &kind);
        if served.is_empty() {
            return Settled::AsIs(None);
        }
        let served: Vec<&str> = served.iter().map(|api| api.version.as_str()).collect();
        Settled::Impossible(format!(
            "it is stored in version {version} of {group}, which this cluster does not serve (it serves {}), and this \
             program does not know how to convert it; serve {version} until it is restored, or back up again with the \
             feature EnableAPIGroupVersions",
            served.join(", ")
        ))
    }
}

impl Rule {
    fn convert(&self, object: &mut Value, api: &Arc<ApiResource>) -> Settled {
        let old = json::text(object, &["apiVersion"]).unwrap_or_default().to_owned();
        let Some(fields) = object.as_object_mut() else {
            return Settled::AsIs(None);
        };
        let mut notes = Vec::new();
        if let Err(reason) = (self.change)(fields, &mut notes) {
            return Settled::Impossible(format!("it cannot be converted from {old}: {reason}"));
        }
        let new = api.gvk().api_version();
        let mut warning = format!("converted from {old} to {new}, because this cluster does not serve {old}");
        for note in notes {
            warning.push_str("; ");
            warning.push_str(&note);
        }
        fields.insert("apiVersion".to_owned(), new.into());
        Settled::Converted {
            api: api.clone(),
            warning,
        }
    }
}

fn key(group: &str, kind: &str) -> String {
    format!("{group}/{kind}")
}

/// Group, version and kind of an object.
fn names(object: &Value) -> Option<(String, String, String)> {
    let api_version = json::text(object, &["apiVersion"])?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = json::text(object, &["kind"])?;
    Some((group.to_owned(), version.to_owned(), kind.to_owned()))
}

/// Both versions have the same fields.
#[expect(clippy::unnecessary_wraps, reason = "as all changes")]
fn same(_: &mut Map<String, Value>, _: &mut Vec<String>) -> Result<(), String> {
    Ok(())
}

/// The object at a field, if it is one.
fn at<'a>(object: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Map<String, Value>> {
    object.get_mut(key)?.as_object_mut()
}

/// The objects in the list at a field.
fn each<'a>(
    object: &'a mut Map<String, Value>,
    key: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    let list = object.get_mut(key).and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

#[cfg(test)]
mod tests;
