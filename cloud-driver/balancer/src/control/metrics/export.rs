//! Sending the figures to an OTLP receiver, over HTTP/1.1 without TLS: `POST …/v1/metrics`.
//!
//! One round at a time, each within its interval. What is not taken is not kept: sums are cumulative, so
//! the next round tells it too. The endpoint is the operator's, given on the command line.

use std::rc::Rc;
use std::time::Duration;

use balancer::Endpoint;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::otlp::{Resource, bodies};
use crate::control::plane::{Plane, now_ms};

/// Tries of one request.
const TRIES: u32 = 4;
/// Before the second try; doubled with each further one.
const PAUSE: Duration = Duration::from_millis(500);
/// For one try.
const LIMIT: Duration = Duration::from_secs(5);
/// For the last round of a process that ends.
const LAST: Duration = Duration::from_secs(2);
/// Most bytes of an answer.
const MOST_ANSWER: usize = 64 * 1024;

/// What became of exports.
#[derive(Debug, Default)]
pub(crate) struct Exports {
    /// Rounds that were taken.
    pub(crate) taken: u64,
    /// Rounds that were not, or not whole.
    pub(crate) failed: u64,
    /// Series that the receiver rejected.
    pub(crate) rejected: u64,
}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
enum ExportError {
    /// Nobody accepts, or the connection broke.
    #[error("{0}")]
    Connection(String),
    /// Too slow.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// It may be taken later.
    #[error("it answers {status}")]
    Later {
        status: StatusCode,
        after: Option<Duration>,
    },
    /// It will never be taken.
    #[error("it answers {0}")]
    Refused(StatusCode),
}

impl Plane {
    /// Sends all figures, again and again.
    pub(crate) async fn export(self: Rc<Self>, endpoint: Endpoint, every: Duration) {
        let mut fails = false;
        let mut next = Instant::now() + every;
        loop {
            tokio::time::sleep_until(next).await;
            next = Instant::now() + every;
            let sent = self.export_once(&endpoint, next).await;
            // Told when it changes, not with each round.
            match (&sent, fails) {
                (Err(error), false) => eprintln!("figures are not taken by {endpoint}: {error}"),
                (Ok(()), true) => eprintln!("figures are taken by {endpoint} again"),
                _ => {}
            }
            fails = sent.is_err();
        }
    }

    /// Sends the figures a last time.
    pub(crate) async fn export_last(&self, endpoint: &Endpoint) {
        let end = Instant::now() + LAST;
        // Nobody is left to be told.
        let _untold = self.export_once(endpoint, end).await;
    }

    async fn export_once(&self, endpoint: &Endpoint, end: Instant) -> Result<(), ExportError> {
        let resource = Resource {
            epoch: &self.epoch,
            version: env!("CARGO_PKG_VERSION"),
        };
        let bodies = bodies(&self.families(), &resource, now_ms());
        let mut sender = None;
        for body in bodies {
            let sent = send(endpoint, &mut sender, body.into(), end).await;
            let mut inner = self.inner.borrow_mut();
            match sent {
                Ok(rejected) => inner.exports.rejected += rejected,
                Err(error) => {
                    inner.exports.failed += 1;
                    return Err(error);
                }
            }
        }
        self.inner.borrow_mut().exports.taken += 1;
        Ok(())
    }
}

type Sender = SendRequest<Full<Bytes>>;

/// Sends one request until it is taken; how many series were rejected all the same.
async fn send(
    endpoint: &Endpoint,
    sender: &mut Option<Sender>,
    body: Bytes,
    end: Instant,
) -> Result<u64, ExportError> {
    let mut pause = PAUSE;
    for tries in 1.. {
        let left = end.saturating_duration_since(Instant::now()).min(LIMIT);
        let sent = tokio::time::timeout(left, send_once(endpoint, sender, body.clone())).await;
        let error = match sent.unwrap_or(Err(ExportError::Late(left))) {
            Ok(rejected) => return Ok(rejected),
            Err(error) => error,
        };
        *sender = None;
        let wait = match &error {
            ExportError::Refused(_) => return Err(error),
            ExportError::Later { after, .. } => after.unwrap_or(pause),
            ExportError::Connection(_) | ExportError::Late(_) => pause,
        };
        if tries >= TRIES || Instant::now() + wait >= end {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
        pause *= 2;
    }
    Ok(0)
}

async fn send_once(
    endpoint: &Endpoint,
    sender: &mut Option<Sender>,
    body: Bytes,
) -> Result<u64, ExportError> {
    let broken = |error: &dyn std::fmt::Display| ExportError::Connection(error.to_string());
    let sender = match sender {
        Some(kept) if !kept.is_closed() => kept,
        _ => {
            // The brackets of an address of IPv6 belong to the text.
            let host = endpoint.host.trim_matches(['[', ']']);
            let stream = TcpStream::connect((host, endpoint.port)).await;
            let stream = stream.map_err(|e| broken(&e))?;
            let made = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (new, connection) = made.map_err(|e| broken(&e))?;
            tokio::task::spawn_local(async move {
                // What went wrong is the sender's to say.
                let _ended = connection.await;
            });
            sender.insert(new)
        }
    };
    sender.ready().await.map_err(|e| broken(&e))?;
    let request = Request::post(endpoint.path.as_str())
        .header(HOST, format!("{}:{}", endpoint.host, endpoint.port))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|e| broken(&e))?;
    let response = sender.send_request(request).await.map_err(|e| broken(&e))?;
    let status = response.status();
    if !status.is_success() {
        // Those that the protocol names (OTLP/HTTP, failures).
        return Err(match status.as_u16() {
            429 | 502..=504 => ExportError::Later {
                status,
                after: retry_after(response.headers()),
            },
            _ => ExportError::Refused(status),
        });
    }
    let answer = Limited::new(response.into_body(), MOST_ANSWER)
        .collect()
        .await;
    let answer = answer.map_err(|e| broken(&e))?.to_bytes();
    Ok(rejected(&answer))
}

fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Series that an answer says were rejected; a 64-bit number may be a string or a number.
fn rejected(answer: &[u8]) -> u64 {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let number = &answer["partialSuccess"]["rejectedDataPoints"];
    let text = number.as_str().and_then(|text| text.parse().ok());
    number.as_u64().or(text).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejections_are_read_however_the_number_is_written() {
        for (answer, count) in [
            (r#"{"partialSuccess":{"rejectedDataPoints":"3"}}"#, 3),
            (r#"{"partialSuccess":{"rejectedDataPoints":4}}"#, 4),
            (r#"{"partialSuccess":{}}"#, 0),
            ("{}", 0),
            ("", 0),
            ("not JSON", 0),
        ] {
            assert_eq!(rejected(answer.as_bytes()), count, "{answer}");
        }
    }
}
