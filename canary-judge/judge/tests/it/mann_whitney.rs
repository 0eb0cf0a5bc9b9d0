//! The test of two samples, by itself.

use judge::mann_whitney::{Confidence, interval, statistic};
use serde_json::Value;

use crate::golden::{number, same};

fn sample(value: &Value) -> Vec<f64> {
    let values = value.as_array().unwrap().iter();
    values.map(|value| number(value).unwrap()).collect()
}

fn confidence(value: &Value) -> Confidence {
    match value.as_f64().unwrap() {
        0.9 => Confidence::P90,
        0.95 => Confidence::P95,
        0.98 => Confidence::P98,
        0.99 => Confidence::P99,
        other => panic!("no confidence {other}"),
    }
}

/// Where we differ from a recorded test.
pub(crate) fn wrong(record: &Value) -> Vec<String> {
    let (x, y) = (sample(&record["x"]), sample(&record["y"]));
    let mut found = Vec::new();
    let mut compare = |name: &str, ours: Option<f64>| {
        let theirs = record.get(name).and_then(number);
        let equal = match (ours, theirs) {
            (Some(a), Some(b)) => same(a, b),
            (a, b) => a.is_none() && b.is_none(),
        };
        if !equal {
            found.push(format!("{name}: {ours:?} instead of {theirs:?}"));
        }
    };
    let made = interval(&x, &y, confidence(&record["confidenceLevel"])).ok();
    // Without a value the original has no least one and fails; here whoever calls has values.
    let made = made.filter(|_| !x.is_empty() && !y.is_empty());
    compare("lowerConfidence", made.map(|made| made.lower));
    compare("upperConfidence", made.map(|made| made.upper));
    compare("estimate", made.map(|made| made.estimate));
    compare("zAtZero", statistic(&x, &y, 0.0).ok());
    found
}

#[test]
fn of_zeros_of_both_signs_the_first_is_the_end_of_the_range() {
    let lower = |x: &[f64]| interval(x, &[0.0, -3.0], Confidence::P98).unwrap().lower;
    assert_eq!(lower(&[0.0, -0.0, 5.0]).to_bits(), 0.0_f64.to_bits());
    assert_eq!(lower(&[-0.0, 0.0, 5.0]).to_bits(), (-0.0_f64).to_bits());
}

#[test]
fn what_is_all_tied_has_no_interval() {
    let tied = |x: &[f64], y: &[f64]| interval(x, y, Confidence::P98).unwrap_err().to_string();
    let text = "cannot compute confidence interval when all observations are tied";
    assert_eq!(tied(&[1.0], &[2.0]), text);
    assert_eq!(tied(&[0.0; 5], &[3.0; 4]), text);
}
