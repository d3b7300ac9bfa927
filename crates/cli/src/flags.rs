//! Values and groups of flags that several verbs share, parsed as Velero's flags are.

use std::{collections::BTreeMap, convert::Infallible, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, ValueEnum};
use refloat_model::GoDuration;

use crate::{query::Query, selector::Selector};

/// A comma-separated list. Given again, the flag replaces the list, as in Velero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List(pub Vec<String>);

impl FromStr for List {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.split(',').map(str::to_owned).collect()))
    }
}

/// The list of an optional flag; empty if it was not given.
#[must_use]
pub fn list(flag: Option<&List>) -> Vec<String> {
    flag.map(|list| list.0.clone()).unwrap_or_default()
}

/// `key=value` pairs, separated by commas. A pair in double quotes may hold commas itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs(pub BTreeMap<String, String>);

impl FromStr for Pairs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        pairs(text, '=').map(Self)
    }
}

/// `from:to` pairs, separated by commas.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mappings(pub BTreeMap<String, String>);

impl FromStr for Mappings {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        pairs(text, ':').map(Self)
    }
}

/// All pairs of a flag that was given any number of times; later ones win.
#[must_use]
pub fn merged(flags: &[Pairs]) -> BTreeMap<String, String> {
    flags.iter().flat_map(|pairs| pairs.0.clone()).collect()
}

fn pairs(text: &str, between: char) -> Result<BTreeMap<String, String>, String> {
    split_quoted(text)?
        .into_iter()
        .map(|pair| match pair.split_once(between) {
            Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
            None => Err(format!("{pair:?} is not of the form key{between}value")),
        })
        .collect()
}

/// Splits at commas outside double quotes; two double quotes inside quotes are one.
fn split_quoted(text: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let field = fields.last_mut().expect("there is always a field");
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted || field.is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    if quoted {
        Err(format!("a double quote is not closed in {text:?}"))
    } else {
        Ok(fields)
    }
}

/// A boolean whose flag wants a value, for those that stand for "not said" when absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said(pub bool);

impl FromStr for Said {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        boolean(text).map(Self)
    }
}

/// A boolean as Go's flags spell it.
///
/// # Errors
/// A text that says what was expected.
pub fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// How objects are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns.
    Table,
    /// JSON, one object or a list.
    Json,
    /// YAML, one object or a list.
    Yaml,
}

/// `-o`, `--show-labels`, `-L`.
#[derive(Args, Clone, Debug, Default)]
pub struct OutputFlags {
    /// How to print. Commands that create print the object and do not create it
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub output: Option<Format>,
    /// Show all labels in the last column
    #[arg(long)]
    pub show_labels: bool,
    /// Show these labels as columns
    #[arg(short = 'L', long, value_name = "LABEL,…", value_delimiter = ',', action = clap::ArgAction::Append)]
    pub label_columns: Vec<String>,
}

/// Which objects a command is about: names, or those that match.
#[derive(Args, Clone, Debug, Default)]
pub struct ListFlags {
    /// Only these; none: all
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Only objects that match this label selector
    #[arg(short = 'l', long)]
    pub selector: Option<Query>,
}

/// Which objects a command changes: names, those that match, or expressly all.
#[derive(Args, Clone, Debug, Default)]
#[group(skip)]
pub struct SelectFlags {
    /// The objects' names
    #[arg(value_name = "NAME", conflicts_with_all = ["all", "selector"])]
    pub names: Vec<String>,
    /// All objects that match this label selector
    #[arg(short = 'l', long, conflicts_with = "all")]
    pub selector: Option<Selector>,
    /// All objects
    #[arg(long, required_unless_present_any = ["names", "selector"])]
    pub all: bool,
}

/// How the object store is talked to when files are fetched.
#[derive(Args, Clone, Debug, Default)]
pub struct TlsFlags {
    /// A PEM bundle to trust when fetching from the object store; else the location's own
    #[arg(long, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// Do not check the object store's certificate. Insecure: anyone in between can read and change the answer
    #[arg(long)]
    pub insecure_skip_tls_verify: bool,
}

/// The bucket or folder to work on without a server.
#[derive(Args, Clone, Debug, Default)]
pub struct StorageFlags {
    /// Work without a server on this storage: file:///folder or s3://bucket/prefix?region=…
    #[arg(long, value_name = "URL")]
    pub storage: Option<String>,
}

/// A Go duration as a clock length.
#[must_use]
pub fn length(duration: Option<GoDuration>, default: Duration) -> Duration {
    duration.map_or(default, |duration| duration.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_keep_commas_in_quotes() {
        let Pairs(map) = r#""k1=a=b,c=d",k2=v2"#.parse().unwrap();
        assert_eq!(map.get("k1").unwrap(), "a=b,c=d");
        assert_eq!(map.get("k2").unwrap(), "v2");
        assert!("novalue".parse::<Pairs>().unwrap_err().contains("novalue"));
        assert!("\"a=b".parse::<Pairs>().unwrap_err().contains("not closed"));
    }

    #[test]
    fn mappings_use_a_colon() {
        let Mappings(map) = "a:b,c:d".parse().unwrap();
        assert_eq!(
            map.into_iter().collect::<Vec<_>>(),
            [("a".into(), "b".into()), ("c".into(), "d".into())]
        );
        assert!("a=b".parse::<Mappings>().is_err());
    }
}
