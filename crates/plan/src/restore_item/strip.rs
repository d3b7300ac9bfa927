//! Takes out what the API server or a controller set and what therefore does not come back.

use serde_json::Value;

/// What [`strip`] took out.
#[derive(Debug, Default)]
pub(crate) struct Stripped {
    pub(crate) status: Option<Value>,
    pub(crate) managed_fields: Option<Value>,
}

/// Removes the status, the field managers and all metadata that belongs to one life of an object.
pub(crate) fn strip(object: &mut Value) -> Stripped {
    let Some(object) = object.as_object_mut() else {
        return Stripped::default();
    };
    let status = object.shift_remove("status");
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return Stripped {
            status,
            managed_fields: None,
        };
    };
    let managed_fields = metadata.shift_remove("managedFields");
    metadata.retain(|key, _| {
        !matches!(
            key.as_str(),
            "generateName"
                | "selfLink"
                | "uid"
                | "resourceVersion"
                | "generation"
                | "creationTimestamp"
                | "deletionTimestamp"
                | "deletionGracePeriodSeconds"
                | "ownerReferences"
        )
    });
    Stripped {
        status,
        managed_fields,
    }
}
