//! gRPC, as far as a proxy can tell: every message of a stream comes back as it came, and the status
//! after the last.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response};

use super::answer::Body;

const GRPC: &str = "application/grpc";
/// `OK`, and `DATA_LOSS` for a stream that broke off.
const OK: &str = "0";
const BROKEN: &str = "15";

/// Whether a request is one of gRPC.
pub(super) fn is_grpc(request: &Request<Incoming>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(GRPC.as_bytes()))
}

/// Sends back what comes.
pub(super) fn answer(request: Request<Incoming>) -> Response<Body> {
    let echo = Echo {
        incoming: Some(request.into_body()),
    };
    let mut response = Response::new(echo.boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(GRPC));
    response
}

struct Echo {
    incoming: Option<Incoming>,
}

impl hyper::body::Body for Echo {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let status = loop {
            let Some(incoming) = &mut self.incoming else {
                return Poll::Ready(None);
            };
            match ready!(Pin::new(incoming).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    // What is no data is the client's own trailers.
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Some(Err(_)) => break BROKEN,
                None => break OK,
            }
        };
        self.incoming = None;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(status));
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}
