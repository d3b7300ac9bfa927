//! The flags that make a backup's spec; schedules have the same ones for their template.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use clap::Args;
use refloat_model::{
    BackupSpec, GoDuration,
    backup::{BackupUploaderConfig, TypedLocalReference},
};

use crate::{
    flags::{List, list},
    selector::{OrSelector, Selector},
};

/// What to back up, where to, for how long and how.
#[derive(Args, Clone, Debug)]
pub struct Scope {
    /// Namespaces to include; '*': all
    #[arg(long, value_name = "NAMESPACE,…", default_value = "*")]
    pub include_namespaces: List,
    /// Namespaces to exclude
    #[arg(long, value_name = "NAMESPACE,…")]
    pub exclude_namespaces: Option<List>,
    /// Resources to include, as resource.group; '*': all
    #[arg(long, value_name = "RESOURCE,…")]
    pub include_resources: Option<List>,
    /// Resources to exclude, as resource.group
    #[arg(long, value_name = "RESOURCE,…")]
    pub exclude_resources: Option<List>,
    /// Cluster-scoped resources to include; not together with --include-resources, --exclude-resources,
    /// --include-cluster-resources
    #[arg(long, value_name = "RESOURCE,…")]
    pub include_cluster_scoped_resources: Option<List>,
    /// Cluster-scoped resources to exclude
    #[arg(long, value_name = "RESOURCE,…")]
    pub exclude_cluster_scoped_resources: Option<List>,
    /// Namespaced resources to include
    #[arg(long, value_name = "RESOURCE,…")]
    pub include_namespace_scoped_resources: Option<List>,
    /// Namespaced resources to exclude
    #[arg(long, value_name = "RESOURCE,…")]
    pub exclude_namespace_scoped_resources: Option<List>,
    /// Whether to include cluster-scoped resources; unless said: those that included objects need
    #[arg(long)]
    pub include_cluster_resources: Option<bool>,
    /// Only objects that match this label selector
    #[arg(short = 'l', long)]
    pub selector: Option<Selector>,
    /// Only objects that match any of these label selectors: "a=b or c=d"
    #[arg(long, value_name = "SELECTOR or SELECTOR…")]
    pub or_selector: Option<OrSelector>,
    /// How long the backup is kept [default: the server's, 720h]
    #[arg(long, value_name = "DURATION")]
    pub ttl: Option<GoDuration>,
    /// The storage location [default: the default one]
    #[arg(long, value_name = "NAME")]
    pub storage_location: Option<String>,
    /// Locations of volume snapshots, at most one per provider
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', action = clap::ArgAction::Append)]
    pub volume_snapshot_locations: Vec<String>,
    /// Whether to snapshot volumes
    #[arg(long)]
    pub snapshot_volumes: Option<bool>,
    /// Whether to copy snapshots into the object store
    #[arg(long)]
    pub snapshot_move_data: Option<bool>,
    /// The data mover [default: the built-in one]
    #[arg(long, value_name = "NAME")]
    pub data_mover: Option<String>,
    /// Whether to copy pod volumes by file unless they opt out
    #[arg(long)]
    pub default_volumes_to_fs_backup: Option<bool>,
    /// Objects to back up first, in order: 'pods=ns1/a,ns1/b;persistentvolumeclaims=ns1/c'
    #[arg(long, value_name = "KIND=NAME,…;…")]
    pub ordered_resources: Option<String>,
    /// How long to wait for a CSI snapshot
    #[arg(long, value_name = "DURATION")]
    pub csi_snapshot_timeout: Option<GoDuration>,
    /// How long asynchronous operations may take
    #[arg(long, value_name = "DURATION")]
    pub item_operation_timeout: Option<GoDuration>,
    /// A ConfigMap with resource policies
    #[arg(long, value_name = "NAME")]
    pub resource_policies_configmap: Option<String>,
    /// How many files are uploaded at once
    #[arg(long, value_name = "NUMBER")]
    pub parallel_files_upload: Option<i64>,
    /// The label that groups claims for group snapshots
    #[arg(long, value_name = "KEY")]
    pub volume_group_snapshot_label_key: Option<String>,
}

impl Scope {
    /// The spec, or why the flags contradict each other.
    ///
    /// # Errors
    /// What contradicts what.
    pub fn spec(&self) -> Result<BackupSpec> {
        if self.selector.is_some() && self.or_selector.is_some() {
            bail!("either a 'selector' or an 'or-selector' can be specified, but not both");
        }
        let old = self.include_resources.is_some()
            || self.exclude_resources.is_some()
            || self.include_cluster_resources.is_some();
        let scoped = self.include_cluster_scoped_resources.is_some()
            || self.exclude_cluster_scoped_resources.is_some()
            || self.include_namespace_scoped_resources.is_some()
            || self.exclude_namespace_scoped_resources.is_some();
        if old && scoped {
            bail!(
                "--include-resources, --exclude-resources and --include-cluster-resources cannot be used together with \
                 --include-cluster-scoped-resources, --exclude-cluster-scoped-resources, \
                 --include-namespace-scoped-resources and --exclude-namespace-scoped-resources"
            );
        }
        Ok(BackupSpec {
            included_namespaces: self.include_namespaces.0.clone(),
            excluded_namespaces: list(self.exclude_namespaces.as_ref()),
            included_resources: list(self.include_resources.as_ref()),
            excluded_resources: list(self.exclude_resources.as_ref()),
            included_cluster_scoped_resources: list(self.include_cluster_scoped_resources.as_ref()),
            excluded_cluster_scoped_resources: list(self.exclude_cluster_scoped_resources.as_ref()),
            included_namespace_scoped_resources: list(self.include_namespace_scoped_resources.as_ref()),
            excluded_namespace_scoped_resources: list(self.exclude_namespace_scoped_resources.as_ref()),
            label_selector: self.selector.clone().map(|Selector(selector)| selector),
            or_label_selectors: self
                .or_selector
                .clone()
                .map(|OrSelector(selectors)| selectors)
                .unwrap_or_default(),
            include_cluster_resources: self.include_cluster_resources,
            ttl: self.ttl.unwrap_or_default(),
            storage_location: self.storage_location.clone().unwrap_or_default(),
            volume_snapshot_locations: self.volume_snapshot_locations.clone(),
            snapshot_volumes: self.snapshot_volumes,
            snapshot_move_data: self.snapshot_move_data,
            datamover: self.data_mover.clone().unwrap_or_default(),
            default_volumes_to_fs_backup: self.default_volumes_to_fs_backup,
            ordered_resources: self
                .ordered_resources
                .as_deref()
                .map_or_else(|| Ok(BTreeMap::new()), ordered)?,
            csi_snapshot_timeout: self.csi_snapshot_timeout.unwrap_or_default(),
            item_operation_timeout: self.item_operation_timeout.unwrap_or_default(),
            resource_policy: self
                .resource_policies_configmap
                .as_ref()
                .map(|name| TypedLocalReference {
                    api_group: None,
                    kind: "configmap".into(),
                    name: name.clone(),
                }),
            uploader_config: self.parallel_files_upload.filter(|files| *files > 0).map(
                |parallel_files_upload| BackupUploaderConfig {
                    parallel_files_upload,
                },
            ),
            volume_group_snapshot_label_key: self.volume_group_snapshot_label_key.clone().unwrap_or_default(),
            ..BackupSpec::default()
        })
    }
}

/// `kind=name,…;kind=name,…` as a map.
fn ordered(text: &str) -> Result<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    for entry in text.split(';').filter(|entry| !entry.trim().is_empty()) {
        let Some((kind, names)) = entry.split_once('=').filter(|(_, names)| !names.contains('=')) else {
            bail!("--ordered-resources: {entry:?} is not of the form kind=name,name");
        };
        map.insert(kind.trim().to_owned(), names.trim().to_owned());
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordered_resources_are_separated_by_semicolons() {
        let map = ordered("pods=ns1/a,ns1/b;persistentvolumeclaims=ns2/c").unwrap();
        assert_eq!(map["pods"], "ns1/a,ns1/b");
        assert_eq!(map["persistentvolumeclaims"], "ns2/c");
        assert!(ordered("pods").unwrap_err().to_string().contains("\"pods\""));
        assert!(ordered("a=b=c").is_err());
    }
}
