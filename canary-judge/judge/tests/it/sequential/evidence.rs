//! When it decides, and what it says then.

use judge::{Classification, Decision, Random};
use serde_json::{Value, json};

use super::{configured, increase, last, look, metric, normal, steps};
use crate::bench::{Metric, pairs};

#[test]
fn a_bad_canary_fails_after_a_dozen_steps_and_says_by_how_much() {
    let mut random = Random::new(2);
    let (control, experiment) = (vec![10.0; 40], normal(&mut random, 40, 20.0, 1.0));
    let bad = metric("latency", &increase(), &control, &experiment);
    let result = last(&[bad], &json!({}));
    assert_eq!(result.decision, Some(Decision::Fail), "{}", steps(&result));
    assert_eq!(result.score.score, 0.0);
    assert_eq!(result.score.classification, "Fail");
    let found = &result.results[0];
    assert_eq!(found.classification, Classification::High);
    assert!(
        steps(&result).contains("at step 14 of 40: latency was classified as High: +98.7 %"),
        "{}",
        steps(&result)
    );
    let metadata = found.result_metadata.as_ref().unwrap();
    assert_eq!(metadata["decision"], "FAIL");
    assert_eq!(metadata["blocks"], json!(14), "those that decided");
    assert!((metadata["ratio"].as_f64().unwrap() - 2.0).abs() < 0.1);
    assert!(metadata["ciLow"].as_f64().unwrap() > 1.8);
    assert!(metadata["eValue"].as_f64().unwrap() >= 100.0);
    assert!(metadata["pValue"].as_f64().unwrap() <= 0.01);
    let few = metric("latency", &increase(), &control[..11], &experiment[..11]);
    let config = configured(
        std::slice::from_ref(&few),
        &json!({"g": 100.0}),
        &json!({"settle": 0}),
    );
    let result = look(&config, &pairs(&[few]).unwrap(), 1).unwrap();
    assert_eq!(
        result.decision,
        Some(Decision::Continue),
        "{}",
        steps(&result)
    );
    assert_eq!(
        (result.score.score, result.score.classification.as_str()),
        (75.0, "Marginal")
    );
}

#[test]
fn equal_metrics_pass_early_and_say_when() {
    let mut random = Random::new(1);
    let mut side = || normal(&mut random, 60, 100.0, 5.0);
    let result = last(
        &[metric("latency", &increase(), &side(), &side())],
        &json!({}),
    );
    assert_eq!(result.decision, Some(Decision::Pass), "{}", steps(&result));
    assert!(steps(&result).contains("at step 1"), "{}", steps(&result));
    assert_eq!(
        (result.score.score, result.score.classification.as_str()),
        (100.0, "Pass")
    );
    let late = last(
        &[metric("latency", &increase(), &side(), &side())],
        &json!({"earlyPass": false}),
    );
    assert!(steps(&late).contains("after 60 steps"), "{}", steps(&late));
}

#[test]
fn what_is_between_both_margins_is_inconclusive_and_says_how_much_more_it_takes() {
    let mut random = Random::new(5);
    let control = normal(&mut random, 40, 100.0, 20.0);
    let experiment = normal(&mut random, 40, 112.0, 20.0);
    let result = last(
        &[metric("latency", &increase(), &control, &experiment)],
        &json!({"earlyPass": false}),
    );
    assert_eq!(
        result.decision,
        Some(Decision::Inconclusive),
        "{}",
        steps(&result)
    );
    assert_eq!(
        (result.score.score, result.score.classification.as_str()),
        (75.0, "Marginal")
    );
    assert!(
        steps(&result).contains("more steps if it goes on like this"),
        "{}",
        steps(&result)
    );
}

#[test]
fn the_data_of_spinnaker_6278_fail() {
    let control = [1.0; 10];
    let (high, low) = (100.0, 1.0);
    let experiment = [high, low, high, high, low, high, high, low, high, high];
    let free = json!({"direction": "increase", "effectSize": {"allowedIncrease": 1.0}});
    for options in [increase(), json!({}), free] {
        let result = last(
            &[metric("latency", &options, &control, &experiment)],
            &json!({}),
        );
        assert_eq!(
            result.decision,
            Some(Decision::Fail),
            "{options}: {}",
            steps(&result)
        );
        assert_eq!(result.results[0].classification, Classification::High);
        let told = "7 of 10 values of the canary lie above every value of the baseline";
        assert!(steps(&result).contains(told), "{}", steps(&result));
    }
}

#[test]
fn metrics_that_the_other_judge_is_blind_for_are_seen() {
    // Negative, zero-centred, tiny, infinite.
    let mut random = Random::new(8);
    for (mean, sd, shift) in [(-100.0, 10.0, 25.0), (0.0, 1.0, 3.0), (1e-6, 1e-7, 3e-7)] {
        let control = normal(&mut random, 60, mean, sd);
        let experiment = normal(&mut random, 60, mean + shift, sd);
        let result = last(
            &[metric("m", &increase(), &control, &experiment)],
            &json!({}),
        );
        assert_eq!(
            result.decision,
            Some(Decision::Fail),
            "{mean}: {}",
            steps(&result)
        );
    }
    let mut infinite = vec![200.0; 60];
    infinite[50] = f64::INFINITY;
    let infinite: Value = infinite
        .iter()
        .map(|value| {
            if value.is_finite() {
                json!(value)
            } else {
                json!("Infinity")
            }
        })
        .collect();
    let result = last(
        &[Metric::new(
            "m",
            &increase(),
            &json!(vec![100.0; 60]),
            &infinite,
        )],
        &json!({}),
    );
    assert_eq!(result.decision, Some(Decision::Fail));
}

#[test]
fn a_swing_that_both_sides_share_hides_nothing() {
    let mut random = Random::new(3);
    let swing = |step: usize| 100.0 + 30.0 * (step as f64 / 60.0 * std::f64::consts::TAU).sin();
    let control: Vec<f64> = (0..60)
        .map(|step| swing(step) + 2.0 * random.gaussian())
        .collect();
    let experiment: Vec<f64> = (0..60)
        .map(|step| swing(step) + 11.0 + 2.0 * random.gaussian())
        .collect();
    let result = last(
        &[metric("m", &increase(), &control, &experiment)],
        &json!({}),
    );
    assert_eq!(result.decision, Some(Decision::Fail), "{}", steps(&result));
}

#[test]
fn looking_after_each_step_finds_what_one_late_look_finds() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let control = normal(&mut random, 60, 100.0, 10.0);
        let shift = if seed % 2 == 0 { 0.0 } else { 15.0 };
        let experiment = normal(&mut random, 60, 100.0 + shift, 10.0);
        let settle = json!({"settle": 0});
        let at = |steps: usize, remaining: u64| {
            let part = [metric(
                "m",
                &json!({}),
                &control[..steps],
                &experiment[..steps],
            )];
            let config = configured(&part, &json!({"g": 100.0}), &settle);
            look(&config, &pairs(&part).unwrap(), remaining).unwrap()
        };
        let first = (1..60).find(|steps| at(*steps, 1).decision.unwrap().is_final());
        let late = at(60, 0);
        match first {
            None => assert!(
                matches!(late.decision, Some(Decision::Inconclusive))
                    || steps(&late).contains("after 60")
            ),
            Some(first) => {
                assert_eq!(at(first, 1).decision, late.decision, "seed {seed}");
                assert!(
                    steps(&late).contains(&format!("at step {first} of 60")),
                    "{first}: {}",
                    steps(&late)
                );
            }
        }
    }
}
