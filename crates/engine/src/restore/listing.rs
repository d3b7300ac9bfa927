//! The file of a restore plan: a line per object, written and read as a stream.

use std::io::{BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;
use refloat_model::{
    layout,
    restore_plan::{FORMAT, PlanEnd, PlanHead, PlanLine, PlanObject, PlanTotals, VERSION},
};
use refloat_plan::decision::PlanHash;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::{EngineError, Location, archive_reader::ChannelReader, gzip::GzipWriter};

/// Bytes of lines that become one gzip member.
const BLOCK: usize = 128 * 1024;
/// The longest line; a difference may be as long as two objects.
const LONGEST_LINE: u64 = 16 * 1024 * 1024;

/// A plan's file under way.
pub(super) struct ListingWriter {
    gzip: GzipWriter,
    key: String,
    lines: Vec<u8>,
    hash: PlanHash,
    totals: PlanTotals,
}

impl ListingWriter {
    /// Begins the file of a plan.
    pub(super) async fn begin(location: &Location, plan: &str, head: &PlanHead) -> Result<Self, EngineError> {
        let key = layout::plan_listing(plan);
        let writer = location.store().put_stream(&key).await;
        let writer = writer.map_err(|source| EngineError::store(format!("cannot write {key}"), source))?;
        let mut listing = Self {
            gzip: GzipWriter::new(writer),
            key,
            lines: Vec::new(),
            hash: PlanHash::new(head),
            totals: PlanTotals::default(),
        };
        listing.line(head);
        Ok(listing)
    }

    /// Adds an object.
    pub(super) async fn object(&mut self, object: &PlanObject) -> Result<(), EngineError> {
        self.hash.object(object);
        self.totals.count(object.action);
        self.line(object);
        if self.lines.len() < BLOCK {
            return Ok(());
        }
        let block = std::mem::take(&mut self.lines);
        let written = self.gzip.block(block).await;
        written.map_err(|source| EngineError::store(format!("cannot write {}", self.key), source))
    }

    fn line(&mut self, line: &impl Serialize) {
        serde_json::to_writer(&mut self.lines, line).expect("our own lines have string keys only");
        self.lines.push(b'\n');
    }

    /// Makes the file visible.
    pub(super) async fn finish(mut self) -> Result<(PlanEnd, String), EngineError> {
        let end = PlanEnd {
            hash: self.hash.clone().finish(),
            totals: self.totals,
        };
        self.line(&end);
        let failed = |source| EngineError::store(format!("cannot write {}", self.key), source);
        let lines = std::mem::take(&mut self.lines);
        self.gzip.block(lines).await.map_err(failed)?;
        self.gzip.finish().await.map_err(failed)?;
        Ok((end, self.key))
    }

    /// Throws it away.
    pub(super) async fn abort(self) {
        if let Err(error) = self.gzip.abort().await {
            tracing::debug!(%error, "could not abort the upload");
        }
    }
}

/// Streams the lines of a plan's file: the head, the objects, the end. What is wrong with it comes as
/// the last item; so does an end whose hash is not that of the lines.
///
/// # Errors
/// [`EngineError::PlanNotFound`], or if the file cannot be opened.
pub async fn stream_plan(
    location: &Location,
    plan: &str,
) -> Result<mpsc::Receiver<Result<PlanLine, EngineError>>, EngineError> {
    crate::catalog::check_name(plan)?;
    let key = layout::plan_listing(plan);
    let stream = match location.store().get_stream(&key, None).await {
        Err(error) if error.is_not_found() => {
            return Err(EngineError::PlanNotFound {
                name: plan.to_owned(),
                location: location.name().to_owned(),
            });
        }
        other => other.map_err(|source| EngineError::store(format!("cannot read {key}"), source))?,
    };
    let reader = ChannelReader::over(stream);
    let (sender, receiver) = mpsc::channel(64);
    tokio::task::spawn_blocking(move || {
        // Already this reads, and blocks.
        let text = BufReader::new(MultiGzDecoder::new(reader));
        if let Err(problem) = read(text, |line| sender.blocking_send(Ok(line)).is_ok()) {
            // Who does not listen any more does not want to know.
            let _ = sender.blocking_send(Err(EngineError::damaged(&key, problem)));
        }
    });
    Ok(receiver)
}

fn read(mut text: impl BufRead, mut take: impl FnMut(PlanLine) -> bool) -> Result<(), String> {
    let mut line = Vec::new();
    let mut hash: Option<PlanHash> = None;
    loop {
        line.clear();
        let read = text
            .by_ref()
            .take(LONGEST_LINE)
            .read_until(b'\n', &mut line)
            .map_err(|error| error.to_string())?;
        if read == 0 || line.last() != Some(&b'\n') {
            return Err("it is cut".to_owned());
        }
        let line = PlanLine::read(&line)?;
        match (&line, &mut hash) {
            (PlanLine::Head(head), None) => {
                if head.format != FORMAT || head.version != VERSION {
                    return Err(format!(
                        "it is {} {}, which is not known",
                        head.format, head.version
                    ));
                }
                hash = Some(PlanHash::new(head));
            }
            (PlanLine::Object(object), Some(hash)) => hash.object(object),
            (PlanLine::End(end), Some(hash)) => {
                if hash.clone().finish() != end.hash {
                    return Err("its lines are not those that its hash was made of".to_owned());
                }
                take(line);
                return Ok(());
            }
            _ => return Err("its lines are not in order".to_owned()),
        }
        if !take(line) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use refloat_model::restore_plan::PlanAction;

    use super::*;

    fn object(name: &str) -> PlanObject {
        PlanObject {
            resource: "configmaps".into(),
            i: 0,
            namespace: "shop".into(),
            name: name.into(),
            action: PlanAction::Create,
            checked: true,
            code: String::new(),
            reason: "words".into(),
            difference: String::new(),
            fields: Vec::new(),
        }
    }

    #[tokio::test]
    async fn what_was_written_is_read_and_what_was_changed_is_refused() {
        let location = Location::from_url("memory://plans").await.unwrap();
        let head = PlanHead {
            format: FORMAT.into(),
            version: VERSION,
            backup: "b".into(),
            contents: String::new(),
            spec: String::new(),
            cluster: String::new(),
            salt: String::new(),
        };
        let mut writer = ListingWriter::begin(&location, "p", &head).await.unwrap();
        for number in 0..3_000 {
            writer.object(&object(&format!("m{number}"))).await.unwrap();
        }
        let (end, key) = writer.finish().await.unwrap();
        assert_eq!(end.totals.create, 3_000);
        let mut lines = stream_plan(&location, "p").await.unwrap();
        let mut text = Vec::new();
        let mut count = 0;
        while let Some(line) = lines.recv().await {
            let mut add = |line: &dyn erased::Json| text.extend(line.json());
            match line.unwrap() {
                PlanLine::Head(head) => add(&head),
                PlanLine::Object(object) => add(&*object),
                PlanLine::End(found) => {
                    assert_eq!(found, end);
                    add(&found);
                }
            }
            count += 1;
        }
        assert_eq!(count, 3_002);
        assert_eq!(key, "restores/p/p-refloat-plan.jsonl.gz");
        let refused = |text: &[u8]| read(text, |_| true).unwrap_err();
        assert!(read(&*text, |_| true).is_ok());
        let changed = String::from_utf8(text.clone()).unwrap().replace("m17\"", "m18\"");
        assert!(refused(changed.as_bytes()).contains("hash"));
        let words = String::from_utf8(text.clone())
            .unwrap()
            .replace("words", "others");
        assert!(read(words.as_bytes(), |_| true).is_ok(), "reasons do not count");
        assert!(refused(&text[..text.len() - 1]).contains("cut"));
        assert!(refused(&text[200..]).contains(""));
        let missing = stream_plan(&location, "none").await.unwrap_err();
        assert!(missing.to_string().contains("restore plan"), "{missing}");
    }

    /// Lines of several types as text.
    mod erased {
        pub(super) trait Json {
            fn json(&self) -> Vec<u8>;
        }
        impl<T: serde::Serialize> Json for T {
            fn json(&self) -> Vec<u8> {
                let mut text = serde_json::to_vec(self).unwrap();
                text.push(b'\n');
                text
            }
        }
    }
}
