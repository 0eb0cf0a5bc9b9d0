//! What a request on a route with limits may still take. Its guard holds it, so it lives as long as
//! one of the bodies or the tunnel.
//!
//! Who reads a body or waits for a head looks at it; a task of its own wakes them when the time is
//! over, so that they need no clocks.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::answer::Own;
use super::body::UploadError;
use super::client::Client;
use super::gate::{Allowance, Pass};
use super::lease::Recall;

/// A limit that was reached while a request was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Breach {
    /// Its body.
    #[error("the body has more than the {0} bytes it allows")]
    Body(u64),
    /// From its head to the end of its answer.
    #[error("the request took longer than the {0:?} it allows")]
    Time(Duration),
    /// Without a byte in either direction.
    #[error("no byte came or went for the {0:?} it allows")]
    Idle(Duration),
}

impl Breach {
    /// How a request that has reached it is answered.
    pub(crate) fn own(self) -> Own {
        match self {
            Self::Body(_) => Own::BodyTooLarge,
            Self::Time(_) => Own::RequestTimeout,
            Self::Idle(_) => Own::IdleTimeout,
        }
    }
}

/// The watch over one request.
#[derive(Debug)]
pub(crate) struct Watch {
    pass: Pass,
    client: Rc<Client>,
    allowance: Allowance,
    until: Cell<Option<Instant>>,
    /// When the last byte came or went; none: it waits for an instance.
    moved: Cell<Option<Instant>>,
    uploaded: Cell<u64>,
    breach: Cell<Option<Breach>>,
    told: Notify,
    clock: RefCell<Option<AbortHandle>>,
    /// How to take back an answer that has begun.
    recall: RefCell<Option<Recall>>,
}

impl Watch {
    /// Watches over a request that has entered.
    pub(crate) fn begin(
        pass: Pass,
        client: Rc<Client>,
        allowance: Allowance,
        began: Instant,
    ) -> Rc<Self> {
        let watch = Rc::new(Self {
            pass,
            client,
            allowance,
            until: Cell::new(allowance.time.map(|time| began + time)),
            moved: Cell::new(None),
            uploaded: Cell::new(0),
            breach: Cell::new(None),
            told: Notify::new(),
            clock: RefCell::default(),
            recall: RefCell::default(),
        });
        if allowance.time.is_some() || allowance.idle.is_some() {
            let clock = tokio::task::spawn_local(keep_time(Rc::downgrade(&watch)));
            *watch.clock.borrow_mut() = Some(clock.abort_handle());
        }
        watch
    }

    /// A byte came or went, or an instance was chosen.
    pub(crate) fn touch(&self) {
        if self.allowance.idle.is_some() {
            self.moved.set(Some(Instant::now()));
        }
    }

    /// Its answer has begun, and can be taken back so.
    pub(crate) fn may_recall(&self, recall: Recall) {
        *self.recall.borrow_mut() = Some(recall);
    }

    /// It became a tunnel, which may live as long as bytes pass.
    pub(crate) fn lift_time(&self) {
        self.until.set(None);
    }

    /// Whether a body of a known length is too long.
    pub(crate) fn fits(&self, length: u64) -> Result<(), Breach> {
        match self.allowance.body {
            Some(most) if length > most => {
                self.break_off(Breach::Body(most));
                Err(Breach::Body(most))
            }
            _ => Ok(()),
        }
    }

    /// What becomes of a frame of the request's body.
    pub(crate) fn upload(
        &self,
        polled: Poll<Option<Result<Frame<Bytes>, hyper::Error>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.touch();
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            self.uploaded
                .set(self.uploaded.get().saturating_add(length));
            let _broken = self.fits(self.uploaded.get());
        }
        match self.breach.get() {
            Some(breach) => Poll::Ready(Some(Err(UploadError::Limit(breach)))),
            None => polled.map_err(UploadError::Client),
        }
    }

    /// The limit that was reached.
    pub(crate) fn breach(&self) -> Option<Breach> {
        self.breach.get()
    }

    /// Resolves when a limit is reached.
    pub(crate) async fn broken(&self) -> Breach {
        loop {
            let told = self.told.notified();
            if let Some(breach) = self.breach.get() {
                return breach;
            }
            told.await;
        }
    }

    fn break_off(&self, breach: Breach) {
        if self.breach.get().is_some() {
            return;
        }
        let refused = &self.pass.gate().refused;
        let count = match breach {
            Breach::Body(_) => &refused.body,
            Breach::Time(_) => &refused.time,
            Breach::Idle(_) => &refused.idle,
        };
        count.fetch_add(1, Ordering::Relaxed);
        self.breach.set(Some(breach));
        self.told.notify_waiters();
        let recall = self.recall.borrow_mut().take();
        if let Some(recall) = recall {
            recall.take_back(breach);
        }
        self.client.wake();
    }

    /// When to look at the clock next; none: never again.
    fn next(&self, now: Instant) -> Option<Instant> {
        let idle = self.allowance.idle;
        let idle = idle.map(|idle| self.moved.get().unwrap_or(now) + idle);
        match (self.until.get(), idle) {
            (Some(until), Some(idle)) => Some(until.min(idle)),
            (until, idle) => until.or(idle),
        }
    }

    /// What is over at this time.
    fn over(&self, now: Instant) -> Option<Breach> {
        if self.until.get().is_some_and(|until| now >= until) {
            return self.allowance.time.map(Breach::Time);
        }
        let idle = self.allowance.idle?;
        let since = self.moved.get()?;
        (now >= since + idle).then_some(Breach::Idle(idle))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(clock) = self.clock.get_mut().take() {
            clock.abort();
        }
    }
}

async fn keep_time(watch: Weak<Watch>) {
    loop {
        let Some(next) = watch.upgrade().and_then(|w| w.next(Instant::now())) else {
            return;
        };
        tokio::time::sleep_until(next.into()).await;
        let Some(watch) = watch.upgrade() else {
            return;
        };
        if let Some(breach) = watch.over(Instant::now()) {
            watch.break_off(breach);
            return;
        }
    }
}
