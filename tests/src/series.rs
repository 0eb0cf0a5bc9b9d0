//! A metric store whose values are a function of the time: it answers range queries as Prometheus does, for stories
//! in which the same window must hold the same values whenever it is asked for.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The value that a query has at a time (seconds since the epoch).
pub type Curve = Arc<dyn Fn(&str, i64) -> f64 + Send + Sync>;

/// A running store. It ends when this is dropped.
pub struct Series {
    /// Its port at 127.0.0.1.
    pub port: u16,
    asked: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Series {
    /// Starts a store with these values.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start(curve: impl Fn(&str, i64) -> f64 + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .context("cannot bind a port")?;
        let port = listener
            .local_addr()
            .context("the socket has no address")?
            .port();
        let asked = Arc::new(AtomicUsize::new(0));
        let server = tokio::spawn(accept(listener, Arc::new(curve), Arc::clone(&asked)));
        Ok(Self {
            port,
            asked,
            server,
        })
    }

    /// How many range queries came in.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Series {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, curve: Curve, asked: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (curve, asked) = (Arc::clone(&curve), Arc::clone(&asked));
        let answer = service_fn(move |request: Request<Incoming>| {
            let (curve, asked) = (Arc::clone(&curve), Arc::clone(&asked));
            async move {
                let path = request.uri().path().to_owned();
                let mut query = request.uri().query().unwrap_or_default().to_owned();
                // The form of a POST counts as the query does.
                if let Ok(body) = request.into_body().collect().await {
                    query.push('&');
                    query.push_str(&String::from_utf8_lossy(&body.to_bytes()));
                }
                if path.ends_with("/query_range") {
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                let body = range(&*curve, &query);
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body))))
            }
        });
        // A client that goes away is no matter here.
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), answer));
    }
}

/// The values of a query from `start` to `end`, both included, every `step` seconds.
fn range(curve: &dyn Fn(&str, i64) -> f64, query: &str) -> String {
    let parameter = |name: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let mut found = pairs.filter(|(key, _)| *key == name);
        found
            .next()
            .map(|(_, value)| decode(value))
            .unwrap_or_default()
    };
    let step = parameter("step").trim_end_matches('s').parse().unwrap_or(1);
    let (from, to) = (seconds(&parameter("start")), seconds(&parameter("end")));
    let text = parameter("query");
    let mut values = Vec::new();
    let mut at = from;
    while at <= to && values.len() < 11_000 {
        values.push(json!([at, format!("{}", curve(&text, at))]));
        at += i64::max(step, 1);
    }
    json!({"status": "success", "data": {"resultType": "matrix",
        "result": [{"metric": {}, "values": values}]}})
    .to_string()
}

/// A time as seconds or as RFC 3339 in UTC.
fn seconds(text: &str) -> i64 {
    if let Ok(seconds) = text.parse::<f64>() {
        #[expect(clippy::cast_possible_truncation, reason = "times are far below 2^52")]
        return seconds as i64;
    }
    text.parse().map_or(0, Timestamp::as_second)
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let coded = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (first, coded) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = after;
            }
            (byte, _) => {
                bytes.push(*byte);
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
    fn times_are_read_in_both_forms() {
        assert_eq!(seconds("1767225600"), 1_767_225_600);
        assert_eq!(seconds("1767225600.000"), 1_767_225_600);
        assert_eq!(seconds("2026-01-01T00:00:00Z"), 1_767_225_600);
        assert_eq!(seconds("2024-02-29T12:30:01Z"), 1_709_209_801);
    }

    #[test]
    fn a_window_holds_a_value_for_each_step() {
        let told = range(
            &|query: &str, at| {
                f64::from(u32::try_from(at).unwrap()) + if query == "a+b" { 3.0 } else { 0.0 }
            },
            "query=a%2Bb&start=10&end=12&step=1",
        );
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let values = &told["data"]["result"][0]["values"];
        assert_eq!(values, &json!([[10, "13"], [11, "14"], [12, "15"]]));
    }
}
