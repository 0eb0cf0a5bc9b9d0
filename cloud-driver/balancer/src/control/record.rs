//! Figures of each server group, second by second, for an hour. Seconds without anything are not
//! kept, and all groups together keep a bounded number of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use balancer::{History, Second, Series};

use super::plane::GroupKey;
use crate::proxy::meter::{Meter, Times};

/// Seconds kept of a group.
const HOUR_S: i64 = 3_600;

/// Seconds kept of all groups together: about 6 MiB.
const MOST_SECONDS: usize = 128 * 1024;

/// The records.
#[derive(Debug, Default)]
pub(crate) struct Records {
    groups: BTreeMap<GroupKey, Record>,
    kept: usize,
    until_s: i64,
}

#[derive(Debug, Default)]
struct Record {
    seconds: VecDeque<(i64, Second)>,
    before: Sum,
}

/// Everything a group's workers counted so far.
#[derive(Debug, Clone, Default)]
struct Sum {
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
            sum.own += meter.own_errors.get();
            sum.retries += meter.retries.get();
        }
        sum
    }

    fn is_as(&self, other: &Self) -> bool {
        self.status == other.status && self.other == other.other && self.retries == other.retries
    }
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl Records {
    /// Ends a second.
    pub(crate) fn tick<'a>(
        &mut self,
        at_s: i64,
        groups: impl Iterator<Item = (&'a GroupKey, &'a Vec<Arc<Meter>>, u64)>,
    ) {
        self.until_s = at_s;
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
            if now.status.iter().sum::<u64>() < record.before.status.iter().sum() {
                // The group was removed and came back: its meters are new.
                record.before = Sum::default();
            }
            for meter in meters {
                meter.total.add_to(&mut now.times);
            }
            let second = now.second(&record.before, in_flight);
            record.before = now;
            record.seconds.push_back((at_s, second));
            self.kept += 1;
        }
        self.forget(at_s);
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
    }

    /// Forgets groups that are gone and have nothing left to tell.
    pub(crate) fn retain(&mut self, is_there: impl Fn(&GroupKey) -> bool) {
        self.groups
            .retain(|key, record| is_there(key) || !record.seconds.is_empty());
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
        History {
            until_s: self.until_s,
            series: series.collect(),
        }
    }
}

impl Sum {
    fn second(&self, before: &Self, in_flight: u64) -> Second {
        let class = |at: usize| self.status[at].saturating_sub(before.status[at]);
        let other = |at: usize| self.other[at].saturating_sub(before.other[at]);
        let times = self.times.since(&before.times);
        Second {
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_second_holds_what_came_in_it_and_gaps_are_zeros() {
        let key = ("b".to_owned(), "g".to_owned());
        let meters = vec![Arc::new(Meter::default()), Arc::new(Meter::default())];
        let mut records = Records::default();
        let tick = |records: &mut Records, at, in_flight| {
            records.tick(at, [(&key, &meters, in_flight)].into_iter());
        };
        meters[0].ended(true, 200, Duration::from_micros(100));
        meters[1].ended(false, 503, Duration::from_micros(900));
        tick(&mut records, 10, 1);
        tick(&mut records, 11, 0);
        meters[1].answered(true, 502);
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
        let meters = vec![Arc::new(Meter::default())];
        let keys: Vec<_> = (0..38).map(|g| ("b".to_owned(), g.to_string())).collect();
        let mut records = Records::default();
        for at in 0..HOUR_S + 10 {
            let groups = keys.iter().map(|key| (key, &meters, 1));
            records.tick(at, groups);
        }
        assert!(records.kept <= MOST_SECONDS);
        let kept: usize = records.groups.values().map(|r| r.seconds.len()).sum();
        assert_eq!(kept, records.kept);
        let first = records.groups.values().map(|r| r.seconds[0].0).min();
        assert!(first > Some(9));
        records.retain(|_| false);
        assert_eq!(records.groups.len(), 38);
    }
}
