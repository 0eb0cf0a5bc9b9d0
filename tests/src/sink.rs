//! A web server that counts what it is sent: the outside witness of webhooks and of started processes.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// One request that came in.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// When its body had been read.
    pub at: Instant,
    /// The same, milliseconds since the epoch.
    pub at_ms: u64,
    /// `POST`, …
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query, empty without one.
    pub query: String,
    /// The headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Bytes,
    /// What it was answered.
    pub status: u16,
}

impl Delivery {
    /// The body as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("{} sent no JSON", self.path))
    }
}

/// What is answered on a path.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The JSON body.
    pub body: Value,
    /// How long to wait before answering.
    pub delay: Duration,
}

impl Default for Reply {
    fn default() -> Self {
        Self {
            status: 200,
            body: Value::Object(serde_json::Map::new()),
            delay: Duration::ZERO,
        }
    }
}

#[derive(Default)]
struct State {
    deliveries: Vec<Delivery>,
    replies: BTreeMap<String, Reply>,
    /// What each `Idempotency-Key` hears on a path at first.
    first: BTreeMap<String, u16>,
    heard: BTreeSet<(String, String)>,
}

impl State {
    fn reply_to(&mut self, delivery: &Delivery) -> Reply {
        let path = &delivery.path;
        let mut reply = self.replies.get(path).cloned().unwrap_or_default();
        if let Some(first) = self.first.get(path)
            && let Some(key) = delivery.headers.get("idempotency-key")
            && self.heard.insert((path.clone(), key.clone()))
        {
            reply.status = *first;
        }
        reply
    }
}

/// A running sink. It ends when this is dropped.
pub struct Sink {
    /// Its port at 127.0.0.1.
    pub port: u16,
    state: Arc<Mutex<State>>,
    count: watch::Receiver<usize>,
    server: JoinHandle<()>,
}

impl Sink {
    /// Starts a sink that answers everything with 200 and `{}`.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("cannot bind a port")?;
        let port = listener
            .local_addr()
            .context("the socket has no address")?
            .port();
        let state = Arc::new(Mutex::new(State::default()));
        let (counter, count) = watch::channel(0);
        let server = tokio::spawn(accept(listener, Arc::clone(&state), Arc::new(counter)));
        Ok(Self {
            port,
            state,
            count,
            server,
        })
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// From now on this path is answered so.
    pub fn reply(&self, path: &str, reply: Reply) {
        lock(&self.state).replies.insert(path.to_owned(), reply);
    }

    /// From now on what comes with an `Idempotency-Key` for the first time hears this status on this path.
    pub fn refuse_first(&self, path: &str, status: u16) {
        lock(&self.state).first.insert(path.to_owned(), status);
    }

    /// Everything that came in on a path, oldest first.
    pub fn deliveries(&self, path: &str) -> Vec<Delivery> {
        let state = lock(&self.state);
        state
            .deliveries
            .iter()
            .filter(|delivery| delivery.path == path)
            .cloned()
            .collect()
    }

    /// Everything that came in, oldest first.
    pub fn all(&self) -> Vec<Delivery> {
        lock(&self.state).deliveries.clone()
    }

    /// Waits until so many requests have come in on a path.
    ///
    /// # Errors
    /// They did not come in time.
    pub async fn wait_for(&self, path: &str, number: usize, deadline: Duration) -> Result<()> {
        let mut count = self.count.clone();
        let enough = count.wait_for(|_| self.deliveries(path).len() >= number);
        match tokio::time::timeout(deadline, enough).await {
            Ok(result) => result.map(|_| ()).context("the sink has ended"),
            Err(_) => anyhow::bail!(
                "{} of {number} requests on {path} within {} s",
                self.deliveries(path).len(),
                deadline.as_secs()
            ),
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(
    listener: TcpListener,
    state: Arc<Mutex<State>>,
    counter: Arc<watch::Sender<usize>>,
) {
    while let Ok((stream, _)) = listener.accept().await {
        let _refused = stream.set_nodelay(true);
        let (state, counter) = (Arc::clone(&state), Arc::clone(&counter));
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &state, &counter));
            // A client that goes away is its own business.
            let _ended = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    state: &Mutex<State>,
    counter: &watch::Sender<usize>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return Ok(response(400, Bytes::from_static(b"{}")));
    };
    let epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut delivery = Delivery {
        at: Instant::now(),
        at_ms: u64::try_from(epoch.as_millis()).unwrap_or(u64::MAX),
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| {
                (
                    name.to_string(),
                    String::from_utf8_lossy(value.as_bytes()).into_owned(),
                )
            })
            .collect(),
        body: body.to_bytes(),
        status: 0,
    };
    let reply = {
        let mut state = lock(state);
        let reply = state.reply_to(&delivery);
        delivery.status = reply.status;
        state.deliveries.push(delivery);
        reply
    };
    counter.send_modify(|count| *count += 1);
    tokio::time::sleep(reply.delay).await;
    Ok(response(reply.status, Bytes::from(reply.body.to_string())))
}

fn response(status: u16, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(
        CONTENT_TYPE,
        hyper::header::HeaderValue::from_static("application/json"),
    );
    response
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
