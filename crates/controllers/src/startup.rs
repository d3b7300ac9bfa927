//! What must be right before the server can work.

use refloat_cluster::Cluster;
use refloat_model::crds;
use refloat_plan::priorities::Priorities;

use crate::{ControllerError, ServerOptions};

/// The order of kinds in restores.
///
/// # Errors
/// [`ControllerError::Option`] where the flag's value cannot be read.
pub(crate) fn priorities(options: &ServerOptions) -> Result<Priorities, ControllerError> {
    let flag = "--restore-resource-priorities";
    let text = options.restore_resource_priorities.join(",");
    text.parse()
        .map_err(|source| ControllerError::Option { flag, source })
}

/// Whether the API server serves all our custom resources.
///
/// # Errors
/// [`ControllerError::MissingCrds`] with the names of those that it does not.
pub(crate) async fn check_crds(cluster: &Cluster) -> Result<(), ControllerError> {
    let encode = |source| ControllerError::Encode {
        what: "the custom resource definitions".into(),
        source,
    };
    let mut missing = Vec::new();
    let mut served: Vec<(String, Vec<String>)> = Vec::new();
    for crd in crds::all().map_err(encode)? {
        for version in &crd.spec.versions {
            let api_version = format!("{}/{}", crd.spec.group, version.name);
            if !served.iter().any(|(known, _)| *known == api_version) {
                served.push((api_version.clone(), cluster.served_resources(&api_version).await?));
            }
            let plural = &crd.spec.names.plural;
            if !served
                .iter()
                .any(|(known, names)| *known == api_version && names.contains(plural))
            {
                missing.push(format!("{plural}.{api_version}"));
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(ControllerError::MissingCrds {
        names: missing.join(", "),
    })
}

/// Whether the API server serves the custom resources of our own group. Where only Velero's are
/// installed the server works without what they are for.
pub(crate) async fn has_own(cluster: &Cluster) -> bool {
    let served = cluster.served_resources("refloat.io/v1alpha1").await;
    let there = served.is_ok_and(|names| names.iter().any(|name| name == "restoreplans"));
    if !there {
        tracing::info!(
            "restore plans are not offered: `refloat install --crds-only` adds their custom resource, then start again"
        );
    }
    there
}

/// Whether the server's namespace exists. An account that may not read namespaces gets the benefit
/// of the doubt.
///
/// # Errors
/// [`ControllerError::MissingNamespace`], or whatever the request reports.
pub(crate) async fn check_namespace(cluster: &Cluster, namespace: &str) -> Result<(), ControllerError> {
    let action = format!("read namespace {namespace}");
    match cluster
        .get_bytes(&action, &format!("/api/v1/namespaces/{namespace}"))
        .await
    {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Err(ControllerError::MissingNamespace {
            namespace: namespace.to_owned(),
        }),
        Err(error) if error.code() == Some(403) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
