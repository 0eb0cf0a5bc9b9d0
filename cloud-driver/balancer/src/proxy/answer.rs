//! Answers that the balancer gives by itself, each with the name of its error.

use std::fmt::Display;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use super::body::ResponseBody;

static ERROR: HeaderName = HeaderName::from_static("x-balancer-error");

/// Why the balancer answers by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    /// No route for this host and path.
    NoRoute,
    /// `CONNECT`.
    ConnectRefused,
    /// Its host cannot be redirected to.
    NoHost,
    /// No instance may be chosen.
    NoInstance,
    /// No instance could be connected to.
    NoConnection,
    /// None accepted a connection in time.
    ConnectTimeout,
    /// The instance broke the request off.
    Lost,
}

impl Own {
    /// Status and name.
    pub(crate) fn status(self) -> (StatusCode, &'static str) {
        match self {
            Self::NoRoute => (StatusCode::NOT_FOUND, "no_route"),
            Self::ConnectRefused => (StatusCode::NOT_IMPLEMENTED, "connect_refused"),
            Self::NoHost => (StatusCode::BAD_REQUEST, "no_host"),
            Self::NoInstance => (StatusCode::SERVICE_UNAVAILABLE, "no_instance"),
            Self::NoConnection => (StatusCode::BAD_GATEWAY, "no_connection"),
            Self::ConnectTimeout => (StatusCode::GATEWAY_TIMEOUT, "connect_timeout"),
            Self::Lost => (StatusCode::BAD_GATEWAY, "instance_lost"),
        }
    }

    /// The answer.
    pub(crate) fn response(self, why: impl Display) -> Response<ResponseBody> {
        let (status, name) = self.status();
        let text = Bytes::from(format!("{name}: {why}\n"));
        let mut response = Response::new(ResponseBody::Whole(Some(text)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(&ERROR, HeaderValue::from_static(name));
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
