//! Objects that are easy to damage on the way through a backup. Numbers are written as text, because
//! their text is what must come back.

use std::fmt::Write as _;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

/// One object, and what is awkward about it.
pub(crate) struct Awkward {
    pub(crate) why: &'static str,
    pub(crate) json: String,
}

/// Where the objects go.
pub(crate) struct Names {
    /// The namespace of most of them.
    pub(crate) main: String,
    /// Unique; in the names of what is in no namespace, and the API group of the custom resources.
    pub(crate) id: String,
}

impl Names {
    pub(crate) fn group(&self) -> String {
        format!("{}.awkward.example", self.id)
    }
}

fn awkward(why: &'static str, value: &Value) -> Awkward {
    Awkward {
        why,
        json: value.to_string(),
    }
}

/// Definitions of the custom resources: `Any` takes everything, `Strict` has a schema; the names of
/// the others are those of built-in kinds and of folders in a tarball.
pub(crate) fn definitions(names: &Names) -> Vec<Awkward> {
    let any = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let one = |schema: &Value| json!([{"name": "v1", "served": true, "storage": true, "schema": schema}]);
    let definition = |plural: &str, kind: &str, scope: &str, versions: &Value| {
        let group = names.group();
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}"), "labels": {"awkward": names.id}},
            "spec": {"group": group, "scope": scope, "versions": versions,
                "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")}},
        })
    };
    let strict = strict_schema();
    let versions = json!([
        {"name": "v1alpha1", "served": true, "storage": false, "deprecated": true, "schema": strict},
        {"name": "v1", "served": true, "storage": true, "schema": strict, "subresources": {"status": {}},
         "additionalPrinterColumns": [{"name": "Port", "type": "string", "jsonPath": ".spec.port"}]},
    ]);
    vec![
        awkward(
            "a schema that takes everything",
            &definition("anies", "Any", "Namespaced", &one(&any)),
        ),
        awkward(
            "the same for the cluster",
            &definition("clusteranies", "ClusterAny", "Cluster", &one(&any)),
        ),
        awkward(
            "several versions and a real schema",
            &definition("stricts", "Strict", "Namespaced", &versions),
        ),
        awkward(
            "a plural that is built in too",
            &definition("pods", "OtherPod", "Namespaced", &one(&any)),
        ),
        awkward(
            "a plural like a folder",
            &definition("cluster", "FolderOne", "Cluster", &one(&any)),
        ),
        awkward(
            "another one",
            &definition("namespaces", "FolderTwo", "Namespaced", &one(&any)),
        ),
    ]
}

fn strict_schema() -> Value {
    let embedded = json!({"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true});
    let port = json!({"x-kubernetes-int-or-string": true});
    let number = json!({"type": "number", "default": 0.1});
    let open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let list = json!({"type": "array", "items": {"type": "string"}, "nullable": true});
    let spec = json!({"type": "object", "properties": {
        "port": port, "number": number, "open": open, "list": list, "template": embedded,
        "big": {"type": "integer", "format": "int64"},
    }});
    json!({"openAPIV3Schema": {"type": "object", "properties": {
        "spec": spec, "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }}})
}

fn config_map(namespace: &str, name: &str, rest: &Value) -> Value {
    let mut map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}});
    for (key, value) in rest.as_object().into_iter().flatten() {
        if key == "metadata" {
            for (key, value) in value.as_object().into_iter().flatten() {
                map["metadata"][key] = value.clone();
            }
        } else {
            map[key] = value.clone();
        }
    }
    map
}

/// Objects of built-in kinds in namespaces.
#[allow(clippy::too_many_lines, reason = "one literal list of objects")]
pub(crate) fn built_in(names: &Names) -> Vec<Awkward> {
    let main = names.main.as_str();
    let map = |why: &'static str, name: &str, rest: &Value| awkward(why, &config_map(main, name, rest));
    let control: String = (1..0x20).chain(0x7f..0xa0).filter_map(char::from_u32).collect();
    let many: serde_json::Map<String, Value> = (0..500)
        .map(|n| (format!("key-{n:04}"), n.to_string().into()))
        .collect();
    let all_bytes: Vec<u8> = (0..=255).collect();
    let noise: Vec<u8> = (0..500_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0])
        .collect();
    let unicode = "añ 日本語 👩\u{200d}👩\u{200d}👧 \u{1f3f4}\u{e0067}\u{e007f} שלום \u{202e}RTL\u{202c} e\u{301} \u{2028}\u{2029}\u{feff}\u{fffd}\u{ffff}\u{10ffff} \u{1f600}";
    let odd_keys = json!({".hidden": "", ".a..": "dots", "-": "", "_": "", "a.b-c_D": "", "k".repeat(253): "long", "0": "0"});
    let long_key = format!(
        "{}.example/{}",
        ["d".repeat(60), "e".repeat(60), "f".repeat(60)].join("."),
        "n".repeat(63)
    );
    let mut all = vec![
        map(
            "annotations of 200 KiB",
            "huge-annotations",
            &json!({"metadata": {"annotations": {"a": "x\"\\\n".repeat(51_200), "b": ""}}}),
        ),
        map("nothing in it", "bare", &json!({})),
        map(
            "empty maps",
            "empty-maps",
            &json!({"data": {}, "binaryData": {}, "metadata": {"labels": {}, "annotations": {}}}),
        ),
        map("an empty value", "empty-value", &json!({"data": {"empty": ""}})),
        map(
            "text of all scripts",
            "unicode",
            &json!({"data": {"text": unicode}, "metadata": {"annotations": {"note": unicode}}}),
        ),
        map(
            "control characters",
            "control",
            &json!({"data": {"text": control}}),
        ),
        map(
            "what HTML escapes",
            "html",
            &json!({"data": {"text": "<a href='x'>&amp;</a>\u{2028}"}}),
        ),
        map(
            "all bytes",
            "bytes",
            &json!({"binaryData": {"bytes": BASE64_STANDARD.encode(&all_bytes)}}),
        ),
        map(
            "bytes that do not compress",
            "noise",
            &json!({"binaryData": {"noise": BASE64_STANDARD.encode(&noise)}, "data": {"text": "beside"}}),
        ),
        map(
            "almost as large as is allowed",
            "large",
            &json!({"data": {"text": "0123456789abcdef".repeat(65_000)}}),
        ),
        map(
            "immutable",
            "immutable",
            &json!({"immutable": true, "data": {"a": "b"}}),
        ),
        map("500 keys", "many-keys", &json!({"data": many})),
        map("odd keys", "odd-keys", &json!({"data": odd_keys})),
        map(
            "text that looks like something else",
            "looks-like",
            &json!({"data": {"a": "null", "b": "1e3", "c": "yes", "d": "~", "e": "0x1F", "f": "{}", "g": "1.0"}}),
        ),
        map(
            "white space that counts",
            "spaces",
            &json!({"data": {"a": " \t\r\n\n trailing  ", "b": "\r", "c": "\n"}}),
        ),
        map(
            "a finalizer",
            "finalizer",
            &json!({"metadata": {"finalizers": ["awkward.example/keeps"]}}),
        ),
        map(
            "a generated name",
            "generated-x7k2p",
            &json!({"metadata": {"generateName": "generated-"}}),
        ),
        map(
            "labels at their limits",
            "labels",
            &json!({"metadata": {"labels": {"empty": "", "l".repeat(63): "v".repeat(63), long_key: "A_b.C-9"}}}),
        ),
        map(
            "an annotation of kubectl that is no JSON",
            "applied",
            &json!({"metadata": {"annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{not json"}}}),
        ),
        map("the longest name", &"n".repeat(253), &json!({})),
        map("a name with dots", "a.b.c.d", &json!({})),
        map("a name that ends like a file", "x.json", &json!({})),
        map("half of a cycle of owners", "owner-a", &json!({})),
        map("the other half", "owner-b", &json!({})),
    ];
    for name in [
        "0",
        "00",
        "9-9",
        "a",
        "a-b",
        "a.b",
        "a0",
        "aa",
        "cluster",
        "namespaces",
        "resources",
        "metadata",
        "v1-preferredversion",
    ] {
        all.push(map(
            "a name that sorts oddly or is a folder's",
            name,
            &json!({"data": {"name": name}}),
        ));
    }
    for namespace in ["cluster", "namespaces", "v1-preferredversion"] {
        all.push(awkward(
            "a namespace called like a folder",
            &config_map(namespace, "inside", &json!({})),
        ));
        all.push(awkward(
            "and namesakes in it",
            &config_map(namespace, namespace, &json!({"data": {"where": namespace}})),
        ));
    }
    all.extend(secrets(main));
    all.extend(workloads(main));
    all
}

fn secrets(namespace: &str) -> Vec<Awkward> {
    let secret = |why: &'static str, name: &str, kind: &str, rest: &Value| {
        let mut secret = config_map(namespace, name, rest);
        secret["kind"] = "Secret".into();
        secret["type"] = kind.into();
        awkward(why, &secret)
    };
    let text = |text: &str| BASE64_STANDARD.encode(text);
    let large = BASE64_STANDARD.encode("z".repeat(1_040_000));
    vec![
        secret("a secret without data", "none", "Opaque", &json!({})),
        secret(
            "a type of one's own",
            "own-type",
            "awkward.example/type",
            &json!({"data": {"token": text("t"), "ca.crt": text("c")}}),
        ),
        secret(
            "almost as large as is allowed",
            "large",
            "Opaque",
            &json!({"data": {"z": large}}),
        ),
        secret(
            "an empty value",
            "empty",
            "Opaque",
            &json!({"data": {"empty": ""}}),
        ),
        secret(
            "immutable",
            "immutable",
            "Opaque",
            &json!({"immutable": true, "data": {"a": text("b")}}),
        ),
        secret(
            "a pull secret",
            "pull",
            "kubernetes.io/dockerconfigjson",
            &json!({"data": {".dockerconfigjson": text("{\"auths\":{}}")}}),
        ),
        secret(
            "a certificate",
            "tls",
            "kubernetes.io/tls",
            &json!({"data": {"tls.crt": text("c"), "tls.key": text("k")}}),
        ),
        secret(
            "a user",
            "basic",
            "kubernetes.io/basic-auth",
            &json!({"data": {"username": text("ü"), "password": text("\u{1}")}}),
        ),
    ]
}

#[allow(clippy::too_many_lines, reason = "one literal list of objects")]
fn workloads(namespace: &str) -> Vec<Awkward> {
    let object = |why: &'static str, api: &str, kind: &str, name: &str, rest: &Value| {
        let mut object = config_map(namespace, name, rest);
        object["apiVersion"] = api.into();
        object["kind"] = kind.into();
        awkward(why, &object)
    };
    let rbac = "rbac.authorization.k8s.io/v1";
    let container = json!([{"name": "c", "image": "i", "args": [], "env": [{"name": "E", "value": ""}],
        "resources": {"limits": {"cpu": "1500m", "memory": "1.5Gi"}}}]);
    let template = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": container}});
    let port =
        |port: &Value| json!({"name": "p", "port": 80, "targetPort": port, "appProtocol": "example.com/x"});
    let role =
        json!({"rules": [{"apiGroups": [""], "resources": ["*"], "verbs": ["*"], "resourceNames": [""]}]});
    let binding = |role: &str| {
        json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
        "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "CN=ü, O=\"x\""}]})
    };
    let lease = json!({"spec": {"holderIdentity": "", "acquireTime": "2026-01-01T00:00:00.000001Z", "leaseDurationSeconds": 1}});
    let peers = json!({"podSelector": {}, "ingress": [{}, {"from": [{"namespaceSelector": {}}], "ports": [{"port": "named"}, {"port": 1, "endPort": 9}]}]});
    let slice = json!({"addressType": "FQDN", "endpoints": [{"addresses": ["a.example"], "conditions": {}}], "ports": []});
    let rolling = json!({"maxSurge": "25%", "maxUnavailable": 0});
    let deployment = json!({"spec": {"replicas": 0, "paused": true, "selector": {"matchLabels": {"app": "x"}},
        "strategy": {"rollingUpdate": rolling}, "template": template}});
    let quota =
        json!({"spec": {"hard": {"requests.cpu": "1e3", "memory": "1.5Gi", "count/widgets.example": "0"}}});
    vec![
        object("a name with a colon", rbac, "Role", "system:foo", &role),
        object(
            "letters, blanks and quotes in a name",
            rbac,
            "Role",
            "Ünter \"Rolle\" 🚀 'x' $HOME `id`",
            &role,
        ),
        object("a backslash in a name", rbac, "Role", "DOMAIN\\user", &role),
        object(
            "a line break in a name",
            rbac,
            "Role",
            "two\nlines\tand a tab",
            &role,
        ),
        object("a name that begins with dots", rbac, "Role", "...", &role),
        object("a name of 600 letters", rbac, "Role", &"r".repeat(600), &role),
        object(
            "a binding with a colon",
            rbac,
            "RoleBinding",
            "system:foo:bar",
            &binding("system:foo"),
        ),
        object(
            "a port by number",
            "v1",
            "Service",
            "by-number",
            &json!({"spec": {"ports": [port(&json!(8080))]}}),
        ),
        object(
            "a port by name",
            "v1",
            "Service",
            "by-name",
            &json!({"spec": {"ports": [port(&json!("http"))], "clusterIP": "None"}}),
        ),
        object(
            "no ports at all",
            "v1",
            "Service",
            "external",
            &json!({"spec": {"type": "ExternalName", "externalName": "x.example"}}),
        ),
        object(
            "percent or number",
            "policy/v1",
            "PodDisruptionBudget",
            "half",
            &json!({"spec": {"minAvailable": "50%", "selector": {}}}),
        ),
        object(
            "the number",
            "policy/v1",
            "PodDisruptionBudget",
            "one",
            &json!({"spec": {"maxUnavailable": 1}}),
        ),
        object(
            "empty maps that mean everything",
            "networking.k8s.io/v1",
            "NetworkPolicy",
            "all",
            &json!({"spec": peers}),
        ),
        object(
            "times with microseconds",
            "coordination.k8s.io/v1",
            "Lease",
            "lease",
            &lease,
        ),
        object(
            "a workload that rests",
            "apps/v1",
            "Deployment",
            "paused",
            &deployment,
        ),
        object(
            "a template with quantities",
            "v1",
            "PodTemplate",
            "template",
            &json!({"template": template}),
        ),
        object("quantities of all kinds", "v1", "ResourceQuota", "quota", &quota),
        object(
            "an account with references",
            "v1",
            "ServiceAccount",
            "account",
            &json!({"automountServiceAccountToken": false, "secrets": [{"name": "pull"}]}),
        ),
        object(
            "endpoints of no service",
            "discovery.k8s.io/v1",
            "EndpointSlice",
            "slice",
            &slice,
        ),
    ]
}

/// Objects of the custom kinds in namespaces.
#[allow(clippy::too_many_lines, reason = "one literal list of objects")]
pub(crate) fn custom(names: &Names) -> Vec<Awkward> {
    let any = |why: &'static str, name: &str, rest: &str| raw(names, why, "Any", name, rest);
    let deep = format!("{}\"bottom\"{}", "{\"d\":[".repeat(45), "]}".repeat(45));
    let long: String = "x".repeat(1_000);
    let big = "0123456789".repeat(120_000);
    let exclude =
        r#"{"labels":{"velero.io/exclude-from-backup":"true"},"deletionTimestamp":"x","name":"other"}"#;
    let inner = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"in","uid":"u","creationTimestamp":null,"managedFields":[{"manager":"m","operation":"Update"}],"ownerReferences":[]},"status":{"phase":"x"},"extra":1.50}"#;
    let mut numbers = String::from("\"spec\":{");
    for (index, number) in NUMBERS.iter().enumerate() {
        let _ = write!(
            numbers,
            "\"n{index}\":{number},\"l{index}\":[{number},\"{number}\"],"
        );
    }
    numbers.push_str("\"end\":0}");
    let strict = |why: &'static str, name: &str, rest: &str| raw(names, why, "Strict", name, rest);
    vec![
        any("numbers whose text counts", "numbers", &numbers),
        any(
            "empty things",
            "empty",
            r#""spec":{"map":{},"list":[],"text":"","nothing":null,"lists":[[],[[]],{}],"no":false}"#,
        ),
        any("null where a map is expected", "null-spec", r#""spec":null"#),
        any("text where a map is expected", "text-spec", r#""spec":"text""#),
        any(
            "a list where a map is expected",
            "list-spec",
            r#""spec":[1,2.50,{"a":[]}],"data":7"#,
        ),
        any(
            "fields of a list in an object",
            "items",
            r#""spec":{"items":[{"metadata":{"continue":"x"}}]}"#,
        ),
        any(
            "metadata that is not its own",
            "not-meta",
            &format!(r#""spec":{{"metadata":{exclude}}},"deletionTimestamp":"x""#),
        ),
        any(
            "an object in an object",
            "embedded",
            &format!(r#""spec":{{"template":{inner},"list":[{inner}]}}"#),
        ),
        any("90 levels", "deep", &format!("\"spec\":{deep}")),
        any(
            "more than 1 MiB",
            "over-a-mebibyte",
            &format!("\"spec\":{{\"text\":\"{big}\"}}"),
        ),
        any(
            "odd keys",
            "keys",
            &format!(
                r#""spec":{{"":1," ":2,"a.b/c~1":3,"$ref":"x","__proto__":{{}},"日本語\n":5,"{long}":6,"\"":7,"\\u0041":8}}"#
            ),
        ),
        any(
            "escapes",
            "escapes",
            r#""spec":{"a":"\u0041\ud83d\ude00\/\b\f\u001f\u007f","b":"\\u0000","c":"\u2028<>&"}"#,
        ),
        any(
            "a status where there is no subresource",
            "status",
            r#""spec":{"a":1}"#,
        ),
        any(
            "a namesake of one in the cluster",
            "namesake",
            r#""spec":{"where":"namespace"}"#,
        ),
        strict(
            "a port that is a number",
            "number",
            r#""spec":{"port":80,"big":9223372036854775807,"number":1.50}"#,
        ),
        strict(
            "a port that is text",
            "text",
            r#""spec":{"port":"80","number":1e-7,"open":{"unknown":[1.0,{"x":null}]},"list":null}"#,
        ),
        strict(
            "defaults and fields that are pruned",
            "defaults",
            r#""spec":{"port":"8%","unknown":true},"unknown":{}"#,
        ),
        strict(
            "an object that the schema knows to be one",
            "embedded",
            &format!(r#""spec":{{"template":{inner}}}"#),
        ),
        raw(
            names,
            "a kind named as a built-in one",
            "OtherPod",
            "pod",
            r#""spec":{"nodeName":"stays","priority":7},"status2":{"phase":"Succeeded"}"#,
        ),
        raw(
            names,
            "a kind named as a folder",
            "FolderTwo",
            "cluster",
            r#""spec":{"a":1e2}"#,
        ),
    ]
}

/// Integers beyond 53 and 64 bits, and floats of all sizes.
const NUMBERS: [&str; 26] = [
    "0",
    "-0",
    "-0.0",
    "1.0",
    "1.50",
    "0.1",
    "1e21",
    "1E+2",
    "1e-7",
    "5e-324",
    "2.2250738585072014e-308",
    "1.7976931348623157e308",
    "0.30000000000000004",
    "3.141592653589793238462643",
    "9007199254740991",
    "9007199254740992",
    "9007199254740993",
    "-9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "123456789012345678901234567890",
    "100000000000000000000.0",
    "4.35",
    "1e0",
];

fn raw(names: &Names, why: &'static str, kind: &str, name: &str, rest: &str) -> Awkward {
    let (group, namespace) = (names.group(), &names.main);
    let place = if kind == "FolderOne" || kind == "ClusterAny" {
        format!("\"labels\":{{\"awkward\":\"{}\"}}", names.id)
    } else {
        format!("\"namespace\":\"{namespace}\"")
    };
    let json = format!(
        r#"{{"apiVersion":"{group}/v1","kind":"{kind}","metadata":{{"name":"{name}",{place}}},{rest}}}"#
    );
    Awkward { why, json }
}

/// Objects of the cluster; each has the label `awkward` with the id.
pub(crate) fn cluster_scoped(names: &Names) -> Vec<Awkward> {
    let id = names.id.as_str();
    let object = |why: &'static str, api: &str, kind: &str, name: &str, rest: &Value| {
        let mut object = config_map("", name, rest);
        object["apiVersion"] = api.into();
        object["kind"] = kind.into();
        object["metadata"]["labels"] = json!({"awkward": id});
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("namespace");
        }
        awkward(why, &object)
    };
    let rbac = "rbac.authorization.k8s.io/v1";
    let rules = json!({"rules": [{"nonResourceURLs": ["/*"], "verbs": ["get"]}]});
    let binding = json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "none"}, "subjects": []});
    vec![
        object(
            "a name with colons",
            rbac,
            "ClusterRole",
            &format!("system:{id}:foo"),
            &rules,
        ),
        object(
            "a name of another cluster's user",
            rbac,
            "ClusterRoleBinding",
            &format!("{id}\\ü @x"),
            &binding,
        ),
        object(
            "no rules",
            rbac,
            "ClusterRole",
            &format!("{id}-none"),
            &json!({"rules": []}),
        ),
        object(
            "the least priority",
            "scheduling.k8s.io/v1",
            "PriorityClass",
            &format!("{id}-least"),
            &json!({"value": -2_147_483_648_i64, "description": "ü"}),
        ),
        object(
            "a class of nobody",
            "storage.k8s.io/v1",
            "StorageClass",
            &format!("{id}.class"),
            &json!({"provisioner": "none.example", "parameters": {"a/b": "", "A": "1e3"}}),
        ),
        object(
            "a driver with empty lists",
            "storage.k8s.io/v1",
            "CSIDriver",
            &format!("{id}.csi.example"),
            &json!({"spec": {"tokenRequests": [{"audience": ""}]}}),
        ),
        raw(
            names,
            "a namesake of one in a namespace",
            "ClusterAny",
            "namesake",
            r#""spec":{"where":"cluster"}"#,
        ),
        raw(
            names,
            "a kind and a name like a folder",
            "FolderOne",
            "cluster",
            r#""spec":{"a":9007199254740993}"#,
        ),
    ]
}
