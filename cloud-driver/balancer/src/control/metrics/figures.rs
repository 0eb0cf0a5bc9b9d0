//! Figures as they are read: families of samples, whatever they will be written as.

use std::sync::Arc;

use crate::proxy::meter::Times;

/// Counters of one thing, one a worker, and since when they count.
#[derive(Debug)]
pub(crate) struct Metered<T> {
    pub(crate) each: Vec<Arc<T>>,
    /// ms since the epoch.
    pub(crate) since_ms: i64,
}

impl<T: Default> Metered<T> {
    /// New ones.
    pub(crate) fn new(workers: usize, now_ms: i64) -> Self {
        Self {
            each: (0..workers).map(|_| Arc::default()).collect(),
            since_ms: now_ms,
        }
    }
}

impl<T> Metered<T> {
    /// One of their counters over all workers.
    pub(crate) fn sum(&self, of: impl Fn(&T) -> u64) -> u64 {
        self.each.iter().map(|one| of(one)).sum()
    }

    /// One of their histograms over all workers.
    pub(crate) fn times(&self, add: impl Fn(&T, &mut Times)) -> Times {
        let mut times = Times::default();
        self.each.iter().for_each(|one| add(one, &mut times));
        times
    }
}

/// Upper ends of the histograms' buckets, microseconds.
pub(crate) const BUCKETS_US: [u64; 12] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 250_000, 1_000_000, 5_000_000,
    30_000_000,
];

/// What kind a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows, until the process or what it counts begins anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Times by size, in seconds.
    Histogram,
}

/// What a sample says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Number(i64),
    Times(Times),
}

/// One series at one moment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// From closed sets, or bounded by the configuration.
    pub(crate) labels: Vec<(&'static str, String)>,
    /// Since when it counts, ms since the epoch.
    pub(crate) since_ms: i64,
    pub(crate) value: Value,
}

/// Samples of one name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
    pub(crate) samples: Vec<Sample>,
}

/// Families under construction.
#[derive(Debug)]
pub(crate) struct Figures {
    families: Vec<Family>,
    since_ms: i64,
}

impl Figures {
    /// None yet, of a process that began then.
    pub(crate) fn new(began_ms: i64) -> Self {
        Self {
            families: Vec::new(),
            since_ms: began_ms,
        }
    }

    /// Begins a family.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &'static str) {
        self.families.push(Family {
            name,
            kind,
            help,
            samples: Vec::new(),
        });
    }

    /// Adds a sample to the family begun last; it counts since the process began.
    pub(crate) fn sample(&mut self, labels: &[(&'static str, &str)], value: impl Into<i128>) {
        self.sample_since(labels, self.since_ms, value);
    }

    /// The same with its own beginning.
    pub(crate) fn sample_since(
        &mut self,
        labels: &[(&'static str, &str)],
        since_ms: i64,
        value: impl Into<i128>,
    ) {
        let value = i64::try_from(value.into()).unwrap_or(i64::MAX);
        self.add(labels, since_ms, Value::Number(value));
    }

    /// A histogram.
    pub(crate) fn times(&mut self, labels: &[(&'static str, &str)], since_ms: i64, times: Times) {
        self.add(labels, since_ms, Value::Times(times));
    }

    fn add(&mut self, labels: &[(&'static str, &str)], since_ms: i64, value: Value) {
        let labels = labels.iter();
        if let Some(family) = self.families.last_mut() {
            family.samples.push(Sample {
                labels: labels
                    .map(|(name, text)| (*name, (*text).to_owned()))
                    .collect(),
                since_ms,
                value,
            });
        }
    }

    /// All of them.
    pub(crate) fn families(self) -> Vec<Family> {
        self.families
    }
}
