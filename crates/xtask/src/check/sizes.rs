//! How long files and functions are. What is longer than the caps stands in `exceptions.toml` with its reason.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use super::Outcome;
use super::sources::{Source, all};
use crate::tool::workspace;

const LONGEST_FILE: usize = 800;
const LONGEST_FUNCTION: usize = 100;
const EXCEPTIONS: &str = "crates/xtask/src/check/exceptions.toml";

/// What may be longer, and why.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exceptions {
    #[serde(default)]
    file: Vec<Exception>,
    #[serde(default)]
    function: Vec<Exception>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    /// The file, from the folder of the workspace.
    path: String,
    /// The function's name; empty for a file.
    #[serde(default)]
    name: String,
    reason: String,
}

/// One file or function.
struct Measured {
    path: String,
    /// Empty for a file.
    name: String,
    lines: usize,
}

pub(super) fn check() -> Result<Outcome> {
    let text =
        fs::read_to_string(workspace().join(EXCEPTIONS)).with_context(|| format!("reading {EXCEPTIONS}"))?;
    let exceptions: Exceptions = toml::from_str(&text).with_context(|| format!("reading {EXCEPTIONS}"))?;
    let sources = all()?;
    let files: Vec<_> = sources
        .iter()
        .map(|source| Measured {
            path: source.path.clone(),
            name: String::new(),
            lines: source.text.lines().count(),
        })
        .collect();
    let functions: Vec<_> = sources.iter().flat_map(functions).collect();
    let mut problems = compare(&files, LONGEST_FILE, &exceptions.file);
    problems.extend(compare(&functions, LONGEST_FUNCTION, &exceptions.function));
    let fine = format!("files: {}; functions: {}", spread(&files), spread(&functions));
    if !problems.is_empty() {
        problems.push(fine.clone());
    }
    Ok(Outcome::of(problems, fine))
}

/// The functions of a file, tests included, from `fn` to the closing brace.
fn functions(source: &Source) -> Vec<Measured> {
    struct Functions(Vec<(String, usize)>);
    impl Functions {
        fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
            let lines = block.span().end().line + 1 - signature.span().start().line;
            self.0.push((signature.ident.to_string(), lines));
        }
    }
    impl<'ast> Visit<'ast> for Functions {
        fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
            self.add(&item.sig, &item.block);
            visit::visit_item_fn(self, item);
        }
        fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
            self.add(&item.sig, &item.block);
            visit::visit_impl_item_fn(self, item);
        }
        fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
            if let Some(block) = &item.default {
                self.add(&item.sig, block);
            }
            visit::visit_trait_item_fn(self, item);
        }
    }
    let mut found = Functions(Vec::new());
    found.visit_file(&source.syntax);
    let measured = found.0.into_iter().map(|(name, lines)| Measured {
        path: source.path.clone(),
        name,
        lines,
    });
    measured.collect()
}

fn compare(measured: &[Measured], cap: usize, exceptions: &[Exception]) -> Vec<String> {
    let mut unused: BTreeMap<(&str, &str), &str> = exceptions
        .iter()
        .map(|exception| {
            (
                (exception.path.as_str(), exception.name.as_str()),
                exception.reason.as_str(),
            )
        })
        .collect();
    let mut problems = Vec::new();
    for one in measured.iter().filter(|one| one.lines > cap) {
        let what = if one.name.is_empty() {
            one.path.clone()
        } else {
            format!("{}: fn {}", one.path, one.name)
        };
        match unused.remove(&(one.path.as_str(), one.name.as_str())) {
            Some(reason) if reason.trim().is_empty() => {
                problems.push(format!("{what} is an exception without a reason"));
            }
            Some(_) => {}
            None => problems.push(format!("{what} has {} lines; the cap is {cap}", one.lines)),
        }
    }
    for (path, name) in unused.into_keys() {
        problems.push(format!(
            "{EXCEPTIONS} excepts {path} {name}, which is no longer than the cap"
        ));
    }
    problems
}

/// Median, ninth decile and longest.
fn spread(measured: &[Measured]) -> String {
    let mut lines: Vec<usize> = measured.iter().map(|one| one.lines).collect();
    lines.sort_unstable();
    let at = |share: usize| {
        lines
            .get(lines.len().saturating_sub(1) * share / 100)
            .copied()
            .unwrap_or_default()
    };
    format!(
        "{}, median {}, p90 {}, longest {}",
        lines.len(),
        at(50),
        at(90),
        at(100)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        Source {
            path: "a.rs".into(),
            text: text.into(),
            syntax: syn::parse_file(text).unwrap(),
        }
    }

    #[test]
    fn functions_are_measured_without_their_comments() {
        let text = "/// Long\n/// comment\nfn a() {\n    1;\n    fn inner() {}\n}\nimpl X {\n    fn b(\n        &self,\n    ) {\n    }\n}\ntrait T {\n    fn c();\n    fn d() {}\n}\n";
        let found: Vec<_> = functions(&source(text))
            .into_iter()
            .map(|one| (one.name, one.lines))
            .collect();
        let expected =
            [("a", 4), ("inner", 1), ("b", 4), ("d", 1)].map(|(name, lines)| (name.to_owned(), lines));
        assert_eq!(found, expected);
    }

    #[test]
    fn exceptions_are_used_and_have_reasons() {
        let measured = |path: &str, lines| Measured {
            path: path.into(),
            name: String::new(),
            lines,
        };
        let exception = |path: &str, reason: &str| Exception {
            path: path.into(),
            name: String::new(),
            reason: reason.into(),
        };
        let files = [
            measured("long", 11),
            measured("short", 10),
            measured("excepted", 12),
            measured("bare", 13),
        ];
        let exceptions = [
            exception("excepted", "a table"),
            exception("bare", " "),
            exception("short", "old"),
        ];
        let problems = compare(&files, 10, &exceptions);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert_eq!(problems[0], "long has 11 lines; the cap is 10");
        assert!(problems[1].contains("bare is an exception without a reason"));
        assert!(problems[2].contains("excepts short"));
    }
}
