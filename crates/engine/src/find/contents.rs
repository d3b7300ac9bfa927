//! Looks for a value inside the objects of one tarball, which is streamed once and not unpacked.

use refloat_model::{Backup, GroupResource, ObjectName, layout::BackupFile};
use refloat_plan::find::field_with;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    EngineError, Location,
    archive_reader::{self, ArchiveError, ChannelReader},
    catalog,
};

enum Stop {
    Archive(ArchiveError),
    /// Nobody listens any more.
    Enough,
}

impl From<ArchiveError> for Stop {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

/// An object's key, and the first field that holds the value.
type Answer = (u64, Box<str>);

/// Reads a backup's tarball and answers for those objects that `wanted` gives a key to and that hold
/// `value`. What is wrong with the tarball comes as the last answer.
pub(super) async fn look_through(
    location: &Location,
    backup: &Backup,
    value: &str,
    cancel: &CancellationToken,
    wanted: impl Fn(&GroupResource, &ObjectName) -> Option<u64> + Send + 'static,
) -> Result<mpsc::Receiver<Result<Answer, EngineError>>, EngineError> {
    let name = backup.metadata.name.as_deref().unwrap_or_default();
    let key = BackupFile::Contents.key(name);
    let reader = ChannelReader::over(catalog::stream_file(location, &key).await?);
    let (sender, receiver) = mpsc::channel(64);
    let (value, cancel) = (value.to_owned(), cancel.clone());
    tokio::task::spawn_blocking(move || {
        let read = archive_reader::read(
            reader,
            |kind, name| wanted(kind, name).is_some(),
            |object| {
                if cancel.is_cancelled() || sender.is_closed() {
                    return Err(Stop::Enough);
                }
                let field = serde_json::from_slice(object.json)
                    .ok()
                    .and_then(|object| field_with(&object, &value));
                let answer = wanted(object.resource, object.name).zip(field);
                match answer {
                    Some((key, field)) => sender
                        .blocking_send(Ok((key, field.into_boxed_str())))
                        .map_err(|_| Stop::Enough),
                    None => Ok(()),
                }
            },
        );
        if let Err(Stop::Archive(error)) = read {
            // As above: who does not listen does not want to know.
            let _ = sender.blocking_send(Err(EngineError::damaged(&key, crate::error::chain(&error))));
        }
    });
    Ok(receiver)
}
