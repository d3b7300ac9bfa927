//! A backup's tarball, unpacked by the plain libraries: what any other reader of the format sees.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{collections::BTreeMap, io::Read};

use anyhow::{Context, Result, ensure};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use refloat_engine::Location;
use refloat_model::layout::BackupFile;
use serde_json::Value;

/// Its entries by path, in bytes. A path that is there twice is an error.
pub(crate) async fn entries(location: &Location, backup: &str) -> Result<BTreeMap<String, Vec<u8>>> {
    let key = BackupFile::Contents.key(backup);
    let packed = location.store().get(&key, u64::MAX).await?;
    let mut archive = tar::Archive::new(MultiGzDecoder::new(&packed[..]));
    let mut entries = BTreeMap::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = String::from_utf8(entry.path_bytes().into_owned())?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        ensure!(
            entries.insert(path.clone(), bytes).is_none(),
            "{path} is there twice"
        );
    }
    Ok(entries)
}

/// Its objects by path.
pub(crate) async fn objects(location: &Location, backup: &str) -> Result<BTreeMap<String, Value>> {
    let mut objects = BTreeMap::new();
    for (path, bytes) in entries(location, backup).await? {
        if path.starts_with("resources/") {
            let object = serde_json::from_slice(&bytes).with_context(|| format!("reading {path}"))?;
            objects.insert(path, object);
        }
    }
    Ok(objects)
}

/// A file of JSON in gzip.
pub(crate) async fn document(location: &Location, key: &str) -> Result<Value> {
    let packed = location.store().get(key, u64::MAX).await?;
    let mut text = Vec::new();
    MultiGzDecoder::new(&packed[..]).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Packs bytes as gzip.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    use std::io::Write;
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes)?;
    Ok(packer.finish()?)
}
