//! `backup diff`: what differs between two backups, or between a backup and the cluster.

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use refloat_engine::{
    Location,
    diff::{DiffBackup, DiffJob, DiffTarget, DiffTotals, run_diff},
};
use refloat_plan::diff::{Difference, ScopeLists};
use serde_json::json;
use tokio::sync::mpsc;

use crate::{
    exit::{Outcome, complain},
    flags::{List, StorageFlags, list},
    output::{changes, print},
    session::Session,
    storage,
    wait::Interruption,
};

/// Objects per LIST request.
const PAGE: u32 = 500;

/// How differences are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// Lines with - and +, in colour on a terminal.
    Text,
    /// One JSON document.
    Json,
}

/// Flags of `backup diff`.
#[derive(Args, Clone, Debug)]
pub struct DiffFlags {
    /// The backup to start from
    #[arg(value_name = "BACKUP")]
    from: String,
    /// The backup to compare it with
    #[arg(
        value_name = "OTHER",
        required_unless_present = "live",
        conflicts_with = "live"
    )]
    to: Option<String>,
    /// Compare with the cluster: with what the same backup would hold now
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    lists: ListsFlags,
    /// Print what secrets hold too. Without it only its length is told
    #[arg(long)]
    show_secrets: bool,
    /// How to print
    #[arg(short, long, value_enum, default_value = "text", value_name = "FORMAT")]
    output: Shape,
    #[command(flatten)]
    storage: StorageFlags,
}

/// Which objects are compared.
#[derive(Args, Clone, Debug, Default)]
struct ListsFlags {
    /// Namespaces to compare [default: all]
    #[arg(long, value_name = "NAMESPACE,…")]
    include_namespaces: Option<List>,
    /// Namespaces to leave out
    #[arg(long, value_name = "NAMESPACE,…")]
    exclude_namespaces: Option<List>,
    /// Resources to compare, as resource.group [default: all but events, endpoints and leases]
    #[arg(long, value_name = "RESOURCE,…")]
    include_resources: Option<List>,
    /// Resources to leave out
    #[arg(long, value_name = "RESOURCE,…")]
    exclude_resources: Option<List>,
}

impl DiffFlags {
    /// Compares and prints.
    ///
    /// # Errors
    /// Where a side cannot be read.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        let storage = self.storage.storage.as_deref();
        let from = storage::find(session, storage, &self.from).await?;
        let (to, other) = match &self.to {
            Some(name) => {
                let found = storage::find(session, storage, name).await?;
                (
                    DiffTarget::Backup(Box::new(side(found.location, found.backup))),
                    name.clone(),
                )
            }
            None => {
                let (cluster, _) = session.cluster_for_work().await?;
                let page_size = PAGE;
                (DiffTarget::Live { cluster, page_size }, "live".to_owned())
            }
        };
        let interruption = Interruption::listen();
        let job = DiffJob {
            from: side(from.location, from.backup),
            to,
            lists: ScopeLists {
                included_namespaces: list(self.lists.include_namespaces.as_ref()),
                excluded_namespaces: list(self.lists.exclude_namespaces.as_ref()),
                included_resources: list(self.lists.include_resources.as_ref()),
                excluded_resources: list(self.lists.exclude_resources.as_ref()),
            },
            reveal: self.show_secrets,
            cancel: interruption.once.clone(),
        };
        let (sender, receiver) = mpsc::channel(64);
        let printing = self.print(session, &other, receiver);
        let (totals, printed) = tokio::join!(Box::pin(run_diff(job, sender)), printing);
        printed?;
        if interruption.once.is_cancelled() {
            return Ok(Outcome::Interrupted);
        }
        let totals = totals.context("cannot compare")?;
        self.conclude(&totals)?;
        for problem in &totals.problems {
            complain(&format!("warning: {problem}"));
        }
        Ok(match (totals.problems.is_empty(), totals.is_equal()) {
            (false, _) => Outcome::Nothing,
            (true, false) => Outcome::Unsuccessful,
            (true, true) => Outcome::Done,
        })
    }

    /// Prints each difference as it comes.
    async fn print(
        &self,
        session: &Session,
        other: &str,
        mut differences: mpsc::Receiver<Difference>,
    ) -> Result<()> {
        let mut first = true;
        if self.output == Shape::Json {
            let head = json!({ "from": self.from, "to": other }).to_string();
            print(&format!("{},\"differences\":[", head.trim_end_matches('}')))?;
        }
        while let Some(difference) = differences.recv().await {
            match self.output {
                Shape::Json => {
                    let comma = if first { "\n" } else { ",\n" };
                    print(&format!("{comma}{}", serde_json::to_string(&difference)?))?;
                }
                Shape::Text => print(&changes::render(&difference, &self.from, other, session.colour))?,
            }
            first = false;
        }
        Ok(())
    }

    fn conclude(&self, totals: &DiffTotals) -> Result<()> {
        match self.output {
            Shape::Json => print(&format!("\n],\"totals\":{}}}\n", serde_json::to_string(totals)?)),
            Shape::Text => {
                complain(&format!(
                    "{} changed, {} added, {} removed, {} the same",
                    totals.changed, totals.added, totals.removed, totals.same
                ));
                Ok(())
            }
        }
    }
}

fn side(location: Location, backup: refloat_model::Backup) -> DiffBackup {
    DiffBackup { location, backup }
}
