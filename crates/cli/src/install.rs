//! `install`: the server with all that it needs, as `velero install` puts it into a cluster.

pub mod apply;
pub mod flags;
pub mod manifests;
pub mod workloads;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

pub(crate) use self::manifests::{binding_name, definitions};
pub use flags::InstallFlags;

use crate::{
    exit::{self, Outcome},
    flags::Format,
    output::{self, encode, say},
    session::Session,
};

impl InstallFlags {
    /// Makes the objects and applies them, or prints them.
    ///
    /// # Errors
    /// Where the flags contradict each other, or the API server refuses an object.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        self.check()?;
        if !self.plugins.is_empty() {
            exit::complain("warning: --plugins has no effect: the providers are built into the server");
        }
        let definitions = manifests::definitions()?;
        let rest = if self.crds_only {
            Vec::new()
        } else {
            manifests::all(self, &session.namespace)?
        };
        if let Some(format) = self.output {
            print(definitions.iter().chain(&rest), format)?;
        }
        if self.dry_run {
            return Ok(Outcome::Done);
        }
        let cluster = session.cluster().await?;
        for object in &definitions {
            apply::apply(&cluster, object).await?;
            say(&format!("{}: applied", apply::label(object)))?;
        }
        for object in &definitions {
            apply::established(&cluster, object).await?;
        }
        for object in &rest {
            apply::apply(&cluster, object).await?;
            say(&format!("{}: applied", apply::label(object)))?;
        }
        if self.crds_only {
            return Ok(Outcome::Done);
        }
        if self.wait {
            for object in rest
                .iter()
                .filter(|object| matches!(object["kind"].as_str(), Some("Deployment" | "DaemonSet")))
            {
                say(&format!("Waiting for {} to be ready.", apply::label(object)))?;
                apply::ready(&cluster, object).await?;
            }
        }
        if self.secret_file.is_none() {
            say("\nNo secret file was specified, no Secret created.\n")?;
        }
        if self.no_default_backup_location {
            say("\nNo bucket and provider were specified, no default backup storage location created.\n")?;
        }
        let namespace = &session.namespace;
        say(&format!(
            "Refloat is installed! Use 'kubectl logs deployment/velero -n {namespace}' to view the status."
        ))?;
        Ok(Outcome::Done)
    }
}

fn print<'a>(objects: impl Iterator<Item = &'a Value>, format: Format) -> Result<()> {
    let objects: Vec<_> = objects.collect();
    match format {
        Format::Yaml => {
            let documents: Result<Vec<_>> = objects.into_iter().map(encode::yaml).collect();
            output::print(&documents.context("cannot print the objects")?.join("---\n"))
        }
        Format::Json | Format::Table => {
            let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
            output::print(&encode::document(&list, Format::Json)?)
        }
    }
}
