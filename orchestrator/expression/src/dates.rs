//! Texts of dates: the patterns of `SimpleDateFormat`, read and written, and what
//! `String.format` and `Date` have of their own.

use jiff::civil::{Date, DateTime};
use jiff::{Timestamp, tz::TimeZone};

use crate::number::Num;
use crate::time::{Time, day_name};
use crate::value::Val;

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

/// Formats as `SimpleDateFormat` does; none for a pattern it refuses or a time out of
/// range.
pub(crate) fn format_date(ms: i64, pattern: &str) -> Option<String> {
    let at = Timestamp::from_millisecond(ms).ok()?;
    pattern_text(TimeZone::UTC.to_datetime(at), pattern)
}

fn pattern_text(time: DateTime, pattern: &str) -> Option<String> {
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
        'y' if count == 2 => Some(format!("{:02}", time.year().rem_euclid(100))),
        'y' => padded(i64::from(time.year())),
        'Y' if count == 2 => Some(format!("{:02}", week(time.date())?.0.rem_euclid(100))),
        'Y' => padded(i64::from(week(time.date())?.0)),
        'w' => padded(week(time.date())?.1),
        'W' => {
            let first = time.date().first_of_month().weekday();
            padded((i64::from(time.day()) - 1 + days_after_sunday(first)) / 7 + 1)
        }
        'F' => padded((i64::from(time.day()) - 1) / 7 + 1),
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

fn days_after_sunday(day: jiff::civil::Weekday) -> i64 {
    i64::from(day.to_sunday_zero_offset())
}

/// The year and week a day belongs to where weeks begin on Sunday and the first one of a
/// year is the one with the first of January.
fn week(date: Date) -> Option<(i16, i64)> {
    let to_saturday = 6 - days_after_sunday(date.weekday());
    let saturday = date.checked_add(jiff::Span::new().days(to_saturday)).ok()?;
    if saturday.year() > date.year() {
        return Some((saturday.year(), 1));
    }
    let first = days_after_sunday(date.first_of_year().weekday());
    let weeks = (i64::from(date.day_of_year()) - 1 + first) / 7;
    Some((date.year(), weeks + 1))
}

/// Reads a text as `SimpleDateFormat.parse` does, ms since the epoch: as far as the
/// pattern goes, and with fields that may be too large.
pub(crate) fn parse_date(text: &str, pattern: &str, now_ms: i64) -> Option<i64> {
    let mut read = Read::new(text);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\'' {
            let mut literal = String::new();
            quoted(&mut chars, &mut literal)?;
            read.literal(&literal)?;
        } else if c.is_ascii_alphabetic() {
            let mut count = 1;
            while chars.next_if_eq(&c).is_some() {
                count += 1;
            }
            // Digits that follow one another are told apart by their number.
            let packed = chars
                .peek()
                .is_some_and(|next| "yMdHhkKmsSDuwWF".contains(*next));
            read.field(c, count, packed, now_ms)?;
        } else {
            read.literal(&c.to_string())?;
        }
    }
    read.ms()
}

struct Read<'t> {
    rest: &'t str,
    year: i64,
    month: i64,
    day: i64,
    /// Hours, or of a half day.
    hour: i64,
    afternoon: Option<bool>,
    minute: i64,
    second: i64,
    milli: i64,
    offset_minutes: i64,
}

impl<'t> Read<'t> {
    fn new(rest: &'t str) -> Self {
        Self {
            rest,
            year: 1970,
            month: 1,
            day: 1,
            hour: 0,
            afternoon: None,
            minute: 0,
            second: 0,
            milli: 0,
            offset_minutes: 0,
        }
    }

    fn literal(&mut self, literal: &str) -> Option<()> {
        self.rest = self.rest.strip_prefix(literal)?;
        Some(())
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool, most: usize) -> &'t str {
        let end = self
            .rest
            .char_indices()
            .take(most)
            .find(|(_, c)| !wanted(*c));
        let all = || {
            self.rest
                .char_indices()
                .nth(most)
                .map_or(self.rest.len(), |(at, _)| at)
        };
        let end = end.map_or_else(all, |(at, _)| at);
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn number(&mut self, count: usize, packed: bool) -> Option<i64> {
        let most = if packed { count } else { 18 };
        self.take(|c| c.is_ascii_digit(), most).parse().ok()
    }

    fn field(&mut self, letter: char, count: usize, packed: bool, now_ms: i64) -> Option<()> {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        match letter {
            'y' => {
                let before = self.rest.len();
                let year = self.number(count, packed)?;
                let short = count <= 2 && before - self.rest.len() == 2;
                self.year = if short {
                    full_year(year, now_ms)?
                } else {
                    year
                };
            }
            'M' | 'L' if count >= 3 => self.month = self.name(MONTHS)? + 1,
            'M' | 'L' => self.month = self.number(count, packed)?,
            'd' => self.day = self.number(count, packed)?,
            'H' => self.hour = self.number(count, packed)?,
            'h' | 'K' => self.hour = self.number(count, packed)? % 12,
            'k' => self.hour = self.number(count, packed)? % 24,
            'm' => self.minute = self.number(count, packed)?,
            's' => self.second = self.number(count, packed)?,
            'S' => self.milli = self.number(count, packed)?,
            'a' => self.afternoon = Some(self.name(&["AM", "PM"])? == 1),
            'E' => {
                self.name(crate::time::DAYS)?;
            }
            'z' | 'Z' | 'X' => self.offset_minutes = self.zone()?,
            _ => return None,
        }
        Some(())
    }

    /// One of some names, whole or by its first three letters, in any case.
    fn name(&mut self, names: &[&str]) -> Option<i64> {
        let word = self.take(|c| c.is_ascii_alphabetic(), 16);
        let found = names.iter().position(|name| {
            let short = name.get(..3).unwrap_or(name);
            name.eq_ignore_ascii_case(word) || short.eq_ignore_ascii_case(word)
        });
        i64::try_from(found?).ok()
    }

    fn zone(&mut self) -> Option<i64> {
        let word = self.take(|c| c.is_ascii_alphabetic(), 8);
        if !matches!(word, "" | "Z" | "UTC" | "GMT" | "UT") {
            return None;
        }
        let sign = match self.rest.chars().next() {
            Some('+') => 1,
            Some('-') => -1,
            Some(_) | None if word.is_empty() => return None,
            Some(_) | None => return Some(0),
        };
        self.take(|c| c == '+' || c == '-', 1);
        let hours: i64 = self.take(|c| c.is_ascii_digit(), 2).parse().ok()?;
        self.take(|c| c == ':', 1);
        let minutes: i64 = self.take(|c| c.is_ascii_digit(), 2).parse().unwrap_or(0);
        Some(sign * (hours * 60 + minutes))
    }

    /// The moment; what is too large runs over into what is above it.
    fn ms(&self) -> Option<i64> {
        let months = self.year.checked_mul(12)?.checked_add(self.month - 1)?;
        let year = i16::try_from(months.div_euclid(12)).ok()?;
        let month = i8::try_from(months.rem_euclid(12) + 1).ok()?;
        let first = Date::new(year, month, 1)
            .ok()?
            .to_datetime(jiff::civil::Time::midnight());
        let base = TimeZone::UTC.to_timestamp(first).ok()?.as_millisecond();
        let hour = self.hour + if self.afternoon == Some(true) { 12 } else { 0 };
        let clock = hour.checked_mul(3_600)?;
        let clock = clock.checked_add(self.minute.checked_mul(60)?)?;
        let clock = clock.checked_add(self.second)?;
        let clock = clock.checked_sub(self.offset_minutes * 60)?;
        let days = self.day.checked_sub(1)?.checked_mul(86_400)?;
        let seconds = days.checked_add(clock)?.checked_mul(1_000)?;
        base.checked_add(seconds)?.checked_add(self.milli)
    }
}

/// A year of two digits: at most 80 years back and 20 ahead.
fn full_year(two: i64, now_ms: i64) -> Option<i64> {
    let now = TimeZone::UTC.to_datetime(Timestamp::from_millisecond(now_ms).ok()?);
    let from = i64::from(now.year()) - 80;
    let year = from - from.rem_euclid(100) + two;
    Some(if year < from { year + 100 } else { year })
}

/// What `String.format` writes for `%t` and a letter.
pub(crate) fn format_field(value: &Val<'_>, part: char) -> Option<String> {
    let of_ms = |ms| Some(TimeZone::UTC.to_datetime(Timestamp::from_millisecond(ms).ok()?));
    let (time, clock, zone) = if let Val::Time(Time::Day(date)) = value {
        (date.at(0, 0, 0, 0), false, false)
    } else if let Val::Time(Time::Civil(time)) = value {
        (*time, true, false)
    } else if let Val::Time(Time::Date(ms)) = value {
        (of_ms(*ms)?, true, true)
    } else if let Some(Num::Long(ms)) = value.as_num() {
        (of_ms(ms)?, true, true)
    } else {
        return None;
    };
    let needs_clock = "HIklMSLNprRTsQcD".contains(part) && part != 'D';
    if needs_clock && !clock || "zZsQc".contains(part) && !zone {
        return None;
    }
    let fields = |pattern: &str| pattern_text(time, pattern);
    let ms = || {
        TimeZone::UTC
            .to_timestamp(time)
            .ok()
            .map(Timestamp::as_millisecond)
    };
    match part {
        'H' => fields("HH"),
        'I' => fields("hh"),
        'k' => fields("H"),
        'l' => fields("h"),
        'M' => fields("mm"),
        'S' => fields("ss"),
        'L' => fields("SSS"),
        'N' => Some(format!("{:09}", time.subsec_nanosecond())),
        'p' => fields("a").map(|text| text.to_lowercase()),
        'z' => Some("+0000".to_owned()),
        'Z' => Some("UTC".to_owned()),
        's' => ms().map(|ms| ms.div_euclid(1_000).to_string()),
        'Q' => ms().map(|ms| ms.to_string()),
        'B' => fields("MMMM"),
        'b' | 'h' => fields("MMM"),
        'A' => fields("EEEE"),
        'a' => fields("EEE"),
        'C' => Some(format!("{:02}", time.year() / 100)),
        'Y' => fields("yyyy"),
        'y' => fields("yy"),
        'j' => fields("DDD"),
        'm' => fields("MM"),
        'd' => fields("dd"),
        'e' => fields("d"),
        'R' => fields("HH:mm"),
        'T' => fields("HH:mm:ss"),
        'r' => fields("hh:mm:ss a"),
        'D' => fields("MM/dd/yy"),
        'F' => fields("yyyy-MM-dd"),
        'c' => fields("EEE MMM dd HH:mm:ss zzz yyyy"),
        _ => None,
    }
}

/// `Date.parse`: the form of mails, and the form a `Date` is printed in.
pub(crate) fn parse_loose(text: &str, now_ms: i64) -> Option<i64> {
    const PATTERNS: &[&str] = &[
        "EEE, d MMM yyyy HH:mm:ss z",
        "EEE, d MMM yyyy HH:mm:ss Z",
        "d MMM yyyy HH:mm:ss z",
        "EEE MMM d HH:mm:ss z yyyy",
        "d MMM yyyy",
        "MMM d, yyyy",
        "M/d/yyyy HH:mm:ss",
        "M/d/yyyy",
    ];
    PATTERNS
        .iter()
        .find_map(|pattern| parse_date(text, pattern, now_ms))
}
