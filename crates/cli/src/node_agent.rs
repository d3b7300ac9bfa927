//! `node-agent server`: stays up, serves health and metrics, and says that it copies no volumes.
//!
//! `velero install --use-node-agent` makes a DaemonSet of it. This release backs up and restores API
//! objects; the copying of volumes comes with a later one, and until then this program says so
//! instead of failing a roll-out that is otherwise good.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use refloat_model::GoDuration;
use refloat_web::{Listener, health};

use crate::{
    exit::Outcome,
    logging::{self, LogFormat, LogLevel},
    server::address,
    session::Session,
    wait,
};

/// What the agent of a node does.
#[derive(Subcommand, Debug)]
pub enum NodeAgentVerb {
    /// Run the agent
    Server(AgentFlags),
}

/// Flags of `node-agent server`.
#[derive(Args, Clone, Debug)]
pub struct AgentFlags {
    /// From which level on lines are logged
    #[arg(long, value_enum, default_value = "info", value_name = "LEVEL")]
    log_level: LogLevel,
    /// How log lines look
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    log_format: LogFormat,
    /// Where metrics and health are served
    #[arg(long, default_value = ":8085", value_name = "HOST:PORT", value_parser = address)]
    metrics_address: SocketAddr,
    /// How long preparing a data movement may take
    #[arg(
        long = "data-mover-prepare-timeout",
        default_value = "30m",
        value_name = "DURATION"
    )]
    data_mover_prepare_timeout: GoDuration,
    /// How long to wait for a resource to become what it should
    #[arg(long = "resource-timeout", default_value = "10m", value_name = "DURATION")]
    resource_timeout: GoDuration,
    /// A ConfigMap with settings of agents
    #[arg(
        long = "node-agent-configmap",
        alias = "node-agent-config",
        value_name = "NAME"
    )]
    node_agent_configmap: Option<String>,
    /// A ConfigMap with settings of repositories
    #[arg(long = "backup-repository-configmap", value_name = "NAME")]
    backup_repository_configmap: Option<String>,
}

impl AgentFlags {
    /// The flags that are set to something and do nothing in this release.
    fn without_effect(&self) -> Vec<&'static str> {
        let flags = [
            (
                self.data_mover_prepare_timeout != GoDuration::from_secs(1800),
                "--data-mover-prepare-timeout",
            ),
            (
                self.resource_timeout != GoDuration::from_secs(600),
                "--resource-timeout",
            ),
            (self.node_agent_configmap.is_some(), "--node-agent-configmap"),
            (
                self.backup_repository_configmap.is_some(),
                "--backup-repository-configmap",
            ),
        ];
        let set = flags.into_iter().filter(|(set, _)| *set);
        set.map(|(_, flag)| flag).collect()
    }
}

struct Idle;

impl health::Vitals for Idle {
    fn metrics(&self) -> String {
        "# EOF\n".to_owned()
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

impl NodeAgentVerb {
    /// Runs the agent until it is told to stop.
    ///
    /// # Errors
    /// Where the address cannot be listened on.
    pub async fn run(self, _session: &Session) -> Result<Outcome> {
        let Self::Server(flags) = self;
        logging::start(flags.log_level, flags.log_format);
        for flag in flags.without_effect() {
            tracing::info!(
                flag,
                "this flag has no effect: this release does not copy the data of volumes"
            );
        }
        let stop = wait::termination();
        let listener = Listener::bind(flags.metrics_address, None, "metrics", "--metrics-address")
            .await
            .context("the node agent cannot start")?;
        let node = std::env::var("NODE_NAME").unwrap_or_default();
        tracing::warn!(
            node,
            "the node agent is up but copies no volumes: this release backs up and restores API objects; file system backups \
             and snapshot data movement need the agent of a later release"
        );
        listener.serve(health::router(Arc::new(Idle)), stop).await;
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Command, CommandLine, parser};
    use clap::FromArgMatches as _;

    fn without_effect(line: &str) -> Vec<&'static str> {
        let matches = parser().try_get_matches_from(line.split_whitespace()).unwrap();
        match CommandLine::from_arg_matches(&matches).unwrap().command {
            Command::NodeAgent(NodeAgentVerb::Server(flags)) => flags.without_effect(),
            _ => panic!("not the node agent"),
        }
    }

    #[test]
    fn each_flag_that_does_nothing_is_told_of_once_it_is_set() {
        assert!(without_effect("velero node-agent server --resource-timeout=10m").is_empty());
        assert_eq!(
            without_effect(
                "velero node-agent server --node-agent-config=a --data-mover-prepare-timeout=1h \
                 --resource-timeout=1m --backup-repository-configmap=b"
            ),
            [
                "--data-mover-prepare-timeout",
                "--resource-timeout",
                "--node-agent-configmap",
                "--backup-repository-configmap"
            ]
        );
    }
}
