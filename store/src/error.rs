//! What can go wrong in the store itself. A refused batch is no error: see [`crate::Refused`].

use thiserror::Error;

/// A failure of the store. The caller may repeat the same call.
#[derive(Debug, Error)]
pub enum Error {
    /// The store could not be opened.
    #[error("cannot open the store at {place}: {reason}")]
    Open {
        /// Path or URL without credentials.
        place: String,
        /// Cause and remedy.
        reason: String,
    },
    /// The backend cannot be reached or did not answer. For a commit: unknown
    /// whether it was applied, after it was repeated under the same commit id.
    #[error("store is unavailable: {0}")]
    Unavailable(String),
    /// The backend's content does not read back as what was written.
    #[error("store content is damaged: {0}")]
    Damaged(String),
    /// The call itself breaks a limit.
    #[error("{what} has {actual}, more than the {limit} allowed")]
    Limit {
        /// What was too large: `part h of execution:…`, `messages of the batch`, …
        what: String,
        /// Its size.
        actual: usize,
        /// The limit.
        limit: usize,
    },
}
