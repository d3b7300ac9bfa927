//! A short hash of what an object means, made from its bytes in one pass without parsing values: equal
//! as long as nobody changed the object, whatever its status does.
//!
//! Left out are the status, what the server keeps in the metadata, annotations that controllers write
//! for themselves, and the kind and version. The rest is hashed as it is written: the API server writes
//! the fields of one version in one order, so two backups of an unchanged object agree. Another
//! API version, or another program's way to write JSON, gives another hash.

use std::{borrow::Cow, fmt};

use refloat_model::labels;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::diff::{NOISE_ANNOTATIONS, SERVER_MADE};

/// What is known of an object from its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint<'a> {
    /// The beginning of a SHA-256.
    pub hash: [u8; 16],
    /// The object's labels as they are written.
    pub labels: Option<&'a str>,
}

/// A JSON object as its keys and the text of its values.
struct Fields<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(Deserialize)]
#[serde(transparent)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Vec::with_capacity(map.size_hint().unwrap_or(8));
                while let Some(Key(key)) = map.next_key()? {
                    fields.push((key, map.next_value()?));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(All)
    }
}

/// The fingerprint of an object; absent where its bytes are no JSON object.
#[must_use]
pub fn fingerprint(json: &[u8]) -> Option<Fingerprint<'_>> {
    let Fields(fields) = serde_json::from_slice(json).ok()?;
    let mut hash = Sha256::new();
    let mut labels = None;
    for (key, value) in &fields {
        match &**key {
            "apiVersion" | "kind" | "status" => {}
            "metadata" => labels = metadata(&mut hash, value.get()),
            key => add(&mut hash, key, value.get()),
        }
    }
    let whole = hash.finalize();
    let mut short = [0; 16];
    short.copy_from_slice(&whole[..16]);
    Some(Fingerprint { hash: short, labels })
}

/// Hashes what counts of the metadata and hands out the labels.
fn metadata<'a>(hash: &mut Sha256, text: &'a str) -> Option<&'a str> {
    let Ok(Fields(fields)) = serde_json::from_str(text) else {
        add(hash, "metadata", text);
        return None;
    };
    let mut labels = None;
    for (key, value) in fields {
        match &*key {
            key if SERVER_MADE.contains(&key) => {}
            "labels" => {
                labels = value.get().starts_with('{').then(|| value.get());
                inner(hash, "labels", value.get(), |key| {
                    [labels::BACKUP_NAME, labels::RESTORE_NAME].contains(&key)
                });
            }
            "annotations" => inner(hash, "annotations", value.get(), |key| {
                NOISE_ANNOTATIONS.contains(&key)
            }),
            key => add(hash, key, value.get()),
        }
    }
    labels
}

/// Hashes a map without some of its keys; one that has no others counts like none.
fn inner(hash: &mut Sha256, name: &str, text: &str, left_out: impl Fn(&str) -> bool) {
    let Ok(Fields(fields)) = serde_json::from_str(text) else {
        return add(hash, name, text);
    };
    for (key, value) in fields.iter().filter(|(key, _)| !left_out(key)) {
        add(hash, name, key);
        add(hash, key, value.get());
    }
}

/// Adds a name and a text so that no two pairs run into each other.
fn add(hash: &mut Sha256, name: &str, text: &str) {
    for part in [name, text] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(json: &str) -> [u8; 16] {
        fingerprint(json.as_bytes()).unwrap().hash
    }

    const OBJECT: &str = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","uid":"1","resourceVersion":"2","labels":{"x":"y"}},"data":{"k":"v"},"status":{"n":1}}"#;

    #[test]
    fn stays_while_only_the_server_writes() {
        let later = r#"{"metadata":{"name":"a","uid":"9","resourceVersion":"8","generation":4,"labels":{"x":"y","velero.io/restore-name":"r"},"annotations":{"deployment.kubernetes.io/revision":"3"},"managedFields":[{"a":"b"}]},"data":{"k":"v"},"status":{"n":2}}"#;
        assert_eq!(hash(OBJECT), hash(later));
        assert_eq!(
            fingerprint(OBJECT.as_bytes()).unwrap().labels,
            Some(r#"{"x":"y"}"#)
        );
    }

    #[test]
    fn changes_with_everything_else() {
        for (from, to) in [
            (r#""k":"v""#, r#""k":"w""#),
            (r#""x":"y""#, r#""x":"z""#),
            (r#""x":"y""#, r#""x":"y","z":"1""#),
            (r#""data""#, r#""binaryData""#),
            (r#""name":"a""#, r#""name":"a","annotations":{"team":"b"}"#),
            (r#""name":"a""#, r#""name":"a","finalizers":["f"]"#),
        ] {
            assert!(OBJECT.contains(from));
            assert_ne!(hash(OBJECT), hash(&OBJECT.replace(from, to)), "{from} {to}");
        }
        assert_ne!(hash(r#"{"a":"bc"}"#), hash(r#"{"ab":"c"}"#));
        assert_eq!(fingerprint(b"[1]"), None);
        assert_eq!(fingerprint(b"{"), None);
    }
}
