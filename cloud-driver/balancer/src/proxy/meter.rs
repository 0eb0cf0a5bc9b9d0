//! Figures of one server group in one worker. Only that worker writes them, so counting is a load
//! and a store; readers add the workers up and take differences.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::answer::Own;
use super::listener::Greetings;

/// A counter with one writer.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        let now = self.0.load(Ordering::Relaxed);
        self.0.store(now.wrapping_add(more), Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Steps between powers of two: a value is known within an eighth.
const STEPS: usize = 8;
/// Up to 2^36 microseconds, 19 hours.
pub(crate) const BUCKETS: usize = STEPS * 34;

/// Times by size, in microseconds.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [Counter; BUCKETS],
    sum_us: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| Counter::default()),
            sum_us: Counter::default(),
        }
    }
}

fn bucket(us: u64) -> usize {
    let us = us.max(1);
    let power = us.ilog2() as usize;
    if power < 3 {
        return usize::try_from(us).unwrap_or(0);
    }
    let step = usize::try_from(us >> (power - 3) & 7).unwrap_or(0);
    ((power - 2) * STEPS + step).min(BUCKETS - 1)
}

/// The largest value of a bucket, microseconds.
pub(crate) fn upper_us(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let (power, step) = (bucket / STEPS + 2, bucket % STEPS);
    ((STEPS + step + 1) as u64) * (1 << (power - 3)) - 1
}

impl Histogram {
    pub(crate) fn record(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(counter) = self.buckets.get(bucket(us)) {
            counter.add(1);
        }
        self.sum_us.add(us);
    }

    /// Adds this one's counts to `sum`.
    pub(crate) fn add_to(&self, sum: &mut Times) {
        for (counter, total) in self.buckets.iter().zip(&mut sum.buckets) {
            *total += counter.get();
        }
        sum.sum_us += self.sum_us.get();
    }
}

/// Times of several workers together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) buckets: Vec<u64>,
    pub(crate) sum_us: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            sum_us: 0,
        }
    }
}

impl Times {
    /// What came since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let buckets = self.buckets.iter().zip(&before.buckets);
        Self {
            buckets: buckets
                .map(|(now, then)| now.saturating_sub(*then))
                .collect(),
            sum_us: self.sum_us.saturating_sub(before.sum_us),
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The time within which `percent` of them were, microseconds.
    pub(crate) fn quantile_us(&self, percent: u64) -> u64 {
        let wanted = (self.count() * percent).div_ceil(100).max(1);
        let mut sum = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            sum += count;
            if sum >= wanted {
                return upper_us(at);
            }
        }
        0
    }

    /// How many were within a time.
    pub(crate) fn within(&self, us: u64) -> u64 {
        let buckets = self.buckets.iter().enumerate();
        buckets
            .filter(|(at, _)| upper_us(*at) <= us)
            .map(|(_, count)| count)
            .sum()
    }
}

/// Why a request is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// No connection could be made.
    Connect,
    /// It had not been written, or the instance did nothing with it.
    Unsent,
    /// A kept connection was closed before the answer.
    Closed,
}

impl Repeat {
    /// All, with the names of the label `reason`, in the order of the counters.
    pub(crate) const ALL: [(Self, &str); 3] = [
        (Self::Connect, "connect"),
        (Self::Unsent, "unsent"),
        (Self::Closed, "closed"),
    ];
}

/// Answers by whether the method only reads and by class of status.
pub(crate) type Statuses = [[Counter; 5]; 2];

/// Figures of one server group behind one load balancer, in one worker.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Requests that were sent to an instance.
    pub(crate) sent: Counter,
    /// Answers of instances.
    pub(crate) status: Statuses,
    /// Answers of the balancer itself.
    pub(crate) own: Statuses,
    /// The same by the name of the error.
    pub(crate) errors: [Counter; Own::ALL.len()],
    /// Answers of the balancer itself with 502, 503, 504.
    pub(crate) own_errors: Counter,
    /// Requests sent again, by [`Repeat`].
    pub(crate) repeats: [Counter; Repeat::ALL.len()],
    /// To the end of the answer.
    pub(crate) total: Histogram,
    /// To the answer's head.
    pub(crate) first: Histogram,
}

impl Meter {
    /// An instance's answer has ended.
    pub(crate) fn ended(&self, reads: bool, status: u16, total: Duration) {
        count(&self.status, reads, status);
        self.total.record(total);
    }

    /// The balancer answered by itself.
    pub(crate) fn told(&self, reads: bool, status: u16) {
        count(&self.own, reads, status);
    }

    /// The same with an error.
    pub(crate) fn answered(&self, reads: bool, why: Own) {
        let status = why.status().0.as_u16();
        count(&self.own, reads, status);
        if let Some(counter) = self.errors.get(why as usize) {
            counter.add(1);
        }
        if (502..=504).contains(&status) {
            self.own_errors.add(1);
        }
    }

    /// A request is sent again.
    pub(crate) fn repeated(&self, why: Repeat) {
        if let Some(counter) = self.repeats.get(why as usize) {
            counter.add(1);
        }
    }

    /// Requests sent again.
    pub(crate) fn retries(&self) -> u64 {
        self.repeats.iter().map(Counter::get).sum()
    }
}

fn count(table: &Statuses, reads: bool, status: u16) {
    let class = usize::from(status / 100).clamp(1, 5) - 1;
    if let Some(counter) = table[usize::from(!reads)].get(class) {
        counter.add(1);
    }
}

/// Figures of one route in one worker.
#[derive(Debug, Default)]
pub(crate) struct RouteMeter {
    /// Requests that took it.
    pub(crate) began: Counter,
    /// Of these, those that have ended, whatever their end.
    pub(crate) done: Counter,
    /// Answers of instances.
    pub(crate) status: Statuses,
    /// Answers of the balancer itself.
    pub(crate) own: Statuses,
    /// Requests sent again.
    pub(crate) retries: Counter,
    /// To the end of an instance's answer.
    pub(crate) total: Histogram,
}

impl RouteMeter {
    /// An instance's answer has ended.
    pub(crate) fn ended(&self, reads: bool, status: u16, total: Duration) {
        count(&self.status, reads, status);
        self.total.record(total);
    }

    /// The balancer answered by itself.
    pub(crate) fn answered(&self, reads: bool, status: u16) {
        count(&self.own, reads, status);
    }

    /// Requests under way. Read in the order that cannot make it negative.
    pub(crate) fn in_flight(&self) -> u64 {
        let done = self.done.get();
        self.began.get().saturating_sub(done)
    }
}

/// Figures of one worker that belong to no server group; they outlive all of them.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Sent to another instance because no connection could be made.
    pub(crate) retried_connect: Counter,
    /// Sent again because it had not been written.
    pub(crate) retried_unsent: Counter,
    /// Sent again because a kept connection was closed before the answer.
    pub(crate) retried_closed: Counter,
    /// Lost, and not to be repeated.
    pub(crate) not_repeated: Counter,
    /// No instance to choose.
    pub(crate) no_instance: Counter,
    /// Wanted to be repeated, but the budget was used up.
    pub(crate) over_budget: Counter,
    /// The client went away before the answer's end.
    pub(crate) client_gone: Counter,
    /// An instance broke an answer off.
    pub(crate) broken: Counter,
    /// Lines of the access log that found no room.
    pub(crate) lines_dropped: Counter,
    /// Requests cut.
    pub(crate) cut_requests: Counter,
    /// Tunnels cut.
    pub(crate) cut_tunnels: Counter,
    /// Connections of clients refused because there were too many.
    pub(crate) refused_clients: Counter,
    /// Answers of the balancer itself with 502, 503, 504.
    pub(crate) own_errors: Counter,
    /// How clients were greeted.
    pub(crate) greetings: Greetings,
}

impl Totals {
    /// All repeats.
    pub(crate) fn retries(&self) -> u64 {
        self.retried_connect.get() + self.retried_unsent.get() + self.retried_closed.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_a_bucket_whose_upper_end_is_within_an_eighth() {
        for us in (1..4_000).chain([9_999, 123_456, 7_654_321, 3_600_000_000]) {
            let upper = upper_us(bucket(us));
            assert!(upper >= us && upper <= us + us / 8, "{us}: {upper}");
        }
        for at in 1..BUCKETS - 1 {
            assert!(upper_us(at) < upper_us(at + 1), "{at}");
        }
    }

    #[test]
    fn every_reason_and_every_error_has_a_counter_of_its_own() {
        let meter = Meter::default();
        for (at, (why, _)) in Repeat::ALL.into_iter().enumerate() {
            meter.repeated(why);
            assert_eq!((why as usize, meter.repeats[at].get()), (at, 1));
        }
        for (at, why) in Own::ALL.into_iter().enumerate() {
            meter.answered(true, why);
            assert_eq!((why as usize, meter.errors[at].get()), (at, 1));
        }
        assert_eq!(meter.retries(), 3);
    }

    #[test]
    fn quantiles_are_those_of_the_difference() {
        let histogram = Histogram::default();
        for us in 1..=100 {
            histogram.record(Duration::from_micros(us * 1000));
        }
        let mut before = Times::default();
        histogram.add_to(&mut before);
        for us in 1..=100 {
            histogram.record(Duration::from_micros(us));
        }
        let mut now = Times::default();
        histogram.add_to(&mut now);
        let since = now.since(&before);
        assert_eq!((since.count(), since.sum_us), (100, 5050));
        assert!((50..=56).contains(&since.quantile_us(50)));
        assert!((99..=112).contains(&since.quantile_us(99)));
        assert_eq!(since.within(1_000), 100);
    }
}
