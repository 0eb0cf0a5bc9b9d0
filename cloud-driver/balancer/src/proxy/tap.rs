//! A request's body as a copy of the request gets it: what was read for the request itself, and no
//! more. Nothing is read for the copy's sake, and the copy never holds the request up.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// What is between a body and its copy; not more than the body's length.
#[derive(Debug)]
pub(crate) struct Tap {
    frames: RefCell<VecDeque<Bytes>>,
    /// Bytes that have not been read of the body.
    missing: Cell<u64>,
    /// The body ended, whole or not.
    ended: Cell<bool>,
    /// The copy has gone.
    closed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// The side of the body that is read.
#[derive(Debug)]
pub(crate) struct Tapping(Rc<Tap>);

/// The side of the copy.
#[derive(Debug)]
pub(crate) struct Tapped {
    tap: Rc<Tap>,
    /// Bytes that the copy has not got.
    left: u64,
}

/// The body that a copy is made of broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request that this is a copy of broke off")]
pub(crate) struct BrokenOff;

impl Tap {
    /// Both sides of a body of this length.
    pub(crate) fn pair(length: u64) -> (Tapping, Tapped) {
        let tap = Rc::new(Self {
            frames: RefCell::default(),
            missing: Cell::new(length),
            ended: Cell::new(false),
            closed: Cell::new(false),
            waker: RefCell::default(),
        });
        let tapped = Tapped {
            tap: tap.clone(),
            left: length,
        };
        (Tapping(tap), tapped)
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Tapping {
    /// Bytes were read.
    pub(crate) fn pass(&self, bytes: &Bytes) {
        let tap = &self.0;
        let missing = tap.missing.get().checked_sub(bytes.len() as u64);
        match missing {
            Some(missing) if !tap.closed.get() => {
                tap.missing.set(missing);
                tap.frames.borrow_mut().push_back(bytes.clone());
            }
            // More than it was to have: such a copy would be another request.
            Some(_) | None => tap.ended.set(true),
        }
        tap.wake();
    }
}

impl Drop for Tapping {
    fn drop(&mut self) {
        self.0.ended.set(true);
        self.0.wake();
    }
}

impl Tapped {
    /// The next bytes.
    ///
    /// # Errors
    /// When the body broke off.
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        if let Some(bytes) = self.tap.frames.borrow_mut().pop_front() {
            self.left = self.left.saturating_sub(bytes.len() as u64);
            return Poll::Ready(Some(Ok(bytes)));
        }
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if self.tap.ended.get() {
            return Poll::Ready(Some(Err(BrokenOff)));
        }
        *self.tap.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Bytes that are still to come.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }
}

impl Drop for Tapped {
    fn drop(&mut self) {
        self.tap.closed.set(true);
        self.tap.frames.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(tapped: &mut Tapped) -> Poll<Option<Result<Bytes, BrokenOff>>> {
        tapped.poll(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_copy_gets_what_was_read_and_ends_where_the_body_does() {
        let (tapping, mut tapped) = Tap::pair(5);
        assert_eq!(poll(&mut tapped), Poll::Pending);
        tapping.pass(&Bytes::from_static(b"he"));
        tapping.pass(&Bytes::from_static(b"llo"));
        assert_eq!(poll(&mut tapped), Poll::Ready(Some(Ok("he".into()))));
        drop(tapping);
        assert_eq!(poll(&mut tapped), Poll::Ready(Some(Ok("llo".into()))));
        assert_eq!(poll(&mut tapped), Poll::Ready(None));
    }

    #[test]
    fn a_body_that_breaks_off_or_is_too_long_breaks_its_copy() {
        let (tapping, mut tapped) = Tap::pair(5);
        tapping.pass(&Bytes::from_static(b"he"));
        drop(tapping);
        assert_eq!(poll(&mut tapped), Poll::Ready(Some(Ok("he".into()))));
        assert_eq!(poll(&mut tapped), Poll::Ready(Some(Err(BrokenOff))));
        let (tapping, mut tapped) = Tap::pair(1);
        tapping.pass(&Bytes::from_static(b"he"));
        assert_eq!(poll(&mut tapped), Poll::Ready(Some(Err(BrokenOff))));
    }

    #[test]
    fn a_copy_that_has_gone_keeps_nothing() {
        let (tapping, tapped) = Tap::pair(5);
        tapping.pass(&Bytes::from_static(b"he"));
        drop(tapped);
        tapping.pass(&Bytes::from_static(b"llo"));
        assert!(tapping.0.frames.borrow().is_empty());
    }
}
