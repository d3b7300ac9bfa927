//! Warnings and errors of a backup or restore, as `*-results.gz` holds them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::serde_null::null_as_default;

/// The whole file: `{"errors": …, "warnings": …}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Results {
    /// What went wrong.
    #[serde(default, deserialize_with = "null_as_default")]
    pub errors: ResultSet,
    /// What deserves a look.
    #[serde(default, deserialize_with = "null_as_default")]
    pub warnings: ResultSet,
}

/// Messages by what they concern.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultSet {
    /// The server itself.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub velero: Vec<String>,
    /// Cluster-scoped objects.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub cluster: Vec<String>,
    /// Objects by namespace.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub namespaces: BTreeMap<String, Vec<String>>,
}

impl ResultSet {
    /// Adds a message about a namespace, or about the cluster where `namespace` is empty.
    pub fn add(&mut self, namespace: &str, message: impl Into<String>) {
        if namespace.is_empty() {
            self.cluster.push(message.into());
        } else {
            self.namespaces
                .entry(namespace.to_owned())
                .or_default()
                .push(message.into());
        }
    }

    /// How many messages there are, as `status.warnings` and `status.errors` count them.
    #[must_use]
    pub fn len(&self) -> usize {
        self.velero.len() + self.cluster.len() + self.namespaces.values().map(Vec::len).sum::<usize>()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes over all messages of another set, after its own.
    pub fn merge(&mut self, other: Self) {
        self.velero.extend(other.velero);
        self.cluster.extend(other.cluster);
        for (namespace, messages) in other.namespaces {
            self.namespaces.entry(namespace).or_default().extend(messages);
        }
    }
}
