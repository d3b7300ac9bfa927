//! Which hooks pods get.
#![expect(clippy::needless_pass_by_value, reason = "literals read best without borrows")]

use refloat_model::hooks::{BackupHooks, RestoreHooks};
use serde_json::json;

use super::*;
use crate::fixture::discovered;

fn backup(hooks: Value) -> BackupHookRules {
    let hooks: BackupHooks = serde_json::from_value(hooks).unwrap();
    BackupHookRules::new(&hooks, &discovered()).unwrap()
}

fn restore(hooks: Value) -> RestoreHookRules {
    let hooks: RestoreHooks = serde_json::from_value(hooks).unwrap();
    RestoreHookRules::new("r1", &hooks).unwrap()
}

fn pod(namespace: &str, labels: Value, annotations: Value) -> Value {
    json!({
        "metadata": { "name": "p", "namespace": namespace, "labels": labels, "annotations": annotations },
        "spec": { "containers": [{ "name": "first" }, { "name": "second" }] },
        "status": { "phase": "Running" },
    })
}

fn sets() -> Value {
    json!({ "resources": [
        { "name": "checkpoint", "includedNamespaces": ["databases"], "labelSelector": { "matchLabels": { "app": "pg" } },
          "pre": [
            { "exec": { "container": "second", "command": ["/bin/sh", "-c", "checkpoint"], "onError": "Fail", "timeout": "1m" } },
            { "exec": { "command": ["sync"] } } ],
          "post": [{ "exec": { "command": ["thaw"], "onError": "Continue" } }] },
        { "name": "elsewhere", "excludedNamespaces": ["data*"], "pre": [{ "exec": { "command": ["elsewhere"] } }] },
        { "name": "not-for-pods", "excludedResources": ["po"], "pre": [{ "exec": { "command": ["never"] } }] },
        { "name": "for-pods", "includedResources": ["pods"], "labelSelector": { "matchExpressions": [
            { "key": "app", "operator": "In", "values": ["redis"] }] },
          "pre": [{ "exec": { "container": "third", "command": ["save"] } }] },
    ] })
}

#[test]
fn hooks_of_a_spec_by_namespace_kind_and_label() {
    let rules = backup(sets());
    let of = |namespace: &str, app: &str| rules.of_pod(&pod(namespace, json!({ "app": app }), json!({})));
    insta::assert_yaml_snapshot!("a_pod_of_the_spec", of("databases", "pg"));
    assert_eq!(of("databases", "web"), None);
    let names = |hooks: Option<PodHooks>| -> Vec<String> {
        hooks
            .iter()
            .flat_map(|all| &all.pre)
            .map(|hook| hook.name.to_string())
            .collect()
    };
    assert_eq!(names(of("shop", "pg")), ["elsewhere"]);
    let hooks = of("databases", "redis").unwrap();
    assert_eq!(
        hooks.pre[0].problem.as_deref(),
        Some("the pod has no such container; it has first, second")
    );
    assert_eq!(hooks.pre[0].container, "third");
}

#[test]
fn annotations_take_the_place_of_the_spec_phase_by_phase() {
    let rules = backup(sets());
    let hooks = rules
        .of_pod(&pod(
            "databases",
            json!({ "app": "pg" }),
            json!({
                "hook.backup.velero.io/command": "never: the one with a phase comes first",
                "pre.hook.backup.velero.io/command": r#"["/bin/sh", "-c", "echo a b"]"#,
                "pre.hook.backup.velero.io/container": "second",
                "pre.hook.backup.velero.io/on-error": "Fail",
                "pre.hook.backup.velero.io/timeout": "20s",
            }),
        ))
        .unwrap();
    insta::assert_yaml_snapshot!("an_annotated_pod", hooks);
    let hooks = backup(json!({}))
        .of_pod(&pod(
            "n",
            json!({}),
            json!({ "hook.backup.velero.io/command": "/bin/freeze it" }),
        ))
        .unwrap();
    assert_eq!(
        *hooks.pre[0].command,
        ["/bin/freeze it"],
        "no shell and no splitting"
    );
    assert_eq!(hooks.pre[0].container, "first");
    assert_eq!(hooks.pre[0].on_failure, OnFailure::Report);
    assert!(hooks.post.is_empty());
    assert_eq!(backup(json!({})).of_pod(&pod("n", json!({}), json!({}))), None);
}

#[test]
fn what_cannot_be_read_is_a_warning() {
    let hooks = backup(json!({})).of_pod(&pod(
        "n",
        json!({}),
        json!({
            "pre.hook.backup.velero.io/command": "[\"sh\", ",
            "pre.hook.backup.velero.io/on-error": "fail",
            "pre.hook.backup.velero.io/timeout": "-5s",
            "post.hook.backup.velero.io/on-error": "without a command nobody reads it",
        }),
    ));
    let hooks = hooks.unwrap();
    assert_eq!(*hooks.pre[0].command, ["[\"sh\", "]);
    assert_eq!(
        (hooks.pre[0].on_failure, hooks.pre[0].timeout),
        (OnFailure::Report, TIMEOUT)
    );
    let begin = |text: &str| format!("annotation pre.hook.backup.velero.io/{text}");
    assert_eq!(hooks.warnings.len(), 3, "{:?}", hooks.warnings);
    assert!(
        hooks.warnings[0].starts_with(&begin("command begins like a JSON list of strings but is none ("))
    );
    assert_eq!(
        hooks.warnings[1],
        begin("on-error is \"fail\"; only Continue and Fail mean something")
    );
    assert!(hooks.warnings[2].starts_with(&begin("timeout is not used: \"-5s\" is not a duration")));
    let rules = restore(json!({}));
    let hooks = rules.of_pod(&pod(
        "n",
        json!({}),
        json!({
            "post.hook.restore.velero.io/command": "x",
            "post.hook.restore.velero.io/wait-for-ready": "yes",
            "post.hook.restore.velero.io/wait-timeout": "soon",
            "init.hook.restore.velero.io/container-image": "i",
            "init.hook.restore.velero.io/command": "[1]",
        }),
    ));
    assert_eq!(hooks.unwrap().warnings.len(), 3);
}

#[test]
fn a_pod_that_has_ended_and_one_without_containers() {
    let rules = backup(json!({}));
    let mut done = pod(
        "n",
        json!({}),
        json!({ "pre.hook.backup.velero.io/command": "x" }),
    );
    done["status"]["phase"] = "Succeeded".into();
    assert!(rules.of_pod(&done).unwrap().finished);
    done["spec"] = json!({});
    assert!(rules.of_pod(&done).unwrap().pre[0].problem.is_some());
    assert_eq!(rules.of_pod(&json!({ "metadata": 7, "spec": [] })), None);
}

#[test]
fn pods_that_share_a_claim_are_held_still_together() {
    let claims = |all: &[&[&str]]| -> Vec<Vec<String>> {
        all.iter()
            .map(|names| names.iter().map(|name| (*name).to_owned()).collect())
            .collect()
    };
    assert_eq!(
        blocks(&claims(&[
            &["a"],
            &[],
            &["b"],
            &["c", "a"],
            &["c", "d"],
            &["b"],
            &[]
        ])),
        [vec![0, 3, 4], vec![1], vec![2, 5], vec![6]]
    );
    assert!(blocks(&[]).is_empty());
}

fn restored() -> Value {
    json!({ "resources": [
        { "name": "init", "includedNamespaces": ["target"], "postHooks": [
            { "init": { "initContainers": [{ "name": "a", "image": "i", "command": ["x"], "odd": 1 }], "timeout": "5m" } },
            { "exec": { "command": ["one"], "waitTimeout": "1m" } },
            { "exec": { "container": "second", "command": ["two"], "onError": "Fail" } },
            { "exec": { "command": ["three"], "waitForReady": true, "execTimeout": "5s" } } ] },
        { "name": "source", "includedNamespaces": ["source"], "postHooks": [{ "exec": { "command": ["never"] } }] },
    ] })
}

#[test]
fn exec_hooks_of_a_restore_by_container() {
    let rules = restore(restored());
    let target = pod("target", json!({}), json!({}));
    assert!(rules.may_apply(&target));
    insta::assert_yaml_snapshot!("exec_hooks_of_a_spec", rules.of_pod(&target));
    let annotated = pod(
        "target",
        json!({}),
        json!({
            "post.hook.restore.velero.io/command": r#"["date"]"#, "post.hook.restore.velero.io/container": "second",
            "post.hook.restore.velero.io/wait-for-ready": "true", "post.hook.restore.velero.io/exec-timeout": "10s",
            "post.hook.restore.velero.io/wait-timeout": "1m", "post.hook.restore.velero.io/on-error": "Fail",
        }),
    );
    insta::assert_yaml_snapshot!("exec_hook_of_an_annotation", rules.of_pod(&annotated));
    let none = restore(json!({}));
    assert!(!none.may_apply(&target) && none.may_apply(&annotated));
    assert_eq!(rules.of_pod(&pod("elsewhere", json!({}), json!({}))), None);
}

#[test]
fn init_containers_go_in_front_but_behind_the_one_that_waits_for_volumes() {
    let names = |pod: &Value| -> Vec<String> {
        json::list(pod, &["spec", "initContainers"])
            .iter()
            .filter_map(|one| json::text(one, &["name"]).map(str::to_owned))
            .collect()
    };
    let rules = restore(restored());
    let mut plain = pod("source", json!({}), json!({}));
    rules.prepare_pod("source", &mut plain);
    assert!(plain["spec"].get("initContainers").is_none());
    rules.prepare_pod("target", &mut plain);
    assert_eq!(plain["spec"]["initContainers"][0]["odd"], 1, "kept as it is");
    let mut own = plain.clone();
    own["spec"]["initContainers"] = json!([{ "name": "restore-wait" }, { "name": "own" }]);
    rules.prepare_pod("target", &mut own);
    assert_eq!(names(&own), ["restore-wait", "a", "own"]);
    let mut annotated = pod(
        "target",
        json!({}),
        json!({
            "init.hook.restore.velero.io/container-image": "busybox", "refloat.io/restore-hooks": "{}",
            "init.hook.restore.velero.io/command": r#"["sh", "-c", "true"]"#,
        }),
    );
    let mut again = annotated.clone();
    rules.prepare_pod("target", &mut annotated);
    rules.prepare_pod("target", &mut again);
    assert_eq!(annotated, again, "the same when it is done again");
    let added = &annotated["spec"]["initContainers"];
    assert_eq!(
        added.as_array().map(Vec::len),
        Some(1),
        "the annotation in place of the spec"
    );
    let name = json::text(&added[0], &["name"]).unwrap();
    assert!(
        name.len() == 28 && name.starts_with("velero-restore-init-"),
        "{name}"
    );
    assert_eq!(added[0]["image"], "busybox");
    assert_eq!(added[0]["command"], json!(["sh", "-c", "true"]));
    assert!(
        annotated["metadata"]["annotations"]
            .get("refloat.io/restore-hooks")
            .is_none()
    );
    let mut named = pod(
        "n",
        json!({}),
        json!({ "init.hook.restore.velero.io/container-image": "i", "init.hook.restore.velero.io/container-name": "mine" }),
    );
    rules.prepare_pod("n", &mut named);
    assert_eq!(
        named["spec"]["initContainers"],
        json!([{ "name": "mine", "image": "i" }])
    );
}
