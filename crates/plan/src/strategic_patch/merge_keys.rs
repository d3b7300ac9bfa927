//! How lists of the built-in kinds merge: the struct tags `patchStrategy` and `patchMergeKey` of the Go
//! types in k8s.io/api and k8s.io/apimachinery v0.34.4, all groups and versions there. A field that is
//! not here has no such tag and holds nothing that has one: maps merge by key, lists are replaced.

/// Groups whose kinds are known. Real Velero knows a part of them.
const GROUPS: [&str; 29] = [
    "",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "extensions",
    "flowcontrol.apiserver.k8s.io",
    "groupsnapshot.storage.k8s.io",
    "imagepolicy.k8s.io",
    "internal.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "settings.k8s.io",
    "snapshot.storage.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
    "velero.io",
];

/// What a field's tags say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    /// No tag: maps merge, lists are replaced.
    Plain,
    /// A list of values that merge as a set.
    Set,
    /// A list of objects that merge by this field.
    By(&'static str),
    /// A map that is replaced.
    Replace,
}

/// A field that has tags, or holds fields that have.
#[derive(Debug)]
pub(super) struct Field {
    name: &'static str,
    pub(super) strategy: Strategy,
    /// The type of its value, or of its list's elements; empty: nothing in there has tags.
    pub(super) holds: &'static str,
}

const fn holds(name: &'static str, holds: &'static str) -> Field {
    Field {
        name,
        strategy: Strategy::Plain,
        holds,
    }
}

const fn by(name: &'static str, key: &'static str) -> Field {
    by_holding(name, key, "")
}

const fn by_holding(name: &'static str, key: &'static str, holds: &'static str) -> Field {
    Field {
        name,
        strategy: Strategy::By(key),
        holds,
    }
}

const fn set(name: &'static str) -> Field {
    Field {
        name,
        strategy: Strategy::Set,
        holds: "",
    }
}

const CONDITIONS: Field = by("conditions", "type");
const METADATA: Field = holds("metadata", "ObjectMeta");

/// The fields of each type. A kind is `Kind`, or `group/Kind` where groups differ.
#[rustfmt::skip]
const TYPES: [(&str, &[Field]); 34] = [
    ("ObjectMeta", &[by("ownerReferences", "uid"), set("finalizers")]),
    ("Status", &[CONDITIONS]),
    ("Claim", &[METADATA]),
    ("PodTemplateSpec", &[METADATA, holds("spec", "PodSpec")]),
    ("Template", &[holds("template", "PodTemplateSpec")]),
    ("PodSpec", &[
        by_holding("volumes", "name", "Volume"),
        by_holding("initContainers", "name", "Container"),
        by_holding("containers", "name", "Container"),
        by_holding("ephemeralContainers", "name", "Container"),
        by("imagePullSecrets", "name"),
        by("hostAliases", "ip"),
        by("topologySpreadConstraints", "topologyKey"),
        by("schedulingGates", "name"),
        by("resourceClaims", "name"),
    ]),
    ("PodStatus", &[
        CONDITIONS,
        by("hostIPs", "ip"),
        by("podIPs", "ip"),
        holds("initContainerStatuses", "ContainerStatus"),
        holds("containerStatuses", "ContainerStatus"),
        holds("ephemeralContainerStatuses", "ContainerStatus"),
        by("resourceClaimStatuses", "name"),
    ]),
    ("ContainerStatus", &[by("volumeMounts", "mountPath"), by("allocatedResourcesStatus", "name")]),
    ("Container", &[
        by("ports", "containerPort"),
        by("env", "name"),
        by("volumeMounts", "mountPath"),
        by("volumeDevices", "devicePath"),
    ]),
    ("Volume", &[holds("ephemeral", "EphemeralVolumeSource")]),
    ("EphemeralVolumeSource", &[holds("volumeClaimTemplate", "Claim")]),
    ("Pod", &[METADATA, holds("spec", "PodSpec"), holds("status", "PodStatus")]),
    ("PodTemplate", &[METADATA, holds("template", "PodTemplateSpec")]),
    ("Workload", &[METADATA, holds("spec", "Template"), holds("status", "Status")]),
    ("StatefulSet", &[METADATA, holds("spec", "StatefulSetSpec"), holds("status", "Status")]),
    ("StatefulSetSpec", &[holds("template", "PodTemplateSpec"), holds("volumeClaimTemplates", "WithStatus")]),
    ("CronJob", &[METADATA, holds("spec", "CronJobSpec")]),
    ("CronJobSpec", &[holds("jobTemplate", "JobTemplateSpec")]),
    ("JobTemplateSpec", &[METADATA, holds("spec", "Template")]),
    ("WithStatus", &[METADATA, holds("status", "Status")]),
    ("ServiceSpec", &[by("ports", "port")]),
    ("Service", &[METADATA, holds("spec", "ServiceSpec"), holds("status", "Status")]),
    ("ServiceAccount", &[METADATA, by("secrets", "name")]),
    ("Node", &[METADATA, holds("spec", "NodeSpec"), holds("status", "NodeStatus")]),
    ("NodeSpec", &[set("podCIDRs")]),
    ("NodeStatus", &[CONDITIONS, by("addresses", "type")]),
    ("ComponentStatus", &[METADATA, CONDITIONS]),
    ("PodDisruptionBudget", &[METADATA, holds("spec", "PodDisruptionBudgetSpec"), holds("status", "Status")]),
    ("PodDisruptionBudgetSpec", &[Field { name: "selector", strategy: Strategy::Replace, holds: "" }]),
    ("WebhookConfiguration", &[METADATA, by_holding("webhooks", "name", "Webhook")]),
    ("Webhook", &[by("matchConditions", "name"), by("variables", "name")]),
    ("AdmissionPolicy", &[METADATA, holds("spec", "Webhook")]),
    ("CSINode", &[METADATA, holds("spec", "CSINodeSpec")]),
    ("CSINodeSpec", &[by("drivers", "name")]),
];

/// The type of an object; `None`: its kind is not known.
pub(super) fn of_kind(api_version: &str, kind: &str) -> Option<&'static str> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    if !GROUPS.contains(&group) {
        return None;
    }
    Some(match (group, kind) {
        ("", "Pod") => "Pod",
        ("", "PodTemplate") => "PodTemplate",
        ("", "Service") => "Service",
        ("", "ServiceAccount") => "ServiceAccount",
        ("", "Node") => "Node",
        ("", "ComponentStatus") => "ComponentStatus",
        ("storage.k8s.io", "CSINode") => "CSINode",
        ("", "ReplicationController")
        | ("apps" | "extensions", "Deployment" | "DaemonSet" | "ReplicaSet")
        | ("batch", "Job") => "Workload",
        ("apps", "StatefulSet") => "StatefulSet",
        ("batch", "CronJob") => "CronJob",
        ("policy", "PodDisruptionBudget") if version == "v1" => "PodDisruptionBudget",
        (
            "admissionregistration.k8s.io",
            "MutatingWebhookConfiguration" | "ValidatingWebhookConfiguration",
        ) => "WebhookConfiguration",
        ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy" | "MutatingAdmissionPolicy") => {
            "AdmissionPolicy"
        }
        ("", "Namespace" | "PersistentVolumeClaim")
        | (
            "autoscaling"
            | "apiregistration.k8s.io"
            | "flowcontrol.apiserver.k8s.io"
            | "policy"
            | "networking.k8s.io",
            _,
        ) => "WithStatus",
        _ => "Claim",
    })
}

/// What is known of a type's field.
pub(super) fn field(of: &str, name: &str) -> Option<&'static Field> {
    let (_, fields) = TYPES.iter().find(|(known, _)| *known == of)?;
    fields.iter().find(|field| field.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_that_is_named_exists() {
        for (_, fields) in &TYPES {
            for field in *fields {
                let known = field.holds.is_empty() || TYPES.iter().any(|(name, _)| *name == field.holds);
                assert!(known, "{}", field.holds);
            }
        }
        for (version, kind) in [
            ("v1", "Pod"),
            ("apps/v1", "Deployment"),
            ("storage.k8s.io/v1", "StorageClass"),
        ] {
            let of = of_kind(version, kind).unwrap();
            assert!(TYPES.iter().any(|(name, _)| *name == of), "{of}");
        }
        assert_eq!(of_kind("example.io/v1", "Pod"), None);
    }
}
