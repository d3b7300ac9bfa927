//! What every source file must have and must not have, and what `model` and `plan` must not touch.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use syn::visit::{self, Visit};

use super::Outcome;
use crate::tool::workspace;

/// Folders with a clock, a disk or a network in them.
const IMPURE_MODULES: [&str; 4] = ["std::fs", "std::net", "std::process", "std::thread"];
/// Ends of paths that ask what time it is.
const CLOCKS: [&str; 4] = ["SystemTime", "Instant::now", "Timestamp::now", "Zoned::now"];
/// The crates that must not know any of it.
const PURE: [&str; 2] = ["crates/model/src/", "crates/plan/src/"];

/// One Rust file.
pub(super) struct Source {
    /// From the folder of the workspace.
    pub path: String,
    pub text: String,
    pub syntax: syn::File,
}

/// All Rust files of the workspace and of `fuzz`, by path.
pub(super) fn all() -> Result<Vec<Source>> {
    let mut paths = Vec::new();
    for folder in ["crates", "fuzz/src", "fuzz/targets"] {
        collect(&workspace(), folder, &mut paths)?;
    }
    paths.sort();
    paths.into_iter().map(read).collect()
}

fn collect(root: &Path, folder: &str, paths: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(root.join(folder)).with_context(|| format!("listing {folder}"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{folder}/{name}");
        if entry.file_type()?.is_dir() {
            if name != "target" {
                collect(root, &path, paths)?;
            }
        } else if name.ends_with(".rs") {
            paths.push(path);
        }
    }
    Ok(())
}

fn read(path: String) -> Result<Source> {
    let text = fs::read_to_string(workspace().join(&path)).with_context(|| format!("reading {path}"))?;
    let syntax = syn::parse_file(&text).with_context(|| format!("parsing {path}"))?;
    Ok(Source { path, text, syntax })
}

pub(super) fn check() -> Result<Outcome> {
    let sources = all()?;
    let problems = sources.iter().flat_map(problems).collect();
    Ok(Outcome::of(problems, format!("{} files", sources.len())))
}

fn problems(source: &Source) -> Vec<String> {
    let mut finder = Finder {
        pure: PURE.iter().any(|folder| source.path.starts_with(folder)),
        found: Vec::new(),
    };
    if !source.text.starts_with("//!") {
        finder
            .found
            .push("does not begin with `//!` and what it is for".to_owned());
    }
    finder.visit_file(&source.syntax);
    finder
        .found
        .iter()
        .map(|problem| format!("{}: {problem}", source.path))
        .collect()
}

struct Finder {
    pure: bool,
    found: Vec<String>,
}

impl Finder {
    fn path(&mut self, path: &str) {
        if !self.pure {
            return;
        }
        let module = IMPURE_MODULES
            .iter()
            .any(|module| path == *module || path.starts_with(&format!("{module}::")));
        let clock = CLOCKS
            .iter()
            .any(|clock| path == *clock || path.ends_with(&format!("::{clock}")));
        if module || clock {
            self.found
                .push(format!("uses {path}; this crate knows no clock, disk or network"));
        }
    }

    /// Every full path of a `use`.
    fn imports(&mut self, before: &str, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => self.imports(&format!("{before}{}::", path.ident), &path.tree),
            syn::UseTree::Name(name) if name.ident == "self" => self.path(before.trim_end_matches("::")),
            syn::UseTree::Name(name) => self.path(&format!("{before}{}", name.ident)),
            syn::UseTree::Rename(name) => self.path(&format!("{before}{}", name.ident)),
            syn::UseTree::Glob(_) => self.path(before.trim_end_matches("::")),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.imports(before, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_attribute(&mut self, attribute: &'ast syn::Attribute) {
        if attribute.path().is_ident("ignore") {
            self.found.push("has a test that is ignored".to_owned());
        }
        visit::visit_attribute(self, attribute);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if let Some(name) = call.path.segments.last().map(|segment| segment.ident.to_string())
            && ["todo", "unimplemented"].contains(&name.as_str())
        {
            self.found.push(format!("has a `{name}!`"));
        }
        let inside = call.tokens.to_string().replace(' ', "");
        for path in IMPURE_MODULES
            .iter()
            .chain(&CLOCKS)
            .filter(|path| inside.contains(*path))
        {
            self.path(path);
        }
        visit::visit_macro(self, call);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.imports("", &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.path(&names.join("::"));
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems_of(path: &str, text: &str) -> Vec<String> {
        problems(&Source {
            path: path.into(),
            text: text.into(),
            syntax: syn::parse_file(text).unwrap(),
        })
    }

    #[test]
    fn unfinished_work_is_found_and_words_about_it_are_not() {
        let text = "fn a() { todo!() }\nmod tests {\n    #[test]\n    #[ignore = \"later\"]\n    fn b() { std::unimplemented!(\"x\"); }\n}";
        assert_eq!(
            problems_of("crates/web/src/a.rs", text),
            [
                "crates/web/src/a.rs: does not begin with `//!` and what it is for",
                "crates/web/src/a.rs: has a `todo!`",
                "crates/web/src/a.rs: has a test that is ignored",
                "crates/web/src/a.rs: has a `unimplemented!`",
            ]
        );
        let text = "//! Finds todo!\n\n/// #[ignore]\nfn a() -> &'static str { \"todo!()\" }";
        assert!(problems_of("crates/web/src/a.rs", text).is_empty());
    }

    #[test]
    fn a_clock_or_a_disk_is_found_only_where_none_may_be() {
        for line in [
            "use std::{fs, io};",
            "use std::fs::File;",
            "use std::net::{self, IpAddr};",
            "fn a() { std::fs::read(\"x\"); }",
            "fn a() { jiff::Timestamp::now(); }",
            "fn a() -> std::time::SystemTime { b() }",
            "fn a() { vec![Instant::now()]; }",
        ] {
            let text = format!("//! A file.\n\n{line}\n");
            assert!(!problems_of("crates/plan/src/a.rs", &text).is_empty(), "{line}");
            assert!(problems_of("crates/engine/src/a.rs", &text).is_empty(), "{line}");
        }
        let fine =
            "//! A file.\nuse std::time::{Duration, Instant};\nfn a(now: Timestamp, fs: u8) { b::now(); }\n";
        assert!(problems_of("crates/model/src/a.rs", fine).is_empty());
    }
}
