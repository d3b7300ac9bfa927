//! Reads what a backup tells of its objects besides the tarball: its index, or its resource list.
//! Both are foreign bytes: line by line, with bounds, and believed only as far as they parse.

use std::{
    fmt,
    io::{BufRead, BufReader, Read},
};

use flate2::read::MultiGzDecoder;
use refloat_model::{
    GroupResource, ObjectName,
    index::{self, IndexKind, Line},
    layout::{self, BackupFile},
};
use refloat_plan::find::{Query, plural};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use super::Candidate;
use crate::{EngineError, Location, archive_reader::ChannelReader, catalog};

/// The longest line; labels have a limit of their own far below.
const LONGEST_LINE: u64 = 1024 * 1024;
/// The most kinds.
const MOST_KINDS: usize = 20_000;

type Candidates = mpsc::Receiver<Result<Candidate, EngineError>>;
type Sender = mpsc::Sender<Result<Candidate, EngineError>>;

/// The objects of an index that are wanted.
pub(super) async fn by_index(
    location: &Location,
    backup: &str,
    wanted: impl Fn(&IndexKind, &ObjectName, Option<&Map<String, Value>>) -> bool + Send + 'static,
) -> Result<Candidates, EngineError> {
    read(location, layout::backup_index(backup), move |text, sender| {
        lines(BufReader::new(text), &wanted, sender)
    })
    .await
}

/// The objects of a resource list that a query means. Their kinds are known by their names in objects
/// only; the plural is guessed as Kubernetes' own tools guess it.
pub(super) async fn by_list(
    location: &Location,
    backup: &str,
    query: Query,
) -> Result<Candidates, EngineError> {
    read(
        location,
        BackupFile::ResourceList.key(backup),
        move |text, sender| {
            let mut json = serde_json::Deserializer::from_reader(BufReader::new(text));
            let list = List {
                query: &query,
                sender,
            };
            json.deserialize_map(list).map_err(|error| error.to_string())
        },
    )
    .await
}

/// Reads an object of the store on a thread of its own; what is wrong with it comes as the last candidate.
async fn read(
    location: &Location,
    key: String,
    work: impl FnOnce(MultiGzDecoder<ChannelReader>, &Sender) -> Result<(), String> + Send + 'static,
) -> Result<Candidates, EngineError> {
    let stream = catalog::stream_file(location, &key).await?;
    let reader = ChannelReader::over(stream);
    let (sender, receiver) = mpsc::channel(256);
    tokio::task::spawn_blocking(move || {
        // Already the decoder's making reads, and blocks.
        if let Err(problem) = work(MultiGzDecoder::new(reader), &sender) {
            // Who does not listen any more does not want to know.
            let _ = sender.blocking_send(Err(EngineError::damaged(&key, problem)));
        }
    });
    Ok(receiver)
}

fn lines(
    mut text: impl BufRead,
    wanted: impl Fn(&IndexKind, &ObjectName, Option<&Map<String, Value>>) -> bool,
    sender: &Sender,
) -> Result<(), String> {
    let mut kinds: Vec<IndexKind> = Vec::new();
    let mut line = Vec::new();
    let mut seen = 0;
    let mut begun = false;
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
        match Line::read(&line)? {
            Line::Head { format, version } => {
                if format != index::FORMAT || version != index::VERSION {
                    return Err(format!(
                        "it is {format} {version}, and this release reads {} {}",
                        index::FORMAT,
                        index::VERSION
                    ));
                }
                begun = true;
            }
            _ if !begun => return Err("its first line does not say what it is".to_owned()),
            Line::Kind(kind) => {
                if kind.id != kinds.len() || kinds.len() >= MOST_KINDS {
                    return Err("its kinds are not in order".to_owned());
                }
                kinds.push(kind);
            }
            Line::Object(object) => {
                seen += 1;
                let kind = kinds.get(object.k).ok_or("an object is of no kind")?;
                let name = object.name();
                if !wanted(kind, &name, object.l.as_ref()) {
                    continue;
                }
                let hash = object
                    .h
                    .as_deref()
                    .and_then(|hash| u64::from_str_radix(hash.get(..16)?, 16).ok());
                let candidate = Candidate {
                    resource: kind.group_resource(),
                    name,
                    hash,
                };
                if sender.blocking_send(Ok(candidate)).is_err() {
                    return Ok(());
                }
            }
            Line::End { objects } if objects == seen => return Ok(()),
            Line::End { .. } => return Err("it does not hold as many objects as it says".to_owned()),
        }
    }
}

/// A resource list, read as it comes.
struct List<'a> {
    query: &'a Query,
    sender: &'a Sender,
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names by kind")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(kind) = map.next_key::<String>()? {
            let (api_version, kind) = kind.rsplit_once('/').unwrap_or(("", &kind));
            let group = api_version.split_once('/').map_or("", |(group, _)| group);
            let names = Names {
                resource: GroupResource::new(plural(kind), group),
                kind,
                list: &self,
            };
            map.next_value_seed(names)?;
        }
        Ok(())
    }
}

/// The names of one kind.
struct Names<'a> {
    resource: GroupResource,
    kind: &'a str,
    list: &'a List<'a>,
}

impl<'de> DeserializeSeed<'de> for Names<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Names<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of names")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<(), A::Error> {
        while let Some(text) = names.next_element::<String>()? {
            let name = match text.split_once('/') {
                Some((namespace, name)) => ObjectName::new(namespace, name),
                None => ObjectName::new("", text.as_str()),
            };
            if self.list.query.matches(&self.resource, self.kind, &name) {
                let candidate = Candidate {
                    resource: self.resource.clone(),
                    name,
                    hash: None,
                };
                // Who does not listen any more does not want the rest; it is short.
                let _ = self.list.sender.blocking_send(Ok(candidate));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"{"format":"refloat.io/index","version":1}"#;
    const KIND: &str = r#"{"id":0,"resource":"secrets","version":"v1","kind":"Secret"}"#;
    const OBJECT: &str =
        r#"{"k":0,"ns":"shop","n":"db","h":"00000000000000ff0000000000000000","l":{"a":"b"}}"#;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let (sender, mut receiver) = mpsc::channel(16);
        lines(text.as_bytes(), |_, _, _| true, &sender)?;
        drop(sender);
        let mut found = Vec::new();
        while let Some(Ok(one)) = receiver.blocking_recv() {
            found.push(format!("{} {} {:?}", one.resource, one.name, one.hash));
        }
        Ok(found)
    }

    #[test]
    fn a_whole_index_is_read_and_a_broken_one_refused() {
        let whole = format!("{HEAD}\n{KIND}\n{OBJECT}\n{{\"objects\":1}}\n");
        assert_eq!(read(&whole).unwrap(), ["secrets shop/db Some(255)"]);
        for (broken, part) in [
            (format!("{HEAD}\n{KIND}\n{OBJECT}\n"), "cut"),
            (whole[..whole.len() - 1].to_owned(), "cut"),
            (format!("{KIND}\n"), "first line"),
            (format!("{HEAD}\n{OBJECT}\n"), "no kind"),
            (format!("{HEAD}\n{KIND}\n{KIND}\n"), "order"),
            (
                format!("{HEAD}\n{KIND}\n{OBJECT}\n{{\"objects\":2}}\n"),
                "as many",
            ),
            (HEAD.replace(":1}", ":2}\n"), "this release reads"),
            ("[1]\n".to_owned(), ""),
        ] {
            let error = read(&broken).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_resource_list_is_read_name_by_name() {
        let (sender, mut receiver) = mpsc::channel(16);
        let text = r#"{"apps/v1/Deployment":["shop/web","other/web"],"v1/Namespace":["shop"],"v1/Pod":null}"#;
        let query: Query = "name=web,kind=deploy".parse().unwrap();
        let list = List {
            query: &query,
            sender: &sender,
        };
        serde_json::Deserializer::from_str(text)
            .deserialize_map(list)
            .unwrap();
        drop(sender);
        let mut found = Vec::new();
        while let Some(Ok(one)) = receiver.blocking_recv() {
            found.push(format!("{} {}", one.resource, one.name));
        }
        assert_eq!(found, ["deployments.apps shop/web", "deployments.apps other/web"]);
    }
}
