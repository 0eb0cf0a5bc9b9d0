//! Where users' connections arrive, with TLS or without. Once the shutdown begins
//! no more are taken: what waits is another replica's, and clients that keep
//! connections are told to open new ones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::extract::connect_info::Connected;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use http::HeaderValue;
use http::header::CONNECTION;
use runtime::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use crate::config::Config;
use crate::tls;

/// From the last accepted connection to the end of idle ones: so long has its first request to arrive.
const ARRIVAL: Duration = Duration::from_millis(500);
/// A handshake takes no longer.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at the same time; more wait to be accepted.
const HANDSHAKES: usize = 128;

/// What is known of a connection before its first request.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// Its other end.
    pub(crate) peer: SocketAddr,
    /// The certificate that was shown and that the operator's authority signed, in DER.
    pub(crate) certificate: Option<Arc<[u8]>>,
}

type Io = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// What is left to do to a connection before it is served.
enum Source {
    Plain(TcpListener),
    /// Handshakes are made beside, so that a slow one holds up nobody.
    Tls(mpsc::Receiver<(Io, SocketAddr)>),
}

struct Front {
    source: Source,
    address: SocketAddr,
    shutdown: Shutdown,
}

impl Listener for Front {
    type Io = Io;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Io, SocketAddr) {
        let accepted = match &mut self.source {
            Source::Plain(listener) => {
                let accepted = self.shutdown.or(Listener::accept(listener)).await;
                accepted.map(|(stream, peer)| (Either::Left(stream), peer))
            }
            Source::Tls(ready) => ready.recv().await,
        };
        match accepted {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Connected<IncomingStream<'_, Front>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Front>) -> Self {
        let certificate = match stream.io() {
            Either::Left(_) => None,
            Either::Right(tls) => tls.get_ref().1.peer_certificates(),
        };
        Self {
            peer: *stream.remote_addr(),
            certificate: certificate
                .and_then(|all| all.first())
                .map(|first| Arc::from(first.as_ref())),
        }
    }
}

/// Takes connections and makes their handshakes until the shutdown begins.
async fn handshakes(
    mut listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<(Io, SocketAddr)>,
    shutdown: Shutdown,
) {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let accepted = shutdown.or(Listener::accept(&mut listener)).await;
        let Some((stream, peer)) = accepted else {
            return;
        };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            let _held = place;
            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => {
                    // Nobody takes it once the shutdown has ended.
                    let _late = ready.send((Either::Right(Box::new(stream)), peer)).await;
                }
                Ok(Err(error)) => tracing::debug!(%peer, %error, "a handshake failed"),
                Err(_) => tracing::debug!(%peer, "a handshake took too long"),
            }
        });
    }
}

/// TLS as configured; none without it.
///
/// # Errors
/// The file that cannot be used, or the setting that is missing.
pub fn tls(config: &Config) -> Result<Option<TlsAcceptor>, String> {
    let asked = config.authentication.certificates.is_some();
    let authority = config
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_ca.is_some());
    if asked && !authority {
        return Err(
            "gateway.authentication.certificates needs gateway.tls.client-ca: the authority \
                    that signs users' certificates"
                .to_owned(),
        );
    }
    let made = config.tls.as_ref().map(tls::acceptor).transpose();
    made.map_err(|e| e.to_string())
}

/// Serves until the shutdown begins, and then what is under way; the caller bounds that.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(
    listener: TcpListener,
    http: Router,
    tls: Option<TlsAcceptor>,
    shutdown: Shutdown,
) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    let source = match tls {
        None => Source::Plain(listener),
        Some(acceptor) => {
            let (ready, taken) = mpsc::channel(HANDSHAKES);
            tokio::spawn(handshakes(listener, acceptor, ready, shutdown.clone()));
            Source::Tls(taken)
        }
    };
    let front = Front {
        source,
        address,
        shutdown: shutdown.clone(),
    };
    let leaving = shutdown.clone();
    let http = http.layer(from_fn(move |request: Request, next: Next| {
        let leaving = leaving.clone();
        async move {
            // Only HTTP/1 has such a header; HTTP/2 says it by a frame of its own.
            let older = request.version() < http::Version::HTTP_2;
            let mut response: Response = next.run(request).await;
            if leaving.has_begun() && older {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            response
        }
    }));
    let service = http.into_make_service_with_connect_info::<Connection>();
    axum::serve(front, service)
        .with_graceful_shutdown(async move {
            shutdown.begun().await;
            tokio::time::sleep(ARRIVAL).await;
        })
        .await
}
