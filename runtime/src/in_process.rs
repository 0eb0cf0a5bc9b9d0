//! Calls inside the process: the two ends of a way to a service that runs beside whoever calls it.
//!
//! Nothing lies between them but a task: a connection's frames, windows and flow control cost as much as many a
//! call itself. What the caller gives up ends in the service too, and a service that ends finishes what it began.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::sync::{Semaphore, watch};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

use crate::auth::{self, Key};
use crate::shutdown::Shutdown;

/// Calls that a service handles at the same time; others wait.
const AT_ONCE: u32 = 1024;

/// What handles calls, once it is there.
#[derive(Debug, Clone)]
struct Serving {
    routes: Routes,
    places: Arc<Semaphore>,
}

/// The caller's end.
#[derive(Debug, Clone)]
pub struct Door {
    serving: watch::Receiver<Option<Serving>>,
}

/// The serving end; see [`crate::client::in_process`].
#[derive(Debug)]
pub struct Acceptor {
    serving: watch::Sender<Option<Serving>>,
    /// None where what calls only hands on what others signed.
    pub(crate) key: Option<Key>,
}

/// Both ends. Calls made before the other end serves wait for it.
pub(crate) fn ends() -> (Door, Acceptor) {
    let (sender, serving) = watch::channel(None);
    let acceptor = Acceptor {
        serving: sender,
        key: None,
    };
    (Door { serving }, acceptor)
}

impl Acceptor {
    /// Serves until the shutdown begins, then finishes what it was asked for.
    pub async fn serve(self, routes: Routes, shutdown: Shutdown) {
        let routes = match self.key {
            Some(key) => auth::guarded(routes, key),
            None => routes,
        };
        let places = Arc::new(Semaphore::new(AT_ONCE as usize));
        self.serving.send_replace(Some(Serving {
            routes: routes.prepare(),
            places: Arc::clone(&places),
        }));
        shutdown.begun().await;
        self.serving.send_replace(None);
        drop(self.serving);
        // Every place is free when every call is over.
        let _ = places.acquire_many(AT_ONCE).await;
        places.close();
    }
}

impl Door {
    async fn serving(mut self) -> Option<Serving> {
        let found = self.serving.wait_for(Option::is_some).await.ok()?;
        found.clone()
    }
}

impl Service<Request<Body>> for Door {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let door = self.clone();
        // A task of its own: it fails by itself, and its depth is not the caller's.
        let handling = AbortOnDropHandle::new(tokio::spawn(async move {
            let Some(mut serving) = door.serving().await else {
                return ended();
            };
            let Ok(_place) = serving.places.acquire().await else {
                return ended();
            };
            let Ok(response) = serving.routes.call(request).await;
            response
        }));
        Box::pin(async move {
            Ok(handling.await.unwrap_or_else(|failed| {
                tracing::error!(error = %failed, "a call in this process failed");
                Status::internal("the service failed while it handled the call; its log says why")
                    .into_http()
            }))
        })
    }
}

fn ended() -> Response<Body> {
    Status::unavailable("the service in this process has ended").into_http()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use axum::extract::Path;
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::*;

    fn request(path: &str) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = path.parse().unwrap();
        request
    }

    async fn called(door: &Door, path: &str) -> i32 {
        let Ok(response) = door.clone().call(request(path)).await;
        let status = response.headers().get("grpc-status");
        status.map_or(0, |s| s.to_str().unwrap().parse().unwrap())
    }

    /// Tells when a call began and when it ended or was dropped.
    struct Told(mpsc::UnboundedSender<&'static str>);

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.send("over");
        }
    }

    fn routes() -> (Routes, mpsc::UnboundedReceiver<&'static str>) {
        let (told, calls) = mpsc::unbounded_channel();
        let handle = move |Path(what): Path<String>| {
            let told = told.clone();
            async move {
                let _ = told.send("begun");
                let _over = Told(told);
                match what.as_str() {
                    "long" => tokio::time::sleep(Duration::from_millis(200)).await,
                    "ever" => std::future::pending().await,
                    "panic" => panic!("it does"),
                    _ => {}
                }
                Status::ok("").into_http::<axum::body::Body>()
            }
        };
        let router = Router::new().route("/{what}", axum::routing::any(handle));
        (Routes::from(router), calls)
    }

    #[tokio::test]
    async fn a_call_waits_for_its_service_and_is_refused_once_that_has_ended() {
        let (door, acceptor) = ends();
        let early = called(&door, "/short");
        tokio::pin!(early);
        assert!(
            timeout(Duration::from_millis(20), &mut early)
                .await
                .is_err()
        );
        let shutdown = Shutdown::new();
        let (routes, _calls) = routes();
        let serving = tokio::spawn(acceptor.serve(routes, shutdown.clone()));
        assert_eq!(early.await, 0);
        shutdown.begin();
        serving.await.unwrap();
        assert_eq!(called(&door, "/short").await, 14, "unavailable");
    }

    #[tokio::test]
    async fn what_was_begun_is_finished_before_the_service_ends() {
        let (door, acceptor) = ends();
        let shutdown = Shutdown::new();
        let (routes, mut calls) = routes();
        let serving = tokio::spawn(acceptor.serve(routes, shutdown.clone()));
        let long = tokio::spawn(async move { called(&door, "/long").await });
        assert_eq!(calls.recv().await, Some("begun"));
        shutdown.begin();
        serving.await.unwrap();
        assert_eq!(calls.try_recv(), Ok("over"));
        assert_eq!(long.await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_the_caller_gives_up_ends_in_the_service() {
        let (door, acceptor) = ends();
        let (routes, mut calls) = routes();
        tokio::spawn(acceptor.serve(routes, Shutdown::new()));
        let given_up = timeout(Duration::from_millis(50), called(&door, "/ever")).await;
        assert!(given_up.is_err());
        assert_eq!(calls.recv().await, Some("begun"));
        let over = timeout(Duration::from_secs(5), calls.recv()).await;
        assert_eq!(over.unwrap(), Some("over"));
    }

    #[tokio::test]
    async fn so_many_calls_at_once_and_no_more() {
        let (door, acceptor) = ends();
        let (routes, mut calls) = routes();
        tokio::spawn(acceptor.serve(routes, Shutdown::new()));
        let mut open: Vec<_> = (0..AT_ONCE)
            .map(|_| door.clone().call(request("/ever")))
            .collect();
        for _ in 0..AT_ONCE {
            assert_eq!(calls.recv().await, Some("begun"));
        }
        let next = called(&door, "/short");
        tokio::pin!(next);
        assert!(timeout(Duration::from_millis(20), &mut next).await.is_err());
        drop(open.pop());
        assert_eq!(next.await, 0);
    }

    #[tokio::test]
    async fn a_handler_that_fails_takes_nobody_with_it() {
        let (door, acceptor) = ends();
        let (routes, _calls) = routes();
        tokio::spawn(acceptor.serve(routes, Shutdown::new()));
        assert_eq!(called(&door, "/panic").await, 13, "internal");
        assert_eq!(called(&door, "/short").await, 0);
    }
}
