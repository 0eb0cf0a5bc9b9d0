//! Figures of each server group, second by second, for an hour. Seconds without anything are not
//! kept, and all groups together keep a bounded number of them.
//!
//! A second is counted once for each process: what a predecessor counted, be it from disk or told by
//! itself, is added under its epoch.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use balancer::{Counted, HISTORY_S, History, Second, Series};
use tokio::sync::watch;

use super::plane::GroupKey;
use crate::proxy::meter::{Meter, Times};

/// Seconds kept of a group.
pub(crate) const HOUR_S: i64 = HISTORY_S as i64;

/// Seconds kept of all groups together: about 7 MiB.
const MOST_SECONDS: usize = 128 * 1024;

/// Seconds that a process remembers of itself alone, for a successor.
const OWN_S: i64 = 120;

/// One server group's second.
pub(crate) type Row = (GroupKey, Second);

/// The records.
#[derive(Debug, Default)]
pub(crate) struct Records {
    groups: BTreeMap<GroupKey, Record>,
    /// What this process counted by itself lately.
    own: VecDeque<(i64, Vec<Row>)>,
    /// Seconds of other processes that are among the records, by epoch.
    seen: BTreeMap<String, BTreeSet<i64>>,
    kept: usize,
    until_s: i64,
    ticked: watch::Sender<i64>,
}

#[derive(Debug, Default)]
struct Record {
    seconds: VecDeque<(i64, Second)>,
    before: Sum,
}

/// Everything a group's workers counted so far.
#[derive(Debug, Clone, Default)]
struct Sum {
    sent: u64,
    status: [u64; 5],
    own: u64,
    other: [u64; 5],
    retries: u64,
    times: Times,
}

impl Sum {
    fn of(meters: &[Arc<Meter>]) -> Self {
        let mut sum = Self::default();
        for meter in meters {
            for reads in 0..2 {
                for class in 0..5 {
                    sum.status[class] += meter.status[reads][class].get();
                    sum.other[class] += meter.own[reads][class].get();
                }
            }
            sum.sent += meter.sent.get();
            sum.own += meter.own_errors.get();
            sum.retries += meter.retries();
        }
        sum
    }

    fn is_as(&self, other: &Self) -> bool {
        self.sent == other.sent
            && self.status == other.status
            && self.other == other.other
            && self.retries == other.retries
    }

    /// Whether these are not the same counters later: they cannot count down.
    fn began_after(&self, before: &Self) -> bool {
        let fewer = |now: &[u64; 5], then: &[u64; 5]| now.iter().zip(then).any(|(n, t)| n < t);
        self.sent < before.sent
            || fewer(&self.status, &before.status)
            || fewer(&self.other, &before.other)
    }

    fn second(&self, before: &Self, in_flight: u64) -> Second {
        let class = |at: usize| self.status[at].saturating_sub(before.status[at]);
        let other = |at: usize| self.other[at].saturating_sub(before.other[at]);
        let times = self.times.since(&before.times);
        Second {
            sent: small(self.sent.saturating_sub(before.sent)),
            share: 0,
            ok: small(class(0) + class(1) + class(2)),
            client_error: small(class(3) + other(3)),
            server_error: small(class(4)),
            own_error: small(self.own.saturating_sub(before.own)),
            retries: small(self.retries.saturating_sub(before.retries)),
            p50_us: small(times.quantile_us(50)),
            p99_us: small(times.quantile_us(99)),
            in_flight: small(in_flight),
        }
    }
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Records {
    /// Ends a second; what this process counted in it.
    pub(crate) fn tick<'a>(
        &mut self,
        at_s: i64,
        groups: impl Iterator<Item = (&'a GroupKey, &'a [Arc<Meter>], u64)>,
    ) -> Vec<Row> {
        let mut rows = Vec::new();
        for (key, meters, in_flight) in groups {
            if !self.groups.contains_key(key) {
                self.groups.insert(key.clone(), Record::default());
            }
            let Some(record) = self.groups.get_mut(key) else {
                continue;
            };
            let mut now = Sum::of(meters);
            if now.is_as(&record.before) && in_flight == 0 {
                continue;
            }
            if now.began_after(&record.before) {
                // The group was removed and came back: its meters are new.
                record.before = Sum::default();
            }
            for meter in meters {
                meter.total.add_to(&mut now.times);
            }
            rows.push((key.clone(), now.second(&record.before, in_flight)));
            record.before = now;
        }
        for (key, second) in &rows {
            self.place(at_s, key, *second);
        }
        self.own.push_back((at_s, rows.clone()));
        self.until_s = at_s;
        self.forget(at_s);
        self.ticked.send_replace(at_s);
        rows
    }

    /// Begins with what other processes counted before.
    pub(crate) fn begin(&mut self, now_s: i64) {
        self.until_s = now_s - 1;
        self.forget(self.until_s);
    }

    /// Adds a second that another process counted; false when it is known already or too old.
    pub(crate) fn add(&mut self, epoch: &str, at_s: i64, rows: &[Row]) -> bool {
        if self.until_s > 0 && at_s <= self.until_s - HOUR_S {
            return false;
        }
        if !self.seen.contains_key(epoch) {
            self.seen.insert(epoch.to_owned(), BTreeSet::new());
        }
        let new = self.seen.get_mut(epoch).is_some_and(|s| s.insert(at_s));
        if new {
            for (key, second) in rows {
                self.place(at_s, key, *second);
            }
        }
        new
    }

    fn place(&mut self, at_s: i64, key: &GroupKey, second: Second) {
        let record = match self.groups.get_mut(key) {
            Some(record) => record,
            None => self.groups.entry(key.clone()).or_default(),
        };
        let later = record.seconds.iter().rev();
        let later = later.take_while(|(at, _)| *at > at_s).count();
        let index = record.seconds.len() - later;
        let last = index.checked_sub(1).and_then(|i| record.seconds.get_mut(i));
        match last {
            Some((at, there)) if *at == at_s => there.join(second),
            _ => {
                record.seconds.insert(index, (at_s, second));
                self.kept += 1;
            }
        }
    }

    fn forget(&mut self, at_s: i64) {
        let oldest = at_s - HOUR_S;
        for record in self.groups.values_mut() {
            while record.seconds.front().is_some_and(|(at, _)| *at <= oldest) {
                record.seconds.pop_front();
                self.kept -= 1;
            }
        }
        while self.kept > MOST_SECONDS {
            let longest = self
                .groups
                .values_mut()
                .max_by_key(|record| record.seconds.len());
            if longest
                .and_then(|record| record.seconds.pop_front())
                .is_none()
            {
                break;
            }
            self.kept -= 1;
        }
        self.seen.retain(|_, seconds| {
            *seconds = seconds.split_off(&(oldest + 1));
            !seconds.is_empty()
        });
        while self.own.front().is_some_and(|(at, _)| *at <= at_s - OWN_S) {
            self.own.pop_front();
        }
    }

    /// Forgets groups that are gone and have nothing left to tell.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&GroupKey) -> bool) {
        self.groups
            .retain(|key, record| is_there(key) || !record.seconds.is_empty());
    }

    /// What this process counted by itself after a second, at the most two minutes.
    pub(crate) fn own_after(&self, after_s: i64) -> Vec<Counted> {
        let seconds = self.own.iter().filter(|(at_s, _)| *at_s > after_s);
        let counted = seconds.flat_map(|(at_s, rows)| {
            rows.iter().map(|((balancer, group), second)| Counted {
                at_s: *at_s,
                load_balancer: balancer.clone(),
                group: group.clone(),
                second: *second,
            })
        });
        counted.collect()
    }

    /// Changes with each second.
    pub(crate) fn watch(&self) -> watch::Receiver<i64> {
        self.ticked.subscribe()
    }

    /// How many watch.
    pub(crate) fn followers(&self) -> usize {
        self.ticked.receiver_count()
    }

    /// The last second that has ended.
    pub(crate) fn until_s(&self) -> i64 {
        self.until_s
    }

    /// The last `seconds` of all groups.
    pub(crate) fn history(&self, seconds: i64) -> History {
        let seconds = seconds.clamp(1, HOUR_S);
        let first = self.until_s - seconds + 1;
        let series = self.groups.iter().map(|((balancer, group), record)| {
            let mut all = vec![Second::default(); usize::try_from(seconds).unwrap_or(0)];
            for (at, second) in record
                .seconds
                .iter()
                .rev()
                .take_while(|(at, _)| *at >= first)
            {
                if let Some(place) = usize::try_from(at - first)
                    .ok()
                    .and_then(|at| all.get_mut(at))
                {
                    *place = *second;
                }
            }
            Series {
                load_balancer: balancer.clone(),
                group: group.clone(),
                seconds: all,
            }
        });
        let mut series: Vec<_> = series.collect();
        // Sorted by load balancer, as the groups are.
        for series in series.chunk_by_mut(|a, b| a.load_balancer == b.load_balancer) {
            share(series);
        }
        History {
            until_s: self.until_s,
            series,
        }
    }
}

/// Fills in what each group of one load balancer got of its requests.
fn share(series: &mut [Series]) {
    let seconds = series.iter().map(|s| s.seconds.len()).max().unwrap_or(0);
    for at in 0..seconds {
        let of = |s: &Series| s.seconds.get(at).map_or(0, |s| u64::from(s.sent));
        let all: u64 = series.iter().map(of).sum();
        for series in &mut *series {
            let sent = of(series);
            if let Some(second) = series.seconds.get_mut(at)
                && all > 0
            {
                second.share = small((sent * 1000 + all / 2) / all);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proxy::answer::Own;

    fn key(balancer: &str, group: &str) -> GroupKey {
        (balancer.to_owned(), group.to_owned())
    }

    #[test]
    fn each_second_holds_what_came_in_it_and_gaps_are_zeros() {
        let key = key("b", "g");
        let meters = [Arc::new(Meter::default()), Arc::new(Meter::default())];
        let mut records = Records::default();
        let tick = |records: &mut Records, at, in_flight| {
            records.tick(at, [(&key, &meters[..], in_flight)].into_iter());
        };
        meters[0].ended(true, 200, Duration::from_micros(100));
        meters[1].ended(false, 503, Duration::from_micros(900));
        tick(&mut records, 10, 1);
        tick(&mut records, 11, 0);
        meters[1].answered(true, Own::Lost);
        tick(&mut records, 12, 0);
        let history = records.history(4);
        assert_eq!(history.until_s, 12);
        let seconds = &history.series[0].seconds;
        assert_eq!(seconds.len(), 4);
        assert_eq!(
            (seconds[0], seconds[2]),
            (Second::default(), Second::default())
        );
        assert_eq!(
            (seconds[1].ok, seconds[1].server_error, seconds[1].in_flight),
            (1, 1, 1)
        );
        assert!(seconds[1].p50_us >= 100 && seconds[1].p99_us >= 900);
        assert_eq!(
            (seconds[3].own_error, seconds[3].ok, seconds[3].p99_us),
            (1, 0, 0)
        );
    }

    #[test]
    fn no_more_than_an_hour_and_a_bounded_number_of_seconds_are_kept() {
        let meters = [Arc::new(Meter::default())];
        let keys: Vec<_> = (0..38).map(|g| ("b".to_owned(), g.to_string())).collect();
        let mut records = Records::default();
        for at in 0..HOUR_S + 10 {
            let groups = keys.iter().map(|key| (key, &meters[..], 1));
            records.tick(at, groups);
        }
        assert!(records.kept <= MOST_SECONDS);
        let kept: usize = records.groups.values().map(|r| r.seconds.len()).sum();
        assert_eq!(kept, records.kept);
        let first = records.groups.values().map(|r| r.seconds[0].0).min();
        assert!(first > Some(9));
        assert_eq!(records.own.len(), usize::try_from(OWN_S).unwrap());
        records.retain(|_| false);
        assert_eq!(records.groups.len(), 38);
    }

    #[test]
    fn a_second_of_another_process_is_added_once_wherever_it_belongs() {
        let (a, b) = (key("x", "a"), key("x", "b"));
        let second = |sent| Second {
            sent,
            ..Second::default()
        };
        let mut records = Records::default();
        for (at, sent, new) in [(12, 4, true), (10, 1, true), (11, 2, true), (10, 7, false)] {
            let rows = [(a.clone(), second(sent))];
            assert_eq!(records.add("before", at, &rows), new, "{at}");
        }
        assert!(records.add("other", 11, &[(b, second(6))]));
        records.begin(13);
        let meters = [Arc::new(Meter::default())];
        meters[0].sent.add(3);
        records.tick(13, [(&a, &meters[..], 0)].into_iter());
        assert!(records.add("before", 13, &[(a, second(2))]), "its last");
        let history = records.history(4);
        let sent = |at: usize| -> Vec<_> {
            let series: &Series = &history.series[at];
            series.seconds.iter().map(|s| (s.sent, s.share)).collect()
        };
        assert_eq!(sent(0), [(1, 1000), (2, 250), (4, 1000), (5, 1000)]);
        assert_eq!(sent(1), [(0, 0), (6, 750), (0, 0), (0, 0)]);
        assert_eq!(records.own_after(0).len(), 1, "others' are not its own");
        assert!(records.own_after(13).is_empty());
        assert!(
            !records.add("before", 13 - HOUR_S, &[]),
            "more than an hour ago"
        );
    }

    #[test]
    fn shares_are_those_within_one_load_balancer() {
        let mut records = Records::default();
        let groups = [("x", "a", 95), ("x", "b", 5), ("x", "-", 0), ("y", "c", 1)];
        let rows: Vec<_> = groups
            .iter()
            .map(|(balancer, group, sent)| {
                let second = Second {
                    sent: *sent,
                    ..Second::default()
                };
                (key(balancer, group), second)
            })
            .collect();
        records.add("e", 1, &rows);
        records.begin(2);
        let history = records.history(1);
        let share = |group: &str| {
            let mut series = history.series.iter();
            let series = series.find(|s| s.group == group).unwrap();
            series.seconds[0].share
        };
        assert_eq!(["a", "b", "-", "c"].map(share), [950, 50, 0, 1000]);
    }
}
