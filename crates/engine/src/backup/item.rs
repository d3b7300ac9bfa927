//! One object of a LIST answer: what has to be known of it, and the bytes that are stored.

use std::borrow::Cow;

use refloat_model::{labels, resource::ApiResource};
use refloat_plan::backup::ItemMeta;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

/// The few fields that decide about an object. Borrowed from its bytes where they have no escapes;
/// everything else is passed over (and thereby checked to be JSON).
#[derive(Deserialize)]
pub(crate) struct Item<'a> {
    /// Absent for built-in kinds in lists.
    #[serde(borrow, rename = "apiVersion", default)]
    pub api_version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub metadata: ItemMetadata<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ItemMetadata<'a> {
    #[serde(borrow)]
    pub name: Cow<'a, str>,
    #[serde(borrow, default)]
    pub namespace: Option<Cow<'a, str>>,
    #[serde(default)]
    pub deletion_timestamp: Option<IgnoredAny>,
    /// Whether the label says that it is never backed up.
    #[serde(default, rename = "labels", deserialize_with = "is_excluded")]
    pub excluded: bool,
}

impl Item<'_> {
    /// What the plan decides by.
    pub(crate) fn meta(&self) -> ItemMeta<'_> {
        ItemMeta {
            namespace: self.metadata.namespace.as_deref().unwrap_or_default(),
            name: &self.metadata.name,
            exclude_label: self.metadata.excluded,
            deleting: self.metadata.deletion_timestamp.is_some(),
        }
    }
}

/// Reads a map of labels and keeps only whether the one that excludes is there and true.
fn is_excluded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    struct Labels;
    impl<'de> Visitor<'de> for Labels {
        type Value = bool;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("labels")
        }

        fn visit_unit<E>(self) -> Result<bool, E> {
            Ok(false)
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<bool, M::Error> {
            let mut excluded = false;
            while let Some(key) = map.next_key::<Key>()? {
                if key.0 {
                    excluded = map.next_value::<String>()? == "true";
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(excluded)
        }
    }
    deserializer.deserialize_any(Labels)
}

/// Whether a key is the label that excludes; its text is not kept.
struct Key(bool);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Key;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a label's key")
            }

            fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                Ok(Key(key == labels::EXCLUDE_FROM_BACKUP))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// What goes in front of an object's bytes, in place of their first brace, where the list left out
/// the kind.
pub(crate) fn type_prefix(resource: &ApiResource) -> Vec<u8> {
    let gvk = resource.gvk();
    let head = serde_json::json!({ "apiVersion": gvk.api_version(), "kind": gvk.kind }).to_string();
    let mut head = head.into_bytes();
    head.pop();
    head.push(b',');
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Item<'_> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn reads_what_decides_and_passes_over_the_rest() {
        let item = read(
            r#"{"metadata":{"name":"a","namespace":"n","labels":{"x":"y","velero.io/exclude-from-backup":"true"}},"data":{"k":1e400}}"#,
        );
        assert_eq!(
            (&*item.metadata.name, item.metadata.namespace.as_deref()),
            ("a", Some("n"))
        );
        assert!(item.metadata.excluded && item.metadata.deletion_timestamp.is_none());
        let item =
            read(r#"{"apiVersion":"x/v1","metadata":{"name":"a","labels":null,"deletionTimestamp":"t"}}"#);
        assert!(!item.metadata.excluded && item.metadata.deletion_timestamp.is_some());
        assert_eq!(item.api_version.as_deref(), Some("x/v1"));
        let item = read(r#"{"metadata":{"name":"a","labels":{"velero.io/exclude-from-backup":"false"}}}"#);
        assert!(!item.metadata.excluded);
    }

    #[test]
    fn the_prefix_makes_a_whole_object() {
        let resource = refloat_cluster::discovery::definitions();
        let mut bytes = type_prefix(&resource);
        bytes.extend_from_slice(&br#"{"metadata":{}}"#[1..]);
        let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(value["apiVersion"], "apiextensions.k8s.io/v1");
        assert_eq!(value["kind"], "CustomResourceDefinition");
    }
}
