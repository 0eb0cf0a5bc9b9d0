//! What a request is sent on: a connection of its own, or a stream of a shared one.

use std::rc::Rc;
use std::time::Duration;

use http::Request;

use super::body::RequestBody;
use super::pipe::{ConnectError, Pipe, Sent};
use super::shared::{Stream, to_http2};
use super::table::{Group, Upstream};

/// A way to an instance.
pub(crate) enum Way {
    /// A connection of its own.
    Pipe(Pipe),
    /// A stream of a shared one.
    Stream(Stream),
}

/// What a way is to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Whether the request is one of gRPC.
    pub(crate) grpc: bool,
    /// Whether a connection that was used before will not do.
    pub(crate) fresh: bool,
    /// Whether the request was tried before.
    pub(crate) again: bool,
    /// Time for a connection.
    pub(crate) limit: Duration,
}

/// How a request is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// Whether it is one of gRPC.
    pub(crate) grpc: bool,
    /// How often its instance has been cut off so far.
    pub(crate) cuts: u32,
    /// Whether it may be wanted again, see [`Way::noted`]: one without a body, and not on a shared
    /// connection.
    pub(crate) noted: bool,
}

impl Way {
    /// A way to an instance; whether it was there before.
    ///
    /// # Errors
    /// When no connection can be made.
    pub(crate) async fn open(
        group: &Group,
        upstream: &Rc<Upstream>,
        wanted: Wanted,
    ) -> Result<(Self, bool), Rc<ConnectError>> {
        let limit = wanted.limit;
        if group.speaks_http2(wanted.grpc) {
            // Only one that came back needs a new one: see `shared`.
            let fresh = wanted.fresh && wanted.again;
            let (stream, new) = Box::pin(upstream.shared.stream(limit, fresh)).await?;
            return Ok((Self::Stream(stream), !new));
        }
        let kept = if wanted.fresh { None } else { upstream.take() };
        match kept {
            Some(pipe) => Ok((Self::Pipe(pipe), true)),
            None => {
                let pipe = Box::pin(Pipe::connect(&upstream.target, limit)).await?;
                Ok((Self::Pipe(pipe), false))
            }
        }
    }

    /// Sends a request and waits for the head of its answer, or until its instance is cut off.
    pub(crate) async fn send(
        &mut self,
        mut request: Box<Request<RequestBody>>,
        upstream: &Upstream,
        how: How,
    ) -> Sent {
        match self {
            Self::Pipe(pipe) => {
                let cut = || upstream.cuts.get() != how.cuts;
                pipe.send(request, how.noted, cut).await
            }
            Self::Stream(stream) => {
                to_http2(&mut request, how.grpc);
                Box::pin(stream.send(request, upstream, how.cuts)).await
            }
        }
    }

    /// The request that was sent, if it was noted.
    pub(crate) fn noted(&self) -> Option<Request<RequestBody>> {
        match self {
            Self::Pipe(pipe) => pipe.noted(),
            Self::Stream(_) => None,
        }
    }
}
