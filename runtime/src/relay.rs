//! A channel to a service with several replicas that come and go: a call that did not
//! reach one, or that changes nothing, is made again.
//!
//! A replica that ends politely says which calls it will not handle; one that is killed
//! says nothing. So a call is repeated when it was never sent, when the other side said
//! that it did not begin it, or when its method only reads. Anything else may have
//! happened, and whoever called decides.

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{Request, Response, request};
use http_body_util::{BodyExt, Full, Limited};
use tonic::Status;
use tonic::service::Routes;
use tonic::transport::Channel;
use tower::{Service, ServiceExt};

use crate::auth::Key;
use crate::client::{self, Link};
use crate::in_process::{self, Door};
use crate::shutdown::Shutdown;

/// Calls made at the most for one.
const TRIES: u32 = 8;
/// Pause before the second; each further one is as much longer.
const PAUSE: Duration = Duration::from_millis(10);
/// A request is no larger, in bytes.
const MOST: usize = 64 * 1024 * 1024;
/// What begins the name of a method that changes nothing.
const READS: [&str; 6] = ["Get", "List", "Find", "Watch", "Resolve", "Evaluate"];
/// What ends it.
const READS_TOO: &str = "History";

/// A channel to whoever accepts at a unix socket. It works as long as the runtime it
/// was made in: what is being ended still calls its peers.
pub fn replicas(path: &Path, key: Key) -> Link {
    Link::new(over(client::unix(path)), key)
}

fn over(backend: Channel) -> Door {
    let (door, acceptor) = in_process::ends();
    let handle = move |request: Request<Body>| forward(backend.clone(), request);
    let routes = Routes::from(Router::new().fallback(handle));
    tokio::spawn(acceptor.serve(routes, Shutdown::new()));
    door
}

/// Forwards a call whose request is a single message.
async fn forward(backend: Channel, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = match Limited::new(body, MOST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return Status::cancelled(error.to_string()).into_http(),
    };
    let mut tries = 1;
    loop {
        let error = match once(&backend, &parts, &body).await {
            Ok(response) => return response.map(Body::new),
            Err(error) => error,
        };
        let again = is_unhandled(&error) || is_read(parts.uri.path());
        if !again || tries == TRIES {
            return Status::unavailable(error.to_string()).into_http();
        }
        tokio::time::sleep(PAUSE * tries).await;
        tries += 1;
    }
}

async fn once(
    backend: &Channel,
    parts: &request::Parts,
    body: &Bytes,
) -> Result<Response<tonic::body::Body>, tonic::transport::Error> {
    let body = tonic::body::Body::new(Full::new(body.clone()));
    let request = Request::from_parts(parts.clone(), body);
    backend.clone().ready().await?.call(request).await
}

/// Whether the method of `/package.Service/Method` only reads.
fn is_read(path: &str) -> bool {
    let method = path.rsplit('/').next().unwrap_or_default();
    READS.iter().any(|read| method.starts_with(read)) || method.ends_with(READS_TOO)
}

/// Whether the call cannot have begun: no connection, not sent over it, or refused by
/// one that was ending.
fn is_unhandled(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && error.is_canceled()
        {
            return true;
        }
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let reason = error.reason();
            let ending =
                error.is_go_away() && error.is_remote() && reason == Some(h2::Reason::NO_ERROR);
            if ending || reason == Some(h2::Reason::REFUSED_STREAM) {
                return true;
            }
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && matches!(
                error.kind(),
                std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound
            )
        {
            return true;
        }
        at = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixListener;
    use tokio::sync::mpsc;

    use super::*;

    const READ: &str = "/a.Service/GetThing";
    const WRITE: &str = "/a.Service/SaveThing";

    async fn called(door: &Door, path: &str) -> Response<tonic::body::Body> {
        let body = tonic::body::Body::new(Full::new(Bytes::from_static(b"\0\0\0\0\0")));
        let mut request = Request::new(body);
        *request.uri_mut() = path.parse().unwrap();
        *request.method_mut() = http::Method::POST;
        door.clone().call(request).await.unwrap()
    }

    fn status(response: &Response<tonic::body::Body>) -> i32 {
        let status = response.headers().get("grpc-status");
        status.map_or(0, |s| s.to_str().unwrap().parse().unwrap())
    }

    /// Reads a call from each connection and dies with it; tells of each.
    fn dying(path: &Path) -> mpsc::UnboundedReceiver<()> {
        let listener = UnixListener::bind(path).unwrap();
        let (told, calls) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (mut all, mut buffer) = (Vec::new(), [0; 4096]);
                // The method's name is a literal of the header block, after the preface.
                while !all.windows(7).any(|w| w == b"Service") && !all.ends_with(b"\0\0\0\0\0") {
                    match stream.read(&mut buffer).await {
                        Ok(0) | Err(_) => break,
                        Ok(n) => all.extend_from_slice(&buffer[..n]),
                    }
                }
                let _ = told.send(());
            }
        });
        calls
    }

    #[tokio::test]
    async fn what_may_have_begun_is_repeated_only_if_it_reads() {
        for (path, expected) in [(READ, TRIES), (WRITE, 1)] {
            let folder = tempfile::tempdir().unwrap();
            let socket = folder.path().join("s");
            let mut calls = dying(&socket);
            let answer = called(&over(client::unix(&socket)), path).await;
            assert_eq!(status(&answer), 14, "unavailable");
            let mut made = 0;
            while calls.try_recv().is_ok() {
                made += 1;
            }
            assert_eq!(made, expected, "{path}");
        }
    }

    #[tokio::test]
    async fn a_call_that_was_never_sent_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s");
        let channel = over(client::unix(&socket));
        let waiting = called(&channel, WRITE);
        tokio::pin!(waiting);
        let early = tokio::time::timeout(Duration::from_millis(5), &mut waiting);
        assert!(early.await.is_err(), "nobody is there yet");
        let routes =
            Routes::from(Router::new().fallback(async || Status::ok("").into_http::<Body>()));
        let listener = UnixListener::bind(&socket).unwrap();
        let server = tonic::transport::Server::builder().add_routes(routes);
        let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
        tokio::spawn(server.serve_with_incoming(incoming));
        assert_eq!(status(&waiting.await), 0);
    }

    #[test]
    fn only_methods_that_read_are_repeated_blindly() {
        for (path, reads) in [
            ("/a.Service/Get", true),
            ("/a.Service/ListByTrigger", true),
            ("/a.Service/Start", false),
            ("/a.Service/Submit", false),
            ("/a.Service/ThingHistory", true),
            ("", false),
        ] {
            assert_eq!(is_read(path), reads, "{path}");
        }
    }
}
