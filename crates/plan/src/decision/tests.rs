//! Decisions, their lines and their hash.
#![expect(clippy::needless_pass_by_value, reason = "literals read best without borrows")]

use serde_json::json;

use super::*;
use crate::restore_item::{Prepared, prepare};

fn context(policy: &str) -> RestoreContext {
    let spec = json!({"backupName": "b1", "existingResourcePolicy": policy});
    let spec: RestoreSpec = serde_json::from_value(spec).unwrap();
    RestoreContext::new("r1", &spec, &[], &[]).unwrap()
}

fn head(salt: &str) -> PlanHead {
    PlanHead {
        format: String::new(),
        version: 1,
        backup: "b1".into(),
        contents: "c".into(),
        spec: "s".into(),
        cluster: "u".into(),
        salt: salt.into(),
    }
}

fn decide(policy: &str, kind: &str, stored: Value, live: Value) -> PlanObject {
    let ctx = context(policy);
    let kind = GroupResource::parse(kind);
    let name = ObjectName::new("n", path::text(&stored, &["metadata", "name"]).unwrap());
    let Prepared::Create(item) = prepare(&ctx, &kind, &name, stored) else {
        panic!()
    };
    let decision = of_existing(&ctx, &kind, &item.object, &live);
    assert_eq!(
        decision.action,
        action_of(&decide_existing(&ctx, &kind, &item.object, &live)),
        "a plan and a restore agree"
    );
    line(&head("salt"), &kind, 0, &name, decision)
}

fn map(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "n", "uid": "1"}, "data": data})
}

fn secret(word: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "namespace": "n"}, "data": {"a": word}})
}

fn account(secrets: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "x", "namespace": "n"}, "secrets": secrets})
}

#[test]
fn what_is_there_is_the_same_patched_or_in_conflict() {
    let all = [
        decide("", "configmaps", map(json!({"a": "1"})), map(json!({"a": "1"}))),
        decide(
            "",
            "configmaps",
            map(json!({"a": "1"})),
            map(json!({"a": "2", "b": "3"})),
        ),
        decide(
            "update",
            "configmaps",
            map(json!({"a": "1"})),
            map(json!({"a": "2", "b": "3"})),
        ),
        decide("update", "secrets", secret("aHVzaA=="), secret("b3RoZXI=")),
        decide(
            "",
            "serviceaccounts",
            account(json!([{"name": "s"}])),
            account(json!([])),
        ),
    ];
    insta::assert_snapshot!(serde_json::to_string_pretty(&all).unwrap());
    assert!(!serde_json::to_string(&all).unwrap().contains("aHVzaA"));
}

#[test]
fn the_hash_is_of_decisions_and_not_of_words() {
    let one = decide("", "configmaps", map(json!({"a": "1"})), map(json!({"a": "2"})));
    let hash = |object: &PlanObject| {
        let mut hash = PlanHash::new(&head("x"));
        hash.object(object);
        hash.finish()
    };
    let mut other = one.clone();
    other.reason = "in other words".into();
    other.fields.clear();
    assert_eq!(hash(&one), hash(&other));
    assert!(agrees(&one, &other));
    for change in [
        decide("", "configmaps", map(json!({"a": "1"})), map(json!({"a": "3"}))),
        decide("", "configmaps", map(json!({"a": "1"})), map(json!({"a": "1"}))),
        decide(
            "update",
            "configmaps",
            map(json!({"a": "1"})),
            map(json!({"a": "2"})),
        ),
        PlanObject { i: 1, ..one.clone() },
        PlanObject {
            checked: false,
            ..one.clone()
        },
        PlanObject {
            code: "PatchRefused".into(),
            ..one.clone()
        },
    ] {
        assert_ne!(hash(&one), hash(&change));
        assert!(!agrees(&one, &change));
    }
}

#[test]
fn the_difference_of_a_secret_is_hashed_with_salt() {
    let kind = GroupResource::parse("secrets");
    let name = ObjectName::new("n", "x");
    let with = |salt: &str| {
        let decision = Decision {
            difference: Some(json!({"data": {"a": "b"}})),
            ..Decision::same()
        };
        line(&head(salt), &kind, 0, &name, decision).difference
    };
    assert_ne!(with("1"), with("2"));
}

#[test]
fn a_claim_needs_its_class_unless_a_volume_is_named() {
    let claims = GroupResource::parse("persistentvolumeclaims");
    let classes: HashSet<String> = ["fast".to_owned()].into();
    let missing = |spec: Value| missing_storage_class(&claims, &json!({ "spec": spec }), &classes);
    assert_eq!(
        missing(json!({"storageClassName": "gone"})).as_deref(),
        Some("gone")
    );
    assert_eq!(missing(json!({"storageClassName": "fast"})), None);
    assert_eq!(missing(json!({"storageClassName": ""})), None);
    assert_eq!(missing(json!({})), None);
    assert_eq!(
        missing(json!({"storageClassName": "gone", "volumeName": "v"})),
        None
    );
}

#[test]
fn what_a_server_fills_in_does_not_change_the_spec() {
    let spec: RestoreSpec =
        serde_json::from_value(json!({"backupName": "b", "includedNamespaces": ["*"]})).unwrap();
    let mut filled = spec.clone();
    filled.included_namespaces.clear();
    filled.schedule_name = "daily".into();
    filled.item_operation_timeout = refloat_model::GoDuration::from_hours(4);
    filled.excluded_resources = vec!["nodes".into(), "events".into()];
    assert_eq!(spec_digest(&spec, &[]), spec_digest(&filled, &[]));
    filled.excluded_resources.push("pods".into());
    assert_ne!(spec_digest(&spec, &[]), spec_digest(&filled, &[]));
    assert_ne!(spec_digest(&spec, &[]), spec_digest(&spec, &["pods/a/b".into()]));
}

#[test]
fn a_reason_is_cut_between_characters() {
    let decision = Decision::blocked("X", "ä".repeat(2_000));
    assert!(decision.reason.len() < 1_100 && decision.reason.ends_with('…'));
}
