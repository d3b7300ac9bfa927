//! What every command starts from: whom it talks to, in which namespace, and whether to a terminal.

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use jiff::{Timestamp, tz::TimeZone};
use refloat_cluster::{Cluster, ConnectOptions, client::ServerVersion};
use refloat_engine::location::Location;
use serde_json::Value;

use crate::{command::GlobalFlags, output};

/// The namespace that Velero and Refloat live in unless told otherwise.
pub const DEFAULT_NAMESPACE: &str = "velero";

/// One run of the program.
#[derive(Clone, Debug)]
pub struct Session {
    /// The flags of every command.
    pub global: GlobalFlags,
    /// The namespace of the server and its objects.
    pub namespace: String,
    /// What the program is called in hints.
    pub program: String,
    /// Whether standard output is a terminal that may show colours.
    pub colour: bool,
    /// The time zone that points in time are shown in.
    pub zone: TimeZone,
}

impl Session {
    /// From the flags, the environment and Velero's client configuration file. The file beats
    /// `VELERO_NAMESPACE`, and the flag beats both, as in Velero.
    #[must_use]
    pub fn new(global: GlobalFlags, program: String) -> Self {
        let file = client_config();
        let text = |key: &str| {
            file.get(key)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let namespace = global
            .namespace
            .clone()
            .or_else(|| text("namespace"))
            .or_else(|| {
                std::env::var("VELERO_NAMESPACE")
                    .ok()
                    .filter(|name| !name.is_empty())
            })
            .unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned());
        let wanted = global
            .colorized
            .map(|said| said.0)
            .or_else(|| text("colorized").map(|text| text == "true"));
        let colour = wanted.unwrap_or(true)
            && std::env::var_os("NO_COLOR").is_none()
            && std::io::stdout().is_terminal();
        Self {
            namespace,
            program,
            colour,
            zone: TimeZone::system(),
            global,
        }
    }

    /// The cluster of the kubeconfig, for commands that somebody waits for: a cluster that does not
    /// answer is given up soon. Nothing is sent yet.
    ///
    /// # Errors
    /// Where there is no usable configuration.
    pub async fn cluster(&self) -> Result<Cluster> {
        self.cluster_with(ConnectOptions {
            tries: 4,
            ..ConnectOptions::default()
        })
        .await
    }

    /// The cluster of the kubeconfig, for work that is to survive a short outage. That it answers
    /// at all is found out at once.
    ///
    /// # Errors
    /// Where there is no usable configuration, or no answer.
    pub async fn cluster_for_work(&self) -> Result<(Cluster, ServerVersion)> {
        let version = self.cluster().await?.server_version().await?;
        Ok((self.cluster_with(ConnectOptions::default()).await?, version))
    }

    /// As [`Session::cluster`], with options of one's own.
    ///
    /// # Errors
    /// Where there is no usable configuration.
    pub async fn cluster_with(&self, options: ConnectOptions) -> Result<Cluster> {
        let options = ConnectOptions {
            kubeconfig: self.global.kubeconfig.clone(),
            context: self.global.context.clone(),
            ..options
        };
        Cluster::connect(&options)
            .await
            .context("cannot connect to the cluster")
    }

    /// The storage of `--storage`.
    ///
    /// # Errors
    /// Where the URL cannot be used.
    pub async fn location(url: &str) -> Result<Location> {
        // The URL may hold what should not be in it, such as keys: it is not repeated.
        Location::from_url(url).await.context("cannot use --storage")
    }

    /// Now.
    #[must_use]
    pub fn now() -> Timestamp {
        Timestamp::now()
    }

    /// The end of names that are made up: the local time to the second.
    #[must_use]
    pub fn stamp(&self) -> String {
        output::when::stamp(Self::now(), &self.zone)
    }
}

/// Asks for consent on the terminal. Answers other than y and n are asked again; the end of input
/// means no.
///
/// # Errors
/// Where the terminal cannot be written or read.
pub fn confirmed(question: &str) -> Result<bool> {
    let mut err = std::io::stderr();
    loop {
        write!(err, "{question}Are you sure you want to continue (Y/N)? ")?;
        err.flush()?;
        let mut answer = String::new();
        if std::io::stdin()
            .read_line(&mut answer)
            .context("cannot read the answer")?
            == 0
        {
            bail!("nobody answered; --confirm answers yes beforehand");
        }
        match answer.trim() {
            "y" | "Y" => return Ok(true),
            "n" | "N" => return Ok(false),
            _ => {}
        }
    }
}

/// The pauses between looks at something that changes soon: 25 ms, growing to a second.
#[derive(Debug)]
pub struct Looks(Duration);

impl Default for Looks {
    fn default() -> Self {
        Self(Duration::from_millis(25))
    }
}

impl Looks {
    /// Waits before the next look.
    pub async fn pause(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 3 / 2).min(Duration::from_secs(1));
    }
}

/// What `velero client config set` has written; nothing where it cannot be read.
fn client_config() -> BTreeMap<String, Value> {
    let Some(home) = std::env::var_os("HOME").map(PathBuf::from) else {
        return BTreeMap::new();
    };
    let read = std::fs::read(home.join(".config/velero/config.json")).ok();
    read.and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}
