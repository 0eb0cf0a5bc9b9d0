//! Ways to peers: TCP, unix socket, or inside the process.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::body::Body;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{self, Channel, Endpoint, Uri};
use tower::{Service, service_fn};

use crate::auth::{Key, Signer};
use crate::in_process::{self, Acceptor, Door};

/// What a service calls a peer through: each call is signed by it.
pub type Peer = InterceptedService<Way, Signer>;

/// How calls reach a service.
#[derive(Debug, Clone)]
pub enum Way {
    /// Over a connection.
    Channel(Channel),
    /// It runs in this process.
    Door(Door),
}

impl From<Channel> for Way {
    fn from(channel: Channel) -> Self {
        Self::Channel(channel)
    }
}

impl From<Door> for Way {
    fn from(door: Door) -> Self {
        Self::Door(door)
    }
}

impl Service<Request<Body>> for Way {
    type Response = Response<Body>;
    type Error = transport::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match self {
            Self::Channel(channel) => channel.poll_ready(context),
            Self::Door(door) => door.poll_ready(context).map_err(|never| match never {}),
        }
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self {
            Self::Channel(channel) => Box::pin(channel.call(request)),
            Self::Door(door) => {
                let call = door.call(request);
                Box::pin(async move { call.await.map_err(|never| match never {}) })
            }
        }
    }
}

/// The way to a service, before it is known who calls.
#[derive(Debug, Clone)]
pub struct Link {
    way: Way,
    key: Key,
}

impl Link {
    /// A way whose calls are signed with the installation's key.
    pub fn new(way: impl Into<Way>, key: Key) -> Self {
        let way = way.into();
        Self { way, key }
    }

    /// Calls that this service makes.
    pub fn of(&self, service: &'static str) -> Peer {
        let signer = Signer::new(service, self.key.clone());
        InterceptedService::new(self.way.clone(), signer)
    }
}

fn endpoint(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(Duration::from_secs(2))
        .initial_stream_window_size(1 << 20)
}

/// A link and the acceptor its server will take: they may be made before
/// the server exists, so that services can be wired in any order. Calls made
/// before the server runs wait for it.
pub fn in_process(key: &Key) -> (Link, Acceptor) {
    let (door, mut acceptor) = in_process::ends();
    acceptor.key = Some(key.clone());
    (Link::new(door, key.clone()), acceptor)
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
