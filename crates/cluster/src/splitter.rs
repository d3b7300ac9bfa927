//! Cuts the objects out of a LIST answer while it arrives, without parsing them.
//!
//! The answer is `{"kind":…,"metadata":{…},"items":[{…},{…}]}`. The scanner follows nesting and
//! strings byte by byte, hands out each element of the top-level `items` as the bytes it came in,
//! and keeps everything else (the envelope) to be parsed at the end. What is in memory is one
//! object and the rest of one network chunk, however long the page is.

use bytes::{Bytes, BytesMut};

/// The longest object that is accepted. etcd's default limit is 1.5 MiB; clusters raise it to 8.
pub(crate) const LONGEST_OBJECT: usize = 32 * 1024 * 1024;
/// The longest envelope that is accepted.
const LONGEST_ENVELOPE: usize = 1024 * 1024;

/// Why an answer cannot be cut.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SplitError {
    #[error("an object is longer than {LONGEST_OBJECT} bytes")]
    ObjectTooLong,
    #[error("the list's own metadata is longer than {LONGEST_ENVELOPE} bytes")]
    EnvelopeTooLong,
    #[error("the answer is not a list of objects")]
    NotAList,
    #[error("the answer ends in the middle")]
    Cut,
}

/// The scanner of one answer.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    /// Bytes not yet handed out; everything before `at` is scanned.
    buffer: BytesMut,
    at: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Inside the top-level `items`.
    in_items: bool,
    items_seen: bool,
    /// Where the last string at depth 1 began and ended, in the envelope.
    key: (usize, usize),
    envelope: Vec<u8>,
}

impl Splitter {
    /// Takes in the next bytes of the answer.
    pub(crate) fn feed(&mut self, chunk: &[u8]) {
        self.buffer.extend_from_slice(chunk);
    }

    /// The next whole object; `None`: more bytes are needed.
    pub(crate) fn next_object(&mut self) -> Result<Option<Bytes>, SplitError> {
        loop {
            if self.in_items {
                match self.scan_item()? {
                    Scan::Object(bytes) => return Ok(Some(bytes)),
                    Scan::EndOfItems => {}
                    Scan::More => return Ok(None),
                }
            } else if !self.scan_envelope()? {
                return Ok(None);
            }
        }
    }

    /// The answer without its items, once all bytes are in.
    pub(crate) fn finish(self) -> Result<Vec<u8>, SplitError> {
        if self.depth != 0 || self.in_items || self.in_string {
            return Err(SplitError::Cut);
        }
        if !self.items_seen && !self.envelope.trim_ascii_end().ends_with(b"}") {
            return Err(SplitError::NotAList);
        }
        Ok(self.envelope)
    }

    /// Moves envelope bytes out of the buffer; true when `items` begins.
    fn scan_envelope(&mut self) -> Result<bool, SplitError> {
        while self.at < self.buffer.len() {
            let byte = self.buffer[self.at];
            self.at += 1;
            self.envelope.push(byte);
            if self.in_string {
                self.string_byte(byte);
                if !self.in_string && self.depth == 1 {
                    self.key.1 = self.envelope.len() - 1;
                }
                continue;
            }
            match byte {
                b'"' => {
                    self.in_string = true;
                    if self.depth == 1 {
                        self.key.0 = self.envelope.len();
                    }
                }
                b'[' if self.depth == 1 && self.envelope.get(self.key.0..self.key.1) == Some(b"items") => {
                    self.depth += 1;
                    self.in_items = true;
                    self.items_seen = true;
                    let _ = self.buffer.split_to(self.at);
                    self.at = 0;
                    return Ok(true);
                }
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.checked_sub(1).ok_or(SplitError::NotAList)?,
                _ => {}
            }
        }
        if self.envelope.len() > LONGEST_ENVELOPE {
            return Err(SplitError::EnvelopeTooLong);
        }
        self.buffer.clear();
        self.at = 0;
        Ok(false)
    }

    /// Scans inside `items`: the buffer begins at the current object or between two.
    fn scan_item(&mut self) -> Result<Scan, SplitError> {
        while self.at < self.buffer.len() {
            if self.in_string {
                self.skip_string();
                continue;
            }
            let byte = self.buffer[self.at];
            self.at += 1;
            match byte {
                b'"' => self.in_string = true,
                b'{' => {
                    if self.depth == 2 {
                        // The object begins here: drop the comma and blanks before it.
                        let _ = self.buffer.split_to(self.at - 1);
                        self.at = 1;
                    }
                    self.depth += 1;
                }
                b'[' if self.depth > 2 => self.depth += 1,
                b'}' if self.depth == 2 => return Err(SplitError::NotAList),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 2 {
                        let object = self.buffer.split_to(self.at).freeze();
                        self.at = 0;
                        return Ok(Scan::Object(object));
                    }
                    if self.depth == 1 {
                        self.envelope.push(b']');
                        self.in_items = false;
                        return Ok(Scan::EndOfItems);
                    }
                }
                b',' | b' ' | b'\n' | b'\r' | b'\t' => {}
                _ if self.depth == 2 => return Err(SplitError::NotAList),
                _ => {}
            }
        }
        if self.buffer.len() > LONGEST_OBJECT {
            return Err(SplitError::ObjectTooLong);
        }
        Ok(Scan::More)
    }

    /// Goes to the end of the string or of the buffer; strings are most of an object.
    fn skip_string(&mut self) {
        let rest = &self.buffer[self.at..];
        let mut index = 0;
        if self.escaped && !rest.is_empty() {
            self.escaped = false;
            index = 1;
        }
        while let Some(found) = memchr::memchr2(b'"', b'\\', &rest[index..]) {
            index += found + 1;
            if rest[index - 1] == b'"' {
                self.in_string = false;
                self.at += index;
                return;
            }
            if index == rest.len() {
                self.escaped = true;
                break;
            }
            index += 1;
        }
        self.at = self.buffer.len();
    }

    fn string_byte(&mut self, byte: u8) {
        if self.escaped {
            self.escaped = false;
        } else if byte == b'\\' {
            self.escaped = true;
        } else if byte == b'"' {
            self.in_string = false;
        }
    }
}

enum Scan {
    Object(Bytes),
    EndOfItems,
    More,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str, chunk: usize) -> Result<(Vec<String>, String), SplitError> {
        let mut splitter = Splitter::default();
        let mut objects = Vec::new();
        for piece in text.as_bytes().chunks(chunk) {
            splitter.feed(piece);
            while let Some(object) = splitter.next_object()? {
                objects.push(String::from_utf8(object.to_vec()).unwrap());
            }
        }
        Ok((objects, String::from_utf8(splitter.finish()?).unwrap()))
    }

    const LIST: &str = r#"{"kind":"List","apiVersion":"v1","metadata":{"continue":"a\"[{","items":[1]},"items":[{"a":"x\\"},
 {"b":{"items":[{"c":"}]\"{"}]},"d":[[],[{}]]} ,{}],"after":"items"}"#;

    #[test]
    fn cuts_the_same_objects_whatever_the_chunks() {
        for chunk in [1, 2, 3, 7, 64, 4096] {
            let (objects, envelope) = split(LIST, chunk).unwrap();
            assert_eq!(
                objects,
                [
                    r#"{"a":"x\\"}"#,
                    r#"{"b":{"items":[{"c":"}]\"{"}]},"d":[[],[{}]]}"#,
                    "{}"
                ],
                "chunks of {chunk}"
            );
            let envelope: serde_json::Value = serde_json::from_str(&envelope).unwrap();
            assert_eq!(envelope["metadata"]["continue"], "a\"[{");
            assert_eq!(envelope["items"], serde_json::json!([]));
            assert_eq!(envelope["after"], "items");
        }
    }

    #[test]
    fn empty_lists_and_null_items_have_no_objects() {
        for text in [
            r#"{"items":[],"metadata":{}}"#,
            r#"{"items":null,"metadata":{}}"#,
            r#"{"metadata":{}}"#,
            "{\"items\":null}\n",
            "{}\n\n",
        ] {
            assert_eq!(split(text, 3).unwrap().0.len(), 0, "{text}");
        }
    }

    #[test]
    fn a_cut_answer_is_an_error_at_every_length() {
        for length in 1..LIST.len() {
            assert!(split(&LIST[..length], 5).is_err(), "{}", &LIST[..length]);
        }
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in [r#"{"items":[1]}"#, "]", r#"{"items":["a"]}x{"#, "]]]]"] {
            let _ = split(text, 2).map(|found| assert!(found.0.is_empty()));
        }
        assert_eq!(split(r#"{"items":[1]}"#, 2), Err(SplitError::NotAList));
        assert_eq!(split(r#"{"items":[}}"#, 2), Err(SplitError::NotAList));
    }
}
