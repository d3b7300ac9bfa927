//! What holds for all objects of one restore.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use jiff::Timestamp;
use refloat_model::{
    GroupResource, RestoreSpec, labels, resource::ApiResource, volume_info::BackupVolumeInfo,
};
use serde_json::Value;

use super::Transforms;
use crate::{
    PlanError, api_conversion::ServedKinds, existing::may_be_recreated, filter::KindFilter,
    hooks::RestoreHookRules, json,
};

/// What happens to an object that is already in the cluster and differs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExistingPolicy {
    /// The spec says nothing: as [`ExistingPolicy::None`].
    #[default]
    Unset,
    /// It stays, with a warning.
    None,
    /// It is patched.
    Update,
    /// It is patched; where the server refuses that, because a field cannot be changed, it is deleted
    /// and created again. Ours; Velero has no such policy.
    Recreate,
}

impl ExistingPolicy {
    /// Whether what exists and differs is changed.
    #[must_use]
    pub const fn changes(self) -> bool {
        matches!(self, Self::Update | Self::Recreate)
    }
}

/// What holds for all objects of one restore.
#[derive(Clone, Debug)]
pub struct RestoreContext {
    /// Namespace in the backup → namespace in the cluster.
    pub namespace_mapping: BTreeMap<String, String>,
    /// Keep node ports that the cluster had assigned.
    pub preserve_node_ports: bool,
    /// What happens to what exists.
    pub existing: ExistingPolicy,
    /// Persistent volumes that are provisioned anew; the engine adds the names that
    /// [`super::Prepared::Skip`] marks, before it prepares claims.
    pub reprovisioned: HashSet<String>,
    /// When the restore began, as the API server's clock may have it: an object with this restore's
    /// label that is older was made by another restore of the same name. Absent: age does not count.
    pub not_before: Option<Timestamp>,
    /// What runs in restored pods.
    pub hooks: RestoreHookRules,
    /// What the target serves, for objects stored in a version that it does not; the default knows
    /// nothing and converts nothing.
    pub served: Arc<ServedKinds>,
    /// What is changed on request.
    pub transforms: Arc<Transforms>,
    /// How the data of each persistent volume was backed up.
    pub(super) volume_methods: HashMap<String, String>,
    status_kinds: Option<KindFilter>,
    restore_label: String,
    backup_label: String,
}

impl RestoreContext {
    /// Whether an object of a kind that cannot be changed is deleted and created again.
    #[must_use]
    pub fn recreates(&self, resource: &GroupResource) -> bool {
        self.existing == ExistingPolicy::Recreate && may_be_recreated(resource)
    }

    /// From the spec (with `backupName` filled in), the kinds of the cluster and the backup's volumes.
    ///
    /// # Errors
    /// A pattern in `restoreStatus` or a selector in `hooks` that cannot be read.
    pub fn new(
        restore_name: &str,
        spec: &RestoreSpec,
        target: &[ApiResource],
        volumes: &[BackupVolumeInfo],
    ) -> Result<Self, PlanError> {
        let fields = [
            "spec.restoreStatus.includedResources",
            "spec.restoreStatus.excludedResources",
        ];
        let status_kinds = match &spec.restore_status {
            Some(status) => {
                let (included, excluded) = (&status.included_resources, &status.excluded_resources);
                Some(KindFilter::new(fields, included, excluded, target)?)
            }
            None => None,
        };
        let with_data = volumes
            .iter()
            .filter(|info| !info.skipped && !info.backup_method.is_empty());
        Ok(Self {
            namespace_mapping: spec.namespace_mapping.clone(),
            preserve_node_ports: spec.preserve_node_ports == Some(true),
            existing: match spec.existing_resource_policy.as_str() {
                "update" => ExistingPolicy::Update,
                "recreate" => ExistingPolicy::Recreate,
                "none" => ExistingPolicy::None,
                _ => ExistingPolicy::Unset,
            },
            reprovisioned: HashSet::new(),
            not_before: None,
            hooks: RestoreHookRules::new(restore_name, &spec.hooks)?,
            served: Arc::default(),
            transforms: Arc::default(),
            volume_methods: with_data
                .map(|info| (info.pv_name.clone(), info.backup_method.clone()))
                .collect(),
            status_kinds,
            restore_label: labels::label_value(restore_name),
            backup_label: labels::label_value(&spec.backup_name),
        })
    }

    /// Where a namespace of the backup goes.
    #[must_use]
    pub fn target_namespace<'a>(&'a self, namespace: &'a str) -> &'a str {
        self.namespace_mapping
            .get(namespace)
            .map_or(namespace, String::as_str)
    }

    /// The value of the label `velero.io/restore-name`.
    #[must_use]
    pub fn restore_label(&self) -> &str {
        &self.restore_label
    }

    /// The value of the label `velero.io/backup-name`.
    #[must_use]
    pub fn backup_label(&self) -> &str {
        &self.backup_label
    }

    /// Whether an object's status is restored: the spec says for which kinds, the object's own
    /// annotation overrides it.
    #[must_use]
    pub fn restores_status(&self, resource: &GroupResource, object: &Value) -> bool {
        let annotations = json::object(object, &["metadata", "annotations"]);
        let own = annotations
            .and_then(|map| map.get(labels::RESTORE_STATUS))
            .and_then(Value::as_str);
        match own.map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            Some("true") => true,
            Some("false") => false,
            _ => self
                .status_kinds
                .as_ref()
                .is_some_and(|kinds| kinds.includes(resource)),
        }
    }
}
