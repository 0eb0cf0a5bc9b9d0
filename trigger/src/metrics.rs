//! Counters, in Prometheus' text format.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

/// What is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Events taken in for the first time.
    pub(crate) accepted: Counter,
    /// Events that were known.
    pub(crate) duplicates: Counter,
    /// Starts asked for.
    pub(crate) started: Counter,
    /// Triggers of the event's type that did not match.
    pub(crate) rejected: Counter,
    /// Polls of an account.
    pub(crate) polls: Counter,
    /// Polls that ended with an error.
    pub(crate) poll_failures: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: usize) {
        self.0.fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl Metrics {
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (name, counter) in [
            ("trigger_events_accepted_total", &self.accepted),
            ("trigger_events_duplicate_total", &self.duplicates),
            ("trigger_starts_total", &self.started),
            ("trigger_rejections_total", &self.rejected),
            ("trigger_polls_total", &self.polls),
            ("trigger_poll_failures_total", &self.poll_failures),
        ] {
            let value = counter.0.load(Ordering::Relaxed);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# TYPE {name} counter\n{name} {value}");
        }
        text
    }
}
