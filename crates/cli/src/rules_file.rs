//! Rules in a file, for work without a server: the document itself, or the manifest of the ConfigMap
//! that a server would read.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use serde_json::Value;

/// What is looked at to tell a manifest from a document.
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    kind: Option<String>,
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
}

/// Reads a file as the data of a ConfigMap.
///
/// # Errors
/// Where it cannot be read, or is a manifest of something else.
pub fn read(file: &Path) -> Result<BTreeMap<String, String>> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    data(text).with_context(|| format!("cannot use {}", file.display()))
}

fn data(text: String) -> Result<BTreeMap<String, String>> {
    // What is wrong with a document, its own reader tells better.
    let kind = serde_saphyr::from_str::<Value>(&text)
        .ok()
        .and_then(|value| value.get("kind").cloned());
    let Some(kind) = kind else {
        return Ok([("rules.yaml".to_owned(), text)].into());
    };
    let manifest: Manifest = serde_saphyr::from_str(&text)?;
    if manifest.kind.as_deref() != Some("ConfigMap") {
        bail!("it is a manifest of {kind}; give the rules, or the manifest of a ConfigMap with them");
    }
    Ok(manifest.data.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_and_a_manifest_are_the_same() {
        let document = "version: v1\nvolumePolicies: []\n";
        let bare = data(document.to_owned()).unwrap();
        assert_eq!(bare.values().next().map(String::as_str), Some(document));
        let manifest =
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata:\n  a: |\n    version: v1\n";
        assert_eq!(data(manifest.to_owned()).unwrap()["a"], "version: v1\n");
        assert!(data("kind: Secret\ndata: {a: b}".to_owned()).is_err());
    }
}
