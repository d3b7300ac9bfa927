//! The providers: from the settings of a location to an OpenDAL operator. Names of settings and forms of secrets
//! are those of Velero's plugins, and as with those an unknown setting is an error.

mod alibabacloud;
mod aws;
mod azure;
mod filesystem;
mod gcp;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use opendal::{Builder, HttpTransporter, OperationContext, Operator};

use crate::error::{At, Cause, StoreError};
use crate::location::LocationConfig;
use crate::retry::Tuning;
use crate::transport::{Extras, Transport};

/// Which storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    Aws,
    Azure,
    Gcp,
    Alibabacloud,
    Filesystem,
    Memory,
}

impl Provider {
    /// The provider of that name, whatever domain stands in front of it.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name.rsplit('/').next().unwrap_or(name) {
            "aws" => Self::Aws,
            "azure" => Self::Azure,
            "gcp" => Self::Gcp,
            "alibabacloud" => Self::Alibabacloud,
            "filesystem" => Self::Filesystem,
            "memory" => Self::Memory,
            _ => return None,
        })
    }

    pub(crate) fn scheme(self) -> &'static str {
        match self {
            Self::Aws => "s3",
            Self::Azure => "azblob",
            Self::Gcp => "gs",
            Self::Alibabacloud => "oss",
            Self::Filesystem => "file",
            Self::Memory => "memory",
        }
    }
}

/// An opened location, before timeouts and retries.
pub(crate) struct Opened {
    pub(crate) operator: Operator,
    /// What signs URLs, if anything does.
    pub(crate) presigner: Option<Operator>,
    /// The part size that the settings ask for.
    pub(crate) part_size: Option<usize>,
    /// See [`crate::transport::S3Extras`].
    pub(crate) unconditional: Arc<AtomicBool>,
    /// The folder, for `filesystem`.
    pub(crate) folder: Option<PathBuf>,
    /// Whether objects carry the mark of who wrote them.
    pub(crate) marks: bool,
}

impl Opened {
    fn new(operator: Operator) -> Self {
        Self {
            presigner: Some(operator.clone()),
            operator,
            part_size: None,
            unconditional: Arc::default(),
            folder: None,
            marks: true,
        }
    }
}

/// Opens a location. Speaks to the service only where a region must be found out.
pub(crate) async fn open(config: &LocationConfig, tuning: &Tuning) -> Result<Opened, StoreError> {
    let settings = Settings {
        config,
        location: config.display_name(),
    };
    let provider = Provider::parse(&config.provider).ok_or_else(|| {
        settings.wrong(
            "provider",
            format!(
                "`{}` is unknown; it is aws, azure, gcp, alibabacloud or filesystem",
                config.provider
            ),
        )
    })?;
    if !matches!(provider, Provider::Filesystem | Provider::Memory) {
        if config.bucket.is_empty() {
            return Err(settings.wrong("spec.objectStorage.bucket", "it is empty".to_owned()));
        }
        if config.bucket.contains('/') {
            return Err(settings.wrong(
                "spec.objectStorage.bucket",
                format!(
                    "`{}` has a slash; put folders into spec.objectStorage.prefix",
                    config.bucket
                ),
            ));
        }
    }
    match provider {
        Provider::Aws => aws::open(&settings, tuning).await,
        Provider::Azure => azure::open(&settings, tuning).await,
        Provider::Gcp => gcp::open(&settings, tuning).await,
        Provider::Alibabacloud => alibabacloud::open(&settings, tuning).await,
        Provider::Filesystem => filesystem::open(&settings).await,
        Provider::Memory => {
            settings.only(&[])?;
            let mut opened = Opened::new(settings.operator(opendal::services::Memory::default())?);
            opened.presigner = None;
            opened.marks = false;
            Ok(opened)
        }
    }
}

/// The settings of one location, and errors that name them.
pub(crate) struct Settings<'a> {
    config: &'a LocationConfig,
    location: String,
}

impl Settings<'_> {
    fn wrong(&self, key: &str, problem: String) -> StoreError {
        StoreError::config(key, &self.location, problem)
    }

    /// Refuses every key that is not in `allowed`.
    fn only(&self, allowed: &[&str]) -> Result<(), StoreError> {
        match self
            .config
            .config
            .keys()
            .find(|key| !allowed.contains(&key.as_str()))
        {
            None => Ok(()),
            Some(key) => {
                let list = if allowed.is_empty() {
                    "none".to_owned()
                } else {
                    allowed.join(", ")
                };
                Err(self.wrong(
                    key,
                    format!(
                        "provider {} does not know it; it knows: {list}",
                        self.config.provider
                    ),
                ))
            }
        }
    }

    /// The value of a key; an empty one counts as absent.
    fn text(&self, key: &str) -> Option<&str> {
        self.config
            .config
            .get(key)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// A boolean, spelled as Go's `ParseBool` takes it; absent is false.
    fn flag(&self, key: &str) -> Result<bool, StoreError> {
        match self.text(key) {
            None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(false),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(true),
            Some(other) => Err(self.wrong(key, format!("`{other}` is neither true nor false"))),
        }
    }

    /// A URL with `http` or `https` in front, without a slash at the end.
    fn url(&self, key: &str) -> Result<Option<&str>, StoreError> {
        match self.text(key) {
            None => Ok(None),
            Some(url) => match reqwest::Url::parse(url) {
                Ok(parsed) if matches!(parsed.scheme(), "http" | "https") => {
                    Ok(Some(url.trim_end_matches('/')))
                }
                _ => Err(self.wrong(
                    key,
                    format!("`{url}` is no URL that begins with http:// or https://"),
                )),
            },
        }
    }

    /// The content of the credentials secret, of the file in the setting `credentialsFile`, or of the file that
    /// the environment variable `variable` names.
    async fn credential(&self, variable: Option<&str>) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(bytes) = &self.config.credential {
            return Ok(Some(bytes.clone()));
        }
        let named =
            variable.and_then(|name| Some((name, std::env::var(name).ok().filter(|p| !p.is_empty())?)));
        let (name, path) = match (self.text("credentialsFile"), &named) {
            (Some(path), _) => ("credentialsFile", path),
            (None, Some((name, path))) => (*name, path.as_str()),
            (None, None) => return Ok(None),
        };
        let bytes = tokio::fs::read(path).await;
        bytes
            .map(Some)
            .map_err(|e| self.wrong(name, format!("the file {path} cannot be read: {e}")))
    }

    fn bad_credentials(&self, problem: impl Into<String>) -> StoreError {
        StoreError::BadCredentials {
            at: At::new("opening", "", &self.location),
            cause: Cause::new(problem),
        }
    }

    fn transport(&self, tuning: &Tuning, insecure: bool) -> Result<Transport, StoreError> {
        let client = crate::tls::client(self.config.ca_cert.as_deref(), insecure, &self.location)?;
        let transport = Transport::new(client);
        #[cfg(any(test, feature = "testing"))]
        let transport = transport.with_faults(tuning.http_faults.clone());
        #[cfg(not(any(test, feature = "testing")))]
        let _ = tuning;
        Ok(transport)
    }

    fn operator(&self, builder: impl Builder) -> Result<Operator, StoreError> {
        Operator::new(builder)
            .map_err(|e| StoreError::from_opendal(At::new("opening", "", &self.location), &e, false))
    }

    fn http_operator(&self, builder: impl Builder, transport: &Transport) -> Result<Operator, StoreError> {
        let context = OperationContext::new().with_http_transport(HttpTransporter::new(transport.clone()));
        Ok(self.operator(builder)?.with_context(context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of opening a location with these settings.
    pub(super) async fn refused(provider: &str, settings: &[(&str, &str)], credential: &str) -> String {
        let config = location(provider, settings, credential);
        let error = open(&config, &Tuning::default())
            .await
            .err()
            .expect("opening must fail");
        match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        }
    }

    pub(super) fn location(provider: &str, settings: &[(&str, &str)], credential: &str) -> LocationConfig {
        LocationConfig {
            provider: provider.to_owned(),
            bucket: "bucket".to_owned(),
            config: settings
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            credential: (!credential.is_empty()).then(|| credential.as_bytes().to_vec()),
            ..LocationConfig::default()
        }
    }

    #[tokio::test]
    async fn providers_are_known_with_and_without_their_domain() {
        assert_eq!(Provider::parse("velero.io/aws"), Some(Provider::Aws));
        assert_eq!(Provider::parse("azure"), Some(Provider::Azure));
        let text = refused("velero.io/floppy", &[], "").await;
        assert!(
            text.contains("`velero.io/floppy` is unknown; it is aws, azure, gcp"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn an_unknown_setting_is_named_with_those_that_are_known() {
        for provider in ["aws", "azure", "gcp", "alibabacloud", "filesystem"] {
            let text = refused(provider, &[("regoin", "x")], "").await;
            assert!(
                text.contains("the setting `regoin` of") && text.contains("it knows: "),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn a_bucket_with_a_slash_is_refused() {
        let mut config = location("aws", &[], "");
        config.bucket = "a/b".to_owned();
        let text = open(&config, &Tuning::default()).await.err().unwrap().to_string();
        assert!(
            text.contains("`a/b` has a slash; put folders into spec.objectStorage.prefix"),
            "{text}"
        );
    }
}
