//! The log of one backup or restore: kept compressed until the job ends, then stored beside it, and
//! the results that are counted from it.

use std::{fmt::Write as _, io::Write as _, sync::Mutex};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use refloat_model::Results;

/// The most text that is kept. A log line for each of some hundred thousand failures fits.
const LONGEST: usize = 128 * 1024 * 1024;
/// The most warnings, and errors, that are kept word by word; the rest is only counted.
const MOST_MESSAGES: usize = 20_000;

/// Collects lines in logrus's text format, as `velero backup logs` shows them, and counts warnings
/// and errors as Velero does: one per line.
pub(crate) struct JobLog {
    /// For example `backup=velero/daily`.
    subject: String,
    inner: Mutex<Inner>,
}

struct Inner {
    packed: GzEncoder<Vec<u8>>,
    length: usize,
    results: Results,
    warnings: i64,
    errors: i64,
}

impl JobLog {
    /// A log whose lines all end in `subject`, for example `backup=velero/daily`.
    pub(crate) fn new(subject: String) -> Self {
        let packed = GzEncoder::new(Vec::new(), Compression::new(3));
        let inner = Inner {
            packed,
            length: 0,
            results: Results::default(),
            warnings: 0,
            errors: 0,
        };
        Self {
            subject,
            inner: Mutex::new(inner),
        }
    }

    /// A log that nobody reads: for work that tells what it finds in another way.
    pub(crate) fn quiet() -> Self {
        Self::new("restore plan".into())
    }

    /// A line that needs nobody's attention.
    pub(crate) fn info(&self, message: &str) {
        tracing::debug!(subject = self.subject, "{message}");
        self.lock().line("info", message, &self.subject);
    }

    /// A line for this log alone, because what it quotes is not ours: nobody but the owner of the job is
    /// to read it.
    pub(crate) fn quote(&self, message: &str) {
        self.lock().line("info", message, &self.subject);
    }

    /// Something that deserves a look, about a namespace (empty: the cluster).
    pub(crate) fn warn(&self, namespace: &str, message: &str) {
        tracing::warn!(subject = self.subject, namespace, "{message}");
        let mut inner = self.lock();
        inner.line("warning", message, &self.subject);
        inner.warnings += 1;
        if inner.results.warnings.len() < MOST_MESSAGES {
            inner.results.warnings.add(namespace, message);
        }
    }

    /// Something that went wrong, about a namespace (empty: the cluster).
    pub(crate) fn error(&self, namespace: &str, message: &str) {
        tracing::error!(subject = self.subject, namespace, "{message}");
        let mut inner = self.lock();
        inner.line("error", message, &self.subject);
        inner.errors += 1;
        if inner.results.errors.len() < MOST_MESSAGES {
            inner.results.errors.add(namespace, message);
        }
    }

    /// How many warnings and errors there are so far.
    pub(crate) fn counts(&self) -> (i64, i64) {
        let inner = self.lock();
        (inner.warnings, inner.errors)
    }

    /// The results, and the log as a gzip file. The log is empty afterwards.
    pub(crate) fn finish(&self) -> (Results, Bytes) {
        let mut inner = self.lock();
        let fresh = GzEncoder::new(Vec::new(), Compression::new(3));
        let packed = std::mem::replace(&mut inner.packed, fresh);
        let results = std::mem::take(&mut inner.results);
        let bytes = packed.finish().expect("writing to memory does not fail");
        (results, Bytes::from(bytes))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    fn line(&mut self, level: &str, message: &str, subject: &str) {
        if self.length > LONGEST {
            return;
        }
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
        let mut line = String::with_capacity(message.len() + 96);
        let _ = write!(line, "time=\"{now}\" level={level} msg=");
        quote(&mut line, message);
        let _ = writeln!(line, " {subject} logSource=refloat");
        self.length += line.len();
        if self.length > LONGEST {
            line.push_str("the log is longer than is kept; the rest is left out\n");
        }
        self.packed
            .write_all(line.as_bytes())
            .expect("writing to memory does not fail");
    }
}

/// Puts text between quotes, with control characters and quotes escaped.
fn quote(line: &mut String, text: &str) {
    line.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => {
                line.push('\\');
                line.push(character);
            }
            '\n' => line.push_str("\\n"),
            '\t' => line.push_str("\\t"),
            other if other.is_control() => {
                let _ = write!(line, "\\x{:02x}", u32::from(other));
            }
            other => line.push(other),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn lines_are_counted_and_quoted() {
        let log = JobLog::new("backup=velero/b".into());
        log.info("plain");
        log.warn("shop", "with \"quotes\"\nand a break");
        log.error("", "bad");
        assert_eq!(log.counts(), (1, 1));
        let (results, packed) = log.finish();
        assert_eq!(results.warnings.namespaces["shop"].len(), 1);
        assert_eq!(results.errors.cluster, ["bad"]);
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(&*packed)
            .read_to_string(&mut text)
            .unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(
            lines[1].contains(r#"level=warning msg="with \"quotes\"\nand a break" backup=velero/b"#),
            "{}",
            lines[1]
        );
    }
}
