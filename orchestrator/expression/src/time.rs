//! Dates and times: Java's `Date`, `LocalDate`, `LocalDateTime`, `Instant`, and the
//! patterns of `SimpleDateFormat`. Zone: UTC, always.
//!
//! Differs from Spinnaker: there it is the server's zone, so the same pipeline gives
//! other dates on another machine.

use std::cmp::Ordering;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::{Span, Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use crate::number::written;

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
const UNITS: &[&str] = &[
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

const MONTHS: &[&str] = &[
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The canonical spelling of a unit.
pub(crate) fn unit(name: &str) -> Option<&'static str> {
    UNITS.iter().copied().find(|unit| *unit == name)
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
                    parts.push(nanos);
                }
                parts.into()
            }
            Self::Instant(at) => {
                let nanos = at.as_nanosecond();
                let (whole, part) = (
                    nanos.div_euclid(1_000_000_000),
                    nanos.rem_euclid(1_000_000_000),
                );
                written(&format!("{whole}.{part:09}")).unwrap_or(Value::Null)
            }
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

/// Formats as `SimpleDateFormat` does; none for a pattern it refuses or a time out of
/// range.
pub(crate) fn format_date(ms: i64, pattern: &str) -> Option<String> {
    let at = Timestamp::from_millisecond(ms).ok()?;
    let time = TimeZone::UTC.to_datetime(at);
    let mut text = String::new();
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\'' {
            quoted(&mut chars, &mut text)?;
        } else if c.is_ascii_alphabetic() {
            let mut count = 1;
            while chars.next_if_eq(&c).is_some() {
                count += 1;
            }
            text.push_str(&date_field(c, count, time)?);
        } else {
            text.push(c);
        }
    }
    Some(text)
}

fn quoted(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, text: &mut String) -> Option<()> {
    if chars.next_if_eq(&'\'').is_some() {
        text.push('\'');
        return Some(());
    }
    loop {
        match chars.next()? {
            '\'' if chars.next_if_eq(&'\'').is_some() => text.push('\''),
            '\'' => return Some(()),
            other => text.push(other),
        }
    }
}

fn date_field(letter: char, count: usize, time: DateTime) -> Option<String> {
    let padded = |value: i64| Some(format!("{value:0count$}"));
    let hour = i64::from(time.hour());
    match letter {
        'u' => padded(i64::from(time.weekday().to_monday_one_offset())),
        'y' | 'Y' if count == 2 => Some(format!("{:02}", time.year().rem_euclid(100))),
        'y' | 'Y' => padded(i64::from(time.year())),
        'M' | 'L' if count >= 3 => {
            let index = usize::try_from(time.month() - 1).ok()?;
            named(MONTHS.get(index)?, count)
        }
        'M' | 'L' => padded(i64::from(time.month())),
        'd' => padded(i64::from(time.day())),
        'D' => padded(i64::from(time.day_of_year())),
        'E' => {
            let day = day_name(time.weekday());
            let (first, rest) = day.split_at_checked(1)?;
            named(&format!("{first}{}", rest.to_lowercase()), count)
        }
        'a' => Some(if hour < 12 { "AM" } else { "PM" }.to_owned()),
        'H' => padded(hour),
        'k' => padded(if hour == 0 { 24 } else { hour }),
        'K' => padded(hour % 12),
        'h' => padded(if hour % 12 == 0 { 12 } else { hour % 12 }),
        'm' => padded(i64::from(time.minute())),
        's' => padded(i64::from(time.second())),
        'S' => padded(i64::from(time.millisecond())),
        'G' => Some("AD".to_owned()),
        'z' if count >= 4 => Some("Coordinated Universal Time".to_owned()),
        'z' => Some("UTC".to_owned()),
        'Z' => Some("+0000".to_owned()),
        'X' => Some("Z".to_owned()),
        _ => None,
    }
}

fn named(name: &str, count: usize) -> Option<String> {
    let length = if count >= 4 { name.len() } else { 3 };
    name.get(..length.min(name.len())).map(ToOwned::to_owned)
}
