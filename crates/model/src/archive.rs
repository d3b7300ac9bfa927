//! Names of the entries in a backup's tarball, and what is refused in them.
//!
//! Each object is in the tarball twice: as
//! `resources/<resource>[.<group>]/{namespaces/<ns>|cluster}/<name>.json` and, for readers that
//! choose among API versions, below `…/<version>-preferredversion/`.

use crate::{GroupResource, ObjectName};

/// The first entry; its content is the format version and a newline.
pub const VERSION_ENTRY: &str = "metadata/version";

/// What an entry's path stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The format version.
    Version,
    /// An object in the version that is restored by default.
    Object {
        /// Its kind.
        resource: GroupResource,
        /// Its namespace and name.
        name: ObjectName,
    },
    /// An object in a named API version: a second copy of one that also is an [`Entry::Object`].
    Versioned {
        /// Its kind.
        resource: GroupResource,
        /// The API version.
        version: String,
        /// Whether the source cluster preferred that version.
        preferred: bool,
        /// Its namespace and name.
        name: ObjectName,
    },
    /// Nothing that a restore reads.
    Other,
}

/// Why an entry's path is refused: the whole archive is not to be trusted then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It is absolute or contains `..`, an empty part or a NUL. A backslash is a letter like others:
    /// roles may be called `DOMAIN\user`, and no entry is ever written to a folder.
    #[error("entry {path:?} would leave the archive's folder; the archive was not written by a backup")]
    Escapes {
        /// The path as it is in the archive.
        path: String,
    },
}

/// Whether an object of this name can be in a tarball that [`parse`] takes back. Kubernetes allows names
/// that no archive can hold: a role may have a NUL in its name.
#[must_use]
pub fn can_hold(name: &ObjectName) -> bool {
    let part = |part: &str| !part.contains(['/', '\0']);
    let namespace: &str = &name.namespace;
    part(namespace) && !matches!(namespace, "." | "..") && !name.name.is_empty() && part(&name.name)
}

/// Reads an entry's path.
///
/// # Errors
/// [`PathError::Escapes`] for a path that is not a plain relative one.
pub fn parse(path: &str) -> Result<Entry, PathError> {
    let plain = path.strip_prefix("./").unwrap_or(path);
    let parts: Vec<&str> = plain.trim_end_matches('/').split('/').collect();
    let odd = |part: &&str| part.is_empty() || *part == ".." || *part == "." || part.contains('\0');
    if plain.starts_with('/') || (!plain.is_empty() && parts.iter().any(odd)) {
        return Err(PathError::Escapes {
            path: path.to_owned(),
        });
    }
    let object = |namespace: &str, file: &str| {
        file.strip_suffix(".json")
            .map(|name| ObjectName::new(namespace, name))
    };
    Ok(match parts.as_slice() {
        ["metadata", "version"] => Entry::Version,
        ["resources", resource, "namespaces", namespace, file] => match object(namespace, file) {
            Some(name) => Entry::Object {
                resource: GroupResource::parse(resource),
                name,
            },
            None => Entry::Other,
        },
        ["resources", resource, "cluster", file] => match object("", file) {
            Some(name) => Entry::Object {
                resource: GroupResource::parse(resource),
                name,
            },
            None => Entry::Other,
        },
        ["resources", resource, version, "namespaces", namespace, file] => {
            versioned(resource, version, object(namespace, file))
        }
        ["resources", resource, version, "cluster", file] => versioned(resource, version, object("", file)),
        _ => Entry::Other,
    })
}

fn versioned(resource: &str, version: &str, name: Option<ObjectName>) -> Entry {
    let Some(name) = name else { return Entry::Other };
    let plain = version.strip_suffix("-preferredversion");
    Entry::Versioned {
        resource: GroupResource::parse(resource),
        version: plain.unwrap_or(version).to_owned(),
        preferred: plain.is_some(),
        name,
    }
}

/// The path of an object's first copy.
#[must_use]
pub fn object_path(resource: &GroupResource, name: &ObjectName) -> String {
    format!("resources/{resource}/{}", tail(name))
}

/// The path of an object's second copy, in the version that the source cluster prefers.
#[must_use]
pub fn preferred_path(resource: &GroupResource, version: &str, name: &ObjectName) -> String {
    format!("resources/{resource}/{version}-preferredversion/{}", tail(name))
}

fn tail(name: &ObjectName) -> String {
    if name.namespace.is_empty() {
        format!("cluster/{}.json", name.name)
    } else {
        format!("namespaces/{}/{}.json", name.namespace, name.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_survive_a_round_trip() {
        let deployments = GroupResource::parse("deployments.apps");
        let name = ObjectName::new("shop", "web.v1");
        let path = object_path(&deployments, &name);
        assert_eq!(path, "resources/deployments.apps/namespaces/shop/web.v1.json");
        assert_eq!(
            parse(&path),
            Ok(Entry::Object {
                resource: deployments.clone(),
                name: name.clone()
            })
        );
        let path = preferred_path(&deployments, "v1", &name);
        assert_eq!(
            path,
            "resources/deployments.apps/v1-preferredversion/namespaces/shop/web.v1.json"
        );
        let entry = Entry::Versioned {
            resource: deployments,
            version: "v1".into(),
            preferred: true,
            name,
        };
        assert_eq!(parse(&path), Ok(entry));
        let roles = GroupResource::parse("clusterroles.rbac.authorization.k8s.io");
        let name = ObjectName::new("", "system:node");
        assert_eq!(
            parse(&object_path(&roles, &name)),
            Ok(Entry::Object {
                resource: roles.clone(),
                name
            })
        );
        for name in ["DOMAIN\\user", "...", "two\nlines", "a b", "x.json"] {
            let name = ObjectName::new("shop", name);
            let entry = Entry::Object {
                resource: roles.clone(),
                name: name.clone(),
            };
            assert_eq!(parse(&object_path(&roles, &name)), Ok(entry));
        }
    }

    #[test]
    fn what_can_be_held_is_what_can_be_read_back() {
        let roles = GroupResource::parse("roles.rbac.authorization.k8s.io");
        for (namespace, name) in [
            ("", "a"),
            ("shop", "DOMAIN\\user"),
            ("shop", ".."),
            ("shop", "a\0b"),
            ("shop", ""),
            ("shop", "a/b"),
            ("..", "a"),
        ] {
            let name = ObjectName::new(namespace, name);
            let entry = Entry::Object {
                resource: roles.clone(),
                name: name.clone(),
            };
            let back = parse(&object_path(&roles, &name)) == Ok(entry);
            assert!(!can_hold(&name) || back, "{name}");
        }
        assert!(
            can_hold(&ObjectName::new("shop", "..")),
            "`...json` is a plain name"
        );
        assert!(!can_hold(&ObjectName::new("shop", "a\0b")));
    }

    #[test]
    fn a_namespace_may_be_called_namespaces_or_cluster() {
        for namespace in ["namespaces", "cluster", "v1-preferredversion"] {
            let name = ObjectName::new(namespace, "a");
            let entry = Entry::Object {
                resource: GroupResource::parse("pods"),
                name: name.clone(),
            };
            assert_eq!(
                parse(&object_path(&GroupResource::parse("pods"), &name)),
                Ok(entry)
            );
        }
    }

    #[test]
    fn what_leaves_the_folder_is_refused() {
        for path in [
            "../etc/passwd",
            "resources/../../x",
            "/etc/passwd",
            "resources//pods",
            "a/./b",
            "a\0b",
        ] {
            assert!(parse(path).is_err(), "{path}");
        }
        assert_eq!(parse("metadata/version"), Ok(Entry::Version));
        assert_eq!(parse("./metadata/version"), Ok(Entry::Version));
        assert_eq!(parse("resources/pods/"), Ok(Entry::Other));
        assert_eq!(parse("resources/pods/cluster/x.yaml"), Ok(Entry::Other));
    }
}
