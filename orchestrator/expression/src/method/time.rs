//! Methods of dates and times.

use jiff::civil::{Date, DateTime};
use jiff::{Timestamp, tz::TimeZone};

use super::{Method, arg, int_arg, long_arg, row};
use crate::dates::{format_date, parse_date};
use crate::error::{Fault, Stop};
use crate::eval::{Eval, Machine};
use crate::time::{Time, day_name, span};
use crate::value::{EnumKind, Text, Val};

/// Methods of `Date`, `LocalDate`, `LocalDateTime` and `Instant`; each refuses the
/// classes that lack it.
pub(crate) const METHODS: &[Method] = &[
    row("plusNanos", 1, 1, |_, t, a| by(t, a, "NANOS", 1)),
    row("plusMillis", 1, 1, |_, t, a| by(t, a, "MILLIS", 1)),
    row("plusSeconds", 1, 1, |_, t, a| by(t, a, "SECONDS", 1)),
    row("plusMinutes", 1, 1, |_, t, a| by(t, a, "MINUTES", 1)),
    row("plusHours", 1, 1, |_, t, a| by(t, a, "HOURS", 1)),
    row("plusDays", 1, 1, |_, t, a| by(t, a, "DAYS", 1)),
    row("plusWeeks", 1, 1, |_, t, a| by(t, a, "WEEKS", 1)),
    row("plusMonths", 1, 1, |_, t, a| by(t, a, "MONTHS", 1)),
    row("plusYears", 1, 1, |_, t, a| by(t, a, "YEARS", 1)),
    row("minusNanos", 1, 1, |_, t, a| by(t, a, "NANOS", -1)),
    row("minusMillis", 1, 1, |_, t, a| by(t, a, "MILLIS", -1)),
    row("minusSeconds", 1, 1, |_, t, a| by(t, a, "SECONDS", -1)),
    row("minusMinutes", 1, 1, |_, t, a| by(t, a, "MINUTES", -1)),
    row("minusHours", 1, 1, |_, t, a| by(t, a, "HOURS", -1)),
    row("minusDays", 1, 1, |_, t, a| by(t, a, "DAYS", -1)),
    row("minusWeeks", 1, 1, |_, t, a| by(t, a, "WEEKS", -1)),
    row("minusMonths", 1, 1, |_, t, a| by(t, a, "MONTHS", -1)),
    row("minusYears", 1, 1, |_, t, a| by(t, a, "YEARS", -1)),
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
    row("compareTo", 1, 1, |_, t, a| compare(t, a)),
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
    row("getYear", 0, 0, |_, t, _| match own(t)? {
        Time::Date(_) => Ok(Val::int(i32::from(of_date(t)?.year()) - 1900)),
        Time::Day(_) | Time::Civil(_) | Time::Instant(_) => Ok(Val::int(date(t)?.year().into())),
    }),
    row("getMonth", 0, 0, |_, t, _| {
        Ok(Val::int(i32::from(of_date(t)?.month()) - 1))
    }),
    row("getDate", 0, 0, |_, t, _| {
        Ok(Val::int(of_date(t)?.day().into()))
    }),
    row("getDay", 0, 0, |_, t, _| {
        let day = of_date(t)?.weekday().to_sunday_zero_offset();
        Ok(Val::int(day.into()))
    }),
    row("getHours", 0, 0, |_, t, _| {
        Ok(Val::int(of_date(t)?.hour().into()))
    }),
    row("getMinutes", 0, 0, |_, t, _| {
        Ok(Val::int(of_date(t)?.minute().into()))
    }),
    row("getSeconds", 0, 0, |_, t, _| {
        Ok(Val::int(of_date(t)?.second().into()))
    }),
    row("getTimezoneOffset", 0, 0, |_, t, _| {
        of_date(t)?;
        Ok(Val::int(0))
    }),
    row("toGMTString", 0, 0, |_, t, _| {
        written(t, "d MMM yyyy HH:mm:ss 'GMT'")
    }),
    row("toLocaleString", 0, 0, |_, t, _| {
        written(t, "MMM d, yyyy, h:mm:ss a")
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
    row("lengthOfYear", 0, 0, |_, t, _| {
        if matches!(own(t)?, Time::Civil(_)) {
            return Err(Stop::Mismatch);
        }
        Ok(Val::int(date(t)?.days_in_year().into()))
    }),
    row("toEpochDay", 0, 0, |_, t, _| match own(t)? {
        Time::Day(date) => Ok(Val::long(epoch_day(date))),
        Time::Date(_) | Time::Civil(_) | Time::Instant(_) => Err(Stop::Mismatch),
    }),
    row("getNano", 0, 0, |_, t, _| match own(t)? {
        Time::Civil(time) => Ok(Val::int(time.subsec_nanosecond())),
        Time::Instant(at) => {
            let nanos = at.as_nanosecond().rem_euclid(1_000_000_000);
            Ok(Val::int(crate::number::wrap_int(nanos)))
        }
        Time::Date(_) | Time::Day(_) => Err(Stop::Mismatch),
    }),
    row("until", 2, 2, |_, t, a| {
        between(t, arg(a, 0)?, unit_arg(a)?)
    }),
    row("truncatedTo", 1, 1, |_, t, a| {
        let Val::Enum(EnumKind::ChronoUnit, unit) = arg(a, 0)? else {
            return Err(Stop::Mismatch);
        };
        truncated(own(t)?, unit).map(Val::Time)
    }),
    row("withYear", 1, 1, |_, t, a| {
        let year = i16::try_from(int_arg(a, 0)?).map_err(|_| unusable())?;
        with_date(t, |date| clamped(year, date.month(), date.day()))
    }),
    row("withMonth", 1, 1, |_, t, a| {
        let month = small(a, 0)?;
        with_date(t, |date| clamped(date.year(), month, date.day()))
    }),
    row("withDayOfMonth", 1, 1, |_, t, a| {
        let day = small(a, 0)?;
        with_date(t, |date| date.with().day(day).build().ok())
    }),
    row("withDayOfYear", 1, 1, |_, t, a| {
        let day = i16::try_from(int_arg(a, 0)?).map_err(|_| unusable())?;
        with_date(t, |date| date.with().day_of_year(day).build().ok())
    }),
    row("withHour", 1, 1, |_, t, a| {
        let hour = small(a, 0)?;
        with_clock(t, |time| time.with().hour(hour).build().ok())
    }),
    row("withMinute", 1, 1, |_, t, a| {
        let minute = small(a, 0)?;
        with_clock(t, |time| time.with().minute(minute).build().ok())
    }),
    row("withSecond", 1, 1, |_, t, a| {
        let second = small(a, 0)?;
        with_clock(t, |time| time.with().second(second).build().ok())
    }),
    row("withNano", 1, 1, |_, t, a| {
        let nano = int_arg(a, 0)?;
        with_clock(t, |time| time.with().subsec_nanosecond(nano).build().ok())
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
        let second = if a.len() > 2 { small(a, 2)? } else { 0 };
        let clock = jiff::civil::Time::new(small(a, 0)?, small(a, 1)?, second, 0)
            .map_err(|_| unusable())?;
        Ok(Val::Time(Time::Civil(date.to_datetime(clock))))
    }),
];

/// Methods of `java.text.SimpleDateFormat`.
pub(crate) const FORMAT: &[Method] = &[
    row("format", 1, 1, |_, t, a| {
        let value = arg(a, 0)?;
        let ms = if let Val::Time(Time::Date(ms)) = value {
            *ms
        } else {
            let num = value.as_num().ok_or(Stop::Mismatch)?;
            i64::try_from(num.to_i128()).map_err(|_| unusable())?
        };
        format_date(ms, pattern(t)?)
            .map(Val::text)
            .ok_or_else(unusable)
    }),
    row("parse", 1, 1, |m, t, a| {
        let text = super::text_arg(m, a, 0)?;
        m.charge(text.len())?;
        let found = parse_date(&text, pattern(t)?, m.scope.now_ms);
        let ms = found.ok_or_else(|| {
            let text = format!("Unparseable date: \"{text}\"");
            Stop::from(Fault::java("java.text.ParseException", text))
        })?;
        Ok(Val::Time(Time::Date(ms)))
    }),
    row("toPattern", 0, 0, |_, t, _| Ok(Val::text(pattern(t)?))),
    row("isLenient", 0, 0, |_, _, _| Ok(Val::Bool(true))),
];

fn pattern<'v>(target: &'v Val<'_>) -> Result<&'v str, Stop> {
    if let Val::DateFormat(pattern) = target {
        Ok(pattern)
    } else {
        Err(Stop::Mismatch)
    }
}

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

/// A `java.util.Date` as clocks show it.
fn of_date(target: &Val<'_>) -> Result<DateTime, Stop> {
    let Time::Date(ms) = own(target)? else {
        return Err(Stop::Mismatch);
    };
    let at = Timestamp::from_millisecond(ms).map_err(|_| unusable())?;
    Ok(TimeZone::UTC.to_datetime(at))
}

fn written<'a>(target: &Val<'a>, pattern: &str) -> Eval<'a> {
    let Time::Date(ms) = own(target)? else {
        return Err(Stop::Mismatch);
    };
    format_date(ms, pattern).map(Val::text).ok_or_else(unusable)
}

fn small(args: &[Val<'_>], index: usize) -> Result<i8, Stop> {
    i8::try_from(int_arg(args, index)?).map_err(|_| unusable())
}

/// The last day of the month at most.
fn clamped(year: i16, month: i8, day: i8) -> Option<Date> {
    let first = Date::new(year, month, 1).ok()?;
    Date::new(year, month, day.min(first.days_in_month())).ok()
}

/// The same with another date.
fn with_date<'a>(target: &Val<'a>, change: impl FnOnce(Date) -> Option<Date>) -> Eval<'a> {
    let changed = match own(target)? {
        Time::Day(date) => change(date).map(Time::Day),
        Time::Civil(time) => {
            change(time.date()).map(|date| Time::Civil(date.to_datetime(time.time())))
        }
        Time::Date(_) | Time::Instant(_) => return Err(Stop::Mismatch),
    };
    changed.map(Val::Time).ok_or_else(unusable)
}

/// The same at another time of day.
fn with_clock<'a>(target: &Val<'a>, change: impl FnOnce(DateTime) -> Option<DateTime>) -> Eval<'a> {
    let changed = change(date_time(target)?);
    changed
        .map(|time| Val::Time(Time::Civil(time)))
        .ok_or_else(unusable)
}

fn epoch_day(date: Date) -> i64 {
    nanos(date.at(0, 0, 0, 0))
        .and_then(|nanos| i64::try_from(nanos / DAY).ok())
        .unwrap_or_default()
}

const DAY: i128 = 86_400_000_000_000;

/// Nanoseconds since the epoch, as if it were in UTC.
fn nanos(time: DateTime) -> Option<i128> {
    TimeZone::UTC
        .to_timestamp(time)
        .ok()
        .map(Timestamp::as_nanosecond)
}

/// How long a unit of the clock is, days included.
fn length(unit: &str) -> Option<i128> {
    Some(match unit {
        "NANOS" => 1,
        "MICROS" => 1_000,
        "MILLIS" => 1_000_000,
        "SECONDS" => 1_000_000_000,
        "MINUTES" => 60_000_000_000,
        "HOURS" => 3_600_000_000_000,
        "HALF_DAYS" => DAY / 2,
        "DAYS" => DAY,
        _ => return None,
    })
}

/// How many months a unit of the calendar has.
fn months(unit: &str) -> Option<i128> {
    Some(match unit {
        "MONTHS" => 1,
        "YEARS" => 12,
        "DECADES" => 120,
        "CENTURIES" => 1_200,
        "MILLENNIA" => 12_000,
        _ => return None,
    })
}

/// `from.until(to, unit)`: whole units, towards zero.
pub(crate) fn between<'a>(from: &Val<'a>, to: &Val<'a>, unit: &str) -> Eval<'a> {
    let (from, to) = (own(from)?, own(to)?);
    if !accepts(from, unit) {
        return Err(unsupported(unit));
    }
    let apart = match (from, to) {
        (Time::Instant(a), Time::Instant(b)) => {
            let units = length(unit).ok_or_else(|| unsupported(unit))?;
            (b.as_nanosecond() - a.as_nanosecond()) / units
        }
        (Time::Day(a), Time::Day(b)) => apart(a.at(0, 0, 0, 0), b.at(0, 0, 0, 0), unit)?,
        (Time::Day(a), Time::Civil(b)) => apart(a.at(0, 0, 0, 0), b.date().at(0, 0, 0, 0), unit)?,
        (Time::Civil(a), Time::Civil(b)) => apart(a, b, unit)?,
        _ => return Err(unusable()),
    };
    i64::try_from(apart).map(Val::long).map_err(|_| unusable())
}

fn apart(from: DateTime, to: DateTime, unit: &str) -> Result<i128, Stop> {
    if let Some(months) = months(unit) {
        // A month is over when its day and its time of day are.
        let place = |time: DateTime| {
            let month = i128::from(time.year()) * 12 + i128::from(time.month()) - 1;
            let clock = nanos(time)?.rem_euclid(DAY);
            Some((month * 32 + i128::from(time.day())) * DAY + clock)
        };
        let (from, to) = (place(from), place(to));
        let (from, to) = from.zip(to).ok_or_else(unusable)?;
        return Ok((to - from) / (32 * DAY) / months);
    }
    let units = match unit {
        "WEEKS" => 7 * DAY,
        other => length(other).ok_or_else(|| unsupported(other))?,
    };
    let (from, to) = nanos(from).zip(nanos(to)).ok_or_else(unusable)?;
    Ok((to - from) / units)
}

fn truncated(time: Time, unit: &str) -> Result<Time, Stop> {
    let units = length(unit).ok_or_else(|| unsupported(unit))?;
    let cut = |nanos: i128| {
        let clock = nanos.rem_euclid(DAY);
        Timestamp::from_nanosecond(nanos - clock % units).ok()
    };
    let cut = match time {
        Time::Civil(time) => nanos(time)
            .and_then(cut)
            .map(|at| Time::Civil(TimeZone::UTC.to_datetime(at))),
        Time::Instant(at) => cut(at.as_nanosecond()).map(Time::Instant),
        Time::Date(_) | Time::Day(_) => return Err(Stop::Mismatch),
    };
    cut.ok_or_else(unusable)
}

fn unsupported(unit: &str) -> Stop {
    let class = "java.time.temporal.UnsupportedTemporalTypeException";
    Fault::java(
        class,
        format!("Unsupported unit: {}", crate::time::unit_text(unit)),
    )
    .into()
}

/// `compareTo`: of dates how far they are apart in the first field that differs.
fn compare<'a>(target: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let order = order(target, args)?;
    let Val::Time(other) = arg(args, 0)? else {
        return Err(Stop::Mismatch);
    };
    let dates = match (own(target)?, *other) {
        (Time::Day(a), Time::Day(b)) => Some((a, b)),
        (Time::Civil(a), Time::Civil(b)) => Some((a.date(), b.date())),
        _ => None,
    };
    let fields = |date: Date| {
        [
            i32::from(date.year()),
            date.month().into(),
            date.day().into(),
        ]
    };
    let apart = dates.and_then(|(a, b)| {
        let pairs = fields(a).into_iter().zip(fields(b));
        pairs.map(|(a, b)| a - b).find(|apart| *apart != 0)
    });
    Ok(Val::int(apart.unwrap_or(order as i32)))
}

/// `plusHours` and so on, of which an instant has only the smallest.
fn by<'a>(target: &Val<'a>, args: &[Val<'a>], unit: &str, sign: i64) -> Eval<'a> {
    let instant = matches!(own(target)?, Time::Instant(_));
    if instant && !["NANOS", "MILLIS", "SECONDS"].contains(&unit) {
        return Err(Stop::Mismatch);
    }
    moved(target, args, unit, sign)
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
        Time::Day(_) => !clock.contains(&unit) && !["ERAS", "FOREVER"].contains(&unit),
        Time::Civil(_) => !["ERAS", "FOREVER"].contains(&unit),
        Time::Instant(_) => clock.contains(&unit) || unit == "DAYS",
    }
}

fn moved<'a>(target: &Val<'a>, args: &[Val<'a>], unit: &str, sign: i64) -> Eval<'a> {
    let time = own(target)?;
    let amount = long_arg(args, 0)?;
    if !accepts(time, unit) {
        return Err(unsupported(unit));
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
    Ok((at, TimeZone::UTC.to_datetime(at)))
}
