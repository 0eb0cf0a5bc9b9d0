//! What happened: counts, gaps and times, and the lines that tell them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::connection::Answer;
use super::{Kind, Output};

/// The whole run. `started` = `finished` + `inFlight`, `finished` = `answered` + `failed`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    event: &'static str,
    /// How long requests were started, milliseconds.
    pub milliseconds: u64,
    /// Requests that began.
    pub started: u64,
    /// Requests that ended, one way or the other.
    pub finished: u64,
    /// Requests without an end when the run was given up.
    pub in_flight: u64,
    /// Requests answered with 2xx, whole, and as asked.
    pub answered: u64,
    /// All others that ended.
    pub failed: u64,
    /// Requests that the library gave back unwritten and that then left on a new connection.
    pub unsent: u64,
    /// Idle connections that were found closed when they were wanted.
    pub found_closed: u64,
    /// Requests that were due and not started because too many were in flight.
    pub overrun: u64,
    /// The longest time without an answered request, milliseconds, and when it began (since epoch).
    pub longest_gap_ms: u64,
    /// See `longest_gap_ms`.
    pub longest_gap_at: u64,
    /// The latest a request left after it was due, milliseconds: the generator's own fault.
    pub latest_ms: u64,
    /// Answered requests by the version that served them.
    pub versions: BTreeMap<String, u64>,
    /// The same by kind.
    pub kinds: BTreeMap<&'static str, KindSummary>,
}

/// One kind's part of the run.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KindSummary {
    /// Requests that began.
    pub started: u64,
    /// Requests that ended.
    pub finished: u64,
    /// Requests answered with 2xx, whole, and as asked.
    pub answered: u64,
    /// All others that ended.
    pub failed: u64,
    /// Given back unwritten.
    pub unsent: u64,
    /// Idle connections found closed.
    pub found_closed: u64,
    /// How often the other side left a conversation with a word, and it went on elsewhere.
    pub farewells: u64,
    /// Median time to the end of the answer, microseconds.
    pub p50_us: u64,
    /// 99th percentile of it.
    pub p99_us: u64,
    /// The longest.
    pub max_us: u64,
}

#[derive(Default)]
struct PerKind {
    counts: KindSummary,
    microseconds: Vec<u32>,
}

pub(super) struct Tally {
    output: Output,
    begin: Instant,
    begin_epoch: u64,
    end: Option<Instant>,
    stop: watch::Sender<bool>,
    kinds: [PerKind; Kind::ALL.len()],
    versions: BTreeMap<String, u64>,
    overrun: u64,
    latest: Duration,
    last_answer: Instant,
    gap: (Duration, Instant),
    error: Option<std::io::Error>,
}

impl Tally {
    pub(super) fn new(output: Output) -> Self {
        let begin = Instant::now();
        let epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            output,
            begin,
            begin_epoch: milliseconds(epoch),
            end: None,
            stop: watch::Sender::new(false),
            kinds: std::array::from_fn(|_| PerKind::default()),
            versions: BTreeMap::new(),
            overrun: 0,
            latest: Duration::ZERO,
            last_answer: begin,
            gap: (Duration::ZERO, begin),
            error: None,
        }
    }

    pub(super) fn stop_signal(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Nothing is started from now on.
    pub(super) fn stopped(&mut self) {
        let now = Instant::now();
        self.end = Some(now);
        self.note_gap(now);
        self.stop.send_replace(true);
    }

    /// Counts a request that is due; `false` when too many are in flight.
    pub(super) fn start(&mut self, kind: Kind, due: Instant, limit: usize) -> bool {
        self.latest = self.latest.max(Instant::now().duration_since(due));
        let in_flight: u64 = self
            .kinds
            .iter()
            .map(|kind| kind.counts.started - kind.counts.finished)
            .sum();
        if in_flight >= limit as u64 {
            self.overrun += 1;
            return false;
        }
        self.kinds[kind.index()].counts.started += 1;
        true
    }

    pub(super) fn unsent(&mut self, kind: Kind) {
        self.kinds[kind.index()].counts.unsent += 1;
    }

    pub(super) fn found_closed(&mut self, kind: Kind) {
        self.kinds[kind.index()].counts.found_closed += 1;
    }

    /// Counts the end of a request, and writes a line if it failed.
    pub(super) fn finish(
        &mut self,
        kind: Kind,
        number: u64,
        started: Instant,
        result: Result<Answer>,
    ) {
        let now = Instant::now();
        let (from, to) = (self.epoch(started), self.epoch(now));
        let per_kind = &mut self.kinds[kind.index()];
        per_kind.counts.finished += 1;
        match result {
            Ok(answer) => {
                per_kind.counts.answered += 1;
                per_kind.counts.farewells += answer.farewells;
                let took = now.duration_since(started).as_micros();
                per_kind
                    .microseconds
                    .push(u32::try_from(took).unwrap_or(u32::MAX));
                let version = answer.version.unwrap_or_default();
                if self.output.record.is_some() {
                    let line = json!({
                        "kind": kind.name(), "number": number, "start": from, "end": to,
                        "version": version, "status": answer.status.as_u16(),
                    });
                    self.record(&line);
                }
                *self.versions.entry(version).or_default() += 1;
                if self.end.is_none() {
                    self.note_gap(now);
                }
            }
            Err(error) => {
                per_kind.counts.failed += 1;
                let line = json!({
                    "event": "failed", "kind": kind.name(), "number": number, "start": from,
                    "end": to, "error": format!("{error:#}"),
                });
                self.write(&line);
                self.record(&line);
            }
        }
    }

    /// Writes the counts so far.
    pub(super) fn progress(&mut self) {
        let mut in_flight = serde_json::Map::new();
        let (mut started, mut answered, mut failed) = (0, 0, 0);
        for kind in Kind::ALL {
            let counts = &self.kinds[kind.index()].counts;
            started += counts.started;
            answered += counts.answered;
            failed += counts.failed;
            in_flight.insert(
                kind.name().to_owned(),
                json!(counts.started - counts.finished),
            );
        }
        let line = json!({
            "event": "progress", "at": self.epoch(Instant::now()), "started": started,
            "answered": answered, "failed": failed, "inFlight": in_flight,
            "versions": self.versions,
        });
        self.write(&line);
    }

    /// Adds everything up and writes the last line.
    pub(super) fn summary(&mut self) -> Result<Summary> {
        let end = self.end.unwrap_or_else(Instant::now);
        let mut kinds = BTreeMap::new();
        for kind in Kind::ALL {
            let per_kind = &mut self.kinds[kind.index()];
            per_kind.microseconds.sort_unstable();
            let mut counts = per_kind.counts.clone();
            counts.p50_us = percentile(&per_kind.microseconds, 50);
            counts.p99_us = percentile(&per_kind.microseconds, 99);
            counts.max_us = percentile(&per_kind.microseconds, 100);
            kinds.insert(kind.name(), counts);
        }
        let sum = |count: fn(&KindSummary) -> u64| kinds.values().map(count).sum::<u64>();
        let summary = Summary {
            event: "summary",
            milliseconds: milliseconds(end.duration_since(self.begin)),
            started: sum(|kind| kind.started),
            finished: sum(|kind| kind.finished),
            in_flight: sum(|kind| kind.started - kind.finished),
            answered: sum(|kind| kind.answered),
            failed: sum(|kind| kind.failed),
            unsent: sum(|kind| kind.unsent),
            found_closed: sum(|kind| kind.found_closed),
            overrun: self.overrun,
            longest_gap_ms: milliseconds(self.gap.0),
            longest_gap_at: self.epoch(self.gap.1),
            latest_ms: milliseconds(self.latest),
            versions: self.versions.clone(),
            kinds,
        };
        let line = serde_json::to_value(&summary)?;
        self.write(&line);
        if let Some(record) = &mut self.output.record {
            record.flush()?;
        }
        match self.error.take() {
            Some(error) => Err(error.into()),
            None => Ok(summary),
        }
    }

    fn note_gap(&mut self, now: Instant) {
        let gap = now.duration_since(self.last_answer);
        if gap > self.gap.0 {
            self.gap = (gap, self.last_answer);
        }
        self.last_answer = now;
    }

    fn epoch(&self, instant: Instant) -> u64 {
        self.begin_epoch + milliseconds(instant.duration_since(self.begin))
    }

    fn write(&mut self, line: &serde_json::Value) {
        let written =
            writeln!(self.output.events, "{line}").and_then(|()| self.output.events.flush());
        if let Err(error) = written {
            self.error.get_or_insert(error);
        }
    }

    fn record(&mut self, line: &serde_json::Value) {
        if let Some(record) = &mut self.output.record
            && let Err(error) = writeln!(record, "{line}")
        {
            self.error.get_or_insert(error);
        }
    }
}

fn percentile(sorted: &[u32], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied().map_or(0, u64::from)
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_the_nearest_rank() {
        let values: Vec<u32> = (1..=100).collect();
        assert_eq!(
            [50, 99, 100].map(|percent| percentile(&values, percent)),
            [50, 99, 100]
        );
        assert_eq!(percentile(&[7], 50), 7);
        assert_eq!(percentile(&[], 99), 0);
    }
}
