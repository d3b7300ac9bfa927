//! The order in which kinds are restored, as the server's flag `--restore-resource-priorities` has it.

use std::{fmt, str::FromStr};

use crate::PlanError;

/// Velero 1.18's kinds that go first, in this order.
const HIGH: [&str; 23] = [
    "customresourcedefinitions",
    "namespaces",
    "storageclasses",
    "volumesnapshotclass.snapshot.storage.k8s.io",
    "volumesnapshotcontents.snapshot.storage.k8s.io",
    "volumesnapshots.snapshot.storage.k8s.io",
    "datauploads.velero.io",
    "persistentvolumes",
    "persistentvolumeclaims",
    "clusterroles",
    "roles",
    "serviceaccounts",
    "clusterrolebindings",
    "rolebindings",
    "secrets",
    "configmaps",
    "limitranges",
    "priorityclasses",
    "pods",
    "replicasets.apps",
    "clusterclasses.cluster.x-k8s.io",
    "endpoints",
    "services",
];

/// Velero 1.18's kinds that go last, in this order.
const LOW: [&str; 5] = [
    "clusterbootstraps.run.tanzu.vmware.com",
    "clusters.cluster.x-k8s.io",
    "clusterresourcesets.addons.cluster.x-k8s.io",
    "apps.kappctrl.k14s.io",
    "packageinstalls.packaging.carvel.dev",
];

/// What stands between the two lists in the flag's value.
const SEPARATOR: &str = "-";

/// Kinds that go first and kinds that go last; all others go in between. Kinds are written as users
/// write them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priorities {
    /// First, in this order.
    pub high: Vec<String>,
    /// Last, in this order.
    pub low: Vec<String>,
}

/// Velero 1.18's defaults.
impl Default for Priorities {
    fn default() -> Self {
        let owned = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect();
        Self {
            high: owned(&HIGH),
            low: owned(&LOW),
        }
    }
}

/// Reads `first,second,-,last`. Without `-` only the first list is set and the last one is the
/// default; with nothing before (after) the `-`, the first (last) one is the default. Empty: the
/// defaults.
impl FromStr for Priorities {
    type Err = PlanError;

    fn from_str(text: &str) -> Result<Self, PlanError> {
        let kinds: Vec<&str> = text
            .split(',')
            .map(str::trim)
            .filter(|kind| !kind.is_empty())
            .collect();
        let mut lists = kinds.split(|kind| *kind == SEPARATOR);
        let owned = |kinds: &[&str]| kinds.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>();
        let mut priorities = Self::default();
        if let Some(high) = lists.next().filter(|list| !list.is_empty()) {
            priorities.high = owned(high);
        }
        if let Some(low) = lists.next().filter(|list| !list.is_empty()) {
            priorities.low = owned(low);
        }
        if lists.next().is_some() {
            let reason = "more than one `-`; write the kinds that go first, one `-`, the kinds that go last";
            return Err(PlanError::Priorities {
                reason: reason.to_owned(),
            });
        }
        Ok(priorities)
    }
}

/// As the flag has it.
impl fmt::Display for Priorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.high.join(","))?;
        if self.low.is_empty() {
            return Ok(());
        }
        if !self.high.is_empty() {
            f.write_str(",")?;
        }
        write!(f, "{SEPARATOR},{}", self.low.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_flag() {
        let read = |text: &str| text.parse::<Priorities>().unwrap();
        let defaults = Priorities::default();
        assert_eq!(read(""), defaults);
        assert_eq!(read("-"), defaults);
        assert_eq!(
            read("a,b"),
            Priorities {
                high: vec!["a".into(), "b".into()],
                low: defaults.low.clone()
            }
        );
        assert_eq!(read("a, b,-"), read("a,b"));
        assert_eq!(
            read("-,z"),
            Priorities {
                high: defaults.high.clone(),
                low: vec!["z".into()]
            }
        );
        assert_eq!(
            read("a,-,z"),
            Priorities {
                high: vec!["a".into()],
                low: vec!["z".into()]
            }
        );
        assert!("a,-,b,-,c".parse::<Priorities>().is_err());
    }

    #[test]
    fn what_is_shown_is_read_back() {
        let defaults = Priorities::default();
        assert_eq!(defaults.to_string().parse::<Priorities>().unwrap(), defaults);
        assert!(
            defaults
                .to_string()
                .starts_with("customresourcedefinitions,namespaces,")
        );
        assert!(defaults.to_string().ends_with(",services,-,clusterbootstraps.run.tanzu.vmware.com,clusters.cluster.x-k8s.io,clusterresourcesets.addons.cluster.x-k8s.io,apps.kappctrl.k14s.io,packageinstalls.packaging.carvel.dev"));
    }
}
