//! `<B>-refloat-index.jsonl.gz`: which objects a backup holds, one line of JSON each, so that they are
//! found without reading the tarball. Our own file; see `docs/formats/index.md`.

use serde::{Deserialize, Serialize};

use crate::{GroupResource, ObjectName};

/// The first line's `format`.
pub const FORMAT: &str = "refloat.io/index";
/// The first line's `version`; a reader takes no other.
pub const VERSION: u64 = 1;

/// One line. Read it by [`Line::read`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Line {
    /// The first line.
    Head {
        /// [`FORMAT`].
        format: String,
        /// [`VERSION`].
        version: u64,
    },
    /// A kind, before its first object.
    Kind(IndexKind),
    /// An object.
    Object(IndexObject),
    /// The last line; without it the file is cut.
    End {
        /// How many objects there are.
        objects: u64,
    },
}

/// The fields of all lines; which are there tells which line it is.
#[derive(Deserialize)]
struct AnyLine {
    format: Option<String>,
    #[serde(default)]
    version: Option<serde_json::Value>,
    id: Option<usize>,
    resource: Option<String>,
    kind: Option<String>,
    k: Option<usize>,
    #[serde(default)]
    ns: String,
    n: Option<String>,
    h: Option<String>,
    l: Option<serde_json::Map<String, serde_json::Value>>,
    objects: Option<u64>,
}

impl Line {
    /// Reads a line.
    ///
    /// # Errors
    /// A text that says that it is none.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        let any: AnyLine = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let version = any.version.unwrap_or_default();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        match any {
            AnyLine {
                format: Some(format), ..
            } => Ok(Self::Head {
                format,
                version: version.as_u64().unwrap_or_default(),
            }),
            AnyLine {
                id: Some(id),
                resource: Some(resource),
                kind: Some(kind),
                ..
            } => Ok(Self::Kind(IndexKind {
                id,
                resource,
                version: text(&version),
                kind,
            })),
            AnyLine {
                k: Some(k),
                n: Some(n),
                ns,
                h,
                l,
                ..
            } => Ok(Self::Object(IndexObject { k, ns, n, h, l })),
            AnyLine {
                objects: Some(objects),
                ..
            } => Ok(Self::End { objects }),
            _ => Err("a line that is not known".to_owned()),
        }
    }
}

/// A kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexKind {
    /// What objects call it; counts from 0.
    pub id: usize,
    /// `resource[.group]`.
    pub resource: String,
    /// The API version.
    pub version: String,
    /// The name in objects, for example `Deployment`.
    pub kind: String,
}

impl IndexKind {
    /// Resource and group.
    #[must_use]
    pub fn group_resource(&self) -> GroupResource {
        GroupResource::parse(&self.resource)
    }
}

/// An object. Nothing of what it holds is here but its labels and a hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexObject {
    /// The kind's id.
    pub k: usize,
    /// Its namespace; absent: cluster-scoped.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ns: String,
    /// Its name.
    pub n: String,
    /// The first 16 bytes, in hexadecimal, of a SHA-256 over what counts of it; absent: it was not
    /// understood.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub h: Option<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub l: Option<serde_json::Map<String, serde_json::Value>>,
}

impl IndexObject {
    /// Namespace and name.
    #[must_use]
    pub fn name(&self) -> ObjectName {
        ObjectName::new(self.ns.as_str(), self.n.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_told_from_the_others() {
        for text in [
            r#"{"format":"refloat.io/index","version":1}"#,
            r#"{"id":0,"resource":"deployments.apps","version":"v1","kind":"Deployment"}"#,
            r#"{"k":0,"ns":"shop","n":"web","h":"00ff","l":{"a":"b"}}"#,
            r#"{"k":3,"n":"fast"}"#,
            r#"{"objects":2}"#,
        ] {
            let line = Line::read(text.as_bytes()).unwrap();
            assert_eq!(serde_json::to_string(&line).unwrap(), text);
        }
        assert!(Line::read(b"{}").is_err() && Line::read(b"[").is_err());
    }
}
