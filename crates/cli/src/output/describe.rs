//! Descriptions: one field per line, indented by tabs, values aligned.

use std::{collections::BTreeMap, fmt::Display};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use refloat_model::{ResultSet, results::Results};

use crate::output::aligned;

/// A description in the making. Tabs separate columns.
#[derive(Debug, Default)]
pub struct Description {
    text: String,
    prefix: &'static str,
    colour: bool,
}

/// Colours that carry a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Went well: green.
    Good,
    /// Went wrong: red.
    Bad,
    /// Neither.
    Plain,
    /// The object's name: bold.
    Name,
}

impl Description {
    /// An empty description; `colour` says whether it may hold colours.
    #[must_use]
    pub fn new(colour: bool) -> Self {
        Self {
            colour,
            ..Self::default()
        }
    }

    /// Puts `prefix` in front of the lines to come.
    pub fn indent(&mut self, prefix: &'static str) {
        self.prefix = prefix;
    }

    /// A line; it may hold tabs.
    pub fn line(&mut self, text: impl Display) {
        self.text.push_str(&format!("{}{text}\n", self.prefix));
    }

    /// An empty line.
    pub fn blank(&mut self) {
        self.line("");
    }

    /// `name:` and a value.
    pub fn field(&mut self, name: &str, value: impl Display) {
        self.line(format_args!("{name}:\t{value}"));
    }

    /// The text in its colour.
    #[must_use]
    pub fn toned(&self, text: impl Display, tone: Tone) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Name => "1",
            Tone::Plain => return text.to_string(),
        };
        if self.colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_string()
        }
    }

    /// Name, namespace, labels and annotations.
    pub fn metadata(&mut self, metadata: &ObjectMeta) {
        let name = self.toned(metadata.name.as_deref().unwrap_or_default(), Tone::Name);
        self.field("Name", name);
        self.field("Namespace", metadata.namespace.as_deref().unwrap_or_default());
        self.map("Labels", metadata.labels.as_ref());
        self.map("Annotations", metadata.annotations.as_ref());
    }

    /// `name:` and `key=value` pairs, one per line.
    pub fn map(&mut self, name: &str, map: Option<&BTreeMap<String, String>>) {
        let pairs: Vec<_> = map
            .into_iter()
            .flatten()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        self.column(0, name, &pairs, "<none>");
    }

    /// `name:` at `depth` tabs and values, one per line below each other.
    pub fn values(&mut self, depth: usize, name: &str, values: &[String]) {
        self.column(depth, name, values, &format!("{}<none>", "\t".repeat(depth)));
    }

    fn column(&mut self, depth: usize, name: &str, values: &[String], none: &str) {
        let tabs = "\t".repeat(depth);
        match values {
            [] => self.line(format_args!("{tabs}{name}:\t{none}")),
            [first, rest @ ..] => {
                self.line(format_args!("{tabs}{name}:\t{first}"));
                for value in rest {
                    self.line(format_args!("{tabs}\t{value}"));
                }
            }
        }
    }

    /// What is wrong with a spec, if anything.
    pub fn validation_errors(&mut self, errors: &[String]) {
        let [first, rest @ ..] = errors else { return };
        self.blank();
        let first = self.toned(first, Tone::Bad);
        self.line(format_args!("Validation errors:\t{first}"));
        for error in rest {
            let error = self.toned(error, Tone::Bad);
            self.line(format_args!("\t{error}"));
        }
    }

    /// Included and excluded names under a heading.
    pub fn filter(&mut self, included: &[String], excluded: &[String]) {
        self.line(format_args!("\tIncluded:\t{}", joined(included, "*")));
        self.line(format_args!("\tExcluded:\t{}", joined(excluded, "<none>")));
    }

    /// Warnings, then errors, each only if there are any.
    pub fn results(&mut self, results: &Results, warnings: bool, errors: bool) {
        if warnings {
            self.blank();
            self.messages("Warnings", &results.warnings);
        }
        if errors {
            self.blank();
            self.messages("Errors", &results.errors);
        }
    }

    fn messages(&mut self, name: &str, messages: &ResultSet) {
        self.line(format_args!("{name}:"));
        self.values(1, "Velero", &messages.velero);
        self.values(1, "Cluster", &messages.cluster);
        if messages.namespaces.is_empty() {
            self.line("\tNamespaces: <none>");
        } else {
            self.line("\tNamespaces:");
            for (namespace, messages) in &messages.namespaces {
                self.values(2, namespace, messages);
            }
        }
    }

    /// Kinds and the names of their objects.
    pub fn resource_list(&mut self, kinds: &BTreeMap<String, Vec<String>>) {
        self.line("Resource List:");
        for (kind, names) in kinds {
            self.line(format_args!("\t{kind}:\n\t\t- {}", names.join("\n\t\t- ")));
        }
    }

    /// The text, laid out.
    #[must_use]
    pub fn finish(&self) -> String {
        aligned(&self.text, 0, 2)
    }
}

/// Names with commas, or what stands for none.
#[must_use]
pub fn joined(names: &[String], none: &str) -> String {
    if names.is_empty() {
        none.to_owned()
    } else {
        names.join(", ")
    }
}

/// One of three words.
#[must_use]
pub const fn choice(
    value: Option<bool>,
    no: &'static str,
    yes: &'static str,
    unsaid: &'static str,
) -> &'static str {
    match value {
        None => unsaid,
        Some(true) => yes,
        Some(false) => no,
    }
}
