//! From classifications to the score.

use judge::{Classification, JudgeResult};
use serde_json::{Value, json};

use crate::bench::{Metric, judged};

/// A metric that is found to be so.
fn metric(name: &str, kind: Classification, options: Value) -> Metric {
    let low: Vec<f64> = (0..20).map(f64::from).collect();
    let high: Vec<f64> = (100..120).map(f64::from).collect();
    let (control, experiment) = match kind {
        Classification::Pass => (json!(low), json!(low)),
        Classification::High => (json!(low), json!(high)),
        Classification::Low => (json!(high), json!(low)),
        _ => (json!([]), json!(low)),
    };
    Metric::new(name, &options, &control, &experiment)
}

fn pass(name: &str) -> Metric {
    metric(name, Classification::Pass, json!({}))
}

fn high(name: &str) -> Metric {
    metric(name, Classification::High, json!({}))
}

fn nodata(name: &str) -> Metric {
    metric(name, Classification::Nodata, json!({}))
}

fn score(result: &JudgeResult) -> (f64, &str, &str) {
    let score = &result.score;
    (
        score.score,
        &score.classification,
        &score.classification_reason,
    )
}

fn group(result: &JudgeResult, name: &str) -> f64 {
    let found = result.group_scores.iter().find(|group| group.name == name);
    found.unwrap().score
}

#[test]
fn weights_that_do_not_add_up_are_taken_as_they_are() {
    let metrics = [
        pass("a").groups(&["a"]),
        high("b").groups(&["b"]),
        pass("c").groups(&["c"]),
    ];
    let cases = [
        // Above 100: what is left for c is negative.
        (json!({"a": 80.0, "b": 80.0}), 20.0),
        // Below 100: c gets the rest.
        (json!({"a": 10.0, "b": 20.0}), 80.0),
        // Below 100 with no group left to get it.
        (json!({"a": 10.0, "b": 10.0, "c": 10.0}), 20.0),
        // A group that has no result takes its weight away.
        (json!({"a": 20.0, "b": 20.0, "c": 20.0, "gone": 40.0}), 40.0),
        // One that takes all leaves nothing to the others.
        (json!({"a": 100.0}), 100.0),
        (json!({"b": 100.0}), 0.0),
        (json!({"a": 250.0, "b": 0.0, "c": 0.0}), 250.0),
        (json!({}), 66.67),
        (json!(null), 66.67),
        (json!({"a": null, "b": "50"}), 50.0),
    ];
    for (weights, expected) in cases {
        let result = judged(&metrics, &weights).unwrap();
        assert_eq!(result.score.score, expected, "{weights}");
    }
}

#[test]
fn nothing_is_scored_without_classifier_or_groups_lists() {
    let mut config = crate::bench::config(&[pass("a")], &json!({}));
    config["classifier"] = Value::Null;
    let answer = judge::offline::answer(
        json!({"id": 1, "canaryConfig": config, "scoreThresholds": {}, "metricSetPairList": []}),
        false,
    );
    assert_eq!(
        answer["error"]["message"],
        "canaryConfig.classifier is missing: give an object with groupWeights, which may be empty"
    );
    let mut none = pass("a");
    none.config["groups"] = Value::Null;
    assert_eq!(
        judged(&[none.clone()], &json!({})).unwrap_err().to_string(),
        "groups of metric \"a\" is missing: give a list, which may be empty"
    );
    // A muted metric is never asked for its groups.
    none.config["analysisConfigurations"]["canary"]["muted"] = json!(true);
    assert!(judged(&[none], &json!({})).is_ok());
}

#[test]
fn a_group_counts_what_passes_among_what_counts() {
    let failing = metric("m", Classification::Nodata, json!({"mustHaveData": true}));
    let result = judged(
        &[pass("a"), pass("b"), high("c"), failing, nodata("n")],
        &json!({}),
    );
    let result = result.unwrap();
    assert_eq!(group(&result, "g"), 50.0);
    assert_eq!(score(&result), (50.0, "Fail", ""));
}

#[test]
fn a_group_without_data_is_reported_as_zero_and_counted_in_full() {
    let metrics = [
        pass("a").groups(&["a"]),
        pass("b").groups(&["a"]),
        nodata("n").groups(&["n"]),
    ];
    let result = judged(&metrics, &json!({"a": 50.0, "n": 50.0})).unwrap();
    assert_eq!((group(&result, "a"), group(&result, "n")), (100.0, 0.0));
    assert_eq!(score(&result), (100.0, "Pass", ""));
}

#[test]
fn half_of_the_metrics_without_data_fail_the_canary() {
    let reason = "Canary Failed: 50% or more metrics returned NODATA";
    let result = judged(&[pass("a"), nodata("b")], &json!({})).unwrap();
    assert_eq!(score(&result), (0.0, "Fail", reason));
    let result = judged(&[pass("a"), pass("b"), nodata("c")], &json!({})).unwrap();
    assert_eq!(score(&result), (100.0, "Pass", ""));
}

#[test]
fn the_first_critical_failure_names_the_reason() {
    let critical = |name, kind| metric(name, kind, json!({"critical": true}));
    let result = judged(
        &[
            pass("a"),
            pass("b"),
            critical("c", Classification::Low),
            critical("d", Classification::Nodata),
        ],
        &json!({}),
    );
    let result = result.unwrap();
    let reason = "Canary Failed: The metric c was classified as Low (Critical)";
    assert_eq!(score(&result), (0.0, "Fail", reason));
    assert_eq!(group(&result, "g"), 2.0 / 3.0 * 100.0);
}

#[test]
fn a_muted_metric_is_reported_and_not_scored() {
    let muted = metric(
        "b",
        Classification::High,
        json!({"muted": true, "critical": true}),
    );
    let result = judged(&[pass("a"), muted.groups(&["other"])], &json!({})).unwrap();
    assert_eq!(score(&result), (100.0, "Pass", ""));
    assert_eq!(result.group_scores.len(), 1);
    assert!(result.results[1].muted && result.results[1].critical);
}

#[test]
fn no_results_are_a_score_of_zero() {
    assert_eq!(
        score(&judged(&[], &json!({"g": 100.0})).unwrap()),
        (0.0, "Fail", "")
    );
    let alone = judged(&[pass("a").groups(&[])], &json!({"g": 100.0})).unwrap();
    assert_eq!(score(&alone), (0.0, "Fail", ""));
    assert!(alone.group_scores.is_empty());
}

#[test]
fn a_metric_counts_in_each_of_its_groups() {
    let metrics = [pass("a").groups(&["x", "y"]), high("b").groups(&["y"])];
    let result = judged(&metrics, &json!({})).unwrap();
    assert_eq!((group(&result, "x"), group(&result, "y")), (100.0, 50.0));
    assert_eq!(score(&result), (75.0, "Marginal", ""));
}
