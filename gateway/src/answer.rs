//! Answers: JSON with sorted keys, or nothing.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use proto::common::v1::Json;
use serde_json::Value;

use crate::error::Error;

/// A successful answer.
#[derive(Debug)]
pub(crate) enum Answer {
    /// 200 with JSON.
    Ok(Value),
    /// 202 with JSON.
    Accepted(Value),
    /// 202 without body.
    AcceptedEmpty,
    /// 200 without body and content type, as Gate's `void` methods answer.
    Empty,
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Ok(value) => json(StatusCode::OK, value),
            Self::Accepted(value) => json(StatusCode::ACCEPTED, value),
            Self::AcceptedEmpty => StatusCode::ACCEPTED.into_response(),
            Self::Empty => Response::new(Body::empty()),
        }
    }
}

/// An answer with a JSON body, its keys sorted as Gate sorts them.
pub(crate) fn json(status: StatusCode, mut value: Value) -> Response {
    value.sort_all_objects();
    let mut response = Response::new(Body::from(value.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    response
}

/// What a handler gives back.
pub(crate) type Reply = Result<Answer, Error>;

/// 200 with the JSON a peer sent.
pub(crate) fn forward(json: &Json) -> Reply {
    Ok(Answer::Ok(value(json)?))
}

/// The JSON a peer sent.
pub(crate) fn value(json: &Json) -> Result<Value, Error> {
    Ok(json.value("answer")?)
}

/// A list of JSON a peer sent.
pub(crate) fn values(list: &[Json]) -> Result<Vec<Value>, Error> {
    list.iter().map(value).collect()
}
