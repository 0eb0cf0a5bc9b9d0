//! Failures as Gate's error JSON and HTTP status: the one mapping.
//!
//! `{"error", "errors"?, "exception"?, "message", "status", "timestamp"}`; no
//! address of a peer and no trace ever leaves through it.
//! Source: `kork: ErrorConfiguration, GenericExceptionHandlers`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use proto::status::{Failure, FieldError, Kind};
use serde_json::{Value, json};

use crate::answer;

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Error {
    status: StatusCode,
    message: String,
    fields: Vec<FieldError>,
    /// Whole seconds to wait before it is worth trying again.
    retry_after: Option<u64>,
}

impl Error {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            fields: Vec::new(),
            retry_after: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
        }
    }

    /// 429: too much of something from one place.
    pub(crate) fn too_many(what: &str, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        let message = format!("too many {what}; try again in {seconds} s");
        Self {
            retry_after: Some(seconds),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, message)
        }
    }

    /// 400 for one field.
    pub(crate) fn field(path: &str, message: impl Into<String>) -> Self {
        let fields = vec![FieldError {
            path: path.to_owned(),
            message: message.into(),
        }];
        Failure::invalid("", fields).into()
    }

    /// 404 in Gate's words.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 501: a route of Gate's that we know and do not serve.
    pub(crate) fn missing(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            format!("{what} is not part of this version"),
        )
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The same error, said in Gate's words if it is a 404.
    #[must_use]
    pub(crate) fn or_not_found(self, message: impl FnOnce() -> String) -> Self {
        if self.status == StatusCode::NOT_FOUND {
            Self::not_found(message())
        } else {
            self
        }
    }

    /// The same error, a conflict counted as something that is never allowed: how Orca answers who
    /// skips a stage that cannot be skipped.
    #[must_use]
    pub(crate) fn conflict_is_not_allowed(mut self) -> Self {
        if self.status == StatusCode::CONFLICT {
            self.status = StatusCode::METHOD_NOT_ALLOWED;
        }
        self
    }

    /// The same error, a conflict counted as bad input: how Gate answers failed saves.
    #[must_use]
    pub(crate) fn conflict_is_bad_request(mut self) -> Self {
        if self.status == StatusCode::CONFLICT {
            self.status = StatusCode::BAD_REQUEST;
        }
        self
    }

    fn exception(&self) -> Option<&'static str> {
        match self.status {
            StatusCode::BAD_REQUEST => {
                Some("com.netflix.spinnaker.kork.web.exceptions.InvalidRequestException")
            }
            StatusCode::NOT_FOUND => {
                Some("com.netflix.spinnaker.kork.web.exceptions.NotFoundException")
            }
            StatusCode::FORBIDDEN => {
                Some("org.springframework.security.access.AccessDeniedException")
            }
            _ => None,
        }
    }

    fn body(&self) -> Value {
        let mut body = json!({
            "timestamp": now_ms(),
            "status": self.status.as_u16(),
            "error": self.status.canonical_reason().unwrap_or("Error"),
            "message": self.message,
        });
        if let Some(exception) = self.exception() {
            body["exception"] = json!(exception);
        }
        if !self.fields.is_empty() {
            let errors = self
                .fields
                .iter()
                .map(|field| json!({"path": field.path, "message": field.message}));
            body["errors"] = errors.collect();
        }
        body
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let status = match failure.kind {
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Denied => StatusCode::FORBIDDEN,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Exhausted | Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self {
            fields: failure.fields,
            ..Self::new(status, failure.message)
        }
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        let transport = std::error::Error::source(&status).is_some();
        let mut failure = Failure::from(status);
        if transport {
            // Its text may hold an address of a peer.
            tracing::warn!(reason = failure.message, "a peer cannot be reached");
            failure = unavailable();
        }
        if failure.kind == Kind::Internal {
            tracing::error!(reason = failure.message, "a peer failed");
        }
        failure.into()
    }
}

impl From<proto::json::Error> for Error {
    fn from(error: proto::json::Error) -> Self {
        tracing::error!(error = %error, "a peer sent JSON that cannot be read");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "a part of the service sent an answer that cannot be read",
        )
    }
}

/// What is said when a peer does not answer.
pub(crate) fn unavailable() -> Failure {
    Failure::new(
        Kind::Unavailable,
        "a part of the service cannot be reached now; try again",
    )
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = answer::json(self.status, self.body());
        if let Some(seconds) = self.retry_after {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_failure_has_its_status() {
        for (kind, status) in [
            (Kind::Invalid, 400),
            (Kind::NotFound, 404),
            (Kind::Unauthenticated, 401),
            (Kind::Denied, 403),
            (Kind::Conflict, 409),
            (Kind::Exhausted, 503),
            (Kind::Unavailable, 503),
            (Kind::Unimplemented, 501),
            (Kind::Internal, 500),
        ] {
            let error = Error::from(Failure::new(kind, "m"));
            assert_eq!(error.status().as_u16(), status);
            assert_eq!(error.body()["status"], status);
            assert_eq!(error.body()["message"], "m");
        }
    }

    #[test]
    fn faulty_fields_are_listed_with_their_paths() {
        let error = Error::field("stages[0].type", "\"x\" is unknown");
        let body = error.body();
        assert_eq!(body["message"], "stages[0].type: \"x\" is unknown");
        assert_eq!(
            body["errors"],
            json!([{"path": "stages[0].type", "message": "\"x\" is unknown"}])
        );
        assert_eq!(body["error"], "Bad Request");
    }
}
