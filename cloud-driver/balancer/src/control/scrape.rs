//! `GET /metrics` and `GET /health` on a loopback port, for what cannot open a unix socket.
//!
//! A process that hands over gives its port up, and its successor takes it as soon as it is free.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::plane::Plane;

/// Connections at a time.
const MOST_CONNECTIONS: usize = 8;
/// For a request's head, and for a whole connection.
const HEAD: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(60);
/// Between looks at a port that is not free.
const PAUSE: Duration = Duration::from_millis(100);
/// After this time without the port, that is told.
const PATIENCE: Duration = Duration::from_secs(5);

impl Plane {
    /// Answers until the process hands over.
    pub(crate) async fn be_scraped(self: Rc<Self>, address: SocketAddr) {
        let Some(listener) = self.bind(address).await else {
            return;
        };
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        while !self.leaving.get() {
            let Ok(place) = places.clone().acquire_owned().await else {
                return;
            };
            // Looks up now and then, or a port would be kept that nobody asks any more.
            match tokio::time::timeout(PAUSE, listener.accept()).await {
                Ok(Ok((stream, _))) => {
                    let plane = self.clone();
                    tokio::task::spawn_local(async move {
                        plane.answer_scrape(stream).await;
                        drop(place);
                    });
                }
                Ok(Err(error)) => {
                    eprintln!("connection to {address} cannot be accepted: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(_) => {}
            }
        }
    }

    /// Waits for the port; none when the process hands over before.
    async fn bind(&self, address: SocketAddr) -> Option<TcpListener> {
        let begun = tokio::time::Instant::now();
        let mut told = false;
        while !self.leaving.get() {
            match TcpListener::bind(address).await {
                Ok(listener) => return Some(listener),
                Err(error) if !told && begun.elapsed() > PATIENCE => {
                    told = true;
                    eprintln!("figures cannot be read at {address} yet: {error}");
                }
                Err(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
        None
    }

    async fn answer_scrape(self: Rc<Self>, stream: TcpStream) {
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let (status, text) = match (request.method(), request.uri().path()) {
                (&Method::GET, "/health") => (StatusCode::OK, "UP".to_owned()),
                (&Method::GET, "/metrics") => (StatusCode::OK, self.metrics()),
                _ => (StatusCode::NOT_FOUND, "nothing of this name".to_owned()),
            };
            let mut response = Response::new(Full::new(Bytes::from(text)));
            *response.status_mut() = status;
            let plain = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, plain);
            async { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(stream), service);
        // Whoever asked may go away at any time.
        let _ended = tokio::time::timeout(LIMIT, connection).await;
    }
}
