//! What a plan knows of the cluster besides single objects: namespaces, storage classes, and which
//! kinds the backup's own definitions will bring.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use refloat_cluster::{Cluster, ClusterError};
use refloat_model::{GroupResource, ObjectName, resource::ApiResource};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::super::{
    execute::{Run, bad_plan},
    namespaces::namespace_kind,
};
use crate::{EngineError, spool::Spool};

/// Objects per LIST request.
const PAGE: u32 = 500;

/// What a namespace is to a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NamespaceState {
    /// It takes objects.
    Active,
    /// It is being deleted.
    Terminating,
    /// It will be made.
    Missing,
}

/// Found out once for a plan.
pub(super) struct Facts {
    namespaces: Mutex<HashMap<String, Arc<OnceCell<NamespaceState>>>>,
    /// Storage classes of the cluster and of the backup, and those that volumes name.
    pub(super) classes: HashSet<String>,
    /// The names of the definitions in the backup that are restored.
    definitions: HashSet<String>,
}

impl Facts {
    /// Reads classes from the cluster, and classes and definitions from the backup.
    pub(super) async fn gather(run: &Run, spool: &Arc<Spool>) -> Result<Self, EngineError> {
        let mut classes = HashSet::new();
        let class_kind = kind("storageclasses", "storage.k8s.io", "StorageClass");
        let volume_kind = kind("persistentvolumes", "", "PersistentVolume");
        for (api, field) in [
            (&class_kind, "/metadata/name"),
            (&volume_kind, "/spec/storageClassName"),
        ] {
            list(&run.cluster, api, field, &mut classes).await?;
        }
        let (plan, spool) = (run.plan.clone(), spool.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let mut definitions = HashSet::new();
            let steps = plan.classes.iter().flat_map(|class| &class.resources);
            for step in steps {
                let kind = &step.group_resource;
                let field = if *kind == class_kind.group_resource {
                    "/metadata/name"
                } else if *kind == volume_kind.group_resource {
                    "/spec/storageClassName"
                } else if kind.is("customresourcedefinitions", "apiextensions.k8s.io") {
                    "/metadata/name"
                } else {
                    continue;
                };
                let found = if kind.resource == "customresourcedefinitions" {
                    &mut definitions
                } else {
                    &mut classes
                };
                for block in spool.blocks(kind) {
                    for record in spool.read(block)? {
                        let object: Value = serde_json::from_slice(&record.json).unwrap_or_default();
                        found.extend(text(&object, field));
                    }
                }
            }
            Ok((classes, definitions))
        });
        let (classes, definitions) = reading.await.map_err(bad_plan)??;
        Ok(Self {
            namespaces: Mutex::default(),
            classes,
            definitions,
        })
    }

    /// Whether the backup's definitions bring a kind.
    pub(super) fn defines(&self, kind: &GroupResource) -> bool {
        self.definitions.contains(&kind.to_string())
    }

    /// The state of a namespace, asked once.
    pub(super) async fn namespace(&self, run: &Run, name: &str) -> Result<NamespaceState, EngineError> {
        let cell = {
            let mut known = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
            known.entry(name.to_owned()).or_default().clone()
        };
        let asked = cell.get_or_try_init(|| async {
            let place = ObjectName::new("", name);
            match run.cluster.get(&namespace_kind(), &place).await {
                Ok(bytes) => {
                    let object: Value = serde_json::from_slice(&bytes).unwrap_or_default();
                    let deleting = object.pointer("/metadata/deletionTimestamp");
                    Ok(match deleting {
                        Some(time) if !time.is_null() => NamespaceState::Terminating,
                        _ => NamespaceState::Active,
                    })
                }
                Err(error) if error.is_not_found() => Ok(NamespaceState::Missing),
                // Without leave to read namespaces, the dry runs will tell.
                Err(error) if error.code() == Some(403) => Ok(NamespaceState::Active),
                Err(error) => Err(EngineError::cluster("the plan ended early", error)),
            }
        });
        asked.await.copied()
    }
}

/// What tells one cluster from another; empty where it may not be read.
pub(super) async fn cluster_id(cluster: &Cluster) -> Result<String, EngineError> {
    match cluster
        .get(&namespace_kind(), &ObjectName::new("", "kube-system"))
        .await
    {
        Ok(bytes) => {
            let object: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            Ok(text(&object, "/metadata/uid").unwrap_or_default())
        }
        Err(error) if error.code().is_some() => Ok(String::new()),
        Err(error) => Err(EngineError::cluster("cannot plan the restore", error)),
    }
}

/// Adds a field of all objects of a kind. Without leave to list it there is nothing to add.
async fn list(
    cluster: &Cluster,
    api: &ApiResource,
    field: &str,
    found: &mut HashSet<String>,
) -> Result<(), EngineError> {
    let mut pages = cluster.list_pages(api, None, None, PAGE);
    loop {
        match pages.next().await {
            Ok(Some(json)) => {
                let object: Value = serde_json::from_slice(&json).unwrap_or_default();
                found.extend(text(&object, field));
            }
            Ok(None) => return Ok(()),
            Err(error) if refused(&error) => return Ok(()),
            Err(error) => return Err(EngineError::cluster("cannot plan the restore", error)),
        }
    }
}

fn refused(error: &ClusterError) -> bool {
    matches!(error.code(), Some(403..=405))
}

fn text(object: &Value, field: &str) -> Option<String> {
    object.pointer(field).and_then(Value::as_str).map(str::to_owned)
}

fn kind(resource: &str, group: &str, kind: &str) -> ApiResource {
    ApiResource {
        group_resource: GroupResource::new(resource, group),
        version: "v1".into(),
        kind: kind.into(),
        namespaced: false,
        aliases: Vec::new(),
        verbs: Vec::new(),
    }
}
