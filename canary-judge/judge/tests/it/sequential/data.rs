//! Series that are short, late, misaligned, missing or no numbers.

use judge::{Classification, Decision, MetricSetPair, Random};
use serde_json::{Value, json};

use super::{configured, increase, last, look, metric, normal, steps};
use crate::bench::{Metric, pairs};

#[test]
fn values_belong_together_by_their_times() {
    let times: Vec<i64> = (0..40).map(|step| 1_000 * step).collect();
    let swing = |step: i64| 100.0 + 50.0 * f64::from(i32::try_from(step % 7).unwrap());
    let values = |steps: &mut dyn Iterator<Item = i64>| -> Vec<f64> { steps.map(swing).collect() };
    // The baseline lacks its first three steps, and comes in another order.
    let control = values(&mut (3..40).rev());
    let control_times: Vec<i64> = (3..40).rev().map(|step| 1_000 * step).collect();
    let mut one = metric("m", &increase(), &control, &values(&mut (0..40)));
    one.pair["timestamps"] = json!({"control": control_times, "experiment": times});
    let result = last(&[one.clone()], &json!({"earlyPass": false}));
    assert_eq!(result.decision, Some(Decision::Pass), "{}", steps(&result));
    let metadata = result.results[0].result_metadata.clone().unwrap();
    assert_eq!(metadata["blocks"], 37);
    let read = &pairs(&[one.clone()]).unwrap()[0];
    let again: MetricSetPair = serde_json::from_value(json!(read)).unwrap();
    assert_eq!(&again, read, "times are written as they were read");
    one.pair["timestamps"]["control"] = json!([1, 2]);
    assert_eq!(
        pairs(&[one]).unwrap_err().to_string(),
        "metricSetPairList[0].timestamps.control is a list: give one time for each value of that side, or leave the \
         times out"
    );
}

#[test]
fn the_newest_steps_wait_until_the_store_has_settled() {
    let bad = metric("m", &increase(), &[10.0; 14], &[20.0; 14]);
    let judged = |judge: &Value, remaining: u64| {
        let config = configured(std::slice::from_ref(&bad), &json!({"g": 100.0}), judge);
        look(
            &config,
            &pairs(std::slice::from_ref(&bad)).unwrap(),
            remaining,
        )
        .unwrap()
        .decision
        .unwrap()
    };
    assert_eq!(judged(&json!({}), 5), Decision::Continue);
    assert_eq!(judged(&json!({"settle": 0}), 5), Decision::Fail);
    assert_eq!(
        judged(&json!({}), 0),
        Decision::Fail,
        "the last look is at all"
    );
}

#[test]
fn without_data_nothing_passes_and_a_metric_that_must_have_data_fails_after_its_silence() {
    let mut random = Random::new(6);
    let mut good = || normal(&mut random, 60, 100.0, 1.0);
    let nan = json!(vec!["NaN"; 60]);
    let mut judged = |options: Value, control: Value, judge: &Value| {
        let metrics = [
            metric("good", &increase(), &good(), &good()),
            Metric::new("gone", &options, &control, &control),
        ];
        last(&metrics, judge)
    };
    let result = judged(json!({}), nan.clone(), &json!({}));
    assert_eq!(
        result.decision,
        Some(Decision::Inconclusive),
        "{}",
        steps(&result)
    );
    assert_eq!(result.results[1].classification, Classification::Nodata);
    let result = judged(json!({"mustHaveData": true}), nan.clone(), &json!({}));
    assert_eq!(result.decision, Some(Decision::Fail));
    assert_eq!(
        result.results[1].classification,
        Classification::NodataFailMetric
    );
    assert!(
        steps(&result).contains("no data at step 30 of 60 of gone"),
        "{}",
        steps(&result)
    );
    let result = judged(
        json!({"mustHaveData": true}),
        nan,
        &json!({"silence": 1000}),
    );
    assert!(
        steps(&result).contains("no data after 60 steps of gone"),
        "{}",
        steps(&result)
    );
    let empty = judged(json!({"mustHaveData": true}), json!([]), &json!({}));
    assert_eq!(empty.decision, Some(Decision::Fail));
}

#[test]
fn a_metric_of_the_config_without_a_pair_keeps_the_canary_from_passing() {
    let mut random = Random::new(6);
    let mut good = || normal(&mut random, 60, 100.0, 1.0);
    let metrics = [
        metric("good", &increase(), &good(), &good()),
        metric("absent", &increase(), &[], &[]),
    ];
    let config = configured(&metrics, &json!({"g": 100.0}), &json!({}));
    let result = look(&config, &pairs(&metrics[..1]).unwrap(), 0).unwrap();
    assert_eq!(result.decision, Some(Decision::Inconclusive));
    assert!(
        steps(&result).contains("absent (no data)"),
        "{}",
        steps(&result)
    );
    let none = look(&config, &[], 0).unwrap();
    assert_eq!(none.decision, Some(Decision::Inconclusive));
}

#[test]
fn a_metric_that_must_have_data_and_has_no_pair_fails_after_its_silence() {
    let mut random = Random::new(6);
    let mut good = |count: usize| normal(&mut random, count, 100.0, 1.0);
    let must = json!({"mustHaveData": true});
    let mut judged = |count: usize, judge: &Value, remaining: u64| {
        let mut one = metric("good", &increase(), &good(count), &good(count));
        let times: Vec<usize> = (0..count).map(|step| 1_000 * step).collect();
        one.pair["timestamps"] = json!({"control": times, "experiment": times});
        let metrics = [one, metric("absent", &must, &[], &[])];
        let config = configured(&metrics, &json!({"g": 100.0}), judge);
        look(&config, &pairs(&metrics[..1]).unwrap(), remaining).unwrap()
    };
    let early = judged(31, &json!({}), 9);
    assert_eq!(early.decision, Some(Decision::Continue));
    assert!(
        steps(&early).ends_with(": absent (no data)"),
        "{}",
        steps(&early)
    );
    let told = "Canary Failed: no data at step 30 of 60 of absent, which must have data";
    let late = judged(60, &json!({}), 0);
    assert_eq!(late.decision, Some(Decision::Fail));
    assert!(steps(&late).starts_with(told), "{}", steps(&late));
    assert_eq!(late.results[0].classification, Classification::Pass);
    // Shorter than its silence: the last look finds that there never were any.
    let short = judged(20, &json!({}), 0);
    assert_eq!(short.decision, Some(Decision::Fail), "{}", steps(&short));
    let without = [metric("absent", &must, &[], &[])];
    let config = configured(&without, &json!({"g": 100.0}), &json!({}));
    let none = |remaining: u64| look(&config, &[], remaining).unwrap().decision;
    assert_eq!(none(5), Some(Decision::Continue));
    assert_eq!(none(0), Some(Decision::Fail));
}

#[test]
fn values_that_only_chance_tells_apart_never_panic_and_decide_nothing_by_infinity() {
    for values in [
        json!([]),
        json!([1.0]),
        json!(["NaN"]),
        json!(["Infinity", "-Infinity", "NaN", 1.0]),
    ] {
        for other in [
            json!([]),
            json!([2.0]),
            json!(["Infinity", "Infinity", "Infinity"]),
        ] {
            for options in [json!({}), json!({"nanStrategy": "replace"}), increase()] {
                let result = last(
                    &[Metric::new("m", &options, &values, &other)],
                    &json!({"block": 2}),
                );
                assert!(result.decision.unwrap().is_final());
            }
        }
    }
    let infinite = vec!["Infinity"; 40];
    let result = last(
        &[Metric::new(
            "m",
            &json!({}),
            &json!(infinite),
            &json!(infinite),
        )],
        &json!({}),
    );
    assert_ne!(result.decision, Some(Decision::Fail));
}

#[test]
fn constant_and_identical_values_pass() {
    for constant in [0.0, 5.0, -5.0] {
        let result = last(
            &[metric("m", &json!({}), &[constant; 30], &[constant; 30])],
            &json!({}),
        );
        assert_eq!(
            result.decision,
            Some(Decision::Pass),
            "{constant}: {}",
            steps(&result)
        );
    }
}

#[test]
fn an_offset_that_is_shorter_than_the_canary_changes_nothing_on_the_way() {
    // The baseline is watched ten steps earlier: from the eleventh step on the windows overlap.
    let of_steps = |count: usize| {
        let mut one = metric("m", &increase(), &vec![100.0; count], &vec![100.0; count]);
        let times = |offset: i64| {
            (0..count as i64)
                .map(|step| 1_000 * (step + offset))
                .collect()
        };
        let (control, experiment): (Vec<i64>, Vec<i64>) = (times(0), times(10));
        one.pair["timestamps"] = json!({"control": control, "experiment": experiment});
        one.pair["scopes"] = json!({
            "control": {"startTimeMillis": 0, "stepMillis": 1000},
            "experiment": {"startTimeMillis": 10_000, "stepMillis": 1000},
        });
        let result = last(&[one], &json!({"earlyPass": false}));
        result.results[0].result_metadata.as_ref().unwrap()["blocks"].clone()
    };
    for count in [8, 9, 10, 11, 12, 30] {
        assert_eq!(of_steps(count), json!(count), "{count} steps");
    }
}

#[test]
fn windows_of_different_days_are_compared_from_their_begins_and_late_answers_by_their_step() {
    let swing = |step: i64| 100.0 + 50.0 * f64::from(i32::try_from(step % 7).unwrap());
    let values: Vec<f64> = (0..40).map(swing).collect();
    let day = 86_400_000;
    let mut one = metric("m", &increase(), &values, &values);
    // A baseline of yesterday without its first step, and a canary that is asked 300 ms late.
    one.pair["values"]["control"] = json!(values[1..].to_vec());
    let control: Vec<i64> = (1..40).map(|step| 1_000 * step).collect();
    let experiment: Vec<i64> = (0..40).map(|step| day + 1_000 * step + 300).collect();
    one.pair["timestamps"] = json!({"control": control, "experiment": experiment});
    one.pair["scopes"] = json!({
        "control": {"startTimeMillis": 0, "stepMillis": 1000},
        "experiment": {"startTimeMillis": day, "stepMillis": 1000},
    });
    let result = last(&[one.clone()], &json!({"earlyPass": false}));
    assert_eq!(result.decision, Some(Decision::Pass), "{}", steps(&result));
    assert_eq!(
        result.results[0].result_metadata.as_ref().unwrap()["blocks"],
        39
    );
    one.pair["scopes"]["control"]["stepMillis"] = json!(60_000);
    let other = last(&[one], &json!({}));
    assert_ne!(
        other.decision,
        Some(Decision::Fail),
        "steps of other lengths have nothing in common"
    );
}

#[test]
fn a_store_that_returned_another_step_for_one_side_is_compared_where_both_have_values() {
    // By place the sides would differ at every step; by time they are equal.
    let level = |second: i64| f64::from(i32::try_from(second).unwrap());
    let control: Vec<f64> = (0..60).map(|step| level(step * 30)).collect();
    let experiment: Vec<f64> = (0..30).map(|step| level(step * 60)).collect();
    let mut one = metric("m", &json!({}), &control, &experiment);
    one.pair["scopes"] = json!({
        "control": {"startTimeMillis": 0, "stepMillis": 30_000},
        "experiment": {"startTimeMillis": 0, "stepMillis": 60_000},
    });
    let result = last(&[one], &json!({"earlyPass": false}));
    assert_eq!(result.decision, Some(Decision::Pass), "{}", steps(&result));
    assert_eq!(
        result.results[0].result_metadata.as_ref().unwrap()["blocks"],
        30
    );
}

#[test]
fn misaligned_series_without_a_common_step_decide_nothing_and_are_told() {
    let (one, none) = (
        json!([1.0, "NaN", 1.0, "NaN"]),
        json!(["NaN", 9.0, "NaN", 9.0]),
    );
    let result = last(&[Metric::new("m", &json!({}), &one, &none)], &json!({}));
    assert_eq!(result.decision, Some(Decision::Inconclusive));
    let told = "metric \"m\" has 4 steps and none with values on both sides: look whether both have data, and at the same times";
    assert_eq!(result.warnings, [told]);
}
