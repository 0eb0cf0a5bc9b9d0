//! Answers that the balancer gives by itself, each with the name of its error.

use std::fmt::Display;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
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
    /// The target is none for its method, or names no host.
    BadTarget,
    /// There is no host, more than one, or it is none.
    BadHost,
    /// Not only chunks would have to be undone.
    BadCoding,
    /// The client's body ended before its end, or its chunks are none.
    BadBody,
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
    /// All of them, in their order.
    pub(crate) const ALL: [Self; 16] = [
        Self::NoRoute,
        Self::ConnectRefused,
        Self::NoInstance,
        Self::NoConnection,
        Self::ConnectTimeout,
        Self::Lost,
        Self::BadTarget,
        Self::BadHost,
        Self::BadCoding,
        Self::BadBody,
        Self::HoldTimeout,
        Self::HoldFull,
        Self::RouteLimit,
        Self::BodyTooLarge,
        Self::RequestTimeout,
        Self::IdleTimeout,
    ];

    /// Status and name.
    pub(crate) fn status(self) -> (StatusCode, &'static str) {
        match self {
            Self::NoRoute => (StatusCode::NOT_FOUND, "no_route"),
            Self::ConnectRefused => (StatusCode::NOT_IMPLEMENTED, "connect_refused"),
            Self::NoInstance => (StatusCode::SERVICE_UNAVAILABLE, "no_instance"),
            Self::NoConnection => (StatusCode::BAD_GATEWAY, "no_connection"),
            Self::ConnectTimeout => (StatusCode::GATEWAY_TIMEOUT, "connect_timeout"),
            Self::Lost => (StatusCode::BAD_GATEWAY, "instance_lost"),
            Self::BadTarget => (StatusCode::BAD_REQUEST, "bad_target"),
            Self::BadHost => (StatusCode::BAD_REQUEST, "bad_host"),
            Self::BadCoding => (StatusCode::NOT_IMPLEMENTED, "bad_transfer_coding"),
            Self::BadBody => (StatusCode::BAD_REQUEST, "bad_body"),
            Self::HoldTimeout => (StatusCode::SERVICE_UNAVAILABLE, "hold_timeout"),
            Self::HoldFull => (StatusCode::SERVICE_UNAVAILABLE, "hold_full"),
            Self::RouteLimit => (StatusCode::TOO_MANY_REQUESTS, "route_limit"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::RequestTimeout => (StatusCode::GATEWAY_TIMEOUT, "request_timeout"),
            Self::IdleTimeout => (StatusCode::GATEWAY_TIMEOUT, "idle_timeout"),
        }
    }

    /// Whether nothing that follows on the client's connection can be trusted to be a request.
    fn closes(self) -> bool {
        match self {
            Self::ConnectRefused
            | Self::BadTarget
            | Self::BadHost
            | Self::BadCoding
            | Self::BadBody => true,
            Self::NoRoute
            | Self::NoInstance
            | Self::NoConnection
            | Self::ConnectTimeout
            | Self::Lost
            | Self::HoldTimeout
            | Self::HoldFull
            | Self::RouteLimit
            | Self::BodyTooLarge
            | Self::RequestTimeout
            | Self::IdleTimeout => false,
        }
    }

    /// The answer.
    pub(crate) fn response(self, why: impl Display) -> Response<ResponseBody> {
        let (status, name) = self.status();
        let text = Bytes::from(format!("{name}: {why}\n"));
        let mut response = Response::new(ResponseBody::Whole(Some(text)));
        *response.status_mut() = status;
        // Nobody but the balancer can say that it answered by itself: an instance may send any header.
        response.extensions_mut().insert(self);
        let headers = response.headers_mut();
        headers.insert(&ERROR, HeaderValue::from_static(name));
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        if self.closes() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let again = [Self::RouteLimit, Self::RequestTimeout, Self::IdleTimeout];
        if status == StatusCode::SERVICE_UNAVAILABLE || again.contains(&self) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_errors_are_listed_in_their_order_under_names_of_their_own() {
        let mut names = std::collections::BTreeSet::new();
        for (at, own) in Own::ALL.into_iter().enumerate() {
            assert_eq!(own as usize, at);
            assert!(names.insert(own.status().1), "{own:?}");
            // A new one belongs into the list: this match does not compile without it.
            match own {
                Own::NoRoute
                | Own::ConnectRefused
                | Own::NoInstance
                | Own::NoConnection
                | Own::ConnectTimeout
                | Own::Lost
                | Own::BadTarget
                | Own::BadHost
                | Own::BadCoding
                | Own::BadBody
                | Own::HoldTimeout
                | Own::HoldFull
                | Own::RouteLimit
                | Own::BodyTooLarge
                | Own::RequestTimeout
                | Own::IdleTimeout => {}
            }
        }
    }
}
