//! Which storage classes there are, for objects that a map gives another one.

use std::collections::HashSet;

use refloat_model::{GroupResource, ObjectName, resource::ApiResource};
use tokio::sync::Mutex;

use super::execute::Run;
use crate::EngineError;

/// Storage classes that were looked for; those that are there stay there.
#[derive(Default)]
pub(super) struct StorageClasses {
    there: Mutex<HashSet<String>>,
}

impl StorageClasses {
    /// What is missing of the classes that an object was given; the inner error is about it alone.
    pub(super) async fn check(
        &self,
        run: &Run,
        classes: &[String],
    ) -> Result<Result<(), String>, EngineError> {
        for class in classes {
            let mut there = self.there.lock().await;
            if there.contains(class) {
                continue;
            }
            let name = ObjectName::new("", class.as_str());
            match run.cluster.get(&storage_class_kind(), &name).await {
                Ok(_) => drop(there.insert(class.clone())),
                Err(error) if error.code().is_some() => {
                    return Ok(Err(format!(
                        "error getting storage class {class} from API: {}; the ConfigMap labelled \
                         velero.io/change-storage-class names it",
                        error.server_message()
                    )));
                }
                Err(error) => return Err(EngineError::cluster("the restore ended early", error)),
            }
        }
        Ok(Ok(()))
    }
}

fn storage_class_kind() -> ApiResource {
    ApiResource {
        group_resource: GroupResource::new("storageclasses", "storage.k8s.io"),
        version: "v1".into(),
        kind: "StorageClass".into(),
        namespaced: false,
        aliases: Vec::new(),
        verbs: Vec::new(),
    }
}
