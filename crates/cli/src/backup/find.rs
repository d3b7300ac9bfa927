//! `backup find`: in which backups an object is, and when it changed.

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use refloat_engine::find::{ChangeMark, FindJob, FindTotals, Found, run_find};
use refloat_plan::{find::Query, selector::Selector as Compiled};
use serde_json::json;
use tokio::sync::mpsc;

use crate::{
    exit::{Outcome, complain},
    flags::StorageFlags,
    output::{aligned, print},
    selector::Selector,
    session::Session,
    storage,
    wait::Interruption,
};

/// Rows whose columns are laid out together.
const ROWS: usize = 500;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// Aligned columns.
    Table,
    /// One JSON document.
    Json,
}

/// Flags of `backup find`.
#[derive(Args, Clone, Debug)]
pub struct FindFlags {
    /// What to look for: kind=Secret,namespace=shop,name=db-*; each part may be left out or be a glob
    #[arg(value_name = "QUERY")]
    query: Query,
    /// Only objects that match this label selector
    #[arg(short = 'l', long)]
    selector: Option<Selector>,
    /// Only objects of which a field contains this text; what secrets hold is decoded for it, and not printed
    #[arg(long, value_name = "TEXT")]
    value: Option<String>,
    /// Only backups in this storage location [default: all locations]
    #[arg(long, value_name = "NAME", conflicts_with = "storage")]
    location: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    output: Shape,
    #[command(flatten)]
    storage: StorageFlags,
}

impl FindFlags {
    /// Looks and prints.
    ///
    /// # Errors
    /// Where a location cannot be read.
    pub async fn run(&self, session: &Session) -> Result<Outcome> {
        let selector = self
            .selector
            .as_ref()
            .map(|Selector(selector)| Compiled::compile(selector));
        let locations =
            storage::all(session, self.storage.storage.as_deref(), self.location.as_deref()).await?;
        let interruption = Interruption::listen();
        let job = FindJob {
            locations,
            query: self.query.clone(),
            selector: selector
                .transpose()
                .map_err(|fault| anyhow::anyhow!("--selector: {fault}"))?,
            value: self.value.clone(),
            cancel: interruption.once.clone(),
        };
        let (sender, receiver) = mpsc::channel(256);
        let printing = self.print(session, receiver);
        let (totals, printed) = tokio::join!(Box::pin(run_find(job, sender)), printing);
        printed?;
        if interruption.once.is_cancelled() {
            return Ok(Outcome::Interrupted);
        }
        let totals = totals.context("cannot look through the backups")?;
        self.conclude(session, &totals)
    }

    async fn print(&self, session: &Session, mut found: mpsc::Receiver<Found>) -> Result<()> {
        let mut rows = Vec::new();
        let mut first = true;
        if self.output == Shape::Json {
            print("{\"found\":[")?;
        }
        while let Some(one) = found.recv().await {
            if self.output == Shape::Json {
                let comma = if first { "\n" } else { ",\n" };
                print(&format!("{comma}{}", serde_json::to_string(&one)?))?;
                first = false;
                continue;
            }
            rows.push(self.row(session, &one));
            if rows.len() >= ROWS {
                self.table(&rows, first)?;
                rows.clear();
                first = false;
            }
        }
        if self.output == Shape::Table && !rows.is_empty() {
            self.table(&rows, first)?;
        }
        Ok(())
    }

    fn row(&self, session: &Session, found: &Found) -> String {
        let time = found.time.map_or_else(
            || "n/a".to_owned(),
            |time| {
                time.to_zoned(session.zone.clone())
                    .strftime("%Y-%m-%d %H:%M:%S %z")
                    .to_string()
            },
        );
        let name = if found.namespace.is_empty() {
            found.name.clone()
        } else {
            format!("{}/{}", found.namespace, found.name)
        };
        let change = match found.change {
            ChangeMark::First => "first",
            ChangeMark::Same => "same",
            ChangeMark::Changed => "changed",
            ChangeMark::Unknown => "?",
        };
        let mut row = [&found.backup, &time, &found.resource, &name, change].join("\t");
        if let Some(field) = &found.field {
            row.push('\t');
            row.push_str(field);
        }
        row.push('\n');
        row
    }

    fn table(&self, rows: &[String], first: bool) -> Result<()> {
        let mut text = String::new();
        if first {
            text.push_str("BACKUP\tCREATED\tRESOURCE\tNAME\tCHANGE");
            text.push_str(if self.value.is_some() { "\tFIELD\n" } else { "\n" });
        }
        text.extend(rows.iter().map(String::as_str));
        print(&aligned(&text, 3, 3))
    }

    fn conclude(&self, session: &Session, totals: &FindTotals) -> Result<Outcome> {
        if self.output == Shape::Json {
            print(&format!("\n],\"totals\":{}}}\n", json!(totals)))?;
        }
        if !totals.without_index.is_empty() {
            let some = totals.without_index.iter().take(5).cloned().collect::<Vec<_>>();
            let more = totals.without_index.len() - some.len();
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            let passed = match self.selector {
                Some(_) => "labels are not known there, so that they were passed over",
                None => "looked for in their resource lists, where changes are not known",
            };
            complain(&format!(
                "note: {}{more} have no index (Velero or an older release wrote them): {passed}",
                some.join(", ")
            ));
        }
        for problem in &totals.problems {
            complain(&format!("warning: {problem}"));
        }
        match totals.objects {
            0 => complain(&format!(
                "nothing that matches {:?} is in {} backups",
                self.query.text(),
                totals.backups
            )),
            _ => complain(&format!(
                "hint: {} restore create --from-backup BACKUP --object RESOURCE/NAME brings one back",
                session.program
            )),
        }
        Ok(if totals.problems.is_empty() {
            Outcome::Done
        } else {
            Outcome::Unsuccessful
        })
    }
}
