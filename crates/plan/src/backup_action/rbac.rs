//! Which cluster role bindings name a service account.

use std::collections::{BTreeSet, HashMap};

use refloat_model::{GroupResource, ObjectName};
use serde_json::Value;

use super::RelatedItem;
use crate::json;

/// The cluster role bindings whose subjects are service accounts; nothing else of them is kept.
#[derive(Clone, Debug, Default)]
pub struct RbacIndex {
    /// Binding and its cluster role.
    bindings: Vec<[String; 2]>,
    /// Namespace → service account → places in `bindings`.
    subjects: HashMap<String, HashMap<String, Vec<usize>>>,
}

impl RbacIndex {
    /// Takes in a ClusterRoleBinding. One of an odd shape, or without service accounts, is passed over.
    pub fn add(&mut self, binding: &Value) {
        let Some(name) = json::text(binding, &["metadata", "name"]) else {
            return;
        };
        let role = json::text(binding, &["roleRef", "name"]).unwrap_or_default();
        let place = self.bindings.len();
        let mut used = false;
        for subject in json::list(binding, &["subjects"]) {
            if json::text(subject, &["kind"]) != Some("ServiceAccount") {
                continue;
            }
            let namespace = json::text(subject, &["namespace"]).unwrap_or_default();
            let Some(account) = json::text(subject, &["name"]) else {
                continue;
            };
            let accounts = self.subjects.entry(namespace.to_owned()).or_default();
            let places = accounts.entry(account.to_owned()).or_default();
            if places.last() != Some(&place) {
                places.push(place);
            }
            used = true;
        }
        if used {
            self.bindings.push([name.to_owned(), role.to_owned()]);
        }
    }

    /// How many bindings are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bindings.len()
    }

    /// Whether no binding names a service account.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bindings.is_empty()
    }

    /// The bindings that name a service account, and their roles, sorted.
    pub(super) fn related(&self, account: &Value) -> Vec<RelatedItem> {
        let namespace = json::text(account, &["metadata", "namespace"]).unwrap_or_default();
        let name = json::text(account, &["metadata", "name"]).unwrap_or_default();
        let places = self
            .subjects
            .get(namespace)
            .and_then(|accounts| accounts.get(name));
        let mut bindings = BTreeSet::new();
        let mut roles = BTreeSet::new();
        for [binding, role] in places
            .into_iter()
            .flatten()
            .filter_map(|place| self.bindings.get(*place))
        {
            bindings.insert(binding.as_str());
            if !role.is_empty() {
                roles.insert(role.as_str());
            }
        }
        let item = |resource: &str, name: &str| RelatedItem {
            resource: GroupResource::new(resource, "rbac.authorization.k8s.io"),
            name: ObjectName::new("", name),
        };
        let bindings = bindings.into_iter().map(|name| item("clusterrolebindings", name));
        bindings
            .chain(roles.into_iter().map(|name| item("clusterroles", name)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn finds_bindings_and_roles_of_an_account() {
        let mut index = RbacIndex::default();
        let account = |namespace: &str, name: &str| json!({"kind": "ServiceAccount", "namespace": namespace, "name": name});
        index.add(&json!({"metadata": {"name": "one"}, "roleRef": {"name": "view"},
            "subjects": [account("n", "a"), account("n", "a"), {"kind": "User", "name": "u"}]}));
        index.add(&json!({"metadata": {"name": "two"}, "roleRef": {"name": "view"}, "subjects": [account("n", "a")]}));
        index.add(&json!({"metadata": {"name": "three"}, "roleRef": {"name": "edit"}, "subjects": [account("m", "a")]}));
        index.add(&json!({"metadata": {"name": "four"}, "subjects": [{"kind": "Group", "name": "g"}]}));
        index.add(&json!([1]));
        assert_eq!(index.len(), 3);
        let related = index.related(&json!({"metadata": {"namespace": "n", "name": "a"}}));
        let names: Vec<String> = related
            .iter()
            .map(|item| format!("{} {}", item.resource.resource, item.name))
            .collect();
        assert_eq!(
            names,
            [
                "clusterrolebindings one",
                "clusterrolebindings two",
                "clusterroles view"
            ]
        );
        assert!(
            index
                .related(&json!({"metadata": {"namespace": "n", "name": "b"}}))
                .is_empty()
        );
        assert!(index.related(&json!(null)).is_empty());
    }
}
