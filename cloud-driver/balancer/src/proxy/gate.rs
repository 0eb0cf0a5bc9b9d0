//! Who may enter a route: requests in flight and a second, over all workers together.
//!
//! Atomics only: a request that is let in costs one write for its place and one for its turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use balancer::RouteLimits;

use super::mirror::Lane;

/// What a route allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Allowance {
    in_flight: Option<u64>,
    rate: Option<Rate>,
    /// Bytes of a request's body.
    pub(crate) body: Option<u64>,
    /// From the request's head to the end of its answer.
    pub(crate) time: Option<Duration>,
    /// Without a byte.
    pub(crate) idle: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    interval_ns: u64,
    burst: u64,
}

impl Allowance {
    /// Of limits that were checked; none when there are none.
    pub(crate) fn of(limits: &RouteLimits) -> Option<Self> {
        let rate = |a_second: u32| Rate {
            interval_ns: 1_000_000_000 / u64::from(a_second.max(1)),
            burst: limits.burst.unwrap_or(a_second).max(1).into(),
        };
        let ms = |ms: Option<u64>| ms.map(Duration::from_millis);
        let allowance = Self {
            in_flight: limits.max_in_flight.map(u64::from),
            rate: limits.requests_per_second.map(rate),
            body: limits.max_body_bytes,
            time: ms(limits.request_timeout_ms),
            idle: ms(limits.idle_timeout_ms),
        };
        (allowance != Self::default()).then_some(allowance)
    }
}

/// What all workers share of a route with limits or a mirror; it stays when these change.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    in_flight: AtomicU64,
    /// When the next request is due, had all so far come one interval after the other: the generic
    /// cell rate algorithm (ITU-T I.371, appendix I), a token bucket in one number.
    due_ns: AtomicU64,
    pub(crate) refused: Refused,
    /// Its copies.
    pub(crate) lane: Arc<Lane>,
}

/// How often each limit was reached.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    pub(crate) in_flight: AtomicU64,
    pub(crate) rate: AtomicU64,
    pub(crate) body: AtomicU64,
    pub(crate) time: AtomicU64,
    pub(crate) idle: AtomicU64,
}

/// Why a request may not enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    /// Too many are under way.
    #[error("{0} requests are under way, as many as it allows")]
    InFlight(u64),
    /// Too many came.
    #[error("more requests came than it allows a second; the next may come in {wait:?}")]
    Rate { wait: Duration },
}

impl Full {
    /// Whole seconds after which to try again.
    pub(crate) fn retry_after_s(self) -> u64 {
        match self {
            Self::InFlight(_) => 1,
            Self::Rate { wait } => wait.as_secs() + u64::from(wait.subsec_nanos() > 0),
        }
    }
}

/// A place among those in flight.
#[derive(Debug)]
pub(crate) struct Pass(Arc<Gate>);

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Pass {
    /// The route it was given by.
    pub(crate) fn gate(&self) -> &Gate {
        &self.0
    }
}

impl Gate {
    /// Lets a request in, or counts that it did not.
    ///
    /// # Errors
    /// When too many are in flight, or came.
    pub(crate) fn enter(
        self: &Arc<Self>,
        allowance: &Allowance,
        now_ns: u64,
    ) -> Result<Pass, Full> {
        let most = allowance.in_flight.unwrap_or(u64::MAX);
        let place = |in_flight: u64| (in_flight < most).then(|| in_flight + 1);
        let count = &self.in_flight;
        if count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, place)
            .is_err()
        {
            self.refused.in_flight.fetch_add(1, Ordering::Relaxed);
            return Err(Full::InFlight(most));
        }
        let pass = Pass(self.clone());
        if let Some(rate) = allowance.rate
            && let Err(wait) = self.take(rate, now_ns)
        {
            self.refused.rate.fetch_add(1, Ordering::Relaxed);
            return Err(Full::Rate { wait });
        }
        Ok(pass)
    }

    fn take(&self, rate: Rate, now_ns: u64) -> Result<(), Duration> {
        let latest = now_ns + rate.interval_ns * rate.burst;
        let next = |due: u64| due.max(now_ns) + rate.interval_ns;
        let order = Ordering::Relaxed;
        let taken = self.due_ns.fetch_update(order, order, |due| {
            Some(next(due)).filter(|next| *next <= latest)
        });
        match taken {
            Ok(_) => Ok(()),
            Err(due) => Err(Duration::from_nanos(next(due).saturating_sub(latest))),
        }
    }

    /// The rate was changed: nobody waits for what another one allowed.
    pub(crate) fn forget_rate(&self) {
        self.due_ns.store(0, Ordering::Relaxed);
    }

    /// Requests and tunnels under way.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowance(limits: RouteLimits) -> Allowance {
        Allowance::of(&limits).unwrap()
    }

    #[test]
    fn no_more_are_in_flight_than_allowed_and_each_gives_its_place_back() {
        let gate = Arc::new(Gate::default());
        let two = allowance(RouteLimits {
            max_in_flight: Some(2),
            ..RouteLimits::default()
        });
        let first = gate.enter(&two, 0).unwrap();
        let second = gate.enter(&two, 0).unwrap();
        assert_eq!(gate.enter(&two, 0).unwrap_err(), Full::InFlight(2));
        drop(first);
        let third = gate.enter(&two, 0).unwrap();
        assert_eq!(gate.in_flight(), 2);
        drop((second, third));
        assert_eq!(gate.in_flight(), 0);
        assert_eq!(gate.refused.in_flight.load(Ordering::Relaxed), 1);
        assert_eq!(Allowance::of(&RouteLimits::default()), None);
    }

    #[test]
    fn a_burst_passes_at_once_and_then_one_an_interval() {
        let gate = Arc::new(Gate::default());
        let rate = allowance(RouteLimits {
            requests_per_second: Some(10),
            burst: Some(3),
            ..RouteLimits::default()
        });
        let ms = |ms: u64| 1_000_000_000_000 + ms * 1_000_000;
        let entered = |at: u64| gate.enter(&rate, at).map(drop);
        for _ in 0..3 {
            assert_eq!(entered(ms(0)), Ok(()));
        }
        let wait = Duration::from_millis(100);
        assert_eq!(entered(ms(0)), Err(Full::Rate { wait }));
        assert_eq!(
            entered(ms(0)),
            Err(Full::Rate { wait }),
            "asking costs nothing"
        );
        let wait = Duration::from_millis(1);
        assert_eq!(entered(ms(99)), Err(Full::Rate { wait }));
        assert_eq!(Full::Rate { wait }.retry_after_s(), 1);
        assert_eq!(entered(ms(100)), Ok(()));
        assert!(entered(ms(101)).is_err());
        // After a pause the burst is whole again, and not more than that.
        assert_eq!((0..9).filter(|_| entered(ms(90_000)).is_ok()).count(), 3);
        assert_eq!(gate.in_flight(), 0, "who did not enter has no place");
        gate.forget_rate();
        assert_eq!(entered(ms(90_000)), Ok(()));
    }

    #[test]
    fn threads_together_get_no_more_than_the_rate() {
        let gate = Arc::new(Gate::default());
        let rate = allowance(RouteLimits {
            requests_per_second: Some(1),
            burst: Some(50),
            ..RouteLimits::default()
        });
        let got: usize = std::thread::scope(|scope| {
            let all: Vec<_> = (0..4)
                .map(|_| {
                    let enter = || (0..1_000).filter(|_| gate.enter(&rate, 1).is_ok()).count();
                    scope.spawn(enter)
                })
                .collect();
            all.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(got, 50);
    }
}
