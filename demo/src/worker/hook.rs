//! The worker's own port: the hook that drains it, and `/health`.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::Worker;

/// Listens on a port of loopback.
pub(super) async fn listen(port: u16) -> Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    println!("demo-worker listens on {}", listener.local_addr()?);
    Ok(listener)
}

/// Answers for ever.
pub(super) async fn serve(listener: TcpListener, worker: Arc<Worker>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let worker = worker.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| {
                        let worker = worker.clone();
                        async move { Ok::<_, Infallible>(answer(&worker, &request).await) }
                    });
                    let served =
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                    // Whoever asked may go away.
                    let _ended = served.await;
                });
            }
            Err(error) => eprintln!("demo-worker: accept failed: {error}"),
        }
    }
}

async fn answer(worker: &Worker, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/health") => {
            let sick = worker.settings.sick_file.as_ref();
            if sick.is_some_and(|file| file.exists()) {
                text(StatusCode::SERVICE_UNAVAILABLE, "sick\n".to_owned())
            } else {
                text(StatusCode::OK, "ok\n".to_owned())
            }
        }
        (&Method::POST, "/drain") => {
            worker.pause().await;
            text(StatusCode::NO_CONTENT, String::new())
        }
        (&Method::DELETE, "/drain") => {
            worker.resume().await;
            text(StatusCode::NO_CONTENT, String::new())
        }
        (&Method::GET, "/drain") => {
            let (left, paused) = (worker.in_flight(), worker.is_paused().await);
            let idle = left == 0;
            let body = format!("{{\"idle\":{idle},\"inFlight\":{left},\"draining\":{paused}}}\n");
            text(StatusCode::OK, body)
        }
        (_, "/drain" | "/health") => text(StatusCode::METHOD_NOT_ALLOWED, String::new()),
        _ => text(StatusCode::NOT_FOUND, "not found\n".to_owned()),
    }
}

fn text(status: StatusCode, content: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(content)));
    *response.status_mut() = status;
    response
}
