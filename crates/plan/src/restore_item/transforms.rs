//! What a restore is asked to change in objects: by ConfigMaps that hold for all restores (storage
//! classes, images) and by the rules that its spec names.

use std::collections::BTreeMap;

use refloat_model::GroupResource;
use serde_json::Value;

use super::{image, storage_class};
use crate::{json, resource_modifier::ResourceModifiers};

/// A ConfigMap's pairs; the error, where there is more than one such ConfigMap, is about each object
/// that it concerns.
pub type NameMap = Result<BTreeMap<String, String>, String>;

/// What a restore changes on request. The default changes nothing and costs nothing.
#[derive(Clone, Debug)]
pub struct Transforms {
    /// Old to new storage class.
    pub storage_classes: NameMap,
    /// Values `old,new`: parts of names of images.
    pub images: NameMap,
    /// The rules of `spec.resourceModifier`.
    pub modifiers: Option<ResourceModifiers>,
}

impl Default for Transforms {
    fn default() -> Self {
        Self {
            storage_classes: Ok(BTreeMap::new()),
            images: Ok(BTreeMap::new()),
            modifiers: None,
        }
    }
}

impl Transforms {
    /// Applies the two maps. Hands out the storage classes that must exist for it.
    ///
    /// # Errors
    /// Why the object cannot be restored.
    pub(super) fn apply_maps(
        &self,
        resource: &GroupResource,
        object: &mut Value,
    ) -> Result<Vec<String>, String> {
        let mut needed = Vec::new();
        if storage_class::applies_to(resource) {
            let map = self.storage_classes.as_ref().map_err(Clone::clone)?;
            if !map.is_empty() {
                needed = storage_class::change(map, resource, object);
            }
        }
        if let Some(pod_spec) = image::pod_spec(resource) {
            let map = self.images.as_ref().map_err(Clone::clone)?;
            if !map.is_empty() {
                image::change(map, pod_spec, object);
            }
        }
        Ok(needed)
    }

    /// Applies the rules to an object of a kind that was `stored` under one name and may have been
    /// converted to another. Hands out what went wrong.
    pub(super) fn modify(
        &self,
        stored: &GroupResource,
        resource: &GroupResource,
        object: &mut Value,
    ) -> Vec<String> {
        let Some(modifiers) = &self.modifiers else {
            return Vec::new();
        };
        let (stored, now) = (stored.to_string(), resource.to_string());
        let names = [stored.as_str(), now.as_str()];
        let names = if stored == now { &names[..1] } else { &names[..] };
        let errors = modifiers.apply(names, object);
        // What a create never carries, whatever the rules say.
        for field in ["uid", "resourceVersion"] {
            json::remove(object, &["metadata"], field);
        }
        errors
    }
}
