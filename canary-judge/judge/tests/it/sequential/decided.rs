//! What is told of a decision is of the steps that it was made by.

use judge::{Classification, Decision, JudgeResult};
use serde_json::{Value, json};

use super::{configured, increase, last, look, metric, refusal, steps};
use crate::bench::{Metric, pairs};

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
fn of_what_counts_the_rates_are_told_and_not_how_many() {
    let options = json!({"direction": "increase", "sequential": {"requests": "requests"}});
    // Half of the errors, of a tenth of the requests.
    let metrics = [
        metric("errors", &options, &[20.0; 20], &[10.0; 20]),
        metric("requests", &json!({}), &[1000.0; 20], &[100.0; 20]),
    ];
    let result = last(&metrics, &json!({"settle": 0}));
    assert_eq!(result.results[0].classification, Classification::High);
    let told = ["controlRate", "experimentRate", "ratio"].map(|name| field(&result, name));
    assert_eq!(told, [&json!(0.02), &json!(0.1), &json!(5.0)]);
    let plain = &result.results[1].result_metadata.as_ref().unwrap();
    assert_eq!(plain.get("controlRate"), None);
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

#[test]
fn without_a_single_value_no_number_of_steps_is_in_sight() {
    let (nan, values) = (json!(vec!["NaN"; 500]), json!(vec![1.0; 500]));
    let counted = json!({"sequential": {"requests": "requests"}});
    let none = json!([]);
    for (options, control, experiment) in [
        (increase(), &nan, &nan),
        (increase(), &values, &nan),
        (increase(), &none, &none),
        (counted, &values, &values),
    ] {
        let metrics = [
            Metric::new("m", &options, control, experiment),
            Metric::new("requests", &json!({"muted": true}), &none, &none),
        ];
        let config = configured(&metrics, &json!({"g": 100.0}), &json!({}));
        let result = look(&config, &pairs(&metrics[..1]).unwrap(), 0).unwrap();
        let told = "m (safe 1.000 of 20.0, worse 1.000 of 100; no number of steps is in sight)";
        assert!(
            steps(&result).ends_with(told),
            "{options}: {}",
            steps(&result)
        );
    }
    // Before the first step, and while the first block is filled, it takes what it takes.
    for (count, block) in [(0, 1), (3, 5)] {
        let begun = metric("m", &increase(), &vec![1.0; count], &vec![1.0; count]);
        let judge = json!({"block": block, "settle": 0});
        let config = configured(std::slice::from_ref(&begun), &json!({"g": 100.0}), &judge);
        let result = look(&config, &pairs(&[begun]).unwrap(), 9).unwrap();
        let told = format!("about {} more steps if it goes on like this", 10 * block);
        assert!(steps(&result).contains(&told), "{}", steps(&result));
    }
}

#[test]
fn metrics_that_are_counted_by_each_other_are_refused() {
    let by = |name: &str| json!({"sequential": {"requests": name}});
    let one = |name: &str, by: &Value| metric(name, by, &[1.0], &[1.0]);
    let refused = |metrics: &[Metric]| {
        let config = configured(metrics, &json!({"g": 100.0}), &json!({}));
        let saved = judge::validate::for_saving(&config).unwrap_err();
        let refused = refusal(metrics, &json!({"g": 100.0}), &json!({}));
        assert_eq!(saved.to_string(), refused);
        refused
    };
    let at = "analysisConfigurations.canary.sequential.requests of metric";
    let itself = refused(&[one("m", &by("m"))]);
    assert!(
        itself.starts_with(&format!(
            "{at} \"m\" is \"m\": give the name of another metric"
        )),
        "{itself}"
    );
    let told = "give a metric that is not counted by this one in turn, or neither is judged";
    let pair = [one("m", &by("r")), one("r", &by("m"))];
    assert_eq!(refused(&pair), format!("{at} \"m\" is \"r\": {told}"));
    let ring = [
        one("a", &by("b")),
        one("b", &by("c")),
        one("c", &by("d")),
        one("d", &by("b")),
    ];
    assert_eq!(refused(&ring), format!("{at} \"b\" is \"c\": {told}"));
    // A denominator may be one that is counted by a third.
    let chain = [one("m", &by("r")), one("r", &by("s")), one("s", &json!({}))];
    assert!(last(&chain, &json!({})).decision.is_some());
}
