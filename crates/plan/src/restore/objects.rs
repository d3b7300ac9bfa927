//! A restore of single objects: the annotation `refloat.io/objects` names them.

use std::{collections::BTreeMap, fmt, str::FromStr};

use refloat_model::{GroupResource, ObjectName, labels};

use crate::find::KindName;

/// An object as a user names it: `secrets/shop/db`, `Deployment/shop/web`, `storageclasses/fast`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectRef {
    written: String,
    kind: KindName,
    name: ObjectName,
}

impl FromStr for ObjectRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.split('/').collect();
        let name = match parts[..] {
            [_, namespace, name] => ObjectName::new(namespace, name),
            [_, name] => ObjectName::new("", name),
            _ => ObjectName::new("", ""),
        };
        if parts.iter().any(|part| part.trim().is_empty()) || name.name.is_empty() {
            return Err(format!(
                "{text:?} names no object; write resource/namespace/name, or resource/name for one without a namespace, \
                 as `backup find` prints them"
            ));
        }
        Ok(Self {
            written: text.to_owned(),
            kind: KindName::new(parts[0]),
            name,
        })
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

impl ObjectRef {
    /// The kind as it is written.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.written.split('/').next().unwrap_or_default()
    }

    /// Its namespace in the backup; empty: cluster-scoped.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.name.namespace
    }

    /// Whether an object of the backup is meant.
    #[must_use]
    pub fn matches(&self, resource: &GroupResource, name: &ObjectName) -> bool {
        self.name == *name && self.kind.matches(resource, "")
    }
}

/// The objects that a restore is limited to; absent: it is not.
///
/// # Errors
/// A text that says what is wrong with the annotation.
pub fn of_annotations(
    annotations: Option<&BTreeMap<String, String>>,
) -> Result<Option<Vec<ObjectRef>>, String> {
    let Some(text) = annotations.and_then(|all| all.get(labels::OBJECTS)) else {
        return Ok(None);
    };
    let names: Vec<String> = serde_json::from_str(text)
        .map_err(|error| format!("annotation {} is no JSON list of texts: {error}", labels::OBJECTS))?;
    names
        .iter()
        .map(|name| name.parse())
        .collect::<Result<_, _>>()
        .map(Some)
}

/// The annotation that limits a restore to these objects.
#[must_use]
pub fn annotation(objects: &[ObjectRef]) -> String {
    let written: Vec<&str> = objects.iter().map(|object| object.written.as_str()).collect();
    serde_json::Value::from(written).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_named_by_kind_namespace_and_name() {
        let web: ObjectRef = "Deployment/shop/web".parse().unwrap();
        let kind = GroupResource::parse("deployments.apps");
        assert!(web.matches(&kind, &ObjectName::new("shop", "web")));
        assert!(!web.matches(&kind, &ObjectName::new("shop", "web2")));
        assert!(!web.matches(&GroupResource::parse("pods"), &ObjectName::new("shop", "web")));
        let class: ObjectRef = "sc/fast".parse().unwrap();
        let kind = GroupResource::parse("storageclasses.storage.k8s.io");
        assert!(class.matches(&kind, &ObjectName::new("", "fast")) && class.namespace().is_empty());
        for bad in ["", "web", "a/b/c/d", "a//c", "a/"] {
            assert!(bad.parse::<ObjectRef>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_annotation_keeps_odd_names() {
        let objects: Vec<ObjectRef> = vec!["roles/a/x,\"y\"".parse().unwrap()];
        let annotations = [(labels::OBJECTS.to_owned(), annotation(&objects))].into();
        assert_eq!(of_annotations(Some(&annotations)).unwrap(), Some(objects));
        assert_eq!(of_annotations(None), Ok(None));
        let annotations = [(labels::OBJECTS.to_owned(), "a/b".to_owned())].into();
        assert!(of_annotations(Some(&annotations)).is_err());
    }
}
