//! Why a registry could not be asked or did not answer.

use std::time::Duration;

use proto::status::{Failure, Kind};
use thiserror::Error;

/// Every way in which a question to a registry ends without its answer.
#[derive(Debug, Error)]
pub enum Error {
    /// The configuration of an account does not fit.
    #[error("registry account \"{account}\" is faulty: {reason}")]
    Account {
        /// Account name.
        account: String,
        /// Field, value and remedy.
        reason: String,
    },
    /// No account has this name.
    #[error("there is no registry account \"{account}\"; known are: {known}")]
    UnknownAccount {
        /// The name that was asked for.
        account: String,
        /// Names of the accounts that exist.
        known: String,
    },
    /// No account covers the registry of an image.
    #[error(
        "image \"{reference}\" is in registry {registry}, which no registry account covers; \
         add an account with this address, known are: {known}"
    )]
    NoAccount {
        /// The image reference.
        reference: String,
        /// Host and port in it.
        registry: String,
        /// Addresses of the accounts that exist.
        known: String,
    },
    /// An image reference, repository, tag or digest is malformed.
    #[error("{what} \"{value}\" is malformed: {reason}")]
    Name {
        /// `image`, `repository`, `tag` or `digest`.
        what: &'static str,
        /// As given.
        value: String,
        /// What is wrong and how to write it.
        reason: &'static str,
    },
    /// The registry wants other credentials.
    #[error(
        "registry {registry} denies access to {what}: {reason}; check the account's credentials"
    )]
    Denied {
        /// Host and port.
        registry: String,
        /// What was asked for.
        what: String,
        /// What the registry says.
        reason: String,
    },
    /// The registry does not have it.
    #[error("registry {registry} has no {what}")]
    NotFound {
        /// Host and port.
        registry: String,
        /// `repository x`, `image x:1`, …
        what: String,
    },
    /// The registry asks to be left alone for a while.
    #[error("registry {registry} limits the rate of requests")]
    Throttled {
        /// Host and port.
        registry: String,
        /// How long to wait, if it said so.
        retry_after: Option<Duration>,
    },
    /// The registry answered with a status that helps nobody.
    #[error("registry {registry} answered {status} for {what}: {reason}")]
    Status {
        /// Host and port.
        registry: String,
        /// What was asked for.
        what: String,
        /// HTTP status.
        status: u16,
        /// The registry's own words, cut.
        reason: String,
    },
    /// The answer is not what the protocol promises.
    #[error("registry {registry} answered {what} in a form that is not understood: {reason}")]
    Malformed {
        /// Host and port.
        registry: String,
        /// What was asked for.
        what: String,
        /// Where it went wrong.
        reason: String,
    },
    /// The answer is larger than allowed.
    #[error("registry {registry} answered {what} with more than the {limit} {unit} allowed")]
    TooLarge {
        /// Host and port.
        registry: String,
        /// What was asked for.
        what: String,
        /// The limit.
        limit: u64,
        /// `bytes`, `tags`, `repositories`, `pages`.
        unit: &'static str,
    },
    /// The connection failed before or during the answer.
    #[error("registry {registry} cannot be reached: {reason}")]
    Transport {
        /// Host and port.
        registry: String,
        /// Root cause.
        reason: String,
    },
}

impl Error {
    /// Whether the same question may be answered later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Throttled { .. } | Self::Transport { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            Self::Account { .. }
            | Self::UnknownAccount { .. }
            | Self::NoAccount { .. }
            | Self::Name { .. }
            | Self::Denied { .. }
            | Self::NotFound { .. }
            | Self::Malformed { .. }
            | Self::TooLarge { .. } => false,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Name { .. } | Error::NoAccount { .. } => Kind::Invalid,
            Error::UnknownAccount { .. } | Error::NotFound { .. } => Kind::NotFound,
            Error::Throttled { .. } | Error::TooLarge { .. } => Kind::Exhausted,
            Error::Transport { .. } => Kind::Unavailable,
            Error::Status { status, .. } if *status >= 500 => Kind::Unavailable,
            Error::Account { .. } | Error::Denied { .. } => Kind::Conflict,
            Error::Status { .. } | Error::Malformed { .. } => Kind::Internal,
        };
        Self::new(kind, error.to_string())
    }
}
