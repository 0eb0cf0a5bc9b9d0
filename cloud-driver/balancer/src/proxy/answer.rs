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
    /// No instance may be chosen.
    NoInstance,
    /// No instance could be connected to.
    NoConnection,
    /// None accepted a connection in time.
    ConnectTimeout,
    /// The instance broke the request off.
    Lost,
    /// No instance could be chosen for as long as a request is held.
    HoldTimeout,
    /// No instance may be chosen, and as many requests are held as may be.
    HoldFull,
    /// The route lets no more requests in.
    RouteLimit,
    /// The request's body is longer than its route allows.
    BodyTooLarge,
    /// The request took longer than its route allows.
    RequestTimeout,
    /// No byte came or went for longer than its route allows.
    IdleTimeout,
}

impl Own {
    /// Status and name.
    pub(crate) fn status(self) -> (StatusCode, &'static str) {
        match self {
            Self::NoRoute => (StatusCode::NOT_FOUND, "no_route"),
            Self::ConnectRefused => (StatusCode::NOT_IMPLEMENTED, "connect_refused"),
            Self::NoInstance => (StatusCode::SERVICE_UNAVAILABLE, "no_instance"),
            Self::NoConnection => (StatusCode::BAD_GATEWAY, "no_connection"),
            Self::ConnectTimeout => (StatusCode::GATEWAY_TIMEOUT, "connect_timeout"),
            Self::Lost => (StatusCode::BAD_GATEWAY, "instance_lost"),
            Self::HoldTimeout => (StatusCode::SERVICE_UNAVAILABLE, "hold_timeout"),
            Self::HoldFull => (StatusCode::SERVICE_UNAVAILABLE, "hold_full"),
            Self::RouteLimit => (StatusCode::TOO_MANY_REQUESTS, "route_limit"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::RequestTimeout => (StatusCode::GATEWAY_TIMEOUT, "request_timeout"),
            Self::IdleTimeout => (StatusCode::GATEWAY_TIMEOUT, "idle_timeout"),
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
        let again = [Self::RouteLimit, Self::RequestTimeout, Self::IdleTimeout];
        if status == StatusCode::SERVICE_UNAVAILABLE || again.contains(&self) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
