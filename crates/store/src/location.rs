//! Where a store is and how to get in: the settings of a `BackupStorageLocation`, or a URL on a command line.

use std::collections::BTreeMap;
use std::fmt;

use crate::error::StoreError;
use crate::provider::Provider;

/// All that [`Store::open`](crate::Store::open) needs. The names and meanings are those of a
/// `BackupStorageLocation` and of Velero's plugins.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct LocationConfig {
    /// `aws`, `azure`, `gcp`, `alibabacloud` or `filesystem`, with or without `velero.io/` in front (or any other
    /// `domain/`); `memory` for tests.
    pub provider: String,
    /// The bucket or container. For `filesystem` the folder: an absolute path, or a folder inside the setting
    /// `path`.
    pub bucket: String,
    /// In front of every key, without regard to slashes at either end.
    pub prefix: String,
    /// PEM certificates to trust besides those of the system.
    pub ca_cert: Option<Vec<u8>>,
    /// `spec.config`.
    pub config: BTreeMap<String, String>,
    /// The content of the credentials secret; without it the setting `credentialsFile`, then the environment.
    pub credential: Option<Vec<u8>>,
    /// The content of the secret that `customerKeyEncryptionSecret` names (32 bytes): the store cannot fetch it.
    pub customer_key: Option<Vec<u8>>,
    /// Refuse every write.
    pub read_only: bool,
    /// For `filesystem`: create the folder if it is not there. Leave it off for a mount, whose absence must be an
    /// error.
    pub create: bool,
}

impl fmt::Debug for LocationConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocationConfig")
            .field("location", &self.display_name())
            .field("config", &self.config)
            .field("ca_cert", &self.ca_cert.is_some())
            .field("credential", &self.credential.as_ref().map(|_| "…"))
            .field("customer_key", &self.customer_key.as_ref().map(|_| "…"))
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

impl LocationConfig {
    /// Reads a storage URL: `s3://bucket/prefix?region=…&s3Url=…`, `azblob://container/prefix?storageAccount=…`,
    /// `gs://bucket/prefix`, `oss://bucket/prefix?region=…`, `file:///folder`, `memory://name`. The query holds
    /// `spec.config` keys; `caCert` and `credentialsFile` are paths of files. Credentials come from there or
    /// from the environment, never from the URL.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        let shown = match url.split_once("://") {
            Some((scheme, rest)) => format!(
                "{scheme}://{}",
                rest.rsplit_once('@').map_or(rest, |(_, host)| host)
            ),
            None => url.rsplit_once('@').map_or(url, |(_, host)| host).to_owned(),
        };
        let wrong =
            |problem| StoreError::config("storage URL", &crate::error::without_queries(&shown), problem);
        let parsed = reqwest::Url::parse(url).map_err(|e| {
            wrong(format!(
                "{e}; it is like s3://bucket/prefix?region=eu-central-1 or file:///backups"
            ))
        })?;
        if !url.contains("://") {
            // `s3:key:secret@bucket` would be a path, and paths are shown.
            return Err(wrong(
                "it is like s3://bucket/prefix or file:///backups".to_owned(),
            ));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err(wrong(
                "it has credentials; put them into the environment or a credentials file".to_owned(),
            ));
        }
        let provider = match parsed.scheme() {
            "s3" => "aws",
            "azblob" => "azure",
            "gs" => "gcp",
            "oss" => "alibabacloud",
            "file" => "filesystem",
            "memory" => "memory",
            other => {
                return Err(wrong(format!(
                    "`{other}` is no storage; use s3, azblob, gs, oss, file or memory in front of ://"
                )));
            }
        };
        let mut location = Self {
            provider: provider.to_owned(),
            ..Self::default()
        };
        let path = percent_decoded(parsed.path()).ok_or_else(|| wrong("its path is not UTF-8".to_owned()))?;
        if provider == "filesystem" {
            if parsed
                .host_str()
                .is_some_and(|h| !h.is_empty() && h != "localhost")
                || path == "/"
            {
                return Err(wrong(
                    "a folder has three slashes in front: file:///backups".to_owned(),
                ));
            }
            location.bucket = path;
            location.create = true;
        } else {
            location.bucket = parsed.host_str().unwrap_or_default().to_owned();
            location.prefix = path;
        }
        for (key, value) in parsed.query_pairs() {
            if key == "caCert" {
                let bytes = std::fs::read(value.as_ref())
                    .map_err(|e| wrong(format!("the file {value} named by `caCert` cannot be read: {e}")))?;
                location.ca_cert = Some(bytes);
            } else {
                location.config.insert(key.into_owned(), value.into_owned());
            }
        }
        Ok(location)
    }

    /// The location for logs and messages, without secrets: `s3://bucket/prefix`.
    pub fn display_name(&self) -> String {
        let bucket = match Provider::parse(&self.provider) {
            Some(Provider::Filesystem) => self.folder().to_string_lossy().into_owned(),
            _ => self.bucket.clone(),
        };
        let scheme = match Provider::parse(&self.provider) {
            Some(provider) => provider.scheme(),
            None => &self.provider,
        };
        match self.prefix.trim_matches('/') {
            "" => format!("{scheme}://{bucket}"),
            prefix => format!("{scheme}://{bucket}/{prefix}"),
        }
    }

    /// For `filesystem`: the folder that stands for the bucket.
    pub(crate) fn folder(&self) -> std::path::PathBuf {
        // An absolute bucket replaces the path it is joined to.
        std::path::Path::new(self.config.get("path").map_or("", String::as_str)).join(&self.bucket)
    }

    /// The prefix as it stands in front of keys: empty, or ending in one slash.
    pub(crate) fn key_prefix(&self) -> String {
        match self.prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        }
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let hex = tail
            .get(..2)
            .and_then(|h| u8::from_str_radix(std::str::from_utf8(h).ok()?, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                bytes.push(value);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_locations() {
        let s3 =
            LocationConfig::from_url("s3://my-bucket/a/b?region=eu-1&s3Url=http%3A%2F%2F127.0.0.1%3A9000")
                .unwrap();
        assert_eq!(
            (s3.provider.as_str(), s3.bucket.as_str(), s3.prefix.as_str()),
            ("aws", "my-bucket", "/a/b")
        );
        assert_eq!(s3.config["s3Url"], "http://127.0.0.1:9000");
        assert_eq!(s3.key_prefix(), "a/b/");
        assert_eq!(s3.display_name(), "s3://my-bucket/a/b");

        let disk = LocationConfig::from_url("file:///back%20ups/x").unwrap();
        assert_eq!((disk.folder().to_str(), disk.create), (Some("/back ups/x"), true));
        assert_eq!(disk.display_name(), "file:///back ups/x");
        assert_eq!(disk.key_prefix(), "");

        assert_eq!(
            LocationConfig::from_url("gs://b").unwrap().display_name(),
            "gs://b"
        );
        assert_eq!(
            LocationConfig::from_url("azblob://c/p?storageAccount=x")
                .unwrap()
                .provider,
            "azure"
        );
        assert_eq!(
            LocationConfig::from_url("oss://b?region=cn-1").unwrap().provider,
            "alibabacloud"
        );
    }

    #[test]
    fn wrong_urls_are_refused_without_their_secrets() {
        for (url, words) in [
            ("backups", "it is like s3://bucket"),
            ("ftp://h/b", "`ftp` is no storage"),
            ("file://backups", "three slashes"),
            ("file:///", "three slashes"),
            ("s3://key:hidden@b/p", "put them into the environment"),
            ("s3:key:hidden@b/p", "it is like s3://bucket"),
            ("s3:/key:hidden@b/p", "it is like s3://bucket"),
            ("s3://b?caCert=/does/not/exist", "cannot be read"),
        ] {
            let text = LocationConfig::from_url(url).unwrap_err().to_string();
            assert!(text.contains(words) && !text.contains("hidden"), "{url}: {text}");
        }
    }

    #[test]
    fn a_folder_is_the_bucket_inside_the_path() {
        let mut location = LocationConfig {
            provider: "velero.io/filesystem".to_owned(),
            bucket: "velero".to_owned(),
            ..LocationConfig::default()
        };
        location.config.insert("path".to_owned(), "/mnt/nfs".to_owned());
        assert_eq!(location.folder().to_str(), Some("/mnt/nfs/velero"));
        location.bucket = "/elsewhere".to_owned();
        assert_eq!(location.folder().to_str(), Some("/elsewhere"));
    }

    #[test]
    fn debug_hides_secrets() {
        let location = LocationConfig {
            provider: "aws".to_owned(),
            credential: Some(b"hush-1".to_vec()),
            customer_key: Some(b"hush-2".to_vec()),
            ..LocationConfig::default()
        };
        assert!(!format!("{location:?}").contains("104"), "the bytes of `h`");
    }
}
