//! Why an image could not be fetched or unpacked.

use std::path::PathBuf;

use proto::status::{Failure, Kind};
use thiserror::Error;

use crate::registry;

/// Every way in which an image does not become a folder.
#[derive(Debug, Error)]
pub enum Error {
    /// The registry could not be asked or did not answer.
    #[error("{0}")]
    Registry(#[from] registry::Error),
    /// A file of the image folder could not be written or read.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// `write`, `read`, `create`, …
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The bytes of a blob are not those that were asked for.
    #[error("blob {digest} is damaged: {reason}; push the image again if this repeats")]
    Blob {
        /// The digest that was asked for.
        digest: String,
        /// Size or digest found.
        reason: String,
    },
    /// The configuration of the image does not fit.
    #[error("image {digest} has a configuration that cannot be run: {reason}")]
    Config {
        /// Digest of the manifest.
        digest: String,
        /// Field and remedy.
        reason: String,
    },
    /// An entry of a layer is refused.
    #[error("layer {layer} holds an entry that is refused: \"{entry}\" {reason}")]
    Entry {
        /// Digest of the layer.
        layer: String,
        /// Path in the archive.
        entry: String,
        /// Which rule it breaks.
        reason: String,
    },
    /// The layer is no archive we read.
    #[error("layer {layer} cannot be read: {reason}")]
    Layer {
        /// Digest of the layer.
        layer: String,
        /// Where it went wrong.
        reason: String,
    },
    /// The image is larger than allowed.
    #[error("image {digest} has more than the {limit} {what} allowed")]
    TooLarge {
        /// Digest of the manifest or layer.
        digest: String,
        /// The limit.
        limit: u64,
        /// `bytes`, `entries`, `layers`.
        what: &'static str,
    },
    /// A task that unpacks ended without a result.
    #[error("unpacking of image {digest} was interrupted")]
    Interrupted {
        /// Digest of the manifest.
        digest: String,
    },
}

impl Error {
    /// An error of a file, with what was attempted.
    pub(super) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// Whether the same attempt may succeed later without anybody changing the image.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_transient(),
            Self::Io { .. } | Self::Blob { .. } | Self::Interrupted { .. } => true,
            Self::Config { .. }
            | Self::Entry { .. }
            | Self::Layer { .. }
            | Self::TooLarge { .. } => false,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Registry(inner) => inner.into(),
            Error::Io { ref source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Self::new(Kind::Exhausted, error.to_string())
            }
            Error::Io { .. } | Error::Interrupted { .. } => Self::internal(error.to_string()),
            Error::Blob { .. } => Self::new(Kind::Unavailable, error.to_string()),
            Error::Config { .. }
            | Error::Entry { .. }
            | Error::Layer { .. }
            | Error::TooLarge { .. } => Self::new(Kind::Invalid, error.to_string()),
        }
    }
}
