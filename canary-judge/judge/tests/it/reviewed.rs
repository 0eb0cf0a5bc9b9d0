//! What is said beside a judgement: blind spots, and what the second judge says.

use judge::{
    CanaryConfig, Classification, Decision, Judge, JudgeResult, NetflixAca, Noise, Outlook, Random,
    reviewed,
};
use serde_json::{Value, json};

use crate::bench::{Metric, THRESHOLDS, config, pairs};
use crate::sequential::normal;

fn review(metrics: &[Metric], weights: &Value, judge: &Value) -> JudgeResult {
    let mut document = config(metrics, weights);
    document["judge"] = judge.clone();
    let config = CanaryConfig::read(document).unwrap();
    let (pairs, mut noise) = (pairs(metrics).unwrap(), Noise::of_pairs());
    reviewed(&config, THRESHOLDS, &pairs, &mut noise, Outlook::default()).unwrap()
}

fn compatible() -> Value {
    json!({"name": "NetflixACAJudge-v1.0"})
}

/// The warnings of one metric `m`.
fn warnings(options: &Value, control: &Value, experiment: &Value) -> Vec<String> {
    let metric = Metric::new("m", options, control, experiment);
    review(&[metric], &json!({"g": 100.0}), &compatible()).warnings
}

fn told(options: &Value, control: &Value, experiment: &Value, expected: &str) {
    let found = warnings(options, control, experiment);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(
        found[0].starts_with("metric \"m\": ") && found[0].contains(expected),
        "{found:#?}"
    );
}

#[test]
fn an_ordinary_judgement_has_no_warning_and_is_as_it_was() {
    let mut random = Random::new(1);
    let mut side = || json!(normal(&mut random, 60, 100.0, 5.0));
    let metrics = [Metric::new("m", &json!({}), &side(), &side())];
    let result = review(&metrics, &json!({"g": 100.0}), &compatible());
    let config = CanaryConfig::read(config(&metrics, &json!({"g": 100.0}))).unwrap();
    let plain = NetflixAca.judge(
        &config,
        THRESHOLDS,
        &pairs(&metrics).unwrap(),
        &mut Noise::of_pairs(),
    );
    assert_eq!(result, plain.unwrap());
    let text = serde_json::to_string(&result).unwrap();
    assert!(
        !text.contains("warnings") && !text.contains("decision") && !text.contains("comparison")
    );
}

#[test]
fn each_blind_spot_is_told_when_the_values_lie_in_it() {
    let mut random = Random::new(7);
    let mut draw = |mean: f64, sd: f64| normal(&mut random, 60, mean, sd);
    let none = json!({});
    told(
        &none,
        &json!([1.0, 2.0, 3.0]),
        &json!([1.5, 2.5, 3.5]),
        "a side has only 3 of the 5 values it takes",
    );
    told(
        &none,
        &json!(draw(-100.0, 5.0)),
        &json!(draw(-98.0, 5.0)),
        "negative or about zero",
    );
    told(
        &none,
        &json!(draw(0.0, 1.0)),
        &json!(draw(0.0, 1.0)),
        "negative or about zero",
    );
    told(
        &none,
        &json!(draw(1e-6, 1e-7)),
        &json!(draw(2e-6, 1e-7)),
        "the tolerance of the root finder",
    );
    let mut infinite = json!(draw(100.0, 5.0));
    infinite[3] = json!("Infinity");
    told(
        &none,
        &json!(draw(100.0, 5.0)),
        &infinite,
        "a value is infinite, with which most comparisons pass",
    );
    let events = |every: usize| -> Vec<f64> {
        (0..60)
            .map(|step| if step % every == 0 { 1.0 } else { 0.0 })
            .collect()
    };
    told(&none, &json!(events(20)), &json!(events(5)), "rare events");
    let mut varied = draw(100.0, 1.0);
    varied
        .iter_mut()
        .for_each(|value| *value = 100.0 + (*value - 100.0) * 4.0);
    let options = json!({"direction": "decrease", "effectSize": {"allowedDecrease": 0.5}});
    let mut mixed = warnings(&options, &json!(draw(100.0, 1.0)), &json!(varied));
    assert!(mixed.remove(0).contains("values of the canary lie below"));
    let same = json!(draw(100.0, 5.0));
    told(&none, &same, &same, "the same values in the same order");
    let mut gaps = json!(draw(100.0, 5.0));
    (0..20).for_each(|step| gaps[step * 3] = json!("NaN"));
    told(
        &none,
        &json!(draw(100.0, 5.0)),
        &gaps,
        "33 % of the values of a side are missing and left out",
    );
    let found = warnings(&none, &json!([]), &json!(draw(1.0, 1.0)));
    let expected = [
        "metric \"m\": it has no data, which counts as if it passed",
        "group \"g\" has no data and counts as 100",
    ];
    assert_eq!(found, expected);
    let found = warnings(&none, &json!([1.0]), &json!([2.0])).join(", ");
    assert!(
        found.contains("could not be compared, which counts as if it passed"),
        "{found}"
    );
}

#[test]
fn a_canary_that_varies_more_is_told() {
    let control: Vec<f64> = (0..60).map(|step| 100.0 + f64::from(step % 5)).collect();
    let experiment: Vec<f64> = (0..60)
        .map(|step| 102.0 + 6.0 * f64::from(step % 7 - 3))
        .collect();
    let found = warnings(
        &json!({"direction": "increase"}),
        &json!(control),
        &json!(experiment),
    );
    assert!(found[0].contains("lie above every value"), "{found:#?}");
    let wide: Vec<f64> = (0..60)
        .map(|step| {
            if step == 0 {
                60.0
            } else {
                102.0 + f64::from(step % 3 - 1)
            }
        })
        .collect();
    told(
        &json!({"direction": "increase"}),
        &json!(control),
        &json!(wide),
        "vary 3.",
    );
}

#[test]
fn correlated_noise_is_told() {
    let mut random = Random::new(3);
    let mut wander = |level: f64| -> Value {
        let mut noise = 0.0;
        let step = |_| {
            noise = 0.9 * noise + random.gaussian();
            level + noise
        };
        (0..400).map(step).collect()
    };
    let (control, experiment) = (wander(100.0), wander(100.0));
    let found = warnings(&json!({}), &control, &experiment);
    assert!(
        found
            .iter()
            .any(|told| told.contains("lag-1 autocorrelation 0.")),
        "{found:#?}"
    );
}

#[test]
fn the_compatible_judge_passes_spinnaker_6278_with_warnings() {
    let (high, low) = (100.0, 1.0);
    let experiment = json!([high, low, high, high, low, high, high, low, high, high]);
    let metric = Metric::new("m", &json!({}), &json!(vec![1.0; 10]), &experiment);
    let asked = json!({"name": "NetflixACAJudge-v1.0", "judgeConfigurations": {"compare": true}});
    let result = review(std::slice::from_ref(&metric), &json!({"g": 100.0}), &asked);
    assert_eq!(
        (result.score.score, result.score.classification.as_str()),
        (100.0, "Pass")
    );
    let all = result.warnings.join("\n");
    assert!(
        all.contains(
            "7 of 10 values of the canary lie above every value of the baseline, and it passes"
        ),
        "{all}"
    );
    assert!(
        all.contains("SequentialJudge-v1.0 disagrees: it says FAIL: Canary Failed"),
        "{all}"
    );
    assert_eq!(result.comparison.unwrap().decision, Some(Decision::Fail));
    let result = review(
        &[metric],
        &json!({"g": 100.0}),
        &json!({"name": "SequentialJudge-v1.0"}),
    );
    assert_eq!(result.decision, Some(Decision::Fail));
    let all = result.warnings.join("\n");
    assert!(
        all.contains("NetflixACAJudge-v1.0 disagrees: it says Pass with a score of 100"),
        "{all}"
    );
}

#[test]
fn a_second_judge_that_cannot_look_is_a_warning() {
    let asked = json!({"name": "NetflixACAJudge-v1.0", "judgeConfigurations": {"compare": true}});
    let options = json!({"effectSize": {"allowedIncrease": 0.1}});
    let metric = Metric::new(
        "m",
        &options,
        &json!([5.0, 6.0, 7.0, 5.5, 6.5]),
        &json!([5.0, 6.1, 7.0, 5.5, 6.5]),
    );
    let result = review(&[metric], &json!({"g": 100.0}), &asked);
    assert!(
        result.warnings[0].starts_with("SequentialJudge-v1.0 could not look beside this judge: "),
        "{:?}",
        result.warnings
    );
    assert_eq!(result.comparison, None);
}

#[test]
fn weights_with_which_a_score_is_not_what_it_seems_are_told() {
    let mut random = Random::new(1);
    let mut side = || json!(normal(&mut random, 60, 100.0, 5.0));
    let metrics = [
        Metric::new("a", &json!({}), &side(), &side()).groups(&["a"]),
        Metric::new("b", &json!({}), &side(), &side()).groups(&["b"]),
    ];
    let found = |weights: Value| review(&metrics, &weights, &compatible()).warnings;
    assert_eq!(found(json!({"a": 60.0, "b": 40.0})), Vec::<String>::new());
    assert_eq!(
        found(json!({"a": 60.0})),
        Vec::<String>::new(),
        "b has what is left"
    );
    let told = "groupWeights add up to 90, not 100: the score does not go from 0 to 100";
    assert_eq!(found(json!({"a": 50.0, "b": 40.0})), [told]);
    let told = "group \"gone\" has weight 10 and no result: the score cannot reach 100";
    assert_eq!(found(json!({"a": 50.0, "b": 40.0, "gone": 10.0})), [told]);
}

#[test]
fn a_review_and_a_calibration_can_be_asked_for_offline() {
    let metric = Metric::new(
        "m",
        &json!({}),
        &json!(vec![10.0; 20]),
        &json!(vec![20.0; 20]),
    );
    let mut config = config(std::slice::from_ref(&metric), &json!({"g": 100.0}));
    config["judge"] = json!({"name": "SequentialJudge-v1.0"});
    let question = json!({
        "id": 7, "canaryConfig": config, "scoreThresholds": {"pass": 95, "marginal": 75},
        "metricSetPairList": [metric.pair], "remaining": 10,
    });
    let told = json!(judge::offline::review(question.clone()));
    assert_eq!(
        (&told["id"], &told["result"]["decision"]),
        (&json!(7), &json!("FAIL"))
    );
    assert_eq!(told["result"]["decisionSteps"], 15);
    let warnings = told["result"]["warnings"].to_string();
    assert!(
        warnings.contains("nobody gave a block length"),
        "{warnings}"
    );
    let mut wrong = question.clone();
    wrong["remaining"] = json!("many");
    let told = json!(judge::offline::review(wrong));
    let message = "remaining is \"many\": give the number of steps that are still to come, 0 for the last look";
    assert_eq!(told["error"]["message"], message);
    let told = json!(judge::offline::calibrate(question));
    let refused = told["calibration"][0]["refused"].as_str().unwrap();
    assert!(
        refused.starts_with("20 steps with values on both sides are too few"),
        "{refused}"
    );
    let values: Vec<f64> = (0..100).map(|step| f64::from(step * 37 % 101)).collect();
    let metric = Metric::new("m", &json!({}), &json!(vec![50.0; 100]), &json!(values));
    let told = json!(judge::offline::calibrate(
        json!({"canaryConfig": config, "metricSetPairList": [metric.pair]})
    ));
    assert_eq!(told["calibration"][0]["block"], 1);
}

#[test]
fn an_infinity_with_which_a_metric_is_high_is_not_said_to_pass() {
    let metric = Metric::new("m", &json!({}), &json!([5.0]), &json!(["Infinity", 14.0]));
    let result = review(&[metric], &json!({"g": 100.0}), &compatible());
    assert_eq!(result.results[0].classification, Classification::High);
    let told = "metric \"m\": a value is infinite, with which most comparisons pass";
    assert!(
        result.warnings.iter().any(|warning| warning == told),
        "{:?}",
        result.warnings
    );
}
