//! Which objects of backups a user looks for: `kind=Secret,name=db-*`.

use std::str::FromStr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use globset::{Glob, GlobMatcher};
use refloat_model::{GroupResource, ObjectName};
use serde_json::Value;

/// Short names that `kubectl` knows, for where no cluster can be asked.
const SHORT: [(&str, &str); 24] = [
    ("cj", "cronjobs"),
    ("cm", "configmaps"),
    ("crd", "customresourcedefinitions"),
    ("crds", "customresourcedefinitions"),
    ("deploy", "deployments"),
    ("ds", "daemonsets"),
    ("ep", "endpoints"),
    ("ev", "events"),
    ("hpa", "horizontalpodautoscalers"),
    ("ing", "ingresses"),
    ("limits", "limitranges"),
    ("netpol", "networkpolicies"),
    ("no", "nodes"),
    ("ns", "namespaces"),
    ("pc", "priorityclasses"),
    ("pdb", "poddisruptionbudgets"),
    ("po", "pods"),
    ("pv", "persistentvolumes"),
    ("pvc", "persistentvolumeclaims"),
    ("quota", "resourcequotas"),
    ("rs", "replicasets"),
    ("sa", "serviceaccounts"),
    ("sc", "storageclasses"),
    ("svc", "services"),
];

/// The short names of a resource, for where no cluster can be asked.
#[must_use]
pub fn short_names(resource: &GroupResource) -> Vec<String> {
    SHORT
        .iter()
        .filter(|(_, long)| *long == resource.resource)
        .map(|(short, _)| (*short).to_owned())
        .collect()
}

/// A kind as a user writes it: plural, kind or short name, in any case, with or without the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindName {
    /// Lower case.
    resource: String,
    group: Option<String>,
}

impl KindName {
    /// Reads `Secret`, `secrets`, `deploy`, `deployments.apps`.
    #[must_use]
    pub fn new(written: &str) -> Self {
        let (word, group) = match written.trim().split_once('.') {
            Some((word, group)) => (word, Some(group.to_lowercase())),
            None => (written.trim(), None),
        };
        let word = word.to_lowercase();
        let long = SHORT.iter().find(|(short, _)| *short == word);
        let long = long.filter(|_| group.is_none());
        Self {
            resource: long.map_or(word, |(_, long)| (*long).to_owned()),
            group,
        }
    }

    /// Whether a kind is meant. `kind` is its name in objects (`Secret`), empty where it is not known.
    #[must_use]
    pub fn matches(&self, resource: &GroupResource, kind: &str) -> bool {
        let group = self
            .group
            .as_ref()
            .is_none_or(|group| resource.group == *group || resource.group.starts_with(&format!("{group}.")));
        group
            && (resource.resource.eq_ignore_ascii_case(&self.resource)
                || kind.eq_ignore_ascii_case(&self.resource)
                || (kind.is_empty() && plural(&self.resource) == resource.resource))
    }
}

/// The plural of a kind's name by the rule that Kubernetes' own tools guess by.
#[must_use]
pub fn plural(kind: &str) -> String {
    let word = kind.to_lowercase();
    if word.ends_with("endpoints") {
        return word;
    }
    match word.chars().last() {
        Some('s' | 'x' | 'z') => format!("{word}es"),
        _ if word.ends_with("ch") || word.ends_with("sh") => format!("{word}es"),
        Some('y') if !word.ends_with(['a', 'e', 'i', 'o', 'u']) => {
            let vowel = word.chars().rev().nth(1).is_some_and(|c| "aeiou".contains(c));
            if vowel {
                format!("{word}s")
            } else {
                format!("{}ies", &word[..word.len() - 1])
            }
        }
        _ => format!("{word}s"),
    }
}

/// What is looked for. All parts must match.
#[derive(Clone, Debug, Default)]
pub struct Query {
    text: String,
    kind: Option<KindName>,
    namespace: Option<GlobMatcher>,
    name: Option<GlobMatcher>,
}

impl FromStr for Query {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut query = Self {
            text: text.to_owned(),
            ..Self::default()
        };
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(format!(
                    "{part:?} is not of the form key=value; write for example kind=Secret,namespace=shop,name=db-*"
                ));
            };
            let value = value.trim();
            if value.is_empty() {
                return Err(format!("{part:?} has no value after the ="));
            }
            match key.trim() {
                "kind" | "resource" => query.kind = Some(KindName::new(value)),
                "namespace" | "ns" => query.namespace = Some(glob(value)?),
                "name" => query.name = Some(glob(value)?),
                other => {
                    return Err(format!(
                        "{other:?} cannot be looked for; use kind, namespace and name (labels by --selector, contents by \
                         --value)"
                    ));
                }
            }
        }
        Ok(query)
    }
}

fn glob(pattern: &str) -> Result<GlobMatcher, String> {
    let glob = Glob::new(pattern)
        .map_err(|error| format!("pattern {pattern:?} cannot be read: {}", error.kind()))?;
    Ok(glob.compile_matcher())
}

impl Query {
    /// Whether an object is meant. `kind` is its name in objects, empty where it is not known.
    #[must_use]
    pub fn matches(&self, resource: &GroupResource, kind: &str, name: &ObjectName) -> bool {
        self.matches_kind(resource, kind)
            && self
                .namespace
                .as_ref()
                .is_none_or(|glob| glob.is_match(&*name.namespace))
            && self.name.as_ref().is_none_or(|glob| glob.is_match(&name.name))
    }

    /// Whether objects of a kind may be meant.
    #[must_use]
    pub fn matches_kind(&self, resource: &GroupResource, kind: &str) -> bool {
        self.kind.as_ref().is_none_or(|name| name.matches(resource, kind))
    }

    /// As it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// The first field of an object whose text contains `wanted`; what secrets hold is decoded. The
/// server's own bookkeeping (field managers, the last applied configuration) is not looked through.
#[must_use]
pub fn field_with(object: &Value, wanted: &str) -> Option<String> {
    let secret = object["kind"] == "Secret";
    search(object, wanted, "", secret)
}

fn search(value: &Value, wanted: &str, at: &str, secret: bool) -> Option<String> {
    match value {
        Value::Object(map) => map.iter().find_map(|(key, value)| {
            if matches!(
                key.as_str(),
                "managedFields" | "kubectl.kubernetes.io/last-applied-configuration"
            ) {
                return None;
            }
            let path = crate::diff::field(at, key);
            search(value, wanted, &path, secret)
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(place, value)| search(value, wanted, &format!("{at}[{place}]"), secret)),
        Value::String(text) => {
            let decoded = || {
                let bytes = STANDARD.decode(text).ok()?;
                Some(String::from_utf8_lossy(&bytes).contains(wanted))
            };
            let found =
                text.contains(wanted) || (secret && at.starts_with("data") && decoded().unwrap_or(false));
            found.then(|| at.to_owned())
        }
        Value::Null => None,
        Value::Bool(truth) => (truth.to_string().as_str() == wanted).then(|| at.to_owned()),
        Value::Number(number) => (number.to_string().as_str() == wanted).then(|| at.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_are_found_by_all_their_names() {
        let deployments = GroupResource::parse("deployments.apps");
        for (written, expected) in [
            ("Deployment", true),
            ("deployments", true),
            ("deploy", true),
            ("deployments.apps", true),
            ("Deployment.apps", true),
            ("deployments.extensions", false),
            ("pods", false),
        ] {
            assert_eq!(
                KindName::new(written).matches(&deployments, "Deployment"),
                expected,
                "{written}"
            );
            assert_eq!(
                KindName::new(written).matches(&deployments, ""),
                expected,
                "{written}"
            );
        }
        let policies = GroupResource::parse("networkpolicies.networking.k8s.io");
        assert!(KindName::new("NetworkPolicy").matches(&policies, ""));
        assert!(KindName::new("networkpolicies.networking").matches(&policies, ""));
        assert!(!KindName::new("networkpolicies.net").matches(&policies, ""));
        for (kind, plurals) in [
            ("Ingress", "ingresses"),
            ("Endpoints", "endpoints"),
            ("Gateway", "gateways"),
            ("Policy", "policies"),
            ("Mesh", "meshes"),
        ] {
            assert_eq!(plural(kind), plurals);
        }
    }

    #[test]
    fn all_parts_must_match() {
        let secrets = GroupResource::parse("secrets");
        let query: Query = "kind=Secret, name=db-*,ns=sh?p".parse().unwrap();
        assert!(query.matches(&secrets, "Secret", &ObjectName::new("shop", "db-1")));
        assert!(!query.matches(&secrets, "Secret", &ObjectName::new("shop", "web")));
        assert!(!query.matches(&secrets, "Secret", &ObjectName::new("other", "db-1")));
        let all: Query = "".parse().unwrap();
        assert!(all.matches(&secrets, "", &ObjectName::new("", "x")));
        for (bad, part) in [
            ("Secret", "key=value"),
            ("name=", "no value"),
            ("label=a", "--selector"),
            ("name=[a", "cannot be read"),
        ] {
            let error = bad.parse::<Query>().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn values_are_found_and_secrets_decoded() {
        let secret = json!({"kind": "Secret", "metadata": {"name": "s", "managedFields": [{"manager": "hunter2"}]},
            "data": {"pass.word": "aHVudGVyMg=="}, "n": 5});
        assert_eq!(
            field_with(&secret, "hunter2").as_deref(),
            Some("data[\"pass.word\"]")
        );
        assert_eq!(field_with(&secret, "5").as_deref(), Some("n"));
        assert_eq!(field_with(&secret, "hunter3"), None);
        let map = json!({"kind": "ConfigMap", "data": {"a": "aHVudGVyMg=="}, "l": ["x", "yz"]});
        assert_eq!(field_with(&map, "hunter2"), None);
        assert_eq!(field_with(&map, "z").as_deref(), Some("l[1]"));
    }
}
