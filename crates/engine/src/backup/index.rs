//! Writes a backup's index while the tarball is written: a line per object, by which it is found later.

use std::{collections::HashMap, io::Write as _};

use bytes::Bytes;
use refloat_model::{GroupResource, ObjectName, index, layout, resource::ApiResource};
use refloat_plan::fingerprint::fingerprint;
use refloat_store::StoreError;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{EngineError, Location, gzip::GzipWriter, gzip::hex};

/// Bytes of lines that become one gzip member.
const BLOCK: usize = 128 * 1024;

/// What the index tells of an object besides its name.
pub(super) struct Mark {
    hash: [u8; 16],
    labels: Option<Bytes>,
}

impl Mark {
    /// From an object's bytes; absent where they are no JSON object.
    pub(super) fn of(json: &Bytes) -> Option<Self> {
        let print = fingerprint(json)?;
        Some(Self {
            hash: print.hash,
            labels: print.labels.map(|labels| json.slice_ref(labels.as_bytes())),
        })
    }
}

/// An object's line, with its labels as they came.
#[derive(Serialize)]
struct Line<'a> {
    k: usize,
    #[serde(skip_serializing_if = "str::is_empty")]
    ns: &'a str,
    n: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    h: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    l: Option<&'a RawValue>,
}

/// An index under way.
pub(super) struct IndexWriter {
    gzip: GzipWriter,
    key: String,
    lines: Vec<u8>,
    kinds: HashMap<GroupResource, usize>,
    objects: u64,
}

impl IndexWriter {
    /// Begins the index of a backup.
    pub(super) async fn begin(location: &Location, backup: &str) -> Result<Self, EngineError> {
        let key = layout::backup_index(backup);
        let writer = location.store().put_stream(&key).await;
        let writer = writer.map_err(|source| EngineError::store(format!("cannot write {key}"), source))?;
        let mut index = Self {
            gzip: GzipWriter::new(writer),
            key,
            lines: Vec::new(),
            kinds: HashMap::new(),
            objects: 0,
        };
        index.line(&index::Line::Head {
            format: index::FORMAT.to_owned(),
            version: index::VERSION,
        });
        Ok(index)
    }

    /// Adds an object.
    pub(super) async fn object(
        &mut self,
        resource: &ApiResource,
        name: &ObjectName,
        mark: Option<&Mark>,
    ) -> Result<(), StoreError> {
        let k = match self.kinds.get(&resource.group_resource) {
            Some(id) => *id,
            None => self.kind(resource),
        };
        let labels = mark.and_then(|mark| mark.labels.as_deref());
        self.line(&Line {
            k,
            ns: &name.namespace,
            n: &name.name,
            h: mark.map(|mark| hex(&mark.hash)),
            l: labels.and_then(|labels| serde_json::from_slice(labels).ok()),
        });
        self.objects += 1;
        if self.lines.len() >= BLOCK {
            let block = std::mem::take(&mut self.lines);
            self.gzip.block(block).await?;
        }
        Ok(())
    }

    fn kind(&mut self, resource: &ApiResource) -> usize {
        let id = self.kinds.len();
        self.kinds.insert(resource.group_resource.clone(), id);
        self.line(&index::Line::Kind(index::IndexKind {
            id,
            resource: resource.group_resource.to_string(),
            version: resource.version.clone(),
            kind: resource.kind.clone(),
        }));
        id
    }

    fn line(&mut self, line: &impl Serialize) {
        serde_json::to_writer(&mut self.lines, line).expect("our own lines have string keys only");
        self.lines
            .write_all(b"\n")
            .expect("writing to memory does not fail");
    }

    /// Ends the index and makes it visible.
    pub(super) async fn finish(mut self) -> Result<(), EngineError> {
        let objects = self.objects;
        self.line(&index::Line::End { objects });
        let failed = |source| EngineError::store(format!("cannot write {}", self.key), source);
        let lines = std::mem::take(&mut self.lines);
        self.gzip.block(lines).await.map_err(failed)?;
        self.gzip.finish().await.map_err(failed)?;
        Ok(())
    }

    /// Throws it away.
    pub(super) async fn abort(self) -> Result<(), StoreError> {
        self.gzip.abort().await
    }
}
