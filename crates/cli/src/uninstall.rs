//! `uninstall`: takes the server and the custom resources out of a cluster. What is in buckets stays.

use anyhow::Result;
use clap::Args;
use refloat_cluster::{Cluster, typed::Object as _};
use refloat_model::Restore;
use serde_json::{Value, json};

use crate::{
    exit::{self, Outcome},
    install::{apply as objects, binding_name, definitions},
    output::say,
    session::{self, Session},
};

/// Flags of `uninstall`.
#[derive(Args, Clone, Debug)]
pub struct UninstallFlags {
    /// Do not ask
    #[arg(long, visible_alias = "confirm")]
    force: bool,
    /// Understood: it always waits until everything is gone
    #[arg(long = "wait")]
    _wait: bool,
}

impl UninstallFlags {
    /// Removes everything that `install` makes.
    ///
    /// # Errors
    /// Where the server cannot be asked or something does not go away.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        let namespace = &session.namespace;
        if !self.force {
            let question = format!(
                "You are about to uninstall Refloat: namespace {namespace} with all that is in it, and the custom resources of \
                 velero.io in the whole cluster. Backups in buckets stay.\n"
            );
            if !session::confirmed(&question)? {
                return Ok(Outcome::Done);
            }
        }
        let cluster = session.cluster().await?;
        if let Err(error) = release_restores(&cluster, namespace).await {
            exit::complain(&format!("warning: {}", exit::chain(&error)));
        }
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": { "name": binding_name(namespace) },
        });
        let home = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        for object in [&home, &binding] {
            remove(&cluster, object).await?;
        }
        for definition in definitions()? {
            remove(&cluster, &definition).await?;
        }
        say("Refloat uninstalled")?;
        Ok(Outcome::Done)
    }
}

/// Takes the finalizers off restores: with the server gone nobody else would, and the namespace would
/// never go.
async fn release_restores(cluster: &Cluster, namespace: &str) -> Result<()> {
    let restores = cluster.objects::<Restore>(namespace);
    let found = match restores.list(None).await {
        Err(error) if error.is_not_found() => return Ok(()),
        other => other?,
    };
    for restore in found {
        if restore
            .metadata
            .finalizers
            .as_ref()
            .is_some_and(|finalizers| !finalizers.is_empty())
        {
            restores
                .merge_patch(
                    restore.object_name(),
                    &json!({ "metadata": { "finalizers": null } }),
                )
                .await?;
        }
    }
    Ok(())
}

async fn remove(cluster: &Cluster, object: &Value) -> Result<()> {
    let label = objects::label(object);
    if objects::find(cluster, object).await?.is_none() {
        return say(&format!("{label} does not exist, skipping."));
    }
    cluster
        .delete(&objects::resource(object), &objects::name(object))
        .await?;
    objects::gone(cluster, object).await?;
    say(&format!("{label} deleted"))
}
