//! What an error of the server or the connection means to us.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The server does not know the script: send its text.
    NoScript,
    /// Unknown whether it was done, or the server is not ready: repeat.
    Transient,
    /// The server has no memory left for new work.
    Full,
    /// The server's disk refuses writes: new work is refused, what runs waits.
    DiskFull,
    /// Repeating does not help.
    Permanent,
}

pub(super) fn classify(error: &RedisError) -> Fault {
    if error.is_io_error() || error.is_timeout() || error.is_cluster_error() {
        return Fault::Transient;
    }
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::NoScript) => return Fault::NoScript,
        ErrorKind::Server(
            ServerErrorKind::BusyLoading
            | ServerErrorKind::TryAgain
            | ServerErrorKind::ClusterDown
            | ServerErrorKind::MasterDown
            | ServerErrorKind::ReadOnly
            | ServerErrorKind::Moved
            | ServerErrorKind::Ask,
        )
        | ErrorKind::ClusterConnectionNotFound
        | ErrorKind::Io => return Fault::Transient,
        _ => {}
    }
    match error.code() {
        Some("OOM") => Fault::Full,
        Some("MISCONF") => Fault::DiskFull,
        Some("BUSY" | "NOREPLICAS" | "LOADING" | "UNBLOCKED") => Fault::Transient,
        _ if error.is_unrecoverable_error() => Fault::Transient,
        _ => Fault::Permanent,
    }
}
