//! Tables without borders, as kubectl prints them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::{flags::OutputFlags, output::aligned};

/// Rows under a heading.
#[derive(Clone, Debug)]
pub struct Table {
    heading: &'static [&'static str],
    rows: Vec<(Vec<String>, BTreeMap<String, String>)>,
}

impl Table {
    /// An empty table; the heading is written as it is.
    #[must_use]
    pub const fn new(heading: &'static [&'static str]) -> Self {
        Self {
            heading,
            rows: Vec::new(),
        }
    }

    /// Adds an object: its cells, and its labels for those who ask for them.
    pub fn push(&mut self, cells: Vec<String>, metadata: &ObjectMeta) {
        self.rows
            .push((cells, metadata.labels.clone().unwrap_or_default()));
    }

    /// The text, with a line break at its end.
    #[must_use]
    pub fn render(&self, flags: &OutputFlags) -> String {
        let mut text = self.heading.join("\t");
        for label in &flags.label_columns {
            let last = label.rsplit('/').next().unwrap_or(label);
            text.push_str(&format!("\t{}", last.to_uppercase()));
        }
        if flags.show_labels {
            text.push_str("\tLABELS");
        }
        text.push('\n');
        for (cells, labels) in &self.rows {
            text.push_str(&cells.join("\t"));
            for label in &flags.label_columns {
                text.push_str(&format!("\t{}", labels.get(label).map_or("", String::as_str)));
            }
            if flags.show_labels {
                let pairs: Vec<_> = labels
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect();
                let shown = if pairs.is_empty() {
                    "<none>".to_owned()
                } else {
                    pairs.join(",")
                };
                text.push_str(&format!("\t{shown}"));
            }
            text.push('\n');
        }
        aligned(&text, 3, 3)
    }
}
