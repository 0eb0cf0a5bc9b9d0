//! The hook of a worker: HTTP on its own port.
//!
//! | request | means | answer |
//! |---|---|---|
//! | `POST path` | take no more work from now on | 2xx when that is so; repeated until then |
//! | `GET path` | what is left? | 200 `{"idle": bool, "inFlight"?: n, "draining"?: bool}`; 204: idle; 202: busy |
//! | `DELETE path` | take work again | 2xx when that is so; repeated until then |
//!
//! `draining` says that the worker takes no more; it must be there where a signal tells it, because
//! nothing else says that the signal has been heard.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;

/// Largest answer, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// How long a question may take.
const ANSWER: Duration = Duration::from_secs(1);

/// How long a worker may take to agree: it may have to wait for what it has just asked for.
const AGREE: Duration = Duration::from_secs(10);

/// What a worker says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Report {
    /// Nothing that it took is unfinished.
    pub(super) idle: bool,
    /// How much is; not every worker says.
    pub(super) jobs: Option<u64>,
    /// It takes no more; not every worker says.
    pub(super) draining: Option<bool>,
}

/// The body of a report.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    idle: bool,
    #[serde(default)]
    in_flight: Option<u64>,
    #[serde(default)]
    draining: Option<bool>,
}

/// Asks a worker what it has left.
pub(super) async fn report(port: u16, path: &str) -> Result<Report, String> {
    let (status, body) = ask(port, Method::GET, path, ANSWER).await?;
    understood(status, &body).map_err(|why| format!("GET {path} {why}"))
}

fn understood(status: StatusCode, body: &[u8]) -> Result<Report, String> {
    let plain = |idle| Report {
        idle,
        ..Report::default()
    };
    match status {
        StatusCode::NO_CONTENT => Ok(plain(true)),
        StatusCode::ACCEPTED => Ok(plain(false)),
        StatusCode::OK => {
            let body: Body = serde_json::from_slice(body).map_err(|error| {
                let text: String = String::from_utf8_lossy(body).chars().take(80).collect();
                format!("answers {text:?}, which is no {{\"idle\": true or false}}: {error}")
            })?;
            Ok(Report {
                // Whoever counts something is not idle, whatever else it says.
                idle: body.idle && body.in_flight.unwrap_or(0) == 0,
                jobs: body.in_flight,
                draining: body.draining,
            })
        }
        other => Err(format!("answers {other}; answer 200, 202 or 204")),
    }
}

/// Tells a worker to take no more work (`POST`), or to take some again (`DELETE`).
pub(super) async fn tell(port: u16, method: Method, path: &str) -> Result<(), String> {
    let (status, _) = ask(port, method.clone(), path, AGREE).await?;
    if status.is_success() {
        return Ok(());
    }
    let hint = if method == Method::DELETE {
        "; answer 2xx, or say drain.resume: false if it cannot take work again"
    } else {
        "; answer 2xx once it takes no more work"
    };
    Err(format!("{method} {path} answers {status}{hint}"))
}

/// Asks a worker for its health: 2xx and 3xx are well.
pub(super) async fn probe(port: u16, path: &str) -> Result<(), String> {
    let (status, _) = ask(port, Method::GET, path, ANSWER).await?;
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(format!("GET {path} answers {status}"))
    }
}

/// Connects to a worker.
pub(super) async fn connect(port: u16) -> Result<(), String> {
    let connecting = tokio::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port));
    match tokio::time::timeout(ANSWER, connecting).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("port {port} accepts no connection: {error}")),
        Err(_) => Err(format!("port {port} accepts no connection within 1 s")),
    }
}

async fn ask(
    port: u16,
    method: Method,
    path: &str,
    limit: Duration,
) -> Result<(StatusCode, Bytes), String> {
    let what = format!("{method} {path} on port {port}");
    let whole = async {
        let failed = |error: &dyn std::fmt::Display| format!("{what} fails: {error}");
        let stream = tokio::net::TcpStream::connect((std::net::Ipv4Addr::LOCALHOST, port));
        let stream = stream.await.map_err(|e| failed(&e))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| failed(&e))?;
        tokio::spawn(async move {
            // Its end shows in the answer.
            let _ended = connection.await;
        });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .body(Full::new(Bytes::new()))
            .map_err(|e| failed(&e))?;
        let answer = sender.send_request(request).await.map_err(|e| failed(&e))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|e| failed(&e))?;
        Ok((status, body.to_bytes()))
    };
    tokio::time::timeout(limit, whole)
        .await
        .unwrap_or_else(|_| {
            let seconds = limit.as_secs();
            Err(format!("{what} is not answered within {seconds} s"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_as_the_table_says() {
        let report = |idle, jobs, draining| Report {
            idle,
            jobs,
            draining,
        };
        for (status, body, expected) in [
            (204, "", report(true, None, None)),
            (202, "busy", report(false, None, None)),
            (200, r#"{"idle": true}"#, report(true, None, None)),
            (
                200,
                r#"{"idle": false, "inFlight": 3, "draining": true, "more": 1}"#,
                report(false, Some(3), Some(true)),
            ),
            (
                200,
                r#"{"idle": true, "inFlight": 1}"#,
                report(false, Some(1), None),
            ),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(understood(status, body.as_bytes()), Ok(expected), "{body}");
        }
        for (status, body, named) in [
            (200, "ok", "idle"),
            (200, "{}", "idle"),
            (404, "", "404"),
            (500, r#"{"idle": true}"#, "500"),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let error = understood(status, body.as_bytes()).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
