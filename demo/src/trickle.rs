//! A body of known length that is sent piece by piece over a given time.
//!
//! Owns the pace of one body, in either direction: the server's slow answers and the client's slow
//! uploads. Its length is announced before the first byte, so that a cut is noticed by the reader.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

/// Sends `pieces` equal pieces, the first at once and the last when the given time has passed.
pub struct Trickle {
    piece: Bytes,
    left: u64,
    interval: Duration,
    due: Pin<Box<Sleep>>,
}

impl Trickle {
    /// A body of `pieces` × `piece.len()` bytes, spread over `total`. With one piece or none there is
    /// nothing to spread and it is sent at once.
    pub fn new(piece: Bytes, pieces: u32, total: Duration) -> Self {
        let interval = total
            .checked_div(pieces.saturating_sub(1))
            .unwrap_or_default();
        Self {
            piece,
            left: u64::from(pieces),
            interval,
            due: Box::pin(tokio::time::sleep(Duration::ZERO)),
        }
    }
}

impl Body for Trickle {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if self.due.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.left -= 1;
        let next = Instant::now() + self.interval;
        self.due.as_mut().reset(next);
        Poll::Ready(Some(Ok(Frame::data(self.piece.clone()))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left * self.piece.len() as u64)
    }
}
