//! gRPC channels to peers: TCP, unix socket, or inside the process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::auth::{Key, Signer};
use crate::server::Acceptor;

/// What a service calls a peer through: each call is signed by it.
pub type Peer = InterceptedService<Channel, Signer>;

/// The way to a service, before it is known who calls.
#[derive(Debug, Clone)]
pub struct Link {
    channel: Channel,
    key: Key,
}

impl Link {
    /// A channel whose calls are signed with the installation's key.
    pub fn new(channel: Channel, key: Key) -> Self {
        Self { channel, key }
    }

    /// Calls that this service makes.
    pub fn of(&self, service: &'static str) -> Peer {
        let signer = Signer::new(service, self.key.clone());
        InterceptedService::new(self.channel.clone(), signer)
    }
}

/// Bytes buffered in each direction of an in-process connection.
const DUPLEX_BYTES: usize = 256 * 1024;

fn endpoint(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(Duration::from_secs(2))
        .initial_stream_window_size(1 << 20)
}

/// A link and the acceptor its server will take: they may be made before
/// the server exists, so that services can be wired in any order. Calls made
/// before the server runs wait for it.
pub fn in_process(key: &Key) -> (Link, Acceptor) {
    let (channel, mut acceptor) = pipe();
    acceptor.key = Some(key.clone());
    (Link::new(channel, key.clone()), acceptor)
}

/// The same without signatures, for what only hands calls on.
pub(crate) fn pipe() -> (Channel, Acceptor) {
    let (sender, connections) = mpsc::channel(16);
    let channel = endpoint(Endpoint::from_static("http://in-process")).connect_with_connector_lazy(
        service_fn(move |_: Uri| {
            let sender = sender.clone();
            async move {
                let (ours, theirs) = tokio::io::duplex(DUPLEX_BYTES);
                sender.send(theirs).await.map_err(|_| {
                    std::io::Error::new(
                        std::io::ErrorKind::ConnectionRefused,
                        "the service in this process has ended",
                    )
                })?;
                Ok::<_, std::io::Error>(TokioIo::new(ours))
            }
        }),
    );
    (
        channel,
        Acceptor {
            connections,
            key: None,
        },
    )
}

/// A channel over a unix socket, connected when first used and again when lost.
pub fn unix(path: &Path) -> Channel {
    let path: PathBuf = path.to_owned();
    endpoint(Endpoint::from_static("http://unix-socket")).connect_with_connector_lazy(service_fn(
        move |_: Uri| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        },
    ))
}

/// A channel over TCP, connected when first used; `uri` as in `http://host:port`.
///
/// # Errors
/// When the address is not a URI.
pub fn tcp(uri: &str) -> Result<Channel, tonic::transport::Error> {
    Ok(endpoint(Endpoint::from_shared(uri.to_owned())?).connect_lazy())
}
