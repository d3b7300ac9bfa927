//! `plugin get`: what the server can do.

use anyhow::Result;
use clap::{Args, Subcommand};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use refloat_model::GoDuration;

use crate::{
    exit::Outcome,
    flags::{Format, OutputFlags, length},
    output::{self, encode, table::Table},
    session::Session,
    version,
};

/// What to do with plugins. Ours are built in, so there is nothing to add or remove.
#[derive(Subcommand, Debug)]
pub enum PluginVerb {
    /// Get what the server can do
    Get(GetFlags),
}

/// Flags of `plugin get`.
#[derive(Args, Clone, Debug)]
pub struct GetFlags {
    /// How long the server may take to answer [default: 5s]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<GoDuration>,
    #[command(flatten)]
    output: OutputFlags,
}

impl PluginVerb {
    /// Prints what the server can do.
    ///
    /// # Errors
    /// Where the server does not answer.
    pub async fn run(self, session: &Session) -> Result<Outcome> {
        let Self::Get(flags) = self;
        let limit = length(flags.timeout, version::ANSWER_LIMIT);
        let status = version::status(&session.cluster().await?, &session.namespace, limit).await?;
        let text = match flags.output.output.unwrap_or(Format::Table) {
            Format::Table => {
                let mut table = Table::new(&["NAME", "KIND"]);
                for plugin in status.plugins {
                    table.push(vec![plugin.name, plugin.kind], &ObjectMeta::default());
                }
                table.render(&flags.output)
            }
            format => encode::document(&serde_json::to_value(status)?, format)?,
        };
        output::print(&text)?;
        Ok(Outcome::Done)
    }
}
