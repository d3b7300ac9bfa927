//! What can go wrong in a controller or in starting the server.

use refloat_cluster::ClusterError;
use refloat_engine::EngineError;
use refloat_web::WebError;

/// The error of this crate. `Display` never repeats its source.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// Custom resource definitions are missing.
    #[error(
        "the cluster does not have the custom resources {names}: run `refloat install --crds-only` or `velero install --crds-only`, then start again"
    )]
    MissingCrds {
        /// Their plural names with group, separated by commas.
        names: String,
    },
    /// The server's namespace does not exist.
    #[error("the namespace {namespace} does not exist: create it, or name another with --namespace")]
    MissingNamespace {
        /// The namespace.
        namespace: String,
    },
    /// An option has a value that cannot be used.
    #[error("the value of {flag} cannot be used")]
    Option {
        /// The flag.
        flag: &'static str,
        /// What is wrong with it.
        #[source]
        source: refloat_plan::PlanError,
    },
    /// The API server did not do what was asked.
    #[error(transparent)]
    Cluster(Box<ClusterError>),
    /// A store or a job failed.
    #[error(transparent)]
    Engine(Box<EngineError>),
    /// The HTTP servers could not be set up.
    #[error(transparent)]
    Web(#[from] WebError),
    /// Something took longer than it may.
    #[error("{doing} took more than {seconds} s")]
    Timeout {
        /// What was being done.
        doing: String,
        /// The limit.
        seconds: u64,
    },
    /// An object could not be turned into JSON.
    #[error("cannot encode {what}")]
    Encode {
        /// Which object.
        what: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Another server may lead now, so that this one has to stop.
    #[error(
        "the leader lease was lost: this server stops so that it does not write beside its successor; the pod starts again by itself"
    )]
    LeadershipLost,
}

impl From<ClusterError> for ControllerError {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(Box::new(error))
    }
}

impl From<EngineError> for ControllerError {
    fn from(error: EngineError) -> Self {
        Self::Engine(Box::new(error))
    }
}

impl ControllerError {
    /// The same call may work later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Cluster(error) => error.is_retryable() || error.is_conflict(),
            Self::Engine(error) => error.is_retryable(),
            Self::Timeout { .. } => true,
            _ => false,
        }
    }

    /// One word in CamelCase for conditions and events.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::MissingCrds { .. } => "MissingCustomResources",
            Self::MissingNamespace { .. } => "MissingNamespace",
            Self::Option { .. } => "BadOption",
            Self::Cluster(error) => error.reason(),
            Self::Engine(error) => error.reason(),
            Self::Web(_) => "ListenFailed",
            Self::Timeout { .. } => "Timeout",
            Self::Encode { .. } => "EncodeFailed",
            Self::LeadershipLost => "LeadershipLost",
        }
    }
}

/// An error and all that caused it, in one line, each part once.
#[must_use]
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}
