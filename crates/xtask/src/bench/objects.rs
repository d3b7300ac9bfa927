//! What the cluster is filled with: ConfigMaps, Secrets and ServiceAccounts of about 1 KB as the API server
//! stores them, the same ones at every run.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::ValueEnum;
use serde_json::{Value, json};

/// The namespaces' names start with this.
pub(super) const FILLED: &str = "bench-";
/// How many objects there are, and in how many namespaces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// All objects of the cluster.
    pub objects: usize,
    /// Those that are restored: the first ones.
    pub restored: usize,
    /// Objects in one namespace.
    pub per_namespace: usize,
}

impl Sizes {
    /// Ten namespaces are restored.
    pub(super) fn new(objects: usize, restored: usize) -> Self {
        Self {
            objects,
            restored,
            per_namespace: restored.div_ceil(10).max(1),
        }
    }

    /// The names of the namespaces that hold the first `objects` objects, below `prefix`.
    pub(super) fn namespaces(&self, prefix: &str, objects: usize) -> Vec<String> {
        (0..objects.div_ceil(self.per_namespace))
            .map(|number| format!("{prefix}{number:03}"))
            .collect()
    }
}

/// The kinds, with their paths' last segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    ConfigMaps,
    Secrets,
    ServiceAccounts,
}

pub(super) const KINDS: [Kind; 3] = [Kind::ConfigMaps, Kind::Secrets, Kind::ServiceAccounts];

impl Kind {
    /// Of ten objects, five are ConfigMaps, four Secrets and one is a ServiceAccount.
    pub(super) const fn of(number: usize) -> Self {
        match number % 10 {
            0..5 => Self::ConfigMaps,
            5..9 => Self::Secrets,
            _ => Self::ServiceAccounts,
        }
    }

    pub(super) const fn resource(self) -> &'static str {
        match self {
            Self::ConfigMaps => "configmaps",
            Self::Secrets => "secrets",
            Self::ServiceAccounts => "serviceaccounts",
        }
    }
}

/// The object with this number, without a namespace.
pub(super) fn object(number: usize) -> Value {
    let mut random = Random(number as u64 + 1);
    let name = format!("item-{number:06}");
    let labels = json!({"app.kubernetes.io/name": random.words(1), "app.kubernetes.io/part-of": "bench"});
    match Kind::of(number) {
        Kind::ConfigMaps => json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels},
            "data": {"application.properties": random.words(40), "log.level": random.words(20)},
        }),
        Kind::Secrets => json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "labels": labels}, "type": "Opaque",
            "data": {"password": random.base64(24), "tls.key": random.base64(300)},
        }),
        Kind::ServiceAccounts => json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": name, "labels": labels, "annotations": {
                "example.com/description": random.words(40), "example.com/owner": random.words(12),
            }},
            "automountServiceAccountToken": false,
        }),
    }
}

/// Marsaglia's xorshift: repeatable on every machine, which is all that is asked of it.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // The first numbers of neighbouring seeds are alike, unless they are spread out first.
        self.0 = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Lines of settings, which compress about as well as real ones.
    fn words(&mut self, count: usize) -> String {
        const WORDS: [&str; 16] = [
            "server", "timeout", "cache", "replica", "enabled", "primary", "backend", "session", "queue",
            "worker", "endpoint", "region", "metrics", "storage", "policy", "retry",
        ];
        let word = |bits: u64| WORDS[usize::try_from(bits % 16).unwrap_or_default()];
        let words: Vec<_> = (0..count).map(|_| word(self.next())).collect();
        words
            .chunks(4)
            .map(|line| line.join("-"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn base64(&mut self, length: usize) -> String {
        let bytes: Vec<u8> = (0..length).map(|_| self.next().to_le_bytes()[3]).collect();
        BASE64_STANDARD.encode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_repeatable_and_differ() {
        assert_eq!(object(17), object(17));
        for number in 0..10 {
            let (one, other) = (object(number).to_string(), object(number + 10).to_string());
            assert_ne!(one[40..], other[40..]);
            assert!(
                (300..900).contains(&object(number).to_string().len()),
                "{}",
                object(number)
            );
        }
    }

    #[test]
    fn every_namespace_is_full() {
        let sizes = Sizes::new(100_000, 10_000);
        assert_eq!(sizes.per_namespace, 1000);
        assert_eq!(sizes.namespaces(FILLED, sizes.objects).len(), 100);
        assert_eq!(
            sizes.namespaces(FILLED, sizes.restored).last().unwrap(),
            "bench-009"
        );
    }
}
