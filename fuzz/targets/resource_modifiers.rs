//! Any text as the rules of a restore, and what it takes, applied to objects: an error at most, and the
//! object stays one.

#![no_main]

use refloat_plan::resource_modifier::ResourceModifiers;
use serde_json::json;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let data = [("rules.yaml".to_owned(), text.to_owned())].into();
    let Ok(rules) = ResourceModifiers::read(&data) else {
        return;
    };
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "a", "image": "x", "env": [{"name": "E", "value": "1"}]}], "volumes": []},
    });
    for (kind, mut object) in [("pods", pod.clone()), ("widgets.example.io", json!({"kind": "Widget", "apiVersion": "example.io/v1"}))] {
        drop(rules.apply(&[kind], &mut object));
        assert!(object["kind"].is_string());
    }
});
