//! `Date`, `LocalDate`, `LocalDateTime`, `Instant`, `DayOfWeek` and `ChronoUnit`.

use jiff::civil::{Date, DateTime};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::{Static, row};
use crate::dates::parse_loose;
use crate::error::{Fault, ILLEGAL_ARGUMENT, Stop};
use crate::eval::{Eval, Machine};
use crate::method::{ambiguous, arg, int_arg, long_arg, text_arg, time};
use crate::number::Num;
use crate::time::Time;
use crate::types::JavaType;
use crate::value::{EnumKind, Seq, SeqKind, Val};

/// Every method.
pub(super) const METHODS: &[Static] = &[
    row(JavaType::Date, "from", 1, 1, |_, _, a| {
        let Val::Time(Time::Instant(at)) = arg(a, 0)? else {
            return Err(Stop::Mismatch);
        };
        Ok(Val::Time(Time::Date(at.as_millisecond())))
    }),
    row(JavaType::Date, "parse", 1, 1, |m, _, a| {
        let text = text_arg(m, a, 0)?;
        let ms = parse_loose(&text, m.scope.now_ms);
        ms.map(Val::long)
            .ok_or_else(|| Fault::java(ILLEGAL_ARGUMENT, text).into())
    }),
    row(JavaType::Date, "UTC", 6, 6, |_, _, a| {
        let Val::Time(Time::Date(ms)) = date_of(a)? else {
            return Err(Stop::Mismatch);
        };
        Ok(Val::long(ms))
    }),
    row(JavaType::LocalDate, "now", 0, 0, |m, _, _| {
        Ok(local_date(time::now(m)?.1.date()))
    }),
    row(JavaType::LocalDate, "of", 3, 3, |_, _, a| {
        unambiguous(a)?;
        date_args(a).map(local_date)
    }),
    row(JavaType::LocalDate, "ofYearDay", 2, 2, |_, _, a| {
        let year = i16::try_from(int_arg(a, 0)?).map_err(|_| time::unusable())?;
        let day = i16::try_from(int_arg(a, 1)?).map_err(|_| time::unusable())?;
        let first = Date::new(year, 1, 1).map_err(|_| time::unusable())?;
        let date = first.with().day_of_year(day).build();
        date.map(local_date).map_err(|_| time::unusable())
    }),
    row(JavaType::LocalDate, "ofEpochDay", 1, 1, |_, _, a| {
        let seconds = long_arg(a, 0)?.checked_mul(86_400);
        let at = seconds.and_then(|s| Timestamp::from_second(s).ok());
        at.map(|at| local_date(TimeZone::UTC.to_datetime(at).date()))
            .ok_or_else(time::unusable)
    }),
    row(JavaType::LocalDate, "from", 1, 1, |_, _, a| {
        day_of(arg(a, 0)?).map(local_date)
    }),
    row(JavaType::LocalDate, "parse", 1, 1, |m, _, a| {
        let text = text_arg(m, a, 0)?;
        let date = text
            .parse()
            .ok()
            .filter(|_| text.len() == "2020-01-31".len());
        date.map(local_date).ok_or_else(|| unparsed(&text))
    }),
    row(JavaType::LocalDateTime, "now", 0, 0, |m, _, _| {
        Ok(local_date_time(time::now(m)?.1))
    }),
    row(JavaType::LocalDateTime, "of", 5, 7, local_date_time_of),
    row(JavaType::LocalDateTime, "parse", 1, 1, |m, _, a| {
        let text = text_arg(m, a, 0)?;
        let time = text.parse().ok().filter(|_| text.contains('T'));
        time.map(local_date_time).ok_or_else(|| unparsed(&text))
    }),
    row(JavaType::Instant, "now", 0, 0, |m, _, _| {
        Ok(instant(time::now(m)?.0))
    }),
    row(JavaType::Instant, "ofEpochMilli", 1, 1, |_, _, a| {
        let at = Timestamp::from_millisecond(long_arg(a, 0)?);
        at.map(instant).map_err(|_| time::unusable())
    }),
    row(JavaType::Instant, "ofEpochSecond", 1, 2, |_, _, a| {
        let at = Timestamp::from_second(long_arg(a, 0)?).map_err(|_| time::unusable())?;
        let nanos = if a.len() > 1 { long_arg(a, 1)? } else { 0 };
        let at = at.checked_add(SignedDuration::from_nanos(nanos));
        at.map(instant).map_err(|_| time::unusable())
    }),
    row(JavaType::Instant, "parse", 1, 1, |m, _, a| {
        let text = text_arg(m, a, 0)?;
        // Java wants the seconds.
        let whole = text.as_bytes().get(16) == Some(&b':');
        let at = text.parse().ok().filter(|_| whole);
        at.map(instant).ok_or_else(|| unparsed(&text))
    }),
    row(JavaType::DayOfWeek, "valueOf", 1, 1, |m, _, a| {
        let name = text_arg(m, a, 0)?;
        constant(EnumKind::DayOfWeek, "java.time.DayOfWeek", &name)
    }),
    row(JavaType::DayOfWeek, "of", 1, 1, |_, _, a| {
        let index = usize::try_from(int_arg(a, 0)?)
            .ok()
            .and_then(|day| day.checked_sub(1));
        let days = EnumKind::DayOfWeek;
        let day = index.and_then(|index| days.named(days.names().get(index)?));
        day.ok_or_else(time::unusable)
    }),
    row(JavaType::DayOfWeek, "from", 1, 1, |_, _, a| {
        let value = arg(a, 0)?;
        if matches!(value, Val::Enum(EnumKind::DayOfWeek, _)) {
            return Ok(value.clone());
        }
        let day = crate::time::day_name(day_of(value)?.weekday());
        EnumKind::DayOfWeek.named(day).ok_or(Stop::Mismatch)
    }),
    row(JavaType::DayOfWeek, "values", 0, 0, |_, _, _| {
        Ok(constants(EnumKind::DayOfWeek))
    }),
    row(JavaType::ChronoUnit, "valueOf", 1, 1, |m, _, a| {
        let name = text_arg(m, a, 0)?;
        constant(EnumKind::ChronoUnit, "java.time.temporal.ChronoUnit", &name)
    }),
    row(JavaType::ChronoUnit, "values", 0, 0, |_, _, _| {
        Ok(constants(EnumKind::ChronoUnit))
    }),
];

/// The date of what has one.
fn day_of(value: &Val<'_>) -> Result<Date, Stop> {
    let Val::Time(time) = value else {
        return Err(Stop::Mismatch);
    };
    match time {
        Time::Day(date) => Ok(*date),
        Time::Civil(time) => Ok(time.date()),
        Time::Date(_) | Time::Instant(_) => Err(time::unusable()),
    }
}

fn local_date<'a>(date: Date) -> Val<'a> {
    Val::Time(Time::Day(date))
}

fn local_date_time<'a>(time: DateTime) -> Val<'a> {
    Val::Time(Time::Civil(time))
}

fn instant<'a>(at: Timestamp) -> Val<'a> {
    Val::Time(Time::Instant(at))
}

fn unparsed(text: &str) -> Stop {
    let text = format!("Text '{text}' could not be parsed");
    Fault::java("java.time.format.DateTimeParseException", text).into()
}

fn constant<'a>(kind: EnumKind, class: &str, name: &str) -> Eval<'a> {
    kind.named(name).ok_or_else(|| {
        let text = format!("No enum constant {class}.{name}");
        Fault::java(ILLEGAL_ARGUMENT, text).into()
    })
}

fn constants<'a>(kind: EnumKind) -> Val<'a> {
    let all = kind.names().iter().filter_map(|name| kind.named(name));
    Val::Seq(Seq::new(SeqKind::Array, all.collect()))
}

/// The month may be given as a number or as a `Month`, so that wherever something has to
/// be converted both methods would do.
fn unambiguous(args: &[Val<'_>]) -> Result<(), Stop> {
    let int = |value: &Val<'_>| matches!(value.as_num(), Some(Num::Int(_)));
    let month = args
        .get(1)
        .is_some_and(|month| int(month) || month.as_text().is_some());
    if args.iter().all(int) || !month {
        Ok(())
    } else {
        Err(ambiguous())
    }
}

fn date_args(args: &[Val<'_>]) -> Result<Date, Stop> {
    let year = i16::try_from(int_arg(args, 0)?).map_err(|_| time::unusable())?;
    let small = |i| i8::try_from(int_arg(args, i)?).map_err(|_| time::unusable());
    Date::new(year, small(1)?, small(2)?).map_err(|_| time::unusable())
}

fn local_date_time_of<'a>(_: &mut Machine<'a>, _: &Val<'a>, args: &[Val<'a>]) -> Eval<'a> {
    unambiguous(args)?;
    let small = |i: usize| {
        if i < args.len() {
            i8::try_from(int_arg(args, i)?).map_err(|_| time::unusable())
        } else {
            Ok(0)
        }
    };
    let nanos = if args.len() > 6 { int_arg(args, 6)? } else { 0 };
    let clock = jiff::civil::Time::new(small(3)?, small(4)?, small(5)?, nanos)
        .map_err(|_| time::unusable())?;
    Ok(local_date_time(date_args(args)?.to_datetime(clock)))
}

/// `new Date(year - 1900, month - 1, day, …)`; what is too large runs over.
pub(super) fn date_of<'a>(args: &[Val<'a>]) -> Eval<'a> {
    let part = |i: usize| {
        if i < args.len() {
            int_arg(args, i).map(i64::from)
        } else {
            Ok(0)
        }
    };
    let months = (part(0)? + 1900) * 12 + part(1)?;
    let year = i16::try_from(months.div_euclid(12)).map_err(|_| time::unusable())?;
    let month = i8::try_from(months.rem_euclid(12) + 1).map_err(|_| time::unusable())?;
    let first = Date::new(year, month, 1).map_err(|_| time::unusable())?;
    let base = TimeZone::UTC
        .to_timestamp(first.at(0, 0, 0, 0))
        .map_err(|_| time::unusable())?;
    let seconds = (part(2)? - 1) * 86_400 + part(3)? * 3_600 + part(4)? * 60 + part(5)?;
    Ok(Val::Time(Time::Date(
        base.as_millisecond() + seconds * 1_000,
    )))
}
