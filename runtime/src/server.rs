//! gRPC servers on sockets, with the same limits; for those inside the process see [`crate::in_process`].

use std::net::SocketAddr;
use std::path::Path;

use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};
use tokio_stream::wrappers::{TcpListenerStream, UnixListenerStream};
use tonic::service::Routes;
use tonic::transport::Server;

use crate::auth::{self, Key};
use crate::shutdown::Shutdown;

/// Streams that one connection may have open.
const STREAMS: u32 = 1024;

/// Why a server could not be started or ended early.
#[derive(Debug, Error)]
pub enum Error {
    /// The address or path could not be bound.
    #[error("cannot listen on {address}: {source}; choose another or stop what holds it")]
    Bind {
        /// Where it was to listen.
        address: String,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
    /// The transport failed.
    #[error("gRPC server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

fn builder() -> Server {
    Server::builder()
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(1 << 20)
}

/// Serves over TCP until the shutdown begins, then finishes what is in flight.
///
/// # Errors
/// When the address cannot be bound or the transport fails.
pub async fn tcp(
    address: SocketAddr,
    routes: Routes,
    key: Key,
    shutdown: Shutdown,
) -> Result<(), Error> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| Error::Bind {
            address: address.to_string(),
            source,
        })?;
    builder()
        .add_routes(auth::guarded(routes, key))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async move {
            shutdown.begun().await;
        })
        .await?;
    Ok(())
}

/// Serves over a unix socket; a socket file left by a dead process is replaced.
///
/// # Errors
/// When the path cannot be bound or the transport fails.
pub async fn unix(path: &Path, routes: Routes, key: Key, shutdown: Shutdown) -> Result<(), Error> {
    let bind = |source| Error::Bind {
        address: path.display().to_string(),
        source,
    };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(bind(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(bind)?;
    inherited(listener, routes, key, shutdown).await
}

/// Serves over a listener that somebody else bound and goes on holding, such as a
/// supervisor of several replicas: what waits to be accepted when this one ends is
/// another's.
///
/// # Errors
/// When the transport fails.
pub async fn inherited(
    listener: UnixListener,
    routes: Routes,
    key: Key,
    shutdown: Shutdown,
) -> Result<(), Error> {
    builder()
        .add_routes(auth::guarded(routes, key))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), async move {
            shutdown.begun().await;
        })
        .await?;
    Ok(())
}
