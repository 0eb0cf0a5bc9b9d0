//! Where users' connections arrive. Once the shutdown begins no more are taken:
//! what waits is another replica's, and clients that keep connections are told to
//! open new ones.

use std::net::SocketAddr;
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

/// From the last accepted connection to the end of idle ones: so long has its first request to arrive.
const ARRIVAL: Duration = Duration::from_millis(500);

/// What is known of a connection before its first request.
#[derive(Debug, Clone)]
pub(crate) struct Connection {
    /// Its other end.
    pub(crate) peer: SocketAddr,
}

struct Front {
    listener: TcpListener,
    shutdown: Shutdown,
}

impl Listener for Front {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        let accepted = Listener::accept(&mut self.listener);
        match self.shutdown.or(accepted).await {
            Some(accepted) => accepted,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Front>> for Connection {
    fn connect_info(stream: IncomingStream<'_, Front>) -> Self {
        Self {
            peer: *stream.remote_addr(),
        }
    }
}

/// Serves until the shutdown begins, and then what is under way; the caller bounds that.
///
/// # Errors
/// When the listener cannot be used.
pub async fn serve(listener: TcpListener, http: Router, shutdown: Shutdown) -> std::io::Result<()> {
    let front = Front {
        listener,
        shutdown: shutdown.clone(),
    };
    let leaving = shutdown.clone();
    let http = http.layer(from_fn(move |request: Request, next: Next| {
        let leaving = leaving.clone();
        async move {
            let mut response: Response = next.run(request).await;
            if leaving.has_begun() {
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
