//! What tests in this crate share: a cluster's kinds.

use refloat_model::{GroupResource, resource::ApiResource};

/// Owned strings.
pub(crate) fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// One kind that can be backed up.
pub(crate) fn kind(resource: &str, version: &str, kind: &str, namespaced: bool) -> ApiResource {
    let group_resource = GroupResource::parse(resource);
    let short = match group_resource.resource.as_str() {
        "pods" => vec!["po"],
        "deployments" => vec!["deploy"],
        "namespaces" => vec!["ns"],
        _ => vec![],
    };
    let mut aliases = strings(&short);
    aliases.push(kind.to_lowercase());
    ApiResource {
        group_resource,
        version: version.to_owned(),
        kind: kind.to_owned(),
        namespaced,
        aliases,
        verbs: strings(&["create", "delete", "get", "list", "patch", "update", "watch"]),
    }
}

/// A small cluster in discovery order, with cohabiting kinds and one that cannot be listed.
pub(crate) fn discovered() -> Vec<ApiResource> {
    let mut kinds = vec![
        kind("configmaps", "v1", "ConfigMap", true),
        kind("events", "v1", "Event", true),
        kind("namespaces", "v1", "Namespace", false),
        kind("nodes", "v1", "Node", false),
        kind("persistentvolumeclaims", "v1", "PersistentVolumeClaim", true),
        kind("persistentvolumes", "v1", "PersistentVolume", false),
        kind("pods", "v1", "Pod", true),
        kind("secrets", "v1", "Secret", true),
        kind("serviceaccounts", "v1", "ServiceAccount", true),
        kind("services", "v1", "Service", true),
        kind("deployments.extensions", "v1beta1", "Deployment", true),
        kind("apiservices.apiregistration.k8s.io", "v1", "APIService", false),
        kind("deployments.apps", "v1", "Deployment", true),
        kind("replicasets.apps", "v1", "ReplicaSet", true),
        kind("events.events.k8s.io", "v1", "Event", true),
        kind("tokenreviews.authentication.k8s.io", "v1", "TokenReview", false),
        kind("networkpolicies.networking.k8s.io", "v1", "NetworkPolicy", true),
        kind(
            "clusterrolebindings.rbac.authorization.k8s.io",
            "v1",
            "ClusterRoleBinding",
            false,
        ),
        kind(
            "clusterroles.rbac.authorization.k8s.io",
            "v1",
            "ClusterRole",
            false,
        ),
        kind("storageclasses.storage.k8s.io", "v1", "StorageClass", false),
        kind(
            "validatingwebhookconfigurations.admissionregistration.k8s.io",
            "v1",
            "ValidatingWebhookConfiguration",
            false,
        ),
        kind(
            "customresourcedefinitions.apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            false,
        ),
        kind("priorityclasses.scheduling.k8s.io", "v1", "PriorityClass", false),
        kind(
            "volumesnapshots.snapshot.storage.k8s.io",
            "v1",
            "VolumeSnapshot",
            true,
        ),
        kind(
            "volumesnapshotcontents.snapshot.storage.k8s.io",
            "v1",
            "VolumeSnapshotContent",
            false,
        ),
        kind("widgets.example.io", "v1", "Widget", true),
    ];
    for kind in &mut kinds {
        if kind.kind == "TokenReview" {
            kind.verbs = strings(&["create"]);
        }
    }
    kinds
}

/// Any JSON, with or without nulls; field names are mostly those that the rules look at.
pub(crate) fn any_json(nulls: bool) -> impl proptest::strategy::Strategy<Value = serde_json::Value> {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    const KEYS: [&str; 24] = [
        "metadata",
        "labels",
        "annotations",
        "name",
        "namespace",
        "spec",
        "status",
        "phase",
        "ports",
        "nodePort",
        "claimRef",
        "volumeName",
        "volumes",
        "containers",
        "volumeMounts",
        "subjects",
        "secrets",
        "data",
        "type",
        "managedFields",
        "uid",
        "template",
        "selector",
        "matchLabels",
    ];
    const TEXTS: [&str; 8] = [
        "",
        "a",
        "default",
        "Delete",
        "Bound",
        "None",
        "kubernetes.io/service-account-token",
        "apps/v1",
    ];
    let leaf = prop_oneof![
        Just(json!(true)),
        any::<i32>().prop_map(|number| json!(number)),
        Just(serde_json::from_str::<Value>("12345678901234567890.10").expect("a number")),
        prop::sample::select(&TEXTS[..]).prop_map(|text| json!(text)),
        Just(if nulls { Value::Null } else { json!("x") }),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((prop::sample::select(&KEYS[..]), inner), 0..8)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}
