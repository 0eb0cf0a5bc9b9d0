//! When a stage may begin: arithmetic of local times, days and zones, and nothing else.
//!
//! A window is open from its first minute to the end of its last one. One that ends before
//! it begins goes over midnight, as two windows of which each counts for its own day.
//! Source: `orca: RestrictExecutionDuringTimeWindow`.
//!
//! Differs from Spinnaker: there the instant that is told for another day of the week is
//! wrong (days count from 1 = Sunday), and a window that ends earlier in the hour in which
//! it begins never opens. Both are as the author means them here, and hours that a change
//! of the clock takes away or repeats are looked at as what they are.

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};
use serde_json::Value;

/// The last minute of a day.
const LAST: u32 = 24 * 60 - 1;

/// How far ahead is looked: a day of the week returns after a week, and once its window may
/// fall into an hour that a change of the clock takes away.
const DAYS_AHEAD: i64 = 15;

/// A part of a day, in minutes since midnight, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Span {
    from: u32,
    to: u32,
}

/// The times at which a stage may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Windows {
    /// In order of their beginnings; never empty.
    spans: Vec<Span>,
    /// Days of the week, 1 = Sunday; empty for all.
    days: Vec<i8>,
}

/// Whether it is time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opens {
    /// It is.
    Now,
    /// At this instant, ms since the epoch.
    At(i64),
}

/// What is wrong, with the field below `restrictedExecutionWindow`.
pub(super) type Faults = Vec<(String, String)>;

impl Windows {
    /// The windows of a `restrictedExecutionWindow`.
    ///
    /// # Errors
    /// Every fault with its field.
    pub(super) fn of(written: &Value) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        let mut list = |key: &str| match written.get(key) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(entries)) => entries.clone(),
            Some(other) => {
                faults.push((key.to_owned(), format!("it is {other}; send a list")));
                Vec::new()
            }
        };
        let (whitelist, days) = (list("whitelist"), list("days"));
        if whitelist.is_empty() && days.is_empty() && faults.is_empty() {
            let message = "Incorrect time windows specified: neither days nor a whitelist is \
                           given; name one of them";
            faults.push((String::new(), message.to_owned()));
        }
        let mut named = Vec::new();
        for (i, day) in days.iter().enumerate() {
            match super::whole(day).and_then(|day| i8::try_from(day).ok()) {
                Some(day @ 1..=7) => named.push(day),
                _ => faults.push((
                    format!("days[{i}]"),
                    format!("{day} is no day of the week; use 1 for Sunday to 7 for Saturday"),
                )),
            }
        }
        let mut spans = Vec::new();
        for (i, entry) in whitelist.iter().enumerate() {
            if !entry.is_object() {
                let message = format!("it is {entry}; send an object with startHour and endHour");
                faults.push((format!("whitelist[{i}]"), message));
                continue;
            }
            let mut part = |key: &str, most: u32| {
                // A part that is not written is 0, as in Orca.
                let Some(value) = entry.get(key).filter(|value| !value.is_null()) else {
                    return 0;
                };
                let number = super::whole(value).and_then(|n| u32::try_from(n).ok());
                number.filter(|n| *n <= most).unwrap_or_else(|| {
                    faults.push((
                        format!("whitelist[{i}].{key}"),
                        format!("{value} is none; use a whole number from 0 to {most}"),
                    ));
                    0
                })
            };
            let from = part("startHour", 23) * 60 + part("startMin", 59);
            let to = part("endHour", 23) * 60 + part("endMin", 59);
            if from <= to {
                spans.push(Span { from, to });
            } else {
                spans.push(Span { from, to: LAST });
                spans.push(Span { from: 0, to });
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        if spans.is_empty() {
            spans.push(Span { from: 0, to: LAST });
        }
        spans.sort_unstable();
        Ok(Self { spans, days: named })
    }

    fn on(&self, date: Date) -> bool {
        self.days.is_empty() || self.days.contains(&date.weekday().to_sunday_one_offset())
    }

    /// Whether the local time of an instant is in a window.
    fn contain(&self, at: Timestamp, zone: &TimeZone) -> bool {
        let local = zone.to_datetime(at);
        let hour = u32::from(local.hour().unsigned_abs());
        let minute = hour * 60 + u32::from(local.minute().unsigned_abs());
        let within = |span: &Span| (span.from..=span.to).contains(&minute);
        self.on(local.date()) && self.spans.iter().any(within)
    }

    /// Whether it is time at `now`, ms since the epoch, and when it is otherwise; none if
    /// that is not within two weeks.
    pub(super) fn opens(&self, now: i64, zone: &TimeZone) -> Option<Opens> {
        let at = Timestamp::from_millisecond(now).ok()?;
        if self.contain(at, zone) {
            return Some(Opens::Now);
        }
        let today = zone.to_datetime(at).date();
        let next = (0..=DAYS_AHEAD).find_map(|ahead| {
            let date = today.checked_add(ahead.days()).ok()?;
            let later = self.openings(date, zone).into_iter();
            later
                .filter(|opening| *opening > at && self.contain(*opening, zone))
                .min()
        });
        next.map(|next| Opens::At(next.as_millisecond()))
    }

    /// Instants of a day at which a window may open: where one begins, in a repeated hour
    /// twice, and where the clock is changed, for that may lead into one.
    fn openings(&self, date: Date, zone: &TimeZone) -> Vec<Timestamp> {
        let mut found = Vec::new();
        for span in &self.spans {
            let part = |number: u32| i8::try_from(number).unwrap_or_default();
            let time = Time::constant(part(span.from / 60), part(span.from % 60), 0, 0);
            let local = date.to_datetime(time);
            match zone.to_ambiguous_timestamp(local).offset() {
                AmbiguousOffset::Unambiguous { offset } => {
                    found.extend(offset.to_timestamp(local));
                }
                AmbiguousOffset::Fold { before, after } => {
                    found.extend(before.to_timestamp(local));
                    found.extend(after.to_timestamp(local));
                }
                // It does not exist: the change of the clock is what may open the window.
                AmbiguousOffset::Gap { .. } => {}
            }
        }
        let begin = zone.to_timestamp(date.to_datetime(Time::midnight()));
        let next = date.checked_add(1.day());
        let end = next.and_then(|next| zone.to_timestamp(next.to_datetime(Time::midnight())));
        if let (Ok(begin), Ok(end)) = (begin, end) {
            // A day may begin with a change of the clock.
            let since = begin.checked_sub(jiff::SignedDuration::from_hours(3));
            let changes = zone.following(since.unwrap_or(begin));
            found.extend(
                changes
                    .map(|change| change.timestamp())
                    .take_while(|change| *change <= end),
            );
        }
        found
    }
}

#[cfg(test)]
mod tests;
