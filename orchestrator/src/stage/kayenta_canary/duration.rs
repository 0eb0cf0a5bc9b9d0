//! Lengths of time as canary stages write them. Pure.

use serde_json::{Value, json};

use crate::task::number;

/// What a field may say at the most: a year.
const MOST_MS: f64 = 365.0 * 86_400_000.0;

/// The milliseconds of an ISO-8601 duration such as `PT1H0M`, `PT30S` or `P1DT12H`.
pub(in crate::stage) fn iso_ms(text: &str) -> Result<u64, String> {
    let wrong = || {
        let text: String = text.chars().take(64).collect();
        format!("\"{text}\" is no duration; write it like PT1H30M or PT45S")
    };
    let upper = text.trim().to_ascii_uppercase();
    let body = upper.strip_prefix('P').ok_or_else(wrong)?;
    let (days, rest) = match body.split_once('D') {
        Some((days, rest)) => (days.parse::<f64>().map_err(|_| wrong())?, rest),
        None => (0.0, body),
    };
    let rest_ms = match rest {
        "" if body.contains('D') => 0.0,
        rest => {
            let span: jiff::SignedDuration = format!("P{rest}").parse().map_err(|_| wrong())?;
            span.as_secs_f64() * 1_000.0
        }
    };
    whole_ms(days * 86_400_000.0 + rest_ms).ok_or_else(wrong)
}

/// A field that counts units, as a number or as text; none where it is absent, null or empty. `unit_ms` is the
/// length of one.
pub(in crate::stage) fn count_ms(
    value: Option<&Value>,
    unit_ms: f64,
) -> Result<Option<u64>, String> {
    let value = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
        Some(value) => value,
    };
    let ms = number(value).and_then(|count| whole_ms(count * unit_ms));
    let shown: String = value.to_string().chars().take(64).collect();
    ms.map(Some)
        .ok_or_else(|| format!("{shown} is no number of at least 0; correct it"))
}

/// The seconds of a wait as it is written in a stage: whole ones where they are.
pub(in crate::stage) fn seconds(ms: u64) -> Value {
    match ms % 1_000 {
        0 => json!(ms / 1_000),
        _ => json!(std::time::Duration::from_millis(ms).as_secs_f64()),
    }
}

/// A whole number of milliseconds, if it is a length of time that can be waited for.
fn whole_ms(ms: f64) -> Option<u64> {
    if !(0.0..=MOST_MS).contains(&ms) {
        return None;
    }
    u64::try_from(std::time::Duration::from_secs_f64(ms / 1_000.0).as_millis()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_that_stages_hold() {
        for (text, ms) in [
            ("PT1H0M", 3_600_000),
            ("PT30S", 30_000),
            ("pt2h", 7_200_000),
            ("P1D", 86_400_000),
            ("P1DT12H", 129_600_000),
            ("PT0S", 0),
            ("P0D", 0),
            ("PT0.5S", 500),
        ] {
            assert_eq!(iso_ms(text), Ok(ms), "{text}");
        }
        for wrong in [
            "", "1h30", "P", "-PT1H", "PT", "PxD", "PD", "P-1D", "P999999D",
        ] {
            assert!(iso_ms(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn counts_are_numbers_or_texts_and_nothing_is_nothing() {
        for (value, ms) in [
            (json!(5), Some(300_000)),
            (json!("5"), Some(300_000)),
            (json!(""), None),
            (json!(null), None),
            (json!(0), Some(0)),
        ] {
            assert_eq!(count_ms(Some(&value), 60_000.0), Ok(ms), "{value}");
        }
        assert_eq!(count_ms(None, 1.0), Ok(None));
        for wrong in [json!("soon"), json!(-1), json!([]), json!(true)] {
            assert!(count_ms(Some(&wrong), 60_000.0).is_err(), "{wrong}");
        }
    }
}
