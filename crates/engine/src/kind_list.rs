//! `*-resource-list.json.gz`: for each kind the names of its objects, in bounded memory.
//!
//! A million names would be tens of megabytes. Each kind's names are compressed as they come into
//! gzip members, and the file is those members one after the other, kinds in order.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use crate::gzip::member;

/// Names not yet compressed, per kind.
const CHUNK: usize = 16 * 1024;

/// The list under way.
#[derive(Default)]
pub(crate) struct KindList {
    kinds: BTreeMap<String, Names>,
}

#[derive(Default)]
struct Names {
    text: Vec<u8>,
    packed: Option<GzEncoder<Vec<u8>>>,
    any: bool,
}

impl KindList {
    /// Adds an object of a kind (`apps/v1/Deployment`). Objects of a kind stay in the order in which
    /// they are added.
    pub(crate) fn add(&mut self, kind: &str, name: &str) {
        if !self.kinds.contains_key(kind) {
            self.kinds.insert(kind.to_owned(), Names::default());
        }
        if let Some(names) = self.kinds.get_mut(kind) {
            names.add(name).expect("writing to memory does not fail");
        }
    }

    /// The file's bytes.
    pub(crate) fn finish(self) -> Bytes {
        let mut file = Vec::new();
        let mut open = b"{".to_vec();
        for (kind, names) in self.kinds {
            serde_json::to_writer(&mut open, &kind).expect("a string is always JSON");
            open.extend_from_slice(b":[");
            file.extend_from_slice(&member(&open));
            file.extend(names.finish().expect("writing to memory does not fail"));
            open = b"],".to_vec();
        }
        // The last kind's comma is not wanted.
        match open.as_slice() {
            b"{" => open = b"{}\n".to_vec(),
            _ => open = b"]}\n".to_vec(),
        }
        file.extend_from_slice(&member(&open));
        Bytes::from(file)
    }
}

impl Names {
    fn add(&mut self, name: &str) -> io::Result<()> {
        if self.any {
            self.text.push(b',');
        }
        self.any = true;
        serde_json::to_writer(&mut self.text, name)?;
        if self.text.len() >= CHUNK {
            self.pack()?;
        }
        Ok(())
    }

    fn pack(&mut self) -> io::Result<()> {
        let packed = self
            .packed
            .get_or_insert_with(|| GzEncoder::new(Vec::new(), Compression::new(3)));
        packed.write_all(&self.text)?;
        self.text.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<Vec<u8>> {
        self.pack()?;
        self.packed.map_or_else(|| Ok(Vec::new()), GzEncoder::finish)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn unpack(list: KindList) -> serde_json::Value {
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(&*list.finish())
            .read_to_string(&mut text)
            .unwrap();
        assert!(text.ends_with('\n'));
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn is_one_json_document_whatever_the_number_of_names() {
        assert_eq!(unpack(KindList::default()), serde_json::json!({}));
        let mut list = KindList::default();
        for number in 0..20_000 {
            list.add("v1/ConfigMap", &format!("shop/{number:06}"));
        }
        list.add("apps/v1/Deployment", "a/\"b\"");
        let value = unpack(list);
        assert_eq!(value["apps/v1/Deployment"], serde_json::json!(["a/\"b\""]));
        assert_eq!(value["v1/ConfigMap"].as_array().unwrap().len(), 20_000);
        assert_eq!(
            value.as_object().unwrap().keys().collect::<Vec<_>>(),
            ["apps/v1/Deployment", "v1/ConfigMap"]
        );
    }
}
