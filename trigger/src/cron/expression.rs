//! Quartz cron expressions: `second minute hour day-of-month month day-of-week
//! [year]`, and when one fires next. Source: Quartz' documentation of `CronTrigger`.
//!
//! Pure. A local time that a change of the clock leaves out does not fire; one that
//! it repeats fires once, the first time.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

/// Years that are looked at for the next time: beyond, an expression is taken for
/// one that never fires.
const YEARS: i16 = 12;

/// The days of a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DayOfMonth {
    Any,
    Set(u32),
    /// `L`, `L-3`: counted from the last.
    Last(i8),
    /// `15W`: the working day nearest to one.
    Nearest(i8),
    /// `LW`: the last working day.
    LastWorking,
}

/// The days of a week, 1 for Sunday.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DayOfWeek {
    Any,
    Set(u8),
    /// `6L`: the last of its month.
    Last(i8),
    /// `6#3`: the third of its month.
    Nth(i8, i8),
}

/// One expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expression {
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: DayOfMonth,
    months: u16,
    weekdays: DayOfWeek,
    /// None: every year.
    years: Option<Vec<i16>>,
}

const MONTHS: [&str; 12] = [
    "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

/// A field's name, for errors, with its bounds.
#[derive(Clone, Copy)]
struct Field {
    name: &'static str,
    low: i64,
    high: i64,
    names: &'static [&'static str],
}

impl Field {
    fn fault(self, text: &str) -> String {
        format!(
            "{} \"{text}\" is not made of numbers from {} to {}, as in 5, 1-5, 1,3 or */10",
            self.name, self.low, self.high
        )
    }

    fn value(self, text: &str) -> Result<i64, String> {
        let named = self.names.iter().position(|n| n.eq_ignore_ascii_case(text));
        let number = match named {
            Some(at) => i64::try_from(at).unwrap_or(0) + self.low,
            None => text.parse().map_err(|_| self.fault(text))?,
        };
        if (self.low..=self.high).contains(&number) {
            Ok(number)
        } else {
            Err(self.fault(text))
        }
    }

    /// The numbers that a list of values, ranges and steps names.
    fn numbers(self, text: &str) -> Result<Vec<i64>, String> {
        let mut found = Vec::new();
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => {
                    let step: i64 = step.parse().map_err(|_| self.fault(part))?;
                    if !(1..=self.high.max(1)).contains(&step) {
                        return Err(self.fault(part));
                    }
                    (range, Some(step))
                }
                None => (part, None),
            };
            let (low, high) = match range {
                "*" => (self.low, self.high),
                range => match range.split_once('-') {
                    Some((low, high)) => (self.value(low)?, self.value(high)?),
                    None => {
                        let low = self.value(range)?;
                        (low, if step.is_some() { self.high } else { low })
                    }
                },
            };
            let step = step.unwrap_or(1);
            // 22-2 runs over the end, as in Quartz.
            let mut at = low;
            let length = self.high - self.low + 1;
            let end = if high < low { high + length } else { high };
            while at <= end {
                found.push((at - self.low) % length + self.low);
                at += step;
            }
        }
        Ok(found)
    }

    fn bits(self, text: &str) -> Result<u64, String> {
        let numbers = self.numbers(text)?;
        Ok(numbers.into_iter().fold(0, |bits, n| bits | 1 << n))
    }
}

fn small(number: i64) -> i8 {
    i8::try_from(number).unwrap_or(i8::MAX)
}

fn day_of_month(text: &str) -> Result<DayOfMonth, String> {
    let field = Field {
        name: "day of month",
        low: 1,
        high: 31,
        names: &[],
    };
    if text == "?" || text == "*" {
        return Ok(DayOfMonth::Any);
    }
    if text == "L" {
        return Ok(DayOfMonth::Last(0));
    }
    if text == "LW" || text == "WL" {
        return Ok(DayOfMonth::LastWorking);
    }
    if let Some(before) = text.strip_prefix("L-") {
        return Ok(DayOfMonth::Last(small(field.value(before)?)));
    }
    if let Some(near) = text.strip_suffix('W') {
        return Ok(DayOfMonth::Nearest(small(field.value(near)?)));
    }
    let bits = field.bits(text)?;
    Ok(DayOfMonth::Set(u32::try_from(bits).unwrap_or(u32::MAX)))
}

fn day_of_week(text: &str) -> Result<DayOfWeek, String> {
    let field = Field {
        name: "day of week",
        low: 1,
        high: 7,
        names: &WEEKDAYS,
    };
    if text == "?" || text == "*" {
        return Ok(DayOfWeek::Any);
    }
    if text == "L" {
        return Ok(DayOfWeek::Set(1 << 7));
    }
    if let Some((day, nth)) = text.split_once('#') {
        let nth: i8 = nth.parse().map_err(|_| field.fault(text))?;
        if !(1..=5).contains(&nth) {
            return Err(field.fault(text));
        }
        return Ok(DayOfWeek::Nth(small(field.value(day)?), nth));
    }
    if let Some(day) = text.strip_suffix('L') {
        return Ok(DayOfWeek::Last(small(field.value(day)?)));
    }
    let bits = field.bits(text)?;
    Ok(DayOfWeek::Set(u8::try_from(bits).unwrap_or(u8::MAX)))
}

/// `H` stands for a number that a trigger's id decides, so that not all fire at
/// once. Source: `echo: CronExpressionFuzzer`.
fn fuzzed(text: &str, id: &str, modulus: i32) -> String {
    if !text.contains('H') {
        return text.to_owned();
    }
    let hash = id.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    text.replace('H', &(hash % modulus).abs().to_string())
}

impl Expression {
    /// Reads an expression of a trigger with this id.
    ///
    /// # Errors
    /// Which field is wrong, and how it is written.
    pub(crate) fn parse(text: &str, id: &str) -> Result<Self, String> {
        let upper = text.to_uppercase();
        let fields: Vec<&str> = upper.split_whitespace().collect();
        let (&[second, minute, hour, day, month, weekday], years) = match fields.as_slice() {
            [first @ .., year] if fields.len() == 7 => {
                let first: &[&str; 6] = first.try_into().map_err(|_| "7 fields".to_owned())?;
                (first, Some(*year))
            }
            all if fields.len() == 6 => {
                let all: &[&str; 6] = all.try_into().map_err(|_| "6 fields".to_owned())?;
                (all, None)
            }
            _ => {
                return Err(format!(
                    "it has {} fields; write second minute hour day-of-month month day-of-week, \
                     such as 0 0 2 * * ?",
                    fields.len()
                ));
            }
        };
        let field = |name, low, high, names| Field {
            name,
            low,
            high,
            names,
        };
        let days = day_of_month(day)?;
        let weekdays = day_of_week(weekday)?;
        if day != "?" && weekday != "?" {
            return Err(
                "day of month and day of week are both set; write ? for one of them".to_owned(),
            );
        }
        let years = match years {
            None | Some("*" | "?") => None,
            Some(text) => {
                let numbers = field("year", 1970, 2199, &[]).numbers(text)?;
                let years = numbers.into_iter().filter_map(|y| i16::try_from(y).ok());
                Some(years.collect())
            }
        };
        let months = field("month", 1, 12, &MONTHS).bits(month)?;
        Ok(Self {
            seconds: field("second", 0, 59, &[]).bits(&fuzzed(second, id, 60))?,
            minutes: field("minute", 0, 59, &[]).bits(&fuzzed(minute, id, 60))?,
            hours: field("hour", 0, 23, &[]).bits(&fuzzed(hour, id, 24))?,
            days,
            months: u16::try_from(months).unwrap_or(u16::MAX),
            weekdays,
            years,
        })
    }

    fn fires_on(&self, date: Date) -> bool {
        let in_year = self
            .years
            .as_ref()
            .is_none_or(|years| years.contains(&date.year()));
        in_year
            && self.months & (1 << date.month()) != 0
            && self.in_month(date)
            && self.in_week(date)
    }

    fn in_month(&self, date: Date) -> bool {
        let last = date.days_in_month();
        match self.days {
            DayOfMonth::Any => true,
            DayOfMonth::Set(bits) => bits & (1 << date.day()) != 0,
            DayOfMonth::Last(before) => date.day() == last - before,
            DayOfMonth::LastWorking => is_nearest(date, last),
            // A month that lacks the day has no working day near it.
            DayOfMonth::Nearest(day) => day <= last && is_nearest(date, day),
        }
    }

    fn in_week(&self, date: Date) -> bool {
        let weekday = date.weekday().to_sunday_one_offset();
        match self.weekdays {
            DayOfWeek::Any => true,
            DayOfWeek::Set(bits) => bits & (1 << weekday) != 0,
            DayOfWeek::Last(day) => weekday == day && date.day() + 7 > date.days_in_month(),
            DayOfWeek::Nth(day, nth) => weekday == day && (date.day() - 1) / 7 + 1 == nth,
        }
    }

    /// The first time after an instant, in ms since the epoch; none if it never fires.
    pub(crate) fn next_after(&self, after_ms: i64, zone: &TimeZone) -> Option<i64> {
        let after = Timestamp::from_millisecond(after_ms).ok()?;
        let local = zone.to_datetime(after);
        let mut date = local.date();
        let end = date.year().saturating_add(YEARS);
        // A repeated hour is earlier on the clock than what came before it.
        let mut from = local.time().saturating_sub(2.hours());
        while date.year() <= end {
            if self.fires_on(date)
                && let Some(found) = self.first_on(date, from, after, zone)
            {
                return Some(found.as_millisecond());
            }
            date = date.tomorrow().ok()?;
            from = Time::midnight();
        }
        None
    }

    fn first_on(
        &self,
        date: Date,
        from: Time,
        after: Timestamp,
        zone: &TimeZone,
    ) -> Option<Timestamp> {
        let set = |bits: u64, n: i8| bits & (1 << n) != 0;
        for hour in (from.hour()..24).filter(|h| set(self.hours, *h)) {
            for minute in (0..60).filter(|m| set(self.minutes, *m)) {
                for second in (0..60).filter(|s| set(self.seconds, *s)) {
                    let local = DateTime::new(
                        date.year(),
                        date.month(),
                        date.day(),
                        hour,
                        minute,
                        second,
                        0,
                    );
                    let at = instant(local.ok()?, zone);
                    if let Some(at) = at.filter(|at| *at > after) {
                        return Some(at);
                    }
                }
            }
        }
        None
    }
}

/// The instant of a local time; none where the clock leaves it out.
fn instant(local: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    match ambiguous.offset() {
        AmbiguousOffset::Gap { .. } => None,
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
            ambiguous.earlier().ok()
        }
    }
}

/// Whether a date is the working day nearest to a day of its month.
fn is_nearest(date: Date, day: i8) -> bool {
    let Ok(wanted) = Date::new(date.year(), date.month(), day) else {
        return false;
    };
    let last = date.days_in_month();
    let near = match wanted.weekday() {
        Weekday::Saturday if day > 1 => day - 1,
        Weekday::Saturday => day + 2,
        Weekday::Sunday if day < last => day + 1,
        Weekday::Sunday => day - 2,
        Weekday::Monday
        | Weekday::Tuesday
        | Weekday::Wednesday
        | Weekday::Thursday
        | Weekday::Friday => day,
    };
    date.day() == near
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn next(expression: &str, after: &str, zone_name: &str) -> Option<String> {
        let expression = Expression::parse(expression, "id").unwrap();
        let next = expression.next_after(ms(after), &zone(zone_name))?;
        Some(Timestamp::from_millisecond(next).unwrap().to_string())
    }

    #[test]
    fn quartz_expressions_fire_when_quartz_says() {
        for (expression, after, expected) in [
            (
                "0 0 2 * * ?",
                "2026-11-25T01:59:59Z",
                "2026-11-25T02:00:00Z",
            ),
            (
                "0 0 2 * * ?",
                "2026-11-25T02:00:00Z",
                "2026-11-26T02:00:00Z",
            ),
            (
                "0 0/15 * * * ?",
                "2026-11-25T10:01:00Z",
                "2026-11-25T10:15:00Z",
            ),
            (
                "0 5,35 * ? * MON-FRI",
                "2026-11-27T23:50:00Z",
                "2026-11-30T00:05:00Z",
            ),
            (
                "0 15 10 L * ?",
                "2026-02-01T00:00:00Z",
                "2026-02-28T10:15:00Z",
            ),
            (
                "0 15 10 L-2 * ?",
                "2026-02-01T00:00:00Z",
                "2026-02-26T10:15:00Z",
            ),
            (
                "0 0 9 LW * ?",
                "2026-05-01T00:00:00Z",
                "2026-05-29T09:00:00Z",
            ),
            (
                "0 0 9 15W * ?",
                "2026-08-01T00:00:00Z",
                "2026-08-14T09:00:00Z",
            ),
            (
                "0 0 9 1W * ?",
                "2026-08-01T00:00:00Z",
                "2026-08-03T09:00:00Z",
            ),
            (
                "0 15 10 ? * 6L",
                "2026-11-01T00:00:00Z",
                "2026-11-27T10:15:00Z",
            ),
            (
                "0 15 10 ? * 6#3",
                "2026-11-01T00:00:00Z",
                "2026-11-20T10:15:00Z",
            ),
            (
                "0 0 12 ? * SUN",
                "2026-11-25T00:00:00Z",
                "2026-11-29T12:00:00Z",
            ),
            (
                "0 0 22-2/2 * * ?",
                "2026-11-25T00:30:00Z",
                "2026-11-25T02:00:00Z",
            ),
            (
                "0 0 0 29 FEB ? *",
                "2026-01-01T00:00:00Z",
                "2028-02-29T00:00:00Z",
            ),
            (
                "0 0 0 1 1 ? 2030",
                "2026-01-01T00:00:00Z",
                "2030-01-01T00:00:00Z",
            ),
        ] {
            let found = next(expression, after, "UTC");
            assert_eq!(found.as_deref(), Some(expected), "{expression}");
        }
        assert_eq!(
            next("0 0 0 1 1 ? 2020", "2026-01-01T00:00:00Z", "UTC"),
            None
        );
        assert_eq!(next("0 0 0 31 2 ?", "2026-01-01T00:00:00Z", "UTC"), None);
    }

    #[test]
    fn the_clock_of_the_zone_counts_and_its_changes_neither_repeat_nor_invent() {
        let berlin = "Europe/Berlin";
        for (expression, after, expected) in [
            (
                "0 0 2 * * ?",
                "2026-11-25T00:30:00Z",
                "2026-11-25T01:00:00Z",
            ),
            // 02:30 does not exist on 29 March.
            (
                "0 30 2 * * ?",
                "2026-03-28T02:00:00Z",
                "2026-03-30T00:30:00Z",
            ),
            // 02:30 comes twice on 25 October.
            (
                "0 30 2 * * ?",
                "2026-10-24T12:00:00Z",
                "2026-10-25T00:30:00Z",
            ),
            (
                "0 30 2 * * ?",
                "2026-10-25T00:30:00Z",
                "2026-10-26T01:30:00Z",
            ),
        ] {
            let found = next(expression, after, berlin);
            assert_eq!(
                found.as_deref(),
                Some(expected),
                "{expression} after {after}"
            );
        }
    }

    #[test]
    fn a_faulty_expression_names_its_field() {
        for (expression, fragment) in [
            ("0 2 * * *", "5 fields"),
            ("60 0 0 * * ?", "second \"60\""),
            ("0 61 0 * * ?", "minute"),
            ("0 0 24 * * ?", "hour"),
            ("0 0 0 32 * ?", "day of month"),
            ("0 0 0 ? 13 *", "month \"13\""),
            ("0 0 0 ? * 8", "day of week"),
            ("0 0 0 ? * 2#6", "day of week"),
            ("0 0 0 1 * MON", "both set"),
            ("0 0/0 0 * * ?", "minute"),
            ("x 0 0 * * ?", "second"),
        ] {
            let reason = Expression::parse(expression, "id").unwrap_err();
            assert!(reason.contains(fragment), "{expression}: {reason}");
        }
    }

    #[test]
    fn an_h_is_the_same_for_one_trigger_and_in_its_bounds() {
        let one = Expression::parse("H H H * * ?", "trigger-1").unwrap();
        assert_eq!(one, Expression::parse("H H H * * ?", "trigger-1").unwrap());
        // Java's hash of the id: -1505203571.
        assert_eq!(fuzzed("H", "", 60), "0");
        assert_eq!(fuzzed("H", "a", 60), "37");
        let all: std::collections::BTreeSet<String> = (0..50)
            .map(|n| fuzzed("H", &format!("id{n}"), 60))
            .collect();
        assert!(all.len() > 20);
    }

    proptest! {
        #[test]
        fn times_rise_and_each_is_one_that_the_expression_names(
            start in 1_600_000_000_000_i64..1_900_000_000_000,
            minute in 0..60_i64, hour in 0..24_i64,
            place in prop::sample::select(vec![
                "UTC", "America/Los_Angeles", "Europe/Berlin", "Australia/Lord_Howe", "Asia/Kolkata",
            ]),
        ) {
            let expression = Expression::parse(&format!("0 {minute} {hour} * * ?"), "x").unwrap();
            let zone = zone(place);
            let mut at = start;
            for _ in 0..5 {
                let next = expression.next_after(at, &zone).unwrap();
                prop_assert!(next > at);
                let local = zone.to_datetime(Timestamp::from_millisecond(next).unwrap());
                prop_assert_eq!((i64::from(local.hour()), i64::from(local.minute())), (hour, minute));
                prop_assert!(next - at <= 2 * 25 * 3_600_000);
                at = next;
            }
        }
    }
}
