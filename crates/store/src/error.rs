//! What can go wrong with a store, told so that a person can act on it and a controller can decide.
//!
//! Two promises: no message holds a credential, a header or a signed URL, and [`StoreError::is_retryable`] is
//! true only where the same call may succeed later with nothing changed by hand.

use std::error::Error as StdError;
use std::fmt;

use opendal::ErrorKind;

/// What was being done, to which key, where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// What was being done, as a verb in -ing form: `reading`.
    pub operation: &'static str,
    /// The key inside the location; empty where the whole location is meant.
    pub key: String,
    /// [`ObjectStore::display_name`](crate::ObjectStore::display_name) of the location.
    pub location: String,
}

impl At {
    pub(crate) fn new(operation: &'static str, key: &str, location: &str) -> Box<Self> {
        Box::new(Self {
            operation,
            key: key.to_owned(),
            location: location.to_owned(),
        })
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{} {}", self.operation, self.location)
        } else {
            write!(f, "{} {} in {}", self.operation, self.key, self.location)
        }
    }
}

/// What the service or the operating system said, without anything secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Cause(String);

impl Cause {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Any failure of a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The object is not there.
    #[error("{at}: there is no such object")]
    NotFound {
        /// Of which call.
        at: Box<At>,
    },
    /// An object of that name is there already, and objects are never changed.
    #[error("{at}: an object of that name exists, and objects are never overwritten")]
    AlreadyExists {
        /// Of which call.
        at: Box<At>,
    },
    /// The credentials are known but may not do this.
    #[error("{at}: permission denied; grant the credentials list, read, write and delete on this location")]
    PermissionDenied {
        /// Of which call.
        at: Box<At>,
        /// What the service said.
        #[source]
        cause: Cause,
    },
    /// The bucket, container or folder is not there.
    #[error("{at}: the bucket does not exist; create it or correct spec.objectStorage.bucket")]
    NoSuchBucket {
        /// Of which call.
        at: Box<At>,
        /// What the service said.
        #[source]
        cause: Cause,
    },
    /// A setting of the location is wrong.
    #[error("the setting `{key}` of {location} is wrong: {problem}")]
    InvalidConfig {
        /// The setting: a key of `spec.config`, or the field's name.
        key: String,
        /// The location.
        location: String,
        /// What is wrong with it and what would be right.
        problem: String,
    },
    /// The service does not accept the credentials, or there are none.
    #[error(
        "{at}: the credentials are not accepted; check the secret named in spec.credential (or the environment)"
    )]
    BadCredentials {
        /// Of which call.
        at: Box<At>,
        /// What the service said.
        #[source]
        cause: Cause,
    },
    /// The certificate of the endpoint is not trusted.
    #[error(
        "{at}: the certificate of the endpoint is not trusted; put its CA into spec.objectStorage.caCert, or renew it"
    )]
    Untrusted {
        /// Of which call.
        at: Box<At>,
        /// What is wrong with the certificate.
        #[source]
        cause: Cause,
    },
    /// The location is read-only.
    #[error("{at}: the location is read-only; set spec.accessMode to ReadWrite to write to it")]
    ReadOnly {
        /// Of which call.
        at: Box<At>,
    },
    /// The object is larger than the caller is ready to hold.
    #[error(
        "{at}: the object has {size} bytes and at most {limit} are accepted here; it is damaged or not ours"
    )]
    TooLarge {
        /// Of which call.
        at: Box<At>,
        /// Its size.
        size: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// Fewer or more bytes came than the object has.
    #[error("{at}: the transfer ended at byte {got} of {expected}; try again")]
    Truncated {
        /// Of which call.
        at: Box<At>,
        /// How far it came.
        got: u64,
        /// How far it should have come.
        expected: u64,
    },
    /// The object was replaced while it was being read.
    #[error("{at}: the object was replaced while it was being read; try again")]
    Changed {
        /// Of which call.
        at: Box<At>,
    },
    /// The service, or the way to it, does not work now. It was tried several times.
    #[error("{at}: the storage service does not answer properly; try again later")]
    Temporary {
        /// Of which call.
        at: Box<At>,
        /// What was seen last.
        #[source]
        cause: Cause,
    },
    /// The key cannot be stored everywhere (see [`check_key`](crate::check_key)).
    #[error("{at}: this is no usable key: {problem}")]
    BadKey {
        /// Of which call.
        at: Box<At>,
        /// Which rule it breaks.
        problem: &'static str,
    },
    /// Anything else.
    #[error("{at}: the storage service refused")]
    Other {
        /// Of which call.
        at: Box<At>,
        /// What the service said.
        #[source]
        cause: Cause,
    },
}

impl StoreError {
    pub(crate) fn config(key: &str, location: &str, problem: impl Into<String>) -> Self {
        Self::InvalidConfig {
            key: key.to_owned(),
            location: location.to_owned(),
            problem: problem.into(),
        }
    }

    /// Whether the same call may succeed later with nothing changed by hand.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Temporary { .. } | Self::Truncated { .. } | Self::Changed { .. }
        )
    }

    /// One word in CamelCase for a condition, an event or a metric; stable.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "ObjectNotFound",
            Self::AlreadyExists { .. } => "ObjectAlreadyExists",
            Self::PermissionDenied { .. } => "PermissionDenied",
            Self::NoSuchBucket { .. } => "NoSuchBucket",
            Self::InvalidConfig { .. } => "InvalidConfig",
            Self::BadCredentials { .. } => "BadCredentials",
            Self::Untrusted { .. } => "CertificateNotTrusted",
            Self::ReadOnly { .. } => "ReadOnly",
            Self::TooLarge { .. } => "ObjectTooLarge",
            Self::Truncated { .. } => "Truncated",
            Self::Changed { .. } => "ObjectChanged",
            Self::Temporary { .. } => "Temporary",
            Self::BadKey { .. } => "BadKey",
            Self::Other { .. } => "StoreFailed",
        }
    }

    /// Whether this says that the object is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Sorts an error of OpenDAL by what it means for us. `writing` tells how a failed condition is meant.
    pub(crate) fn from_opendal(at: Box<At>, error: &opendal::Error, writing: bool) -> Self {
        let cause = Cause(describe(error));
        let code = service_code(error.message());
        if is_untrusted(error) {
            return Self::Untrusted { at, cause };
        }
        match (code, error.kind()) {
            (
                "InvalidAccessKeyId"
                | "SignatureDoesNotMatch"
                | "InvalidToken"
                | "ExpiredToken"
                | "InvalidSecurity"
                | "TokenRefreshRequired"
                | "AuthenticationFailed"
                | "InvalidAuthenticationInfo"
                | "RequestTimeTooSkewed"
                | "InvalidSecurityToken.Expired",
                _,
            ) => Self::BadCredentials { at, cause },
            ("AuthorizationHeaderMalformed" | "PermanentRedirect", _) => Self::InvalidConfig {
                key: "region".to_owned(),
                location: at.location,
                problem: format!("the bucket is in another region ({cause})"),
            },
            ("NoSuchBucket" | "ContainerNotFound" | "InvalidBucketName", _) => {
                Self::NoSuchBucket { at, cause }
            }
            (_, ErrorKind::NotFound) if error.message().contains("specified bucket does not exist") => {
                Self::NoSuchBucket { at, cause }
            }
            (_, ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory) => {
                Self::NotFound { at }
            }
            (_, ErrorKind::ConditionNotMatch | ErrorKind::AlreadyExists) if writing => {
                Self::AlreadyExists { at }
            }
            (_, ErrorKind::ConditionNotMatch) => Self::Changed { at },
            (_, ErrorKind::PermissionDenied) => Self::PermissionDenied { at, cause },
            (_, ErrorKind::RateLimited) => Self::Temporary { at, cause },
            _ if error.is_temporary() || ends_early(error) => Self::Temporary { at, cause },
            _ if error.message() == "signing http request" => Self::BadCredentials { at, cause },
            _ => Self::Other { at, cause },
        }
    }

    /// Sorts an error of the operating system, for locations on disk.
    pub(crate) fn from_io(at: Box<At>, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let cause = Cause(error.to_string());
        match error.kind() {
            Io::NotFound => Self::NotFound { at },
            Io::AlreadyExists => Self::AlreadyExists { at },
            Io::PermissionDenied => Self::PermissionDenied { at, cause },
            Io::TimedOut
            | Io::Interrupted
            | Io::StaleNetworkFileHandle
            | Io::ResourceBusy
            | Io::NetworkDown => Self::Temporary { at, cause },
            _ => Self::Other { at, cause },
        }
    }
}

/// An answer whose body ended before its announced length. OpenDAL calls this unexpected and final in the layer that
/// counts bytes, and temporary in the one below: which of them sees it first is a matter of chance.
fn ends_early(error: &opendal::Error) -> bool {
    error.message().contains("got too little data")
}

/// The service's own error code: OpenDAL prints the parsed answer of S3, Azure and OSS in its message.
pub(crate) fn service_code(message: &str) -> &str {
    field(message, "code: \"").unwrap_or_default()
}

fn field<'a>(message: &'a str, start: &str) -> Option<&'a str> {
    let rest = &message[message.find(start)? + start.len()..];
    rest.find('"').map(|end| &rest[..end])
}

/// The message and its sources, without OpenDAL's context (which has URLs and headers) and without any query.
fn describe(error: &opendal::Error) -> String {
    let message = error.message();
    let mut text = match (service_code(message), field(message, "message: \"")) {
        ("", _) => message.to_owned(),
        (code, None | Some("")) => code.to_owned(),
        (code, Some(words)) => format!("{code}: {words}"),
    };
    let mut source = error.source();
    while let Some(inner) = source {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = inner.source();
    }
    without_queries(&text)
}

/// Cuts what follows `?` in anything that looks like a URL: signatures and tokens are there.
pub(crate) fn without_queries(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for piece in text.split_inclusive(|c: char| c.is_whitespace() || c == '"') {
        match (piece.contains("://"), piece.find('?')) {
            (true, Some(cut)) => {
                clean.push_str(&piece[..cut]);
                clean.push_str("?…");
                clean.extend(piece.chars().last().filter(|c| c.is_whitespace() || *c == '"'));
            }
            _ => clean.push_str(piece),
        }
    }
    clean
}

/// Whether a TLS handshake failed because of the certificate.
pub(crate) fn is_untrusted(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        // An I/O error hides what it wraps: its source is the source of what it wraps.
        if let Some(inner) = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            && is_untrusted(inner)
        {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3(kind: ErrorKind, code: &str) -> StoreError {
        let message = format!(
            "S3Error {{ code: \"{code}\", message: \"no good\", resource: \"/b\", request_id: \"1\" }}"
        );
        let error =
            opendal::Error::new(kind, message).with_context("uri", "https://h/b?X-Amz-Signature=secret");
        StoreError::from_opendal(At::new("reading", "a/b", "s3://b"), &error, false)
    }

    #[test]
    fn an_answer_that_ends_early_may_be_asked_for_again() {
        let error = opendal::Error::new(ErrorKind::Unexpected, "reader got too little data");
        let error = StoreError::from_opendal(At::new("reading", "a/b", "s3://b"), &error, false);
        assert!(error.is_retryable(), "{error:?}");
    }

    #[test]
    fn codes_of_services_are_told_apart() {
        for (kind, code, reason) in [
            (
                ErrorKind::PermissionDenied,
                "InvalidAccessKeyId",
                "BadCredentials",
            ),
            (
                ErrorKind::PermissionDenied,
                "SignatureDoesNotMatch",
                "BadCredentials",
            ),
            (ErrorKind::PermissionDenied, "AccessDenied", "PermissionDenied"),
            (ErrorKind::ConfigInvalid, "NoSuchBucket", "NoSuchBucket"),
            (ErrorKind::NotFound, "ContainerNotFound", "NoSuchBucket"),
            (ErrorKind::NotFound, "NoSuchKey", "ObjectNotFound"),
            (
                ErrorKind::ConditionNotMatch,
                "PreconditionFailed",
                "ObjectChanged",
            ),
            (ErrorKind::RateLimited, "SlowDown", "Temporary"),
            (
                ErrorKind::Unexpected,
                "AuthorizationHeaderMalformed",
                "InvalidConfig",
            ),
            (ErrorKind::Unexpected, "Whatever", "StoreFailed"),
        ] {
            assert_eq!(s3(kind, code).reason(), reason, "{code}");
        }
    }

    #[test]
    fn a_message_names_call_key_location_and_remedy_but_no_secret() {
        let error = s3(ErrorKind::PermissionDenied, "SignatureDoesNotMatch");
        assert_eq!(
            error.to_string(),
            "reading a/b in s3://b: the credentials are not accepted; check the secret named in spec.credential \
             (or the environment)"
        );
        assert_eq!(
            error.source().unwrap().to_string(),
            "SignatureDoesNotMatch: no good"
        );
    }

    #[test]
    fn queries_of_urls_are_cut() {
        assert_eq!(
            without_queries("GET \"https://h/b/k?X-Amz-Signature=1&a=b\" failed? yes"),
            "GET \"https://h/b/k?…\" failed? yes"
        );
    }
}
