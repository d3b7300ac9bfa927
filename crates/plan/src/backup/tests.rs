//! Plans of backups.

use serde_json::{Value, json};

use super::*;
use crate::fixture::{discovered, kind};

fn namespaces() -> Vec<NamespaceFacts> {
    let facts = |name: &str, active: bool| NamespaceFacts {
        name: name.to_owned(),
        labels: [("kubernetes.io/metadata.name".to_owned(), name.to_owned())].into(),
        active,
        excluded_label: false,
    };
    vec![
        facts("default", true),
        facts("dying", false),
        facts("shop", true),
        facts("shop-db", true),
    ]
}

fn spec(spec: Value) -> BackupSpec {
    serde_json::from_value(spec).unwrap()
}

fn plan(json: Value) -> BackupPlan {
    plan_backup(&spec(json), &discovered(), &namespaces()).unwrap()
}

fn listed(plan: &BackupPlan) -> Vec<String> {
    plan.listings
        .iter()
        .map(|listing| listing.resource.group_resource.to_string())
        .collect()
}

fn related(plan: &BackupPlan, kind: &str, namespace: &str) -> RelatedVerdict {
    plan.related_allowed(&GroupResource::parse(kind), namespace)
}

const PVS: &str = "persistentvolumes";
const CRDS: &str = "customresourcedefinitions.apiextensions.k8s.io";

#[test]
fn a_full_backup() {
    insta::assert_json_snapshot!(plan(json!({})));
}

#[test]
fn one_namespace_by_label_with_an_order() {
    insta::assert_json_snapshot!(plan(json!({
        "includedNamespaces": ["shop", "gone"],
        "excludedResources": ["events", "deploy", "ghosts"],
        "orLabelSelectors": [{"matchLabels": {"app": "web"}}, {"matchLabels": {"app": "db"}}],
        "orderedResources": {"pods": "shop/b, shop/a", "widgets": "shop/w", "nothing": "x"}
    })));
}

#[test]
fn by_scope() {
    insta::assert_json_snapshot!(plan(json!({
        "includedNamespaces": ["shop*"],
        "excludedNamespaces": ["*-db"],
        "includedClusterScopedResources": ["storageclasses", "clusterroles"],
        "excludedNamespaceScopedResources": ["secrets", "*.apps"]
    })));
}

#[test]
fn the_default_excludes_do_not_make_a_full_backup_partial() {
    let mut filled = BackupSpec::default();
    add_default_excludes(&mut filled);
    assert_eq!(
        filled.excluded_namespace_scoped_resources,
        ["volumesnapshots.snapshot.storage.k8s.io"]
    );
    assert_eq!(
        filled.excluded_cluster_scoped_resources,
        ["volumesnapshotcontents.snapshot.storage.k8s.io"]
    );
    let before = filled.clone();
    add_default_excludes(&mut filled);
    assert_eq!(filled, before);
    let full = plan_backup(&filled, &discovered(), &namespaces()).unwrap();
    assert_eq!(full, plan(json!({})));
    let mut old = spec(json!({"includedResources": ["pods", "volumesnapshots.snapshot.storage.k8s.io"]}));
    add_default_excludes(&mut old);
    assert_eq!(old.included_resources, ["pods"]);
    assert_eq!(old.excluded_resources.len(), 2);
}

#[test]
fn cluster_scoped_kinds_by_the_old_filters() {
    for (json, scope, lists_classes, volume, definition) in [
        (
            json!({"excludedResources": ["secrets"]}),
            ClusterScope::All,
            true,
            "listed",
            "listed",
        ),
        (
            json!({"excludedResources": ["secrets"], "includedNamespaces": ["shop"]}),
            ClusterScope::Related,
            false,
            "fetch",
            "fetch",
        ),
        (
            json!({"includeClusterResources": false}),
            ClusterScope::None,
            false,
            "no",
            "no",
        ),
        (
            json!({"includeClusterResources": true, "includedNamespaces": ["shop"]}),
            ClusterScope::All,
            true,
            "listed",
            "listed",
        ),
        (
            json!({"includeClusterResources": true, "includedResources": ["pods"]}),
            ClusterScope::All,
            false,
            "fetch",
            "fetch",
        ),
        (
            json!({"includedResources": ["pods", "pvc", "persistentvolumes"], "includedNamespaces": ["shop"]}),
            ClusterScope::Related,
            false,
            "fetch",
            "no",
        ),
        (
            json!({"includedResources": ["pods"]}),
            ClusterScope::All,
            false,
            "no",
            "no",
        ),
    ] {
        let plan = plan(json.clone());
        assert_eq!(plan.cluster_scoped, scope, "{json}");
        assert_eq!(
            listed(&plan)
                .iter()
                .any(|kind| kind.starts_with("storageclasses")),
            lists_classes,
            "{json}"
        );
        let word = |kind: &str| match related(&plan, kind, "") {
            RelatedVerdict::AlreadyListed => "listed",
            RelatedVerdict::Fetch => "fetch",
            RelatedVerdict::Excluded => "no",
        };
        assert_eq!((word(PVS), word(CRDS)), (volume, definition), "{json}");
    }
}

#[test]
fn cluster_scoped_kinds_by_scope() {
    let only_some = plan(json!({"includedClusterScopedResources": ["storageclasses"]}));
    assert_eq!(only_some.cluster_scoped, ClusterScope::Listed);
    assert_eq!(related(&only_some, PVS, ""), RelatedVerdict::Fetch);
    assert!(only_some.namespace_kind.is_some());
    let none = plan(json!({"excludedClusterScopedResources": ["*"]}));
    assert_eq!(related(&none, PVS, ""), RelatedVerdict::Excluded);
    assert!(none.namespace_kind.is_none());
    let all =
        plan(json!({"includedClusterScopedResources": ["*"], "excludedNamespaceScopedResources": ["*"]}));
    assert!(
        all.listings
            .iter()
            .all(|listing| listing.scope == ListScope::Cluster)
    );
    // Words of the other scope are passed over.
    let wrong = plan(json!({"includedNamespaceScopedResources": ["pods", "storageclasses"]}));
    assert_eq!(listed(&wrong), ["pods"]);
}

#[test]
fn related_namespaced_objects_need_their_namespace_and_kind() {
    let plan = plan(
        json!({"includedNamespaces": ["shop"], "labelSelector": {"matchLabels": {"a": "b"}},
        "excludedResources": ["secrets"]}),
    );
    assert_eq!(
        related(&plan, "persistentvolumeclaims", "shop"),
        RelatedVerdict::Fetch
    );
    assert_eq!(
        related(&plan, "persistentvolumeclaims", "default"),
        RelatedVerdict::Excluded
    );
    assert_eq!(related(&plan, "secrets", "shop"), RelatedVerdict::Excluded);
    assert_eq!(related(&plan, "unknown.example.io", ""), RelatedVerdict::Excluded);
    assert_eq!(
        related(&plan, "tokenreviews.authentication.k8s.io", ""),
        RelatedVerdict::Excluded
    );
}

#[test]
fn verdicts() {
    let plan = plan(json!({"includedNamespaces": ["shop"], "excludedResources": ["secrets"]}));
    let pods = GroupResource::parse("pods");
    let item = ItemMeta {
        namespace: "shop",
        name: "a",
        exclude_label: false,
        deleting: false,
    };
    assert_eq!(plan.verdict(&pods, &item), Verdict::Keep);
    assert_eq!(
        plan.verdict(
            &pods,
            &ItemMeta {
                namespace: "",
                ..item
            }
        ),
        Verdict::Keep
    );
    for (item, reason) in [
        (
            ItemMeta {
                namespace: "default",
                ..item
            },
            SkipReason::Namespace,
        ),
        (
            ItemMeta {
                exclude_label: true,
                ..item
            },
            SkipReason::ExcludeLabel,
        ),
        (
            ItemMeta {
                deleting: true,
                ..item
            },
            SkipReason::Deleting,
        ),
    ] {
        assert_eq!(plan.verdict(&pods, &item), Verdict::Skip(reason));
    }
}

#[test]
fn a_missing_namespace_is_an_error_only_where_namespaces_are_stored() {
    let stored = plan(json!({"includedNamespaces": ["shop", "gone"]}));
    assert_eq!(stored.missing_namespaces, ["gone"]);
    for spec in [
        json!({"includedNamespaces": ["shop", "gone"], "includedResources": ["pods"]}),
        json!({"includedNamespaces": ["shop", "gone"], "excludedResources": ["namespaces"]}),
        json!({"includedNamespaces": ["shop", "gone"], "excludedClusterScopedResources": ["*"]}),
    ] {
        let plan = plan(spec.clone());
        assert!(plan.missing_namespaces.is_empty(), "{spec}");
        assert!(
            plan.warnings
                .iter()
                .any(|warning| warning.contains("\"gone\" is named")),
            "{spec}"
        );
    }
}

#[test]
fn a_comma_too_many_in_an_order_is_a_warning() {
    let plan = plan(json!({"orderedResources": {"pods": "shop/a,"}}));
    assert!(plan.warnings[0].contains("comma"), "{:?}", plan.warnings);
    assert!(
        plan.listings
            .iter()
            .any(|listing| listing.ordered_first == [ObjectName::new("shop", "a")])
    );
}

#[test]
fn labels_are_matched_here_where_no_request_does() {
    let labels = |value: Value| value.as_object().cloned().unwrap();
    let any = plan(json!({}));
    assert!(any.selects_labels(None));
    let some = plan(json!({"orLabelSelectors": [{"matchLabels": {"a": "b"}}, {"matchLabels": {"c": "d"}}]}));
    assert!(some.selects_labels(Some(&labels(json!({"c": "d"})))));
    assert!(!some.selects_labels(Some(&labels(json!({"c": "e"})))));
    assert!(!some.selects_labels(None));
    assert!(plan(json!({"labelSelector": {}})).selects_labels(None));
}

#[test]
fn namespaces_made_after_the_plan_count_if_the_list_is_open() {
    let open = plan(json!({"excludedNamespaces": ["new-*"]}));
    assert!(open.selects_namespace("fresh") && !open.selects_namespace("new-1"));
    assert!(open.keeps_namespace("fresh", false));
    let closed = plan(json!({"includedNamespaces": ["shop*"]}));
    assert!(
        !closed.selects_namespace("shop-2"),
        "globs were expanded when the plan was made"
    );
}

#[test]
fn a_label_excludes_a_namespace_and_then_not_all_are_selected() {
    let mut facts = namespaces();
    facts[2].excluded_label = true;
    let plan = plan_backup(
        &spec(json!({"excludedResources": ["secrets"]})),
        &discovered(),
        &facts,
    )
    .unwrap();
    assert!(!plan.selects_namespace("shop") && plan.selects_namespace("default"));
    assert!(!plan.keeps_namespace("shop", true));
    assert_eq!(plan.cluster_scoped, ClusterScope::Related);
    let named = spec(json!({"includedNamespaces": ["shop"]}));
    let plan = plan_backup(&named, &discovered(), &facts).unwrap();
    assert_eq!(plan.namespaces, Vec::<String>::new());
    assert!(plan.missing_namespaces.is_empty() && plan.warnings[0].contains("exclude-from-backup"));
}

#[test]
fn namespace_objects_follow_items_under_a_selector() {
    let selective = plan(json!({"labelSelector": {"matchLabels": {"kubernetes.io/metadata.name": "shop"}}}));
    assert!(selective.keeps_namespace("shop", false), "it matches");
    assert!(!selective.keeps_namespace("default", false) && selective.keeps_namespace("default", true));
    let named =
        plan(json!({"includedNamespaces": ["default"], "labelSelector": {"matchLabels": {"a": "b"}}}));
    assert!(named.keeps_namespace("default", false), "it is named");
    assert!(!named.keeps_namespace("shop", true));
    assert!(
        !plan(json!({})).keeps_namespace("dying", false),
        "it is not active"
    );
    assert!(!plan(json!({"includedResources": ["pods"]})).keeps_namespace("default", true));
}

#[test]
fn an_empty_name_selects_no_namespace() {
    let plan = plan(json!({"includedNamespaces": [""], "includeClusterResources": true}));
    assert!(plan.namespaces.is_empty() && plan.missing_namespaces.is_empty());
    let nothing = ListScope::Namespaces(Vec::new());
    assert!(
        plan.listings
            .iter()
            .all(|listing| listing.scope == ListScope::Cluster || listing.scope == nothing)
    );
}

#[test]
fn many_namespaces_are_listed_in_one_go() {
    let facts: Vec<NamespaceFacts> = (0..40)
        .map(|number| NamespaceFacts {
            name: format!("n{number:02}"),
            active: true,
            ..NamespaceFacts::default()
        })
        .collect();
    let scope = |included: usize| {
        let names: Vec<String> = facts
            .iter()
            .take(included)
            .map(|facts| facts.name.clone())
            .collect();
        let spec = BackupSpec {
            included_namespaces: names,
            ..BackupSpec::default()
        };
        plan_backup(&spec, &discovered(), &facts).unwrap().listings[0]
            .scope
            .clone()
    };
    assert!(matches!(scope(16), ListScope::Namespaces(names) if names.len() == 16));
    assert_eq!(scope(17), ListScope::AllNamespaces);
    assert_eq!(scope(0), ListScope::AllNamespaces);
}

#[test]
fn cohabiting_kinds_are_listed_once() {
    let kinds = [
        kind("events.events.k8s.io", "v1", "Event", true),
        kind("events", "v1", "Event", true),
        kind("deployments.extensions", "v1beta1", "Deployment", true),
        kind("deployments.apps", "v1", "Deployment", true),
        kind("deployments.example.io", "v1", "Deployment", true),
    ];
    let plan = plan_backup(&BackupSpec::default(), &kinds, &[]).unwrap();
    assert_eq!(
        listed(&plan),
        [
            "events.events.k8s.io",
            "deployments.apps",
            "deployments.example.io"
        ]
    );
}

#[test]
fn specs_that_mean_nothing_are_refused() {
    for bad in [
        json!({"includedResources": ["pods"], "includedClusterScopedResources": ["nodes"]}),
        json!({"labelSelector": {}, "orLabelSelectors": [{}]}),
        json!({"includedNamespaces": ["{a,b}"]}),
        json!({"labelSelector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}),
    ] {
        assert!(
            plan_backup(&spec(bad.clone()), &discovered(), &namespaces()).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn equal_plans_have_equal_digests() {
    let plan_of = |name: &str| plan(json!({"includedNamespaces": [name]}));
    assert_eq!(plan_of("shop").digest(), plan_of("shop").digest());
    assert_ne!(plan_of("shop").digest(), plan_of("default").digest());
    assert_eq!(plan_of("shop").digest().len(), 64);
}

#[test]
fn which_kinds_can_have_definitions() {
    let definition = |kind: &str| definition_of(&GroupResource::parse(kind)).map(|name| name.to_string());
    assert_eq!(
        definition("widgets.example.io").as_deref(),
        Some("widgets.example.io")
    );
    assert_eq!(
        definition("volumesnapshots.snapshot.storage.k8s.io").as_deref(),
        Some("volumesnapshots.snapshot.storage.k8s.io")
    );
    for built_in in ["pods", "deployments.apps", "roles.rbac.authorization.k8s.io"] {
        assert_eq!(definition(built_in), None, "{built_in}");
    }
}
