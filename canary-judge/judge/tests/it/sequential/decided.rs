//! What is told of a decision is of the steps that it was made by.

use judge::{Classification, Decision, JudgeResult};
use serde_json::{Value, json};

use super::{increase, last, metric, steps};

/// Values that turn from one level to another.
fn turning(levels: &[(f64, usize)]) -> Vec<f64> {
    let parts = levels
        .iter()
        .map(|(level, count)| vec![*level; *count].into_iter());
    parts.flatten().collect()
}

/// What `resultMetadata` of the first metric has.
fn field<'a>(result: &'a JudgeResult, name: &str) -> &'a Value {
    &result.results[0].result_metadata.as_ref().unwrap()[name]
}

#[test]
fn a_canary_that_turns_after_it_failed_is_told_as_it_was_when_it_failed() {
    let either = json!({"direction": "either"});
    let judge = json!({"settle": 0});
    let experiment = turning(&[(150.0, 20), (50.0, 40)]);
    let judged = |count: usize| {
        let values = &experiment[..count];
        last(&[metric("m", &either, &vec![100.0; count], values)], &judge)
    };
    let (early, late) = (judged(20), judged(60));
    assert_eq!(late.decision, Some(Decision::Fail));
    assert_eq!(late.results[0].classification, Classification::High);
    assert!(
        steps(&late).contains("at step 15 of 60: m was classified as High: +50.0 %, 150 on"),
        "{}",
        steps(&late)
    );
    let (early, late) = (
        &early.results[0].result_metadata,
        &late.results[0].result_metadata,
    );
    assert_eq!(early, late, "what came after the decision changes nothing");
    assert_eq!(late.as_ref().unwrap()["blocks"], 15);
    assert_eq!(late.as_ref().unwrap()["ratio"], json!(1.5));
}

#[test]
fn counts_that_turn_after_they_failed_are_told_as_they_were_when_they_failed() {
    let options = json!({"direction": "either", "sequential": {"requests": "requests"}});
    let metrics = [
        metric(
            "errors",
            &options,
            &[20.0; 60],
            &turning(&[(60.0, 4), (0.0, 56)]),
        ),
        metric("requests", &json!({}), &[1000.0; 60], &[1000.0; 60]),
    ];
    let result = last(&metrics, &json!({"settle": 0}));
    assert!(
        steps(&result).contains("at step 1 of 60: errors was classified as High: +200.0 %"),
        "{}",
        steps(&result)
    );
    assert_eq!(field(&result, "blocks"), 1);
    assert_eq!(field(&result, "ratio"), &json!(3.0));
}

#[test]
fn whether_noise_could_be_seen_to_be_correlated_is_asked_when_it_fails() {
    for count in [20, 31, 33, 60] {
        let bad = metric("m", &increase(), &vec![10.0; count], &vec![20.0; count]);
        let result = last(&[bad], &json!({"settle": 0}));
        let told = result.warnings.first().map(String::as_str);
        let told = told.unwrap_or_default();
        assert!(
            told.starts_with("metric \"m\" failed after 13 steps, too few to see"),
            "{count}: {told:?}"
        );
    }
}
