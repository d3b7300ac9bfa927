//! `BackupStorageLocation` and `VolumeSnapshotLocation` (`velero.io/v1`): where backups live.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::SecretKeySelector, apimachinery::pkg::apis::meta::v1::Time};
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    GoDuration,
    serde_null::{is_default, null_as_default},
};

/// A bucket (or folder) that holds backups.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "BackupStorageLocation",
    namespaced,
    shortname = "bsl",
    status = "BackupStorageLocationStatus",
    derive = "Default",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Phase","type":"string","description":"Backup Storage Location status such as Available/Unavailable","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Last Validated","type":"date","description":"LastValidationTime is the last time the backup store location was validated","jsonPath":".status.lastValidationTime"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Default","type":"boolean","description":"Default backup storage location","jsonPath":".spec.default"}"#,
    crates(kube_core = "kube_core")
)]
#[serde(rename_all = "camelCase")]
pub struct BackupStorageLocationSpec {
    /// `aws`, `azure`, `gcp`, `alibabacloud` or `filesystem`, with or without `velero.io/`.
    pub provider: String,
    /// Settings of the provider, as Velero's plugins name them.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub config: BTreeMap<String, String>,
    /// The secret and key that hold the credentials file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<SecretKeySelector>,
    /// The bucket.
    pub object_storage: ObjectStorageLocation,
    /// Whether it is the location of backups that name none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub default: bool,
    /// Whether it may be written; absent: `ReadWrite`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<AccessMode>,
    /// How often backups found in the bucket become custom resources; zero: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_sync_period: Option<GoDuration>,
    /// How often the location is probed; zero: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_frequency: Option<GoDuration>,
}

/// A bucket and the prefix of all keys in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectStorageLocation {
    /// The bucket; no slashes.
    pub bucket: String,
    /// In front of every key, without a slash at either end.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub prefix: String,
    /// A PEM bundle to trust, base64 on the wire.
    #[serde(default, rename = "caCert", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "bytes")]
    pub ca_cert: Option<k8s_openapi::ByteString>,
    /// The secret and key that hold a PEM bundle to trust (1.18).
    #[serde(default, rename = "caCertRef", skip_serializing_if = "Option::is_none")]
    pub ca_cert_ref: Option<SecretKeySelector>,
}

/// Base64 text, as Kubernetes writes bytes.
fn bytes(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "format": "byte" })
}

/// Whether a location may be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccessMode {
    /// Backups may be added and deleted.
    #[default]
    ReadWrite,
    /// Only restores.
    ReadOnly,
}

/// Whether a location can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum LocationPhase {
    /// The last probe worked.
    Available,
    /// The last probe failed; `message` tells why.
    Unavailable,
}

/// What the last probe and the last sync found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStorageLocationStatus {
    /// Absent until the first probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<LocationPhase>,
    /// When the bucket was last compared with the custom resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_synced_time: Option<Time>,
    /// When the location was last probed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_validation_time: Option<Time>,
    /// Why it is unavailable.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub message: String,
    /// Not used since Velero 1.2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_synced_revision: Option<String>,
    /// Old place of the access mode.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<AccessMode>,
}

/// Where native volume snapshots live.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "VolumeSnapshotLocation",
    namespaced,
    shortname = "vsl",
    status = "VolumeSnapshotLocationStatus",
    derive = "Default",
    derive = "PartialEq",
    crates(kube_core = "kube_core")
)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotLocationSpec {
    /// The snapshot provider.
    pub provider: String,
    /// Settings of the provider.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub config: BTreeMap<String, String>,
    /// The secret and key that hold the credentials file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<SecretKeySelector>,
}

/// What is known of a snapshot location.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VolumeSnapshotLocationStatus {
    /// Whether it can be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<LocationPhase>,
}
