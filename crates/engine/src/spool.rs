//! The scratch file of a restore: a tarball's objects sorted by kind, so that they can be created in
//! order although they come in none.
//!
//! Objects are gathered per kind into blocks; a block is compressed, encrypted with a key that only
//! this process has, and appended to a file that has no name. Memory holds the open blocks and, per
//! full block, where it is; nothing per object.

mod merge;

use std::{fs::File, os::unix::fs::FileExt, path::PathBuf};

use chacha20poly1305::{
    ChaCha20Poly1305, Nonce,
    aead::{Aead, KeyInit},
};
use indexmap::IndexMap;
use refloat_model::{GroupResource, ObjectName};
use refloat_plan::restore::InventoryKind;

use crate::EngineError;
pub(crate) use merge::listed_order;

/// A kind's open block is closed when it has this many bytes.
const BLOCK: usize = 128 * 1024;
/// All open blocks together; then the longest is closed early.
const OPEN: usize = 8 * 1024 * 1024;

/// More kinds than any cluster serves.
const MOST_KINDS: usize = 20_000;

/// The scratch file.
pub(crate) struct Spool {
    file: File,
    dir: PathBuf,
    cipher: ChaCha20Poly1305,
    end: u64,
    blocks: u64,
    open: usize,
    kinds: IndexMap<GroupResource, Kind>,
}

/// What the spool holds of one kind.
#[derive(Default)]
struct Kind {
    buffer: Vec<u8>,
    blocks: Vec<Block>,
    count: u64,
    namespaced: bool,
    /// The object that came last.
    last: Option<ObjectName>,
    /// Not all objects came in the order of listings.
    unordered: bool,
}

/// Where a block is.
#[derive(Clone, Copy)]
pub(crate) struct Block {
    offset: u64,
    length: usize,
    unpacked: usize,
    number: u64,
}

/// One object of a block.
pub(crate) struct Record {
    /// Its namespace and name in the backup.
    pub name: ObjectName,
    /// Its JSON.
    pub json: Vec<u8>,
}

impl Spool {
    /// An empty spool in the scratch folder (`VELERO_SCRATCH_DIR`, else the system's).
    pub(crate) fn create() -> Result<Self, EngineError> {
        let dir = std::env::var_os("VELERO_SCRATCH_DIR")
            .map(PathBuf::from)
            .filter(|dir| dir.is_dir())
            .unwrap_or_else(std::env::temp_dir);
        let file = tempfile::tempfile_in(&dir).map_err(|source| scratch(&dir, source))?;
        let key: [u8; 32] = rand::random();
        let cipher = ChaCha20Poly1305::new(&key.into());
        Ok(Self {
            file,
            dir,
            cipher,
            end: 0,
            blocks: 0,
            open: 0,
            kinds: IndexMap::new(),
        })
    }

    /// Adds an object.
    pub(crate) fn add(
        &mut self,
        resource: &GroupResource,
        name: &ObjectName,
        json: &[u8],
    ) -> Result<(), EngineError> {
        if !self.kinds.contains_key(resource) {
            if self.kinds.len() >= MOST_KINDS {
                let problem = format!("it has more than {MOST_KINDS} kinds of objects");
                return Err(EngineError::damaged("the tarball", problem));
            }
            self.kinds.insert(resource.clone(), Kind::default());
        }
        let Some((index, _, kind)) = self.kinds.get_full_mut(resource) else {
            return Ok(());
        };
        let before = kind.buffer.len();
        append(&mut kind.buffer, name, json);
        let ordered = |last: &ObjectName| listed_order(last, name).is_lt();
        kind.unordered |= !kind.last.as_ref().is_none_or(ordered);
        kind.last = Some(name.clone());
        kind.count += 1;
        kind.namespaced |= !name.namespace.is_empty();
        self.open += kind.buffer.len() - before;
        if kind.buffer.len() >= BLOCK {
            self.close(index)?;
        } else if self.open >= OPEN {
            let longest = (0..self.kinds.len()).max_by_key(|&index| self.kinds[index].buffer.len());
            self.close(longest.unwrap_or(index))?;
        }
        Ok(())
    }

    fn close(&mut self, index: usize) -> Result<(), EngineError> {
        let buffer = std::mem::take(&mut self.kinds[index].buffer);
        if buffer.is_empty() {
            return Ok(());
        }
        self.open -= buffer.len();
        let block = self.write(&buffer)?;
        self.kinds[index].blocks.push(block);
        Ok(())
    }

    /// Compresses, encrypts and appends a block.
    fn write(&mut self, bytes: &[u8]) -> Result<Block, EngineError> {
        let failed = |error: std::io::Error| scratch(&self.dir, error);
        let packed = zstd::bulk::compress(bytes, 1).map_err(failed)?;
        let sealed = self
            .cipher
            .encrypt(&nonce(self.blocks), packed.as_slice())
            .map_err(|_| failed(std::io::Error::other("cannot encrypt")))?;
        self.file.write_all_at(&sealed, self.end).map_err(failed)?;
        let block = Block {
            offset: self.end,
            length: sealed.len(),
            unpacked: bytes.len(),
            number: self.blocks,
        };
        self.end += sealed.len() as u64;
        self.blocks += 1;
        Ok(block)
    }

    /// Closes all open blocks: nothing is added any more.
    pub(crate) fn seal(&mut self) -> Result<(), EngineError> {
        (0..self.kinds.len()).try_for_each(|index| self.close(index))
    }

    /// What is held, by kind, in the order in which kinds first came.
    pub(crate) fn inventory(&self) -> Vec<InventoryKind> {
        let kinds = self.kinds.iter().map(|(resource, kind)| InventoryKind {
            resource: resource.clone(),
            namespaced: kind.namespaced,
            count: kind.count,
        });
        kinds.collect()
    }

    /// Where a kind's blocks are, in the order in which its objects came.
    pub(crate) fn blocks(&self, resource: &GroupResource) -> Vec<Block> {
        self.kinds
            .get(resource)
            .map(|kind| kind.blocks.clone())
            .unwrap_or_default()
    }

    /// Reads a block back.
    pub(crate) fn read(&self, block: Block) -> Result<Vec<Record>, EngineError> {
        let failed = |error: std::io::Error| scratch(&self.dir, error);
        let mut sealed = vec![0; block.length];
        self.file
            .read_exact_at(&mut sealed, block.offset)
            .map_err(failed)?;
        let packed = self
            .cipher
            .decrypt(&nonce(block.number), sealed.as_slice())
            .map_err(|_| failed(std::io::Error::other("the scratch file was changed")))?;
        let bytes = zstd::bulk::decompress(&packed, block.unpacked).map_err(failed)?;
        records(&bytes).ok_or_else(|| failed(std::io::Error::other("the scratch file was changed")))
    }
}

/// Adds a record to the bytes of a block.
fn append(bytes: &mut Vec<u8>, name: &ObjectName, json: &[u8]) {
    for part in [name.namespace.as_bytes(), name.name.as_bytes(), json] {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(part);
    }
}

fn records(mut bytes: &[u8]) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    let mut part = || -> Option<Option<&[u8]>> {
        if bytes.is_empty() {
            return Some(None);
        }
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (part, rest) = rest.split_at_checked(length)?;
        bytes = rest;
        Some(Some(part))
    };
    while let Some(namespace) = part()? {
        let name = part()??;
        let json = part()??.to_vec();
        let text = |part| std::str::from_utf8(part).ok();
        records.push(Record {
            name: ObjectName::new(text(namespace)?, text(name)?),
            json,
        });
    }
    Some(records)
}

/// A block's nonce is its number: the key is new for each spool.
fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    bytes.into()
}

fn scratch(dir: &std::path::Path, source: std::io::Error) -> EngineError {
    EngineError::Scratch {
        dir: dir.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_added_kind_by_kind() {
        let mut spool = Spool::create().unwrap();
        let kinds = ["pods", "secrets", "deployments.apps"].map(GroupResource::parse);
        for number in 0..5_000 {
            let name = ObjectName::new(if number % 2 == 0 { "shop" } else { "" }, format!("n{number}"));
            spool
                .add(
                    &kinds[number % 3],
                    &name,
                    format!("{{\"n\":{number}}}").repeat(20).as_bytes(),
                )
                .unwrap();
        }
        spool.seal().unwrap();
        assert_eq!(spool.inventory().len(), 3);
        for (start, kind) in kinds.iter().enumerate() {
            let mut number = start;
            for block in spool.blocks(kind) {
                for record in spool.read(block).unwrap() {
                    assert_eq!(record.name.name, format!("n{number}"));
                    assert_eq!(record.json, format!("{{\"n\":{number}}}").repeat(20).as_bytes());
                    number += 3;
                }
            }
            assert!(number >= 5_000);
        }
    }

    #[test]
    fn nothing_of_it_is_readable_on_disk() {
        let mut spool = Spool::create().unwrap();
        spool
            .add(
                &GroupResource::parse("secrets"),
                &ObjectName::new("a", "b"),
                b"hunter2hunter2",
            )
            .unwrap();
        spool.seal().unwrap();
        let mut bytes = vec![0; usize::try_from(spool.end).unwrap()];
        spool.file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"hunter2"));
    }
}
