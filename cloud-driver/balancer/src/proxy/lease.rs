//! An answer on a route with limits: it can be taken back although the client takes nothing of it.
//!
//! A client that does not read keeps hyper from asking for the answer's body, so the body alone could
//! not end; the instance and the route would have the request until the client goes away. The watch
//! takes the exchange out instead, and the body ends when it is asked for next.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::body::{Broken, Exchange};
use super::watch::Breach;

type Held = RefCell<Result<Box<Exchange>, Breach>>;

/// The answer's side.
pub(crate) struct Lease(Rc<Held>);

/// The watch's side.
pub(crate) struct Recall(Weak<Held>);

impl std::fmt::Debug for Recall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recall").finish_non_exhaustive()
    }
}

impl Lease {
    /// Lets an answer go out, and how to take it back.
    pub(crate) fn new(exchange: Box<Exchange>) -> (Self, Recall) {
        let held = Rc::new(RefCell::new(Ok(exchange)));
        let recall = Recall(Rc::downgrade(&held));
        (Self(held), recall)
    }

    pub(crate) fn poll_frame(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self.0.borrow_mut() {
            Ok(exchange) => exchange.poll_frame(cx),
            Err(breach) => Poll::Ready(Some(Err(Broken::Limit(*breach)))),
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        matches!(&*self.0.borrow(), Ok(exchange) if exchange.is_end_stream())
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match &*self.0.borrow() {
            Ok(exchange) => exchange.size_hint(),
            Err(_) => SizeHint::default(),
        }
    }
}

impl Recall {
    /// Takes the answer back, with its connection and its place at the instance.
    pub(crate) fn take_back(&self, breach: Breach) {
        let Some(held) = self.0.upgrade() else {
            return;
        };
        // Whoever reads it just now sees the breach by himself.
        let taken = held.try_borrow_mut().map(|mut held| {
            // One that has ended has nothing to give back, and its end is not to be lost.
            let goes_on = held.as_ref().is_ok_and(|exchange| !exchange.has_ended());
            goes_on.then(|| std::mem::replace(&mut *held, Err(breach)))
        });
        // Not before the cell is free: what is dropped may look at the watch.
        drop(taken);
    }
}
