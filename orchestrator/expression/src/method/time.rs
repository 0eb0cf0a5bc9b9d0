//! Methods of dates and times.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};

use super::{Method, arg, int_arg, long_arg, row};
use crate::error::{Fault, Stop};
use crate::eval::{Eval, Machine};
use crate::time::{Time, day_name, format_date, span};
use crate::value::{EnumKind, Text, Val};

/// Methods of `Date`, `LocalDate`, `LocalDateTime` and `Instant`; each refuses the
/// classes that lack it.
pub(crate) const METHODS: &[Method] = &[
    row("plusNanos", 1, 1, |_, t, a| moved(t, a, "NANOS", 1)),
    row("plusMillis", 1, 1, |_, t, a| moved(t, a, "MILLIS", 1)),
    row("plusSeconds", 1, 1, |_, t, a| moved(t, a, "SECONDS", 1)),
    row("plusMinutes", 1, 1, |_, t, a| moved(t, a, "MINUTES", 1)),
    row("plusHours", 1, 1, |_, t, a| moved(t, a, "HOURS", 1)),
    row("plusDays", 1, 1, |_, t, a| moved(t, a, "DAYS", 1)),
    row("plusWeeks", 1, 1, |_, t, a| moved(t, a, "WEEKS", 1)),
    row("plusMonths", 1, 1, |_, t, a| moved(t, a, "MONTHS", 1)),
    row("plusYears", 1, 1, |_, t, a| moved(t, a, "YEARS", 1)),
    row("minusNanos", 1, 1, |_, t, a| moved(t, a, "NANOS", -1)),
    row("minusMillis", 1, 1, |_, t, a| moved(t, a, "MILLIS", -1)),
    row("minusSeconds", 1, 1, |_, t, a| moved(t, a, "SECONDS", -1)),
    row("minusMinutes", 1, 1, |_, t, a| moved(t, a, "MINUTES", -1)),
    row("minusHours", 1, 1, |_, t, a| moved(t, a, "HOURS", -1)),
    row("minusDays", 1, 1, |_, t, a| moved(t, a, "DAYS", -1)),
    row("minusWeeks", 1, 1, |_, t, a| moved(t, a, "WEEKS", -1)),
    row("minusMonths", 1, 1, |_, t, a| moved(t, a, "MONTHS", -1)),
    row("minusYears", 1, 1, |_, t, a| moved(t, a, "YEARS", -1)),
    row("plus", 2, 2, |_, t, a| moved(t, a, unit_arg(a)?, 1)),
    row("minus", 2, 2, |_, t, a| moved(t, a, unit_arg(a)?, -1)),
    row("isAfter", 1, 1, |_, t, a| {
        Ok(Val::Bool(order(t, a)?.is_gt()))
    }),
    row("isBefore", 1, 1, |_, t, a| {
        Ok(Val::Bool(order(t, a)?.is_lt()))
    }),
    row("isEqual", 1, 1, |_, t, a| {
        Ok(Val::Bool(order(t, a)?.is_eq()))
    }),
    row("after", 1, 1, |_, t, a| Ok(Val::Bool(order(t, a)?.is_gt()))),
    row("before", 1, 1, |_, t, a| {
        Ok(Val::Bool(order(t, a)?.is_lt()))
    }),
    row("compareTo", 1, 1, |_, t, a| {
        Ok(Val::int(order(t, a)? as i32))
    }),
    row("getTime", 0, 0, |_, t, _| match own(t)? {
        Time::Date(ms) => Ok(Val::long(ms)),
        Time::Day(_) | Time::Civil(_) | Time::Instant(_) => Err(Stop::Mismatch),
    }),
    row("toInstant", 0, 0, |_, t, _| match own(t)? {
        Time::Date(ms) => instant(Timestamp::from_millisecond(ms).ok()),
        Time::Day(_) | Time::Civil(_) | Time::Instant(_) => Err(Stop::Mismatch),
    }),
    row("toEpochMilli", 0, 0, |_, t, _| {
        Ok(Val::long(
            at(t)?
                .as_nanosecond()
                .div_euclid(1_000_000)
                .try_into()
                .unwrap_or(i64::MAX),
        ))
    }),
    row("getEpochSecond", 0, 0, |_, t, _| {
        Ok(Val::long(
            at(t)?
                .as_nanosecond()
                .div_euclid(1_000_000_000)
                .try_into()
                .unwrap_or(i64::MAX),
        ))
    }),
    row("getYear", 0, 0, |_, t, _| {
        Ok(Val::int(date(t)?.year().into()))
    }),
    row("getMonthValue", 0, 0, |_, t, _| {
        Ok(Val::int(date(t)?.month().into()))
    }),
    row("getDayOfMonth", 0, 0, |_, t, _| {
        Ok(Val::int(date(t)?.day().into()))
    }),
    row("getDayOfYear", 0, 0, |_, t, _| {
        Ok(Val::int(date(t)?.day_of_year().into()))
    }),
    row("getDayOfWeek", 0, 0, |_, t, _| {
        let day = day_name(date(t)?.weekday());
        Ok(Val::Enum(EnumKind::DayOfWeek, Text::Ref(day)))
    }),
    row("isLeapYear", 0, 0, |_, t, _| {
        Ok(Val::Bool(date(t)?.in_leap_year()))
    }),
    row("lengthOfMonth", 0, 0, |_, t, _| {
        Ok(Val::int(date(t)?.days_in_month().into()))
    }),
    row("getHour", 0, 0, |_, t, _| {
        Ok(Val::int(date_time(t)?.hour().into()))
    }),
    row("getMinute", 0, 0, |_, t, _| {
        Ok(Val::int(date_time(t)?.minute().into()))
    }),
    row("getSecond", 0, 0, |_, t, _| {
        Ok(Val::int(date_time(t)?.second().into()))
    }),
    row("toLocalDate", 0, 0, |_, t, _| {
        Ok(Val::Time(Time::Day(date_time(t)?.date())))
    }),
    row("atStartOfDay", 0, 0, |_, t, _| match own(t)? {
        Time::Day(date) => Ok(Val::Time(Time::Civil(date.at(0, 0, 0, 0)))),
        Time::Date(_) | Time::Civil(_) | Time::Instant(_) => Err(Stop::Mismatch),
    }),
    row("atTime", 2, 3, |_, t, a| {
        let Time::Day(date) = own(t)? else {
            return Err(Stop::Mismatch);
        };
        let small = |i| i8::try_from(int_arg(a, i)?).map_err(|_| unusable());
        let second = if a.len() > 2 { small(2)? } else { 0 };
        let clock =
            jiff::civil::Time::new(small(0)?, small(1)?, second, 0).map_err(|_| unusable())?;
        Ok(Val::Time(Time::Civil(date.to_datetime(clock))))
    }),
    row("withDayOfMonth", 1, 1, |_, t, a| {
        let day = i8::try_from(int_arg(a, 0)?).map_err(|_| unusable())?;
        match own(t)? {
            Time::Day(date) => with_day(date, day).map(|d| Val::Time(Time::Day(d))),
            Time::Civil(time) => {
                let date = with_day(time.date(), day)?;
                Ok(Val::Time(Time::Civil(date.to_datetime(time.time()))))
            }
            Time::Date(_) | Time::Instant(_) => Err(Stop::Mismatch),
        }
    }),
];

/// Methods of `java.text.SimpleDateFormat`.
pub(crate) const FORMAT: &[Method] = &[row("format", 1, 1, |_, t, a| {
    let (Val::DateFormat(pattern), Val::Time(Time::Date(ms))) = (t, arg(a, 0)?) else {
        return Err(Stop::Mismatch);
    };
    format_date(*ms, pattern)
        .map(Val::text)
        .ok_or_else(unusable)
})];

/// A date or time that does not exist.
pub(crate) fn unusable() -> Stop {
    Fault::java(
        "java.time.DateTimeException",
        "The date or time does not exist or is out of range",
    )
    .into()
}

fn own(target: &Val<'_>) -> Result<Time, Stop> {
    if let Val::Time(time) = target {
        Ok(*time)
    } else {
        Err(Stop::Mismatch)
    }
}

fn at(target: &Val<'_>) -> Result<Timestamp, Stop> {
    if let Time::Instant(at) = own(target)? {
        Ok(at)
    } else {
        Err(Stop::Mismatch)
    }
}

fn instant<'a>(at: Option<Timestamp>) -> Eval<'a> {
    at.map(|at| Val::Time(Time::Instant(at)))
        .ok_or_else(unusable)
}

fn date(target: &Val<'_>) -> Result<Date, Stop> {
    match own(target)? {
        Time::Day(date) => Ok(date),
        Time::Civil(time) => Ok(time.date()),
        Time::Date(_) | Time::Instant(_) => Err(Stop::Mismatch),
    }
}

fn date_time(target: &Val<'_>) -> Result<DateTime, Stop> {
    if let Time::Civil(time) = own(target)? {
        Ok(time)
    } else {
        Err(Stop::Mismatch)
    }
}

fn with_day(date: Date, day: i8) -> Result<Date, Stop> {
    date.with().day(day).build().map_err(|_| unusable())
}

fn unit_arg<'v>(args: &'v [Val<'_>]) -> Result<&'v str, Stop> {
    if let Val::Enum(EnumKind::ChronoUnit, name) = arg(args, 1)? {
        return Ok(name);
    }
    Err(Stop::Mismatch)
}

fn order<'a>(target: &Val<'a>, args: &[Val<'a>]) -> Result<std::cmp::Ordering, Stop> {
    let Val::Time(other) = arg(args, 0)? else {
        return Err(Stop::Mismatch);
    };
    own(target)?.order(*other).ok_or(Stop::Mismatch)
}

/// Which units a class can be moved by; the rest Java refuses.
fn accepts(time: Time, unit: &str) -> bool {
    let clock = [
        "NANOS",
        "MICROS",
        "MILLIS",
        "SECONDS",
        "MINUTES",
        "HOURS",
        "HALF_DAYS",
    ];
    match time {
        Time::Date(_) => false,
        Time::Day(_) => !clock.contains(&unit),
        Time::Civil(_) => true,
        Time::Instant(_) => clock.contains(&unit) || unit == "DAYS",
    }
}

fn moved<'a>(target: &Val<'a>, args: &[Val<'a>], unit: &str, sign: i64) -> Eval<'a> {
    let time = own(target)?;
    let amount = long_arg(args, 0)?;
    if !accepts(time, unit) {
        let text = format!("Unsupported unit: {unit}");
        return Err(
            Fault::java("java.time.temporal.UnsupportedTemporalTypeException", text).into(),
        );
    }
    let span = amount
        .checked_mul(sign)
        .and_then(|amount| span(amount, unit));
    let moved = span.and_then(|span| time.plus(span));
    moved.map(Val::Time).ok_or_else(unusable)
}

/// Now, as a civil date and time.
pub(crate) fn now(machine: &Machine<'_>) -> Result<(Timestamp, DateTime), Stop> {
    let at = Timestamp::from_millisecond(machine.scope.now_ms).map_err(|_| unusable())?;
    Ok((at, jiff::tz::TimeZone::UTC.to_datetime(at)))
}
