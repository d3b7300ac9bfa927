//! Rules as users write them.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::fixture::any_json;

fn data(text: &str) -> BTreeMap<String, String> {
    [("rules.yaml".to_owned(), text.to_owned())].into()
}

fn read(text: &str) -> ResourceModifiers {
    ResourceModifiers::read(&data(text)).unwrap()
}

fn refused(text: &str) -> (bool, String) {
    match ResourceModifiers::read(&data(text)) {
        Err(PlanError::ResourceModifiers { read, reason }) => (read, reason),
        other => panic!("{other:?}"),
    }
}

/// A document with one rule.
fn rule(conditions: &str, rest: &str) -> String {
    format!("version: v1\nresourceModifierRules:\n- conditions: {conditions}\n  {rest}\n")
}

fn deployment() -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "web-1", "namespace": "production", "labels": {"app": "web"}},
        "spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "main", "image": "x:1"}]}}}
    })
}

#[test]
fn the_scenario_of_a_drill() {
    let rules = read(
        r#"
version: v1
resourceModifierRules:
- conditions: {groupResource: deployments.apps, resourceNameRegex: "^web.*$", namespaces: [production]}
  patches:
  - {operation: replace, path: /spec/replicas, value: "1"}
- conditions: {groupResource: "*", labelSelector: {matchLabels: {app: web}}}
  mergePatches:
  - patchData: '{"metadata":{"annotations":{"restored-for":"drill"}}}'
"#,
    );
    let mut object = deployment();
    assert_eq!(
        rules.apply(&["deployments.apps"], &mut object),
        Vec::<String>::new()
    );
    assert_eq!(object["spec"]["replicas"], 1);
    assert!(
        object["metadata"].get("annotations").is_none(),
        "* is the core group only, as in Velero"
    );
    let mut service = json!({"kind": "Service", "metadata": {"labels": {"app": "web"}}});
    assert_eq!(rules.apply(&["services"], &mut service), Vec::<String>::new());
    assert_eq!(
        service["metadata"]["annotations"],
        json!({"restored-for": "drill"})
    );
}

#[test]
fn conditions_are_about_the_object_before_any_rule() {
    let rules = read(
        r#"
version: V1
resourceModifierRules:
- conditions: {groupResource: deployments.apps, matches: [{path: /spec/replicas, value: 3}]}
  patches: [{operation: replace, path: /spec/replicas, value: 5}]
- conditions: {groupResource: deployments.apps, matches: [{path: /spec/replicas, value: 5}]}
  patches: [{operation: replace, path: /spec/replicas, value: 7}]
- conditions: {groupResource: "deployments.*"}
  strategicPatches:
  - patchData: |
      spec:
        template:
          spec:
            containers:
            - name: main
              image: y:2
"#,
    );
    let mut object = deployment();
    assert_eq!(
        rules.apply(&["deployments.apps"], &mut object),
        Vec::<String>::new()
    );
    assert_eq!(object["spec"]["replicas"], 5);
    assert_eq!(
        object["spec"]["template"]["spec"]["containers"],
        json!([{"name": "main", "image": "y:2"}])
    );
}

#[test]
fn every_condition_counts() {
    let applies = |conditions: &str| {
        let text = rule(
            conditions,
            "patches: [{operation: add, path: /metadata/labels/hit, value: yes-it-does}]",
        );
        let mut object = deployment();
        assert_eq!(
            read(&text).apply(&["deployments.apps"], &mut object),
            Vec::<String>::new()
        );
        object["metadata"]["labels"]["hit"] == "yes-it-does"
    };
    for (conditions, expected) in [
        ("{groupResource: deployments.apps}", true),
        ("{groupResource: '**'}", true),
        ("{groupResource: pods}", false),
        ("{groupResource: '**', namespaces: [other]}", false),
        ("{groupResource: '**', namespaces: ['prod*']}", true),
        ("{groupResource: '**', resourceNameRegex: 'b-\\d'}", true),
        ("{groupResource: '**', resourceNameRegex: '^b'}", false),
        (
            "{groupResource: '**', labelSelector: {matchExpressions: [{key: app, operator: NotIn, values: [db]}]}}",
            true,
        ),
        (
            "{groupResource: '**', labelSelector: {matchLabels: {app: db}}}",
            false,
        ),
        (
            "{groupResource: '**', matches: [{path: /spec/missing, value: x}]}",
            false,
        ),
        (
            "{groupResource: '**', matches: [{path: /spec/template/spec/containers/0/image, value: 'x:1'}]}",
            true,
        ),
        (
            "{groupResource: '**', matches: [{path: /spec/template/spec/containers/9/image, value: 'x:1'}]}",
            false,
        ),
        (
            "{groupResource: '**', matches: [{path: /spec/replicas, value: '\"3\"'}]}",
            false,
        ),
    ] {
        assert_eq!(applies(conditions), expected, "{conditions}");
    }
}

#[test]
fn what_fails_is_an_error_and_leaves_the_object_as_it_was() {
    for (rest, expected) in [
        (
            "patches: [{operation: add, path: /metadata/labels/a, value: b}, {operation: remove, path: /spec/none}]",
            "error in applying patch error in applying JSON Patch Remove of /spec/none",
        ),
        (
            "strategicPatches: [{patchData: '{\"metadata\": {\"finalizers\": [\"x\"]}, \"spec\": {\"template\": \
             {\"spec\": {\"containers\": [{}]}}}}'}]",
            "error in applying patch error in applying Strategic Patch an element of a list lacks \"name\"",
        ),
        (
            "mergePatches: [{patchData: '{\"kind\": null}'}]",
            "error in applying patch error in unmarshalling modified object",
        ),
    ] {
        let mut object = deployment();
        let errors = read(&rule("{groupResource: '**'}", rest)).apply(&["deployments.apps"], &mut object);
        assert!(errors.len() == 1 && errors[0].starts_with(expected), "{errors:?}");
        assert_eq!(object, deployment());
    }
    // A test that does not hold is no error.
    let rest =
        "patches: [{operation: test, path: /spec/replicas, value: 9}, {operation: remove, path: /spec}]";
    let mut object = deployment();
    let errors = read(&rule("{groupResource: '**'}", rest)).apply(&["deployments.apps"], &mut object);
    assert_eq!((errors, object), (vec![], deployment()));
}

#[test]
fn documents_are_read_strictly() {
    let fine = "patches: [{operation: remove, path: /spec}]";
    let any = "{groupResource: pods}";
    for (text, read, expected) in [
        (
            "version: v1".to_owned(),
            true,
            "resource modifier rules cannot be empty",
        ),
        (
            rule(any, fine).replace("v1", "v2"),
            true,
            "unsupported resource modifier version v2",
        ),
        (
            rule(any, "other: 1"),
            false,
            "failed to decode yaml data into resource modifiers",
        ),
        (
            rule("{groupResource: pods, kind: x}", fine),
            false,
            "failed to decode yaml",
        ),
        (rule(any, "patches: 3"), false, "failed to decode yaml"),
        (
            rule("{groupResource: pods, groupResource: pods}", fine),
            false,
            "failed to decode yaml",
        ),
        (
            rule("{groupResource: pods, labelSelector: {labels: {}}}", fine),
            false,
            "failed to decode yaml",
        ),
        (
            rule("{}", fine),
            true,
            "resourceModifierRules[0]: groupResource cannot be empty",
        ),
        (
            rule("{groupResource: '[a'}", fine),
            true,
            "resourceModifierRules[0]: groupResource",
        ),
        (
            rule("{groupResource: a, resourceNameRegex: '('}", fine),
            true,
            "resourceModifierRules[0]: resourceNameRegex",
        ),
    ] {
        check_refusal(&text, read, expected);
    }
    let two = [("a".to_owned(), String::new()), ("b".to_owned(), String::new())].into();
    assert!(ResourceModifiers::read(&two).is_err());
    assert!(ResourceModifiers::read(&BTreeMap::new()).is_err());
}

#[test]
fn patches_are_checked_before_any_is_applied() {
    let fine = "patches: [{operation: remove, path: /spec}]";
    let any = "{groupResource: pods}";
    for (text, expected) in [
        (
            rule(any, "patches: []"),
            "resourceModifierRules[0]: no patch data found",
        ),
        (
            rule(any, &format!("{fine}\n  mergePatches: [{{patchData: '{{}}'}}]")),
            "resourceModifierRules[0]: only one of patches, mergePatches, strategicPatches can be specified",
        ),
        (
            rule(any, "patches: [{path: /a}]"),
            "resourceModifierRules[0]: patches[0]: operation cannot be empty",
        ),
        (
            rule(any, "patches: [{operation: put, path: /a}]"),
            "resourceModifierRules[0]: patches[0]: unsupported operation put",
        ),
        (
            rule(any, "patches: [{operation: add}]"),
            "resourceModifierRules[0]: patches[0]: path cannot be empty",
        ),
        (
            rule(any, "patches: [{operation: add, path: a}]"),
            "resourceModifierRules[0]: patches[0]: path \"a\"",
        ),
        (
            rule(any, "patches: [{operation: add, path: /a, value: '{x'}]"),
            "resourceModifierRules[0]: patches[0]: the value",
        ),
        (
            rule(any, "mergePatches: [{patchData: '[1]'}]"),
            "resourceModifierRules[0]: mergePatches[0].patchData",
        ),
        (
            rule(any, "mergePatches: [{patchData: '{a: [}'}]"),
            "resourceModifierRules[0]: mergePatches[0].patchData",
        ),
        (
            rule("{groupResource: pods, matches: [{value: a}]}", fine),
            "resourceModifierRules[0]: matches: path is required",
        ),
    ] {
        check_refusal(&text, true, expected);
    }
}

fn check_refusal(text: &str, read: bool, expected: &str) {
    let (was_read, reason) = refused(text);
    assert!(reason.starts_with(expected), "{text}\n{reason}");
    assert_eq!(was_read, read, "{reason}");
    assert!(!reason.contains('\n'), "{reason}");
}

proptest! {
    #[test]
    fn no_text_and_no_object_panics(text in "[a-zA-Z:{}\\[\\],'\"| \n/&*!-]{0,80}", object in any_json(true)) {
        let _ = ResourceModifiers::read(&data(&text));
        let rules = read(r#"
version: v1
resourceModifierRules:
- conditions: {groupResource: '**', matches: [{path: /metadata/labels, value: 'null'}]}
  patches:
  - {operation: add, path: /spec/ports/-1, value: '{"a": 1}'}
  - {operation: move, from: /metadata/labels, path: /spec/labels}
  - {operation: copy, from: /spec, path: /spec/containers/-2/name}
- conditions: {groupResource: '**'}
  patches: [{operation: replace, path: /spec/ports/0/name, value: x}, {operation: test, path: /a/-1, value: 1}]
- conditions: {groupResource: '**'}
  mergePatches: [{patchData: '{"spec": {"volumes": null, "selector": {"matchLabels": {"a": 1}}}}'}]
- conditions: {groupResource: '**'}
  strategicPatches: [{patchData: '{"spec": {"containers": [{"name": "a", "$patch": "delete"}], "$setElementOrder/volumes": [{"name": "x"}], "$retainKeys": ["containers"]}}'}]
"#);
        for kind in [None, Some("Pod")] {
            let mut object = object.clone();
            if let (Some(kind), Some(fields)) = (kind, object.as_object_mut()) {
                fields.insert("kind".to_owned(), kind.into());
                fields.insert("apiVersion".to_owned(), "v1".into());
            }
            let _ = rules.apply(&["pods"], &mut object);
        }
    }
}
