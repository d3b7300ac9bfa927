//! `version`, and asking a server who it is.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use refloat_cluster::{Cluster, typed::Object as _};
use refloat_model::{
    GoDuration, ServerStatusRequest, VELERO_VERSION,
    server_status::{ServerStatusRequestPhase, ServerStatusRequestSpec, ServerStatusRequestStatus},
};

use crate::{
    exit::{self, Outcome},
    flags::length,
    output::say,
    session::{Looks, Session},
};

/// How long a server may take to answer unless `--timeout` says otherwise.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Flags of `version`.
#[derive(Args, Clone, Debug)]
pub struct VersionFlags {
    /// Do not ask the server
    #[arg(long)]
    client_only: bool,
    /// How long the server may take to answer [default: 5s]
    #[arg(long, value_name = "DURATION")]
    timeout: Option<GoDuration>,
}

impl VersionFlags {
    /// Prints the versions.
    ///
    /// # Errors
    /// Where the server does not answer.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        say("Client:")?;
        say(&format!("\tVersion: {VELERO_VERSION}"))?;
        say(&format!("\tRefloat: v{}", env!("CARGO_PKG_VERSION")))?;
        if self.client_only {
            return Ok(Outcome::Done);
        }
        let limit = length(self.timeout, ANSWER_LIMIT);
        let asked = async { status(&session.cluster().await?, &session.namespace, limit).await };
        match asked.await {
            Ok(status) => {
                say("Server:")?;
                say(&format!("\tVersion: {}", status.server_version))?;
                if let Some(warning) = mismatch(VELERO_VERSION, &status.server_version) {
                    say(&warning)?;
                }
                Ok(Outcome::Done)
            }
            Err(error) => {
                say(&format!(
                    "<error getting server version: {}>",
                    exit::chain(&error)
                ))?;
                Ok(Outcome::Nothing)
            }
        }
    }
}

/// Asks the server who it is. The request is deleted afterwards.
///
/// # Errors
/// Where there is no answer within the limit.
pub async fn status(
    cluster: &Cluster,
    namespace: &str,
    limit: Duration,
) -> Result<ServerStatusRequestStatus> {
    tokio::time::timeout(limit, async {
        let requests = cluster.objects::<ServerStatusRequest>(namespace);
        let mut request = ServerStatusRequest::new("", ServerStatusRequestSpec {});
        request.metadata.name = None;
        request.metadata.generate_name = Some("velero-cli-".into());
        request.metadata.namespace = Some(namespace.to_owned());
        let made = requests.create(&request).await?;
        let mut looks = Looks::default();
        loop {
            looks.pause().await;
            let status = requests.get(made.object_name()).await?.status.unwrap_or_default();
            if status.phase == ServerStatusRequestPhase::Processed {
                let _ = requests.delete(made.object_name()).await;
                return Ok(status);
            }
        }
    })
    .await
    .with_context(|| {
        format!("the server in namespace {namespace} did not answer within {limit:?}; is it running?")
    })?
}

/// What to say where major and minor versions differ.
fn mismatch(client: &str, server: &str) -> Option<String> {
    let parts = |version: &str| -> Option<(u64, u64)> {
        let mut numbers = version.trim_start_matches('v').split('.');
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    };
    let (ours, theirs) = (parts(client)?, parts(server)?);
    let older = if ours > theirs { "server" } else { "client" };
    (ours != theirs).then(|| {
        format!("# WARNING: the client version does not match the server version. Please update {older}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_major_and_minor_matter() {
        assert_eq!(mismatch("v1.18.3", "v1.18.1"), None);
        assert!(mismatch("v1.18.3", "v1.17.1").unwrap().ends_with("server"));
        assert!(mismatch("v1.18.3", "v1.19.0").unwrap().ends_with("client"));
    }
}
