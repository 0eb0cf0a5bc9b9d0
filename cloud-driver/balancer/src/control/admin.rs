//! The admin socket: HTTP/1.1 with JSON for processes of the same user.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use balancer::handover::{Follow, PROTOCOL};
use balancer::{Config, FENCE_HEADER, Faults, Rest};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, ETAG, IF_MATCH, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::apply::Refused;
use super::plane::Plane;

/// Most bytes of a configuration.
const MOST_BODY: usize = 16 * 1024 * 1024;

/// Requests answered at a time.
const MOST_CONNECTIONS: usize = 64;

/// Longest cut deadline.
const MOST_DEADLINE: Duration = Duration::from_secs(600);

/// An answer's body: all of it, or lines as they come.
pub(crate) enum AdminBody {
    Whole(Option<Bytes>),
    Lines(mpsc::Receiver<Bytes>),
}

impl Body for AdminBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Self::Lines(lines) => lines
                .poll_recv(cx)
                .map(|line| line.map(|b| Ok(Frame::data(b)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }
}

type Answer = Response<AdminBody>;

/// Binds a socket that only this user may use.
///
/// # Errors
/// When it cannot be bound.
pub(crate) fn bind(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers on the socket until the process ends.
pub(crate) async fn serve(plane: Rc<Plane>, listener: UnixListener) {
    let places = std::sync::Arc::new(tokio::sync::Semaphore::new(MOST_CONNECTIONS));
    while let Ok(place) = places.clone().acquire_owned().await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let plane = plane.clone();
                tokio::task::spawn_local(async move {
                    converse(plane, stream).await;
                    drop(place);
                });
            }
            Err(error) => {
                eprintln!("admin connection cannot be accepted: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn converse(plane: Rc<Plane>, stream: UnixStream) {
    let own = rustix::process::geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if peer.uid() == own || peer.uid() == 0 => {}
        // Nobody else can open the socket; should its mode have been changed, this holds.
        _ => return,
    }
    let service = service_fn(move |request| {
        let plane = plane.clone();
        async move { Ok::<_, Infallible>(answer(plane, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    // Whoever asked may go away at any time.
    let _ended = connection.await;
}

async fn answer(plane: Rc<Plane>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (request.method(), &parts[..]) {
        (&Method::GET, ["health"]) => text(StatusCode::OK, "UP"),
        (&Method::GET, ["metrics"]) => text(StatusCode::OK, &plane.metrics()),
        (&Method::GET, ["v1", "state"]) => json(StatusCode::OK, &plane.state()),
        (&Method::GET, ["v1", "config"]) => {
            let (config, accepted) = {
                let inner = plane.inner.borrow();
                (inner.config.clone(), inner.accepted)
            };
            let mut answer = json(StatusCode::OK, &config);
            if let Ok(tag) = HeaderValue::from_str(&format!("\"{accepted}\"")) {
                answer.headers_mut().insert(ETAG, tag);
            }
            answer
        }
        (&Method::PUT, ["v1", "config"]) => put(plane, request).await,
        (&Method::POST, ["v1", "follow"]) => follow(plane, request).await,
        (&Method::GET, ["v1", "watch"]) => watch(&plane, request.uri().query().unwrap_or_default()),
        (&Method::GET, ["v1", "history"]) => {
            history(&plane, request.uri().query().unwrap_or_default())
        }
        (&Method::POST, ["v1", "seconds"]) => seconds(&plane, request).await,
        (&Method::POST, ["v1", "drain", id, "cut"]) => {
            let id = decode(id);
            cut(&plane, &id, request).await
        }
        (&Method::POST, ["v1", "handover"]) => handover(plane, request),
        _ => text(StatusCode::NOT_FOUND, "nothing of this name"),
    }
}

async fn body(request: Request<Incoming>) -> Result<Bytes, Box<Answer>> {
    let body = Limited::new(request.into_body(), MOST_BODY).collect().await;
    body.map(http_body_util::Collected::to_bytes)
        .map_err(|error| {
            let status = StatusCode::PAYLOAD_TOO_LARGE;
            Box::new(text(
                status,
                &format!("body cannot be read, at most {MOST_BODY} bytes: {error}"),
            ))
        })
}

async fn put(plane: Rc<Plane>, request: Request<Incoming>) -> Answer {
    let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok());
    let expected = match header(IF_MATCH.as_str()).map(|v| v.trim_matches('"')) {
        Some("*") => None,
        Some(number) => match number.parse() {
            Ok(number) => Some(number),
            Err(_) => {
                return text(
                    StatusCode::BAD_REQUEST,
                    "If-Match is no generation in quotes",
                );
            }
        },
        None => {
            let why = "If-Match is missing; give the generation that is to be replaced, in quotes";
            return text(StatusCode::PRECONDITION_REQUIRED, why);
        }
    };
    let Some(fence) = header(FENCE_HEADER).and_then(|v| v.parse().ok()) else {
        let why = "X-Fence is missing or no whole number; give the writer's fencing token";
        return text(StatusCode::PRECONDITION_REQUIRED, why);
    };
    let body = match body(request).await {
        Ok(body) => body,
        Err(answer) => return *answer,
    };
    let config: Config = match serde_json::from_slice(&body) {
        Ok(config) => config,
        Err(error) => {
            let faults = vec![format!("body: {error}")];
            return json(StatusCode::UNPROCESSABLE_ENTITY, &Faults { faults });
        }
    };
    match plane.accept(config, expected, fence).await {
        Ok(applied) => json(StatusCode::OK, &applied),
        Err(refused) => refusal(&plane, &refused),
    }
}

fn refusal(plane: &Plane, refused: &Refused) -> Answer {
    let status = match refused {
        Refused::Fenced { seen, .. } => {
            let mut answer = text(StatusCode::CONFLICT, &refused.to_string());
            answer.headers_mut().insert(FENCE_HEADER, (*seen).into());
            return answer;
        }
        Refused::Frozen => StatusCode::CONFLICT,
        Refused::Generation { in_force, .. } => {
            let mut applied = plane.applied();
            applied.generation = *in_force;
            return json(StatusCode::PRECONDITION_FAILED, &applied);
        }
        Refused::Invalid(faults) => return json(StatusCode::UNPROCESSABLE_ENTITY, faults),
        Refused::Journal(_) => StatusCode::INSUFFICIENT_STORAGE,
        Refused::Unconfirmed(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    text(status, &refused.to_string())
}

/// A successor's configuration, for what this process still has.
async fn follow(plane: Rc<Plane>, request: Request<Incoming>) -> Answer {
    if !plane.leaving.get() {
        return text(StatusCode::CONFLICT, "this process has not handed over");
    }
    let body = match body(request).await {
        Ok(body) => body,
        Err(answer) => return *answer,
    };
    let follow: Follow = match serde_json::from_slice(&body) {
        Ok(follow) => follow,
        Err(error) => return text(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
    };
    let _one = plane.writing.lock().await;
    match plane.serve(follow.config, follow.generation, true).await {
        Ok(()) => json(StatusCode::OK, &plane.applied()),
        Err(refused) => refusal(&plane, &refused),
    }
}

fn watch(plane: &Rc<Plane>, asked: &str) -> Answer {
    let epoch = query(asked, "epoch").map(decode);
    let after = query(asked, "after").map_or(Ok(0), str::parse);
    let Ok(mut after) = after else {
        return text(StatusCode::BAD_REQUEST, "after is no whole number");
    };
    let known = epoch.is_none_or(|epoch| epoch == plane.epoch);
    if !known || plane.inner.borrow().events.after(after).is_none() {
        return text(
            StatusCode::GONE,
            "epoch or number is not this process's any more; read the state",
        );
    }
    let (sender, lines) = mpsc::channel(64);
    let plane = plane.clone();
    tokio::task::spawn_local(async move {
        let mut news = plane.inner.borrow().events.watch();
        loop {
            news.mark_unchanged();
            let events = plane.inner.borrow().events.after(after);
            // Too slow a reader: the stream ends, and it reads the state anew.
            let Some(events) = events else { return };
            for event in events {
                after = event.number;
                let Ok(mut line) = serde_json::to_vec(&event) else {
                    return;
                };
                line.push(b'\n');
                if sender.send(line.into()).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
        }
    });
    as_lines(lines)
}

fn as_lines(lines: mpsc::Receiver<Bytes>) -> Answer {
    let mut answer = Response::new(AdminBody::Lines(lines));
    let ndjson = HeaderValue::from_static("application/x-ndjson");
    answer.headers_mut().insert(CONTENT_TYPE, ndjson);
    answer
}

fn history(plane: &Rc<Plane>, asked: &str) -> Answer {
    let seconds = query(asked, "seconds").map_or(Ok(60), str::parse);
    let Ok(seconds) = seconds else {
        let why = "seconds is no whole number; give 1 to 3600";
        return text(StatusCode::BAD_REQUEST, why);
    };
    match query(asked, "follow") {
        None | Some("false") => json(StatusCode::OK, &plane.history(seconds)),
        Some("true") => match plane.follow_history(seconds) {
            Some(lines) => as_lines(lines),
            None => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "as many follow the history as may; ask without follow",
            ),
        },
        Some(_) => text(StatusCode::BAD_REQUEST, "follow is neither true nor false"),
    }
}

/// What a predecessor still counted.
async fn seconds(plane: &Plane, request: Request<Incoming>) -> Answer {
    let body = match body(request).await {
        Ok(body) => body,
        Err(answer) => return *answer,
    };
    let rest: Rest = match serde_json::from_slice(&body) {
        Ok(rest) => rest,
        Err(error) => return text(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
    };
    if plane.inherit(rest) {
        text(StatusCode::OK, "added")
    } else {
        text(StatusCode::CONFLICT, "this process has handed over")
    }
}

async fn cut(plane: &Rc<Plane>, id: &str, request: Request<Incoming>) -> Answer {
    let body = match body(request).await {
        Ok(body) => body,
        Err(answer) => return *answer,
    };
    #[derive(Default, serde::Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Asked {
        deadline_ms: u64,
    }
    let asked: Asked = match &body[..] {
        [] => Asked::default(),
        body => match serde_json::from_slice(body) {
            Ok(asked) => asked,
            Err(error) => return text(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
        },
    };
    let deadline = Duration::from_millis(asked.deadline_ms).min(MOST_DEADLINE);
    match plane.cut(id, deadline).await {
        Ok(Some(cut)) => json(StatusCode::OK, &cut),
        Ok(None) => text(StatusCode::NOT_FOUND, &format!("no instance {id}")),
        Err(why) => text(StatusCode::CONFLICT, &why),
    }
}

fn handover(plane: Rc<Plane>, mut request: Request<Incoming>) -> Answer {
    let asks = request.headers().get(UPGRADE).and_then(|v| v.to_str().ok());
    if asks != Some(PROTOCOL) {
        let why = format!("ask for it with Upgrade: {PROTOCOL}");
        return text(StatusCode::UPGRADE_REQUIRED, &why);
    }
    if plane.frozen.replace(true) {
        return text(StatusCode::CONFLICT, "a successor takes over already");
    }
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::task::spawn_local(async move {
        let given = match upgrade.await {
            Ok(upgraded) => super::succession::give(&plane, upgraded).await,
            Err(error) => Err(super::succession::SuccessionError::Upgrade(error)),
        };
        if let Err(error) = given {
            eprintln!("handover was given up, this process goes on: {error}");
            plane.frozen.set(false);
        }
    });
    let mut answer = Response::new(AdminBody::Whole(None));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    answer
}

fn text(status: StatusCode, text: &str) -> Answer {
    let mut answer = Response::new(AdminBody::Whole(Some(Bytes::from(text.to_owned()))));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    answer
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let bytes = match serde_json::to_vec(value) {
        Ok(bytes) => bytes,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    };
    let mut answer = Response::new(AdminBody::Whole(Some(bytes.into())));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(CONTENT_TYPE, json);
    answer
}

fn query<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// A part of a path without its percent signs.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        let decoded = digits.and_then(|d| u8::from_str_radix(d, 16).ok());
        match decoded {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_out_of_paths() {
        for (path, id) in [
            ("a", "a"),
            ("a%40b", "a@b"),
            ("%2fx%", "/x%"),
            ("%zz", "%zz"),
        ] {
            assert_eq!(decode(path), id);
        }
        assert_eq!(query("epoch=e&after=3", "after"), Some("3"));
        assert_eq!(query("", "after"), None);
    }
}
