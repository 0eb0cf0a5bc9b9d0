//! The event log of an execution, for who examines it. Not one of Gate's.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use proto::orchestrator::v1::{GetLogReply, GetLogRequest};

use crate::Gateway;
use crate::clients::answer;
use crate::error::Error;
use crate::request::{At, Caller};

/// A log that is being read, page after page.
struct Reading {
    gate: Gateway,
    caller: Caller,
    id: String,
    after: u64,
    page: Option<GetLogReply>,
}

impl Reading {
    async fn page(&self) -> Result<GetLogReply, Error> {
        let call = self.caller.request(GetLogRequest {
            id: self.id.clone(),
            after: self.after,
        });
        answer(self.gate.clients.executions.clone().get_log(call)).await
    }

    /// The next lines, and what is left to read.
    async fn next(mut self) -> (Result<Bytes, Error>, Option<Self>) {
        let page = match self.page.take() {
            Some(page) => page,
            None => match self.page().await {
                Ok(page) => page,
                Err(error) => return (Err(error), None),
            },
        };
        // As they are stored: who handles them again needs the order people wrote keys in.
        let head = page.head.as_ref().filter(|_| self.after == 0);
        let mut text = String::new();
        for line in head.into_iter().chain(&page.entries) {
            text.push_str(&line.text);
            text.push('\n');
        }
        let read = u64::try_from(page.entries.len()).unwrap_or(u64::MAX);
        self.after = self.after.saturating_add(read);
        (Ok(text.into()), (page.more && read > 0).then_some(self))
    }
}

/// `GET /executions/{id}/log`: JSON lines; the first says whose log it is and how many entries it has,
/// so that one which was cut off can be told.
pub(super) async fn get(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
) -> Result<Response, Error> {
    let mut reading = Reading {
        gate,
        caller,
        id,
        after: 0,
        page: None,
    };
    let missing = format!("Execution not found (id: {})", reading.id);
    let first = reading.page().await;
    reading.page = Some(first.map_err(|error| error.or_not_found(|| missing))?);
    let lines = stream::unfold(Some(reading), |reading| async {
        let (lines, left) = reading?.next().await;
        let lines = lines.map_err(|_| std::io::Error::other("the log cannot be read on"));
        Some((lines, left))
    });
    let mut response = Response::new(Body::from_stream(lines));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-ndjson"),
    );
    Ok(response)
}
