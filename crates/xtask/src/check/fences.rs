//! Who may import whom: the table of crates in ARCHITECTURE.md against `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Outcome;
use crate::tool::{cargo, workspace};

/// What `model` and `plan` know nothing of.
const IMPURE: [&str; 8] = [
    "tokio",
    "opendal",
    "kube",
    "kube-client",
    "reqwest",
    "hyper",
    "hyper-util",
    "axum",
];
/// Packages of the Kubernetes client, and who besides `cluster` may use each.
const KUBERNETES_CLIENT: [(&str, &[&str]); 5] = [
    ("kube", &[]),
    ("kube-client", &[]),
    ("kube-runtime", &[]),
    ("kube-core", &["model"]),
    ("kube-derive", &["model"]),
];

/// Who may import whom, by short names.
type Table = BTreeMap<String, BTreeSet<String>>;

pub(super) fn check() -> Result<Outcome> {
    let text = fs::read_to_string(workspace().join("ARCHITECTURE.md")).context("reading ARCHITECTURE.md")?;
    let table = table(&text)?;
    let output = cargo()
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--locked",
            "--offline",
        ])
        .current_dir(workspace())
        .output()
        .context("starting `cargo metadata`")?;
    let metadata: Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "reading the answer of `cargo metadata`: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )
    })?;
    let crates = crates(&metadata);
    let problems = compare(&table, &crates);
    Ok(Outcome::of(problems, format!("{} crates", crates.len())))
}

/// Reads the table whose heading has `may import`; each name stands between backticks.
fn table(text: &str) -> Result<Table> {
    let rows = text
        .lines()
        .skip_while(|line| !(line.starts_with('|') && line.contains("may import")));
    let mut table = Table::new();
    let mut everything = Vec::new();
    for row in rows.skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, _, imports] = cells.as_slice() else {
            bail!("the row {row:?} has not three cells")
        };
        let name = name.trim_matches('`').to_owned();
        if *imports == "all" {
            everything.push(name.clone());
        }
        let names = imports
            .split(',')
            .map(|import| import.trim().trim_matches('`').to_owned());
        table.insert(
            name,
            names
                .filter(|import| !["–", "-", "all", ""].contains(&import.as_str()))
                .collect(),
        );
    }
    if table.is_empty() {
        bail!("ARCHITECTURE.md has no table with a column `may import`");
    }
    // `all` is all that is shipped.
    let development = ["testkit", "xtask"];
    for name in everything {
        let others = table
            .keys()
            .filter(|other| **other != name && !development.contains(&other.as_str()));
        let others = others.cloned().collect();
        table.insert(name, others);
    }
    Ok(table)
}

/// One package of the workspace.
struct Crate {
    name: String,
    /// Normal and build dependencies: those that are shipped.
    dependencies: Vec<String>,
}

fn crates(metadata: &Value) -> Vec<Crate> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages = list(&metadata["packages"]);
    let packages = packages.iter().map(|package| Crate {
        name: short(&text(&package["name"])),
        dependencies: list(&package["dependencies"])
            .iter()
            .filter(|dependency| dependency["kind"] != "dev")
            .map(|dependency| text(&dependency["name"]))
            .collect(),
    });
    packages.collect()
}

fn short(name: &str) -> String {
    name.strip_prefix("refloat-").unwrap_or(name).to_owned()
}

fn compare(table: &Table, crates: &[Crate]) -> Vec<String> {
    let mut problems = Vec::new();
    let ours: BTreeSet<&str> = crates.iter().map(|one| one.name.as_str()).collect();
    for missing in table.keys().filter(|name| !ours.contains(name.as_str())) {
        problems.push(format!(
            "ARCHITECTURE.md has a crate `{missing}` that is not there"
        ));
    }
    for Crate { name, dependencies } in crates {
        let Some(allowed) = table.get(name) else {
            problems.push(format!(
                "the crate `{name}` is not in the table of ARCHITECTURE.md"
            ));
            continue;
        };
        for dependency in dependencies {
            let import = short(dependency);
            if ours.contains(import.as_str()) && import != *name && !allowed.contains(&import) {
                problems.push(format!(
                    "`{name}` imports `{import}`, which ARCHITECTURE.md does not allow"
                ));
            }
            if ["model", "plan"].contains(&name.as_str()) && IMPURE.contains(&dependency.as_str()) {
                problems.push(format!("`{name}` is pure and must not depend on {dependency}"));
            }
            let client = KUBERNETES_CLIENT
                .iter()
                .find(|(package, _)| package == dependency);
            if client.is_some_and(|(_, also)| name != "cluster" && !also.contains(&name.as_str())) {
                problems.push(format!(
                    "`{name}` depends on {dependency}; only `cluster` uses the Kubernetes client"
                ));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A\n\n| crate | purpose | may import |\n|---|---|---|\n| `model` | what | – |\n\
        | `plan` | x | model |\n| `cluster` | y | model |\n| `cli` | z | all |\n| `xtask` | w | – |\n\nmore | text\n";

    fn one(name: &str, dependencies: &[&str]) -> Crate {
        Crate {
            name: name.into(),
            dependencies: dependencies.iter().map(|&name| name.into()).collect(),
        }
    }

    #[test]
    fn the_table_is_read() {
        let table = table(TEXT).unwrap();
        assert_eq!(table["model"].len(), 0);
        assert_eq!(table["plan"], BTreeSet::from(["model".to_owned()]));
        assert_eq!(
            table["cli"],
            ["cluster", "model", "plan"].map(str::to_owned).into()
        );
        assert!(super::table("nothing").is_err());
    }

    #[test]
    fn what_leaves_the_table_is_named() {
        let crates = [
            one("model", &["kube-core", "tokio"]),
            one("plan", &["refloat-cluster", "refloat-model"]),
            one("cli", &["kube", "refloat-plan"]),
            one("xtask", &[]),
            one("new", &[]),
        ];
        let problems = compare(&table(TEXT).unwrap(), &crates);
        assert_eq!(
            problems,
            [
                "ARCHITECTURE.md has a crate `cluster` that is not there",
                "`model` is pure and must not depend on tokio",
                "`cli` depends on kube; only `cluster` uses the Kubernetes client",
                "the crate `new` is not in the table of ARCHITECTURE.md",
            ]
        );
    }

    #[test]
    fn an_import_upwards_is_named() {
        let crates = [
            one("model", &[]),
            one("plan", &["refloat-cluster"]),
            one("cluster", &[]),
            one("cli", &[]),
            one("xtask", &[]),
        ];
        let problems = compare(&table(TEXT).unwrap(), &crates);
        assert_eq!(
            problems,
            ["`plan` imports `cluster`, which ARCHITECTURE.md does not allow"]
        );
    }
}
