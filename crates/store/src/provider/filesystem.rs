//! A folder: a disk or a mounted NFS export. It has no counterpart among Velero's own plugins.

use opendal::services::Fs;

use super::{Opened, Settings};
use crate::error::{At, Cause, StoreError};

/// `path` is the folder, or with a relative `bucket` the folder that holds it.
const KEYS: [&str; 1] = ["path"];

pub(super) async fn open(settings: &Settings<'_>) -> Result<Opened, StoreError> {
    settings.only(&KEYS)?;
    let folder = settings.config.folder();
    if !folder.is_absolute() {
        return Err(settings.wrong(
            "path",
            "it is missing or relative; set it (or spec.objectStorage.bucket) to an absolute path".to_owned(),
        ));
    }
    if folder
        .components()
        .any(|part| part == std::path::Component::ParentDir)
    {
        return Err(settings.wrong("path", "it has a part `..`".to_owned()));
    }
    let at = || At::new("opening", "", &settings.location);
    if settings.config.create && !settings.config.read_only {
        tokio::fs::create_dir_all(&folder)
            .await
            .map_err(|e| StoreError::from_io(at(), &e))?;
    }
    // Looked at again by every probe of the location: a mount may come and go.
    match tokio::fs::metadata(&folder).await {
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Err(settings.wrong("path", format!("{} is no folder", folder.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let cause = Cause::new(format!("there is no folder {}; is it mounted?", folder.display()));
            return Err(StoreError::NoSuchBucket { at: at(), cause });
        }
        Err(e) => return Err(StoreError::from_io(at(), &e)),
    }
    let root = folder
        .to_str()
        .ok_or_else(|| settings.wrong("path", "it is not UTF-8".to_owned()))?;
    let mut opened = Opened::new(settings.operator(Fs::default().root(root))?);
    opened.presigner = None;
    opened.marks = false;
    opened.folder = Some(folder);
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use super::super::open;
    use super::super::tests::refused;
    use crate::location::LocationConfig;
    use crate::retry::Tuning;

    #[tokio::test]
    async fn wrong_settings_are_explained() {
        for (settings, words) in [
            (&[][..], "setting `path`"),
            (&[("path", "relative")], "absolute path"),
            (
                &[("path", "/does/not/exist")],
                "no folder /does/not/exist/bucket; is it mounted?",
            ),
            (&[("path", "/tmp/../etc")], "has a part `..`"),
        ] {
            let text = refused("filesystem", settings, "").await;
            assert!(text.contains(words), "{settings:?}: {text}");
        }
    }

    #[tokio::test]
    async fn a_url_creates_the_folder_unless_it_is_only_read() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("file://{}/a/b", folder.path().display());
        let mut config = LocationConfig::from_url(&url).unwrap();
        config.read_only = true;
        assert_eq!(
            open(&config, &Tuning::default()).await.err().unwrap().reason(),
            "NoSuchBucket"
        );
        config.read_only = false;
        open(&config, &Tuning::default()).await.unwrap();
        assert!(folder.path().join("a/b").is_dir());
    }
}
