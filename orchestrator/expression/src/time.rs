//! Dates and times: Java's `Date`, `LocalDate`, `LocalDateTime`, `Instant`, and the
//! patterns of `SimpleDateFormat`. Zone: UTC, always.
//!
//! Differs from Spinnaker: there it is the server's zone, so the same pipeline gives
//! other dates on another machine.

use std::cmp::Ordering;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::{Span, Timestamp};
use serde_json::{Value, json};

use crate::dates::format_date;
use crate::number::wrap_int;

/// A point in time, as one of Java's classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    /// `java.util.Date`, ms since the epoch.
    Date(i64),
    /// `java.time.LocalDate`
    Day(Date),
    /// `java.time.LocalDateTime`
    Civil(DateTime),
    /// `java.time.Instant`
    Instant(Timestamp),
}

/// Units by their name in `ChronoUnit`.
pub(crate) const UNITS: &[&str] = &[
    "NANOS",
    "MICROS",
    "MILLIS",
    "SECONDS",
    "MINUTES",
    "HOURS",
    "HALF_DAYS",
    "DAYS",
    "WEEKS",
    "MONTHS",
    "YEARS",
    "DECADES",
    "CENTURIES",
    "MILLENNIA",
    "ERAS",
    "FOREVER",
];

/// Days by their name in `DayOfWeek`, Monday first.
pub(crate) const DAYS: &[&str] = &[
    "MONDAY",
    "TUESDAY",
    "WEDNESDAY",
    "THURSDAY",
    "FRIDAY",
    "SATURDAY",
    "SUNDAY",
];

/// How a unit is printed: `HALF_DAYS` as `HalfDays`.
pub(crate) fn unit_text(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
        format!("{first}{}", rest.to_lowercase())
    });
    words.collect()
}

/// The day's name in `DayOfWeek`.
pub(crate) fn day_name(day: Weekday) -> &'static str {
    usize::try_from(day.to_monday_zero_offset())
        .ok()
        .and_then(|i| DAYS.get(i).copied())
        .unwrap_or("MONDAY")
}

/// So many of a unit; none if there is no such unit or it is too much.
pub(crate) fn span(amount: i64, unit: &str) -> Option<Span> {
    let times = |factor: i64| amount.checked_mul(factor);
    let span = Span::new();
    match unit {
        "NANOS" => span.try_nanoseconds(amount),
        "MICROS" => span.try_microseconds(amount),
        "MILLIS" => span.try_milliseconds(amount),
        "SECONDS" => span.try_seconds(amount),
        "MINUTES" => span.try_minutes(amount),
        "HOURS" => span.try_hours(amount),
        "HALF_DAYS" => span.try_hours(times(12)?),
        "DAYS" => span.try_days(amount),
        "WEEKS" => span.try_weeks(amount),
        "MONTHS" => span.try_months(amount),
        "YEARS" => span.try_years(amount),
        "DECADES" => span.try_years(times(10)?),
        "CENTURIES" => span.try_years(times(100)?),
        "MILLENNIA" => span.try_years(times(1_000)?),
        _ => return None,
    }
    .ok()
}

impl Time {
    /// The Java class.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Date(_) => "java.util.Date",
            Self::Day(_) => "java.time.LocalDate",
            Self::Civil(_) => "java.time.LocalDateTime",
            Self::Instant(_) => "java.time.Instant",
        }
    }

    /// Later or earlier by a span; none where the class has no such unit.
    pub(crate) fn plus(self, span: Span) -> Option<Self> {
        match self {
            Self::Date(_) => None,
            Self::Day(date) => date.checked_add(span).ok().map(Self::Day),
            Self::Civil(time) => time.checked_add(span).ok().map(Self::Civil),
            Self::Instant(at) => {
                // Days of an instant are always 24 hours long.
                let days = i64::from(span.get_days()) + i64::from(span.get_weeks()) * 7;
                let hours = span.days(0).weeks(0);
                let hours = hours
                    .try_hours(i64::from(span.get_hours()) + days.checked_mul(24)?)
                    .ok()?;
                at.checked_add(hours).ok().map(Self::Instant)
            }
        }
    }

    pub(crate) fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Date(a), Self::Date(b)) => Some(a.cmp(&b)),
            (Self::Day(a), Self::Day(b)) => Some(a.cmp(&b)),
            (Self::Civil(a), Self::Civil(b)) => Some(a.cmp(&b)),
            (Self::Instant(a), Self::Instant(b)) => Some(a.cmp(&b)),
            _ => None,
        }
    }

    /// `hashCode()`, where it is simple.
    pub(crate) fn hash_code(self) -> Option<i32> {
        match self {
            Self::Date(ms) => {
                let high = ms.cast_unsigned() >> 32;
                Some(wrap_int(i128::from(ms ^ high.cast_signed())))
            }
            Self::Day(date) => {
                let year = i32::from(date.year());
                let rest = (year << 11) + (i32::from(date.month()) << 6) + i32::from(date.day());
                Some((year & !0x7FF) ^ rest)
            }
            Self::Civil(_) | Self::Instant(_) => None,
        }
    }

    /// `toString()`.
    pub(crate) fn printed(self) -> String {
        match self {
            Self::Date(ms) => format_date(ms, "EEE MMM dd HH:mm:ss zzz yyyy").unwrap_or_default(),
            Self::Day(date) => date.to_string(),
            Self::Civil(time) => {
                let (date, clock) = (time.date(), time.time());
                if clock.second() == 0 && clock.subsec_nanosecond() == 0 {
                    format!("{date}T{:02}:{:02}", clock.hour(), clock.minute())
                } else {
                    format!("{date}T{}", padded_clock(&clock.to_string()))
                }
            }
            Self::Instant(at) => {
                let text = at.to_string();
                let clock = text.trim_end_matches('Z');
                format!("{}Z", padded_clock(clock))
            }
        }
    }

    /// As Orca's JSON mapper writes it.
    pub(crate) fn to_json(self) -> Value {
        match self {
            Self::Date(ms) => ms.into(),
            Self::Day(date) => json!([date.year(), date.month(), date.day()]),
            Self::Civil(time) => {
                let mut parts = vec![
                    i32::from(time.year()),
                    i32::from(time.month()),
                    i32::from(time.day()),
                    i32::from(time.hour()),
                    i32::from(time.minute()),
                ];
                let nanos = time.subsec_nanosecond();
                if time.second() != 0 || nanos != 0 {
                    parts.push(i32::from(time.second()));
                }
                if nanos != 0 {
                    parts.push(nanos / 1_000_000);
                }
                parts.into()
            }
            Self::Instant(at) => at.as_millisecond().into(),
        }
    }

    /// Milliseconds since the epoch, of the one class that a plain JSON mapper knows.
    pub(crate) fn epoch_ms(self) -> Option<i64> {
        if let Self::Date(ms) = self {
            Some(ms)
        } else {
            None
        }
    }
}

/// Java prints fractions of a second in groups of three digits.
fn padded_clock(text: &str) -> String {
    let Some((clock, fraction)) = text.split_once('.') else {
        return text.to_owned();
    };
    let groups = fraction.len().div_ceil(3) * 3;
    format!("{clock}.{fraction:0<groups$}")
}
