//! What can go wrong between us and the API server, and whether trying again helps.

use std::time::Duration;

/// The error of this crate. `Display` says what was being done and to what; the cause is in
/// `source()` and is not repeated.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no usable kubeconfig and no service account.
    #[error("no usable cluster configuration: give --kubeconfig, set KUBECONFIG, or run in a pod")]
    Config(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The API server answered with an error.
    #[error("cannot {action}: {message}{}", hint(*.code, .reason))]
    Api {
        /// What was being done, for example `create configmaps shop/web`.
        action: String,
        /// The HTTP status.
        code: u16,
        /// Kubernetes' reason, for example `AlreadyExists`.
        reason: String,
        /// The server's own words.
        message: String,
        /// How long the server wants us to wait.
        retry_after: Option<Duration>,
        /// A token to go on with a list whose snapshot has expired.
        continue_token: Option<String>,
    },
    /// The connection could not be made or broke.
    #[error("cannot {action}: no answer from the API server")]
    Transport {
        /// What was being done.
        action: String,
        /// The connection's own error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer took too long.
    #[error("cannot {action}: no answer from the API server within {} s", .limit.as_secs())]
    Timeout {
        /// What was being done.
        action: String,
        /// The limit.
        limit: Duration,
    },
    /// The answer is not what the API promises.
    #[error("cannot {action}: the API server's answer is not understood")]
    Decode {
        /// What was being done.
        action: String,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn hint(code: u16, reason: &str) -> &'static str {
    match (code, reason) {
        (401, _) => " (the credentials are wrong or have expired: renew the kubeconfig or token)",
        (403, _) => " (grant the verb in a Role or ClusterRole of this account)",
        (_, "TooManyRequests") => " (the API server is overloaded)",
        _ => "",
    }
}

impl ClusterError {
    /// The HTTP status, where the server answered.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::Api { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The object or kind does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.code() == Some(404)
    }

    /// An object of that name exists.
    #[must_use]
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Self::Api { code: 409, reason, .. } if reason == "AlreadyExists")
    }

    /// The object has changed since it was read.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api { code: 409, reason, .. } if reason != "AlreadyExists")
    }

    /// The list's snapshot is gone.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.code() == Some(410)
    }

    /// It took longer than we, or the API server, waited.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Api { code: 504, .. })
    }

    /// The same call may work later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Api { code, reason, .. } => {
                matches!(code, 429 | 500 | 502 | 503 | 504) || reason == "ServerTimeout"
            }
            Self::Transport { .. } | Self::Timeout { .. } => true,
            Self::Config(_) | Self::Decode { .. } => false,
        }
    }

    /// A word for conditions and events.
    #[must_use]
    pub fn reason(&self) -> &str {
        match self {
            Self::Config(_) => "NoClusterConfiguration",
            Self::Api { reason, .. } if !reason.is_empty() => reason,
            Self::Api { .. } => "ApiError",
            Self::Transport { .. } => "ApiServerUnreachable",
            Self::Timeout { .. } => "ApiServerTimeout",
            Self::Decode { .. } => "UnexpectedAnswer",
        }
    }

    /// The server's own words, without ours around them; else the whole message.
    #[must_use]
    pub fn server_message(&self) -> String {
        match self {
            Self::Api { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }
}
