//! Policies as users write them.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fixture::{discovered, strings};

fn data(text: &str) -> BTreeMap<String, String> {
    [("policies.yaml".to_owned(), text.to_owned())].into()
}

fn refused(text: &str) -> (bool, String) {
    match ResourcePolicies::read(&data(text)) {
        Err(PlanError::ResourcePolicies { read, reason }) => (read, reason),
        other => panic!("{other:?}"),
    }
}

fn spec(value: serde_json::Value) -> BackupSpec {
    serde_json::from_value(value).unwrap()
}

#[test]
fn rules_about_volumes_are_checked_and_counted() {
    let policies = ResourcePolicies::read(&data(
        r#"
version: v1
volumePolicies:
- conditions: {capacity: "0,1Gi", pvcLabels: {kind: cache}}
  action: {type: skip}
- conditions: {nfs: {}}
  action: {type: fs-backup}
- conditions: {csi: {driver: test.csi.refloat.io, volumeAttributes: {a: b}}, storageClass: [fast], volumeTypes: [csi]}
  action: {type: snapshot, parameters: {any: [1, 2]}}
- conditions: {pvcPhase: [Pending, Lost], capacity: "10Gi,"}
  action: {type: custom}
- conditions: {capacity: ",100Gi", nfs: {server: 192.168.1.1, path: /data}}
  action: {type: skip}
"#,
    ))
    .unwrap();
    assert_eq!(policies.volume_policies, 5);
    assert_eq!(
        policies.conflict(&spec(json!({"includedResources": ["pods"]}))),
        None
    );
}

#[test]
fn documents_are_read_strictly() {
    let policy = |text: &str| format!("version: v1\nvolumePolicies:\n- {text}\n");
    for (text, read, expected) in [
        (
            "volumePolicies: []".to_owned(),
            true,
            "incompatible version number  with supported version v1",
        ),
        ("version: v2".to_owned(), true, "incompatible version number v2"),
        (
            "version: v1\nother: 1".to_owned(),
            false,
            "failed to decode yaml data into resource policies",
        ),
        (
            policy("{action: {type: keep}}"),
            true,
            "volumePolicies[0]: invalid action type keep",
        ),
        (
            policy("{conditions: {}}"),
            true,
            "volumePolicies[0]: invalid action type ",
        ),
        (
            policy("{conditions: {size: 1}, action: {type: skip}}"),
            false,
            "failed to decode yaml",
        ),
        (
            policy("{conditions: {pvcLabels: [a]}, action: {type: skip}}"),
            false,
            "failed to decode yaml",
        ),
        (
            policy("{conditions: {capacity: '1Gi'}, action: {type: skip}}"),
            true,
            "volumePolicies[0]: wrong format of Capacity 1Gi",
        ),
        (
            policy("{conditions: {capacity: '1Gi,ten'}, action: {type: skip}}"),
            true,
            "volumePolicies[0]: wrong format of Capacity ten",
        ),
        (
            policy("{conditions: {capacity: '2Gi,1Gi'}, action: {type: skip}}"),
            true,
            "volumePolicies[0]: illegal values for capacity",
        ),
        (
            policy("{conditions: {csi: {volumeAttributes: {a: b}}}, action: {type: skip}}"),
            true,
            "volumePolicies[0]: csi driver should not be empty",
        ),
        (
            "version: v1\nincludeExcludePolicy: {includedClusterScopedResources: ['*']}".to_owned(),
            true,
            "includeExcludePolicy: cannot use '*' in includes or excludes filters in the policy",
        ),
        (
            "version: v1\nincludeExcludePolicy: {includedNamespaceScopedResources: [pods], \
             excludedNamespaceScopedResources: [pods]}"
                .to_owned(),
            true,
            "includeExcludePolicy: excludes list cannot contain an item in the includes list: pods",
        ),
    ] {
        let (was_read, reason) = refused(&text);
        assert!(reason.starts_with(expected), "{text}\n{reason}");
        assert_eq!(was_read, read, "{reason}");
    }
}

#[test]
fn the_spec_wins_over_the_policy() {
    let policies = ResourcePolicies::read(&data(
        r"
version: v1
includeExcludePolicy:
  includedNamespaceScopedResources: [configmaps, deploy, secrets, storageclasses]
  excludedNamespaceScopedResources: [events, widgets.example.io, pods]
  includedClusterScopedResources: [clusterroles]
  excludedClusterScopedResources: [storageclasses, ghosts]
",
    ))
    .unwrap();
    let given = spec(json!({
        "includedNamespaceScopedResources": ["pods", "replicasets.apps"],
        "excludedNamespaceScopedResources": ["secret*"],
        "excludedResources": []
    }));
    assert_eq!(policies.conflict(&given), None);
    let all = policies.complement(&given, &discovered());
    assert_eq!(
        all.included_namespace_scoped_resources,
        strings(&["pods", "replicasets.apps", "configmaps", "deployments.apps"]),
        "secrets are excluded by the spec, storage classes have no namespace"
    );
    assert_eq!(
        all.excluded_namespace_scoped_resources,
        strings(&["secret*", "events", "widgets.example.io"])
    );
    assert_eq!(
        all.included_cluster_scoped_resources,
        strings(&["clusterroles.rbac.authorization.k8s.io"])
    );
    assert_eq!(
        all.excluded_cluster_scoped_resources,
        strings(&["storageclasses.storage.k8s.io", "ghosts"])
    );
    let everything = spec(json!({"includedNamespaceScopedResources": ["*"]}));
    let all = policies.complement(&everything, &discovered());
    assert_eq!(all.excluded_namespace_scoped_resources, Vec::<String>::new());
}

#[test]
fn old_filters_and_a_policy_exclude_each_other() {
    let policies = ResourcePolicies::read(&data("version: v1\nincludeExcludePolicy: {}")).unwrap();
    let old = spec(json!({"includedResources": ["pods"]}));
    let words = policies.conflict(&old).unwrap();
    assert!(words.ends_with("They cannot be used with include-exclude policies."));
    let mut default = BackupSpec::default();
    crate::backup::add_default_excludes(&mut default);
    default.excluded_resources = strings(&["volumesnapshots.snapshot.storage.k8s.io"]);
    assert_eq!(
        policies.conflict(&default),
        None,
        "what the server adds does not count"
    );
    let all = policies.complement(&default, &discovered());
    assert!(all.excluded_resources.is_empty());
}

proptest! {
    #[test]
    fn any_text_ends(text in "[a-zA-Z:{}\\[\\],'\"| \n/&*!-]{0,80}") {
        let _ = ResourcePolicies::read(&data(&text));
    }
}
