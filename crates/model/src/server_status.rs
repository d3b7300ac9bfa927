//! The `ServerStatusRequest` custom resource (`velero.io/v1`): `velero version` and `plugin get`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube_derive::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::serde_null::{is_default, null_as_default};

/// Asks the server who it is.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "velero.io",
    version = "v1",
    kind = "ServerStatusRequest",
    namespaced,
    shortname = "ssr",
    status = "ServerStatusRequestStatus",
    derive = "Default",
    derive = "PartialEq",
    crates(kube_core = "kube_core")
)]
pub struct ServerStatusRequestSpec {}

/// Whether the answer is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServerStatusRequestPhase {
    /// Not yet looked at.
    #[default]
    New,
    /// The answer is there.
    Processed,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerStatusRequestStatus {
    /// Whether the answer is there.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "is_default"
    )]
    pub phase: ServerStatusRequestPhase,
    /// When it was answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed_timestamp: Option<Time>,
    /// The server's version.
    #[serde(default, skip_serializing_if = "is_default")]
    pub server_version: String,
    /// What the server can do, one entry per provider or action.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub plugins: Vec<PluginInfo>,
}

/// A provider or action of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PluginInfo {
    /// For example `velero.io/aws`.
    pub name: String,
    /// For example `ObjectStore`.
    pub kind: String,
}
