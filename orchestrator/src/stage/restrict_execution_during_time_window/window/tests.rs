use super::*;
use serde_json::json;

fn zone(name: &str) -> TimeZone {
    TimeZone::get(name).unwrap()
}

fn los_angeles() -> TimeZone {
    zone("America/Los_Angeles")
}

/// ms of a local time such as `2013-02-13T06:30`, with an offset where the hour repeats.
fn ms(local: &str, zone: &TimeZone) -> i64 {
    if let Ok(at) = local.parse::<Timestamp>() {
        return at.as_millisecond();
    }
    let local: jiff::civil::DateTime = local.parse().unwrap();
    zone.to_timestamp(local).unwrap().as_millisecond()
}

/// Windows such as `22:00-05:00 10:00-13:00`.
fn windows(spans: &str, days: &[i64]) -> Windows {
    let part = |text: &str| text.parse::<u32>().unwrap();
    let whitelist: Vec<Value> = spans
        .split_whitespace()
        .map(|span| {
            let (from, to) = span.split_once('-').unwrap();
            let ((h, m), (eh, em)) = (from.split_once(':').unwrap(), to.split_once(':').unwrap());
            json!({"startHour": part(h), "startMin": part(m), "endHour": part(eh), "endMin": part(em)})
        })
        .collect();
    Windows::of(&json!({"whitelist": whitelist, "days": days})).unwrap()
}

/// The first minute from `now` on that is in a window, found by looking at each.
fn by_looking(windows: &Windows, now: i64, zone: &TimeZone) -> Option<Opens> {
    let at = |ms| Timestamp::from_millisecond(ms).unwrap();
    if windows.contain(at(now), zone) {
        return Some(Opens::Now);
    }
    let begin = now - now.rem_euclid(60_000);
    (1..=DAYS_AHEAD * 24 * 60)
        .map(|minutes| begin + minutes * 60_000)
        .find(|ms| windows.contain(at(*ms), zone))
        .map(Opens::At)
}

fn check(windows: &Windows, now: &str, expected: &str, zone: &TimeZone) {
    let now_ms = ms(now, zone);
    let expected = match expected {
        "now" => Opens::Now,
        at => Opens::At(ms(at, zone)),
    };
    let told = |opens: Option<Opens>| match opens {
        Some(Opens::At(ms)) => Timestamp::from_millisecond(ms)
            .unwrap()
            .to_zoned(zone.clone())
            .to_string(),
        other => format!("{other:?}"),
    };
    let found = windows.opens(now_ms, zone);
    assert_eq!(told(found), told(Some(expected)), "{windows:?} at {now}");
    assert_eq!(found, by_looking(windows, now_ms, zone), "{now}");
}

#[test]
fn a_stage_begins_in_a_window_or_when_the_next_one_opens() {
    for (spans, now, expected) in [
        ("22:00-05:00", "2013-02-14T01:00", "now"),
        ("06:00-10:00", "2013-02-13T21:45", "2013-02-14T06:00"),
        ("22:00-05:00", "2013-02-13T13:45", "2013-02-13T22:00"),
        ("22:00-05:00", "2013-02-13T22:00:00", "now"),
        ("22:00-05:00", "2013-02-13T05:01", "2013-02-13T22:00"),
        ("22:00-05:00", "2013-02-13T05:00:59", "now"),
        ("22:00-05:00", "2013-02-13T23:59:59", "now"),
        ("22:00-05:00", "2013-02-14T00:00", "now"),
        ("10:00-13:00", "2013-02-13T06:30", "2013-02-13T10:00"),
        ("10:00-13:00", "2013-02-13T09:59:59", "2013-02-13T10:00"),
        ("10:00-13:00", "2013-02-13T09:59:59.999", "2013-02-13T10:00"),
        ("10:00-13:00", "2013-02-13T00:00", "2013-02-13T10:00"),
        ("10:00-13:00", "2013-02-13T00:01", "2013-02-13T10:00"),
        ("10:00-13:00", "2013-02-13T10:00:00", "now"),
        ("10:00-13:00", "2013-02-13T10:00:35", "now"),
        ("10:00-13:00", "2013-02-13T10:01:35", "now"),
        ("10:00-13:00 16:00-18:00", "2013-02-13T10:01:35", "now"),
        ("16:00-18:00 10:00-13:00", "2013-02-13T10:01:35", "now"),
        (
            "16:00-18:00 10:00-13:00",
            "2013-02-13T13:01",
            "2013-02-13T16:00",
        ),
        ("13:00-18:00", "2013-02-13T14:30", "now"),
        ("15:00-18:00", "2013-02-13T00:01", "2013-02-13T15:00"),
        ("15:00-18:00", "2013-02-13T11:01", "2013-02-13T15:00"),
        ("13:00-14:00", "2013-02-13T14:01", "2013-02-14T13:00"),
        ("00:00-05:00 22:00-23:59", "2013-02-13T01:00", "now"),
        (
            "10:00-11:00 13:00-14:00 15:00-16:00",
            "2013-02-13T00:59:59",
            "2013-02-13T10:00",
        ),
        (
            "10:00-11:00 13:00-14:00 15:00-16:00",
            "2013-02-13T10:30:59",
            "now",
        ),
        (
            "10:00-11:00 13:00-14:00 15:00-16:00",
            "2013-02-13T12:30:59",
            "2013-02-13T13:00",
        ),
        (
            "10:00-11:00 13:00-14:00 15:00-16:00",
            "2013-02-13T16:00:00",
            "now",
        ),
        (
            "10:00-11:00 13:00-14:00 15:00-16:00",
            "2013-02-13T16:00:59",
            "now",
        ),
        (
            "10:00-11:00 13:00-14:00 15:00-16:00",
            "2013-02-13T16:01",
            "2013-02-14T10:00",
        ),
        // Within one hour, over midnight.
        ("22:30-22:10", "2013-02-13T22:20", "2013-02-13T22:30"),
        ("22:30-22:10", "2013-02-13T03:00", "now"),
        // A year ends, and February has 29 days.
        ("09:15-09:15", "2012-12-31T09:16", "2013-01-01T09:15"),
        ("09:15-09:15", "2012-02-28T09:16", "2012-02-29T09:15"),
    ] {
        check(&windows(spans, &[]), now, expected, &los_angeles());
    }
}

#[test]
fn a_window_is_kept_on_the_days_that_are_named() {
    // 2015-02-25 is a Wednesday, so a day 4.
    for (spans, days, now, expected) in [
        (
            "06:00-10:00",
            &[4][..],
            "2015-02-25T21:45",
            "2015-03-04T06:00",
        ),
        ("06:00-10:00", &[5], "2015-02-25T21:45", "2015-02-26T06:00"),
        ("06:00-10:00", &[3], "2015-02-25T21:45", "2015-03-03T06:00"),
        (
            "06:00-10:00",
            &[3, 5],
            "2015-02-25T21:45",
            "2015-02-26T06:00",
        ),
        ("", &[1], "2015-02-25T01:00", "2015-03-01T00:00"),
        ("", &[1, 2, 3, 4, 5, 6, 7], "2015-02-25T01:00", "now"),
        ("", &[4], "2015-02-25T23:59:59", "now"),
        ("", &[4], "2015-02-26T00:00", "2015-03-04T00:00"),
        ("06:00-10:00", &[4], "2015-02-25T05:59", "2015-02-25T06:00"),
        ("06:00-10:00", &[4], "2015-02-25T10:00:59", "now"),
        // Both halves of a window over midnight count for their own day.
        ("22:00-05:00", &[4], "2015-02-25T22:00", "now"),
        ("22:00-05:00", &[4], "2015-02-26T01:00", "2015-03-04T00:00"),
        ("22:00-05:00", &[4], "2015-02-25T05:01", "2015-02-25T22:00"),
        ("22:00-05:00", &[7], "2015-02-25T12:00", "2015-02-28T00:00"),
    ] {
        check(&windows(spans, days), now, expected, &los_angeles());
    }
}

#[test]
fn hours_that_a_change_of_the_clock_takes_away_or_repeats_are_what_they_are() {
    let la = los_angeles();
    for (spans, days, now, expected) in [
        // 2015-03-08, a Sunday: after 01:59 PST comes 03:00 PDT.
        (
            "02:30-04:00",
            &[][..],
            "2015-03-08T01:00",
            "2015-03-08T10:00:00Z",
        ),
        ("02:30-02:59", &[], "2015-03-08T01:00", "2015-03-09T02:30"),
        ("02:30-02:59", &[1], "2015-03-07T12:00", "2015-03-15T02:30"),
        ("02:30-02:59", &[1], "2015-03-01T03:00", "2015-03-15T02:30"),
        (
            "03:00-03:10",
            &[],
            "2015-03-08T01:59:59",
            "2015-03-08T10:00:00Z",
        ),
        (
            "09:00-10:00",
            &[],
            "2015-03-07T12:00",
            "2015-03-08T16:00:00Z",
        ),
        ("01:00-05:00", &[], "2015-03-08T01:59:59", "now"),
        // 2015-11-01: the hour from 01:00 on comes twice, 08:00Z in PDT, 09:00Z in PST.
        (
            "01:10-01:20",
            &[],
            "2015-11-01T00:00",
            "2015-11-01T08:10:00Z",
        ),
        ("01:10-01:20", &[], "2015-11-01T08:15:00Z", "now"),
        (
            "01:10-01:20",
            &[],
            "2015-11-01T08:21:00Z",
            "2015-11-01T09:10:00Z",
        ),
        ("01:10-01:20", &[], "2015-11-01T09:15:00Z", "now"),
        (
            "01:10-01:20",
            &[],
            "2015-11-01T09:21:00Z",
            "2015-11-02T01:10",
        ),
        // It began before that hour and is open again when it repeats.
        (
            "00:30-01:20",
            &[],
            "2015-11-01T08:30:00Z",
            "2015-11-01T09:00:00Z",
        ),
        (
            "09:00-10:00",
            &[],
            "2015-11-01T00:00",
            "2015-11-01T17:00:00Z",
        ),
    ] {
        check(&windows(spans, days), now, expected, &la);
    }
    // A day that begins at one o'clock: 2018-11-04 in São Paulo.
    let sao_paulo = zone("America/Sao_Paulo");
    check(
        &windows("", &[1]),
        "2018-11-03T12:00",
        "2018-11-04T03:00:00Z",
        &sao_paulo,
    );
    // Half an hour, at Lord Howe.
    let howe = zone("Australia/Lord_Howe");
    check(
        &windows("02:10-02:40", &[]),
        "2023-10-01T01:00",
        "2023-09-30T15:30:00Z",
        &howe,
    );
    // No change at all.
    check(
        &windows("02:30-02:59", &[]),
        "2015-03-08T01:00",
        "2015-03-08T02:30",
        &TimeZone::UTC,
    );
}

#[test]
fn arithmetic_agrees_with_looking_at_every_minute() {
    let zones = [
        "America/Los_Angeles",
        "Australia/Lord_Howe",
        "Europe/Berlin",
    ]
    .map(zone);
    // Around both changes of the clock in each of them.
    for begin in [
        "2023-03-11T00:17",
        "2023-03-25T09:00",
        "2023-09-30T05:00",
        "2023-10-28T13:31",
        "2023-11-04T20:00",
    ] {
        for (spans, days) in [
            ("01:30-02:15", &[1][..]),
            ("02:05-02:45 23:50-00:20", &[]),
            ("23:00-01:00", &[1, 7]),
            ("", &[2]),
        ] {
            for zone in &zones {
                for step in 0..12 {
                    let now = ms(begin, &TimeZone::UTC) + step * 4_113_000;
                    let windows = windows(spans, days);
                    let (found, looked) =
                        (windows.opens(now, zone), by_looking(&windows, now, zone));
                    assert_eq!(found, looked, "{spans} {days:?} from {now}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_window_is_told_by_its_field() {
    let told = |written: Value| -> Vec<String> {
        let faults = Windows::of(&written).unwrap_err();
        faults
            .into_iter()
            .map(|(at, text)| format!("{at}: {text}"))
            .collect()
    };
    for (written, expected) in [
        (json!({}), ": Incorrect time windows specified"),
        (
            json!({"days": [], "whitelist": null}),
            ": Incorrect time windows specified",
        ),
        (json!({"days": [0]}), "days[0]: 0 is no day of the week"),
        (json!({"days": [1, 8]}), "days[1]: 8 is no day"),
        (json!({"days": ["Monday"]}), "days[0]: \"Monday\" is no day"),
        (json!({"days": 3}), "days: it is 3; send a list"),
        (
            json!({"whitelist": [{"startHour": 24}]}),
            "whitelist[0].startHour: 24 is none",
        ),
        (
            json!({"whitelist": [{"endMin": 60}]}),
            "whitelist[0].endMin: 60 is none",
        ),
        (
            json!({"whitelist": [{"endHour": -1}]}),
            "whitelist[0].endHour: -1 is none",
        ),
        (
            json!({"whitelist": ["9-5"]}),
            "whitelist[0]: it is \"9-5\"; send an object",
        ),
    ] {
        let faults = told(written.clone());
        assert!(faults[0].starts_with(expected), "{written}: {faults:?}");
    }
    // Numbers that an expression yielded are texts, and what is not written is 0.
    let texts = json!({"days": ["2"], "whitelist": [{"startHour": "9", "endHour": 17.0}]});
    assert_eq!(Windows::of(&texts), Ok(windows("09:00-17:00", &[2])));
}
