//! One instance as all workers share it: what is in flight, whether it drains, whether it may be
//! chosen.
//!
//! Owns the exact counts. Who counts first and looks again afterwards cannot slip in behind a
//! reader that saw nothing in flight; that is the whole protocol, see [`Target::enter`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::fault::Fault;

/// Whether an instance may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No.
    Out,
    /// Yes.
    In,
    /// Only when no instance of the load balancer is in.
    Fallback,
}

/// Counters of one instance, alone on their cache lines: every request of every worker writes them.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Load {
    requests: AtomicU64,
    tunnels: AtomicU64,
    open: AtomicU64,
    idle: AtomicU64,
    served: AtomicU64,
    draining: AtomicBool,
}

/// What an instance has at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) tunnels: u64,
    pub(crate) open: u64,
    pub(crate) idle: u64,
}

impl Counts {
    /// Nothing in flight and no connection.
    pub(crate) fn is_zero(self) -> bool {
        self.requests == 0 && self.tunnels == 0 && self.open == 0
    }
}

/// An instance.
#[derive(Debug)]
pub(crate) struct Target {
    /// Its id.
    pub(crate) id: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    load: Load,
    standing: AtomicU8,
    failures: AtomicU32,
    /// 5xx in a row.
    server_errors: AtomicU32,
    /// Failures, and 5xx, in a row that are news; 0: never.
    newsworthy: (AtomicU32, AtomicU32),
    /// When it last began to serve, by [`super::clock`].
    began_ns: AtomicU64,
    answered_well: AtomicBool,
    news: Arc<Notify>,
}

/// Failures in a row that are news, unless its group says otherwise.
pub(crate) const FAILURES: u32 = 3;

impl Target {
    pub(crate) fn new(id: String, address: SocketAddr, news: Arc<Notify>) -> Self {
        Self {
            id,
            address,
            load: Load::default(),
            standing: AtomicU8::new(0),
            failures: AtomicU32::new(0),
            server_errors: AtomicU32::new(0),
            newsworthy: (AtomicU32::new(FAILURES), AtomicU32::new(0)),
            began_ns: AtomicU64::new(0),
            answered_well: AtomicBool::new(false),
            news,
        }
    }

    /// Counts a request, then looks whether the instance drains: false, and the request is given
    /// back, when it does. The drain side writes first and reads the count second, so one of the two
    /// sees the other.
    pub(crate) fn enter(&self) -> bool {
        self.load.requests.fetch_add(1, Ordering::SeqCst);
        if self.is_draining() && !Fault::NoSecondLook.is_on() {
            self.leave();
            return false;
        }
        true
    }

    /// Gives a request back.
    pub(crate) fn leave(&self) {
        let before = self.load.requests.fetch_sub(1, Ordering::SeqCst);
        if before == 1 {
            self.tell_if_draining();
        }
    }

    /// A tunnel becomes a request again, which cannot be refused: it has been there all along.
    pub(crate) fn reenter(&self) {
        self.load.requests.fetch_add(1, Ordering::SeqCst);
    }

    /// A request became a tunnel; counted as both for a moment, as nothing never.
    pub(crate) fn open_tunnel(&self) {
        self.load.tunnels.fetch_add(1, Ordering::SeqCst);
    }

    /// A tunnel ended.
    pub(crate) fn close_tunnel(&self) {
        if self.load.tunnels.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.tell_if_draining();
        }
    }

    /// A connection is about to be opened.
    pub(crate) fn open(&self) {
        self.load.open.fetch_add(1, Ordering::SeqCst);
    }

    /// A connection is closed.
    pub(crate) fn close(&self) {
        if self.load.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.tell_if_draining();
        }
    }

    /// Connections kept for later, by difference.
    pub(crate) fn keep(&self) {
        self.load.idle.fetch_add(1, Ordering::Relaxed);
    }

    /// One of them is used or closed.
    pub(crate) fn unkeep(&self) {
        self.load.idle.fetch_sub(1, Ordering::Relaxed);
    }

    fn tell_if_draining(&self) {
        if self.is_draining() {
            self.news.notify_one();
        }
    }

    /// Whether it gets nothing new.
    pub(crate) fn is_draining(&self) -> bool {
        self.load.draining.load(Ordering::SeqCst)
    }

    /// From now on it gets nothing new, or may again.
    pub(crate) fn set_draining(&self, draining: bool) {
        self.load.draining.store(draining, Ordering::SeqCst);
    }

    /// What it has. Read in the order in which a request becomes a tunnel.
    pub(crate) fn counts(&self) -> Counts {
        let requests = self.load.requests.load(Ordering::SeqCst);
        let tunnels = self.load.tunnels.load(Ordering::SeqCst);
        Counts {
            requests,
            tunnels,
            open: self.load.open.load(Ordering::SeqCst),
            idle: self.load.idle.load(Ordering::Relaxed),
        }
    }

    /// Requests in flight, for the choice of the least loaded.
    pub(crate) fn in_flight(&self) -> u64 {
        self.load.requests.load(Ordering::Relaxed) + self.load.tunnels.load(Ordering::Relaxed)
    }

    /// Whether it may be chosen.
    pub(crate) fn standing(&self) -> Standing {
        match self.standing.load(Ordering::Relaxed) {
            1 => Standing::In,
            2 => Standing::Fallback,
            _ => Standing::Out,
        }
    }

    /// Decides whether it may be chosen.
    pub(crate) fn set_standing(&self, standing: Standing) {
        let number = match standing {
            Standing::Out => 0,
            Standing::In => 1,
            Standing::Fallback => 2,
        };
        self.standing.store(number, Ordering::Relaxed);
    }

    /// It answered a request with this status.
    pub(crate) fn answered(&self, status: u16) {
        self.load.served.fetch_add(1, Ordering::Relaxed);
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        let news = self.newsworthy.1.load(Ordering::Relaxed);
        if status >= 500 && news > 0 {
            if self.server_errors.fetch_add(1, Ordering::Relaxed) + 1 >= news {
                self.news.notify_one();
            }
        } else if self.server_errors.load(Ordering::Relaxed) != 0 {
            self.server_errors.store(0, Ordering::Relaxed);
        }
        if status < 500 && !self.answered_well.load(Ordering::Relaxed) {
            self.answered_well.store(true, Ordering::SeqCst);
            self.news.notify_one();
        }
    }

    /// Requests it answered.
    pub(crate) fn served(&self) -> u64 {
        self.load.served.load(Ordering::Relaxed)
    }

    /// Whether it answered a request with a status below 500 since [`Self::forget`].
    pub(crate) fn has_answered_well(&self) -> bool {
        self.answered_well.load(Ordering::SeqCst)
    }

    /// Begins anew: no failures, no good answer yet.
    pub(crate) fn forget(&self) {
        self.forget_failures();
        self.answered_well.store(false, Ordering::SeqCst);
    }

    /// No failures any more.
    pub(crate) fn forget_failures(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.server_errors.store(0, Ordering::Relaxed);
    }

    /// From how many failures, and 5xx if at all, in a row on they are news.
    pub(crate) fn report(&self, failures: u32, server_errors: Option<u32>) {
        self.newsworthy.0.store(failures, Ordering::Relaxed);
        let errors = server_errors.unwrap_or(0);
        self.newsworthy.1.store(errors, Ordering::Relaxed);
    }

    /// It begins to serve.
    pub(crate) fn begin(&self, now_ns: u64) {
        self.began_ns.store(now_ns, Ordering::Relaxed);
    }

    /// How long it has served.
    pub(crate) fn age(&self, now_ns: u64) -> Duration {
        let began = self.began_ns.load(Ordering::Relaxed);
        Duration::from_nanos(now_ns.saturating_sub(began))
    }

    /// It could not be connected to, or broke a new connection off without an answer.
    pub(crate) fn failed(&self) {
        let news = self.newsworthy.0.load(Ordering::Relaxed);
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 >= news {
            self.news.notify_one();
        }
    }

    /// Failures in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// 5xx in a row, when they are counted.
    pub(crate) fn server_errors(&self) -> u32 {
        self.server_errors.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The four memory operations of a request and the two of a drain, in every order that keeps
    /// each side's own. All are sequentially consistent, so these are all executions there are.
    fn interleavings() -> Vec<Vec<bool>> {
        (0u32..16)
            .filter(|bits| bits.count_ones() == 2)
            .map(|bits| (0..4).map(|at| bits >> at & 1 == 1).collect())
            .collect()
    }

    /// What both sides see when a request that looks again (or does not) meets a drain.
    fn meet(order: &[bool], look_again: bool) -> (bool, bool) {
        let target = Target::new("i".into(), ([127, 0, 0, 1], 1).into(), Arc::default());
        let (mut request, mut drain) = (0, 0);
        let (mut goes, mut seen_empty) = (true, false);
        for drains in order {
            match (drains, if *drains { drain } else { request }) {
                (true, 0) => target.set_draining(true),
                (true, _) => seen_empty = target.counts().is_zero(),
                (false, 0) => {
                    target.load.requests.fetch_add(1, Ordering::SeqCst);
                }
                (false, _) if look_again => goes = !target.is_draining(),
                (false, _) => {}
            }
            *(if *drains { &mut drain } else { &mut request }) += 1;
        }
        (goes, seen_empty)
    }

    #[test]
    fn no_request_goes_to_an_instance_that_was_seen_empty_while_draining() {
        for order in interleavings() {
            let (goes, seen_empty) = meet(&order, true);
            assert!(!(goes && seen_empty), "{order:?}");
        }
    }

    #[test]
    fn control_without_the_second_look_a_request_slips_in() {
        let slipped = interleavings()
            .iter()
            .filter(|order| meet(order, false) == (true, true))
            .count();
        assert!(slipped > 0);
    }

    #[test]
    fn a_request_that_becomes_a_tunnel_is_never_counted_as_nothing() {
        let target = Target::new("i".into(), ([127, 0, 0, 1], 1).into(), Arc::default());
        assert!(target.enter());
        target.open_tunnel();
        target.leave();
        assert_eq!((target.counts().requests, target.counts().tunnels), (0, 1));
        target.close_tunnel();
        assert!(target.counts().is_zero());
        target.set_draining(true);
        assert!(!target.enter());
        assert!(target.counts().is_zero());
    }
}
