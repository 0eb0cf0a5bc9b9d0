//! Good canaries: they rarely fail, if blocks are as long as their noise asks for, and often if they are not. `make
//! canary-figures` does the same with 20,000.

use judge::sequential::{Uncalibrated, block_for};
use judge::{Decision, Random};
use serde_json::json;

use super::{configured, increase, last, look, metric};
use crate::bench::pairs;

/// Both sides alike: noise of this autocorrelation on a swing that they share.
fn wandering(coefficient: f64, steps: usize, random: &mut Random) -> (Vec<f64>, Vec<f64>) {
    let fresh = (1.0 - coefficient * coefficient).sqrt();
    let mut noise = [random.gaussian(), random.gaussian()];
    let step = |step: usize| {
        let swing = 100.0 + 30.0 * (step as f64 / 1440.0 * std::f64::consts::TAU).sin();
        noise = noise.map(|noise| coefficient * noise + fresh * random.gaussian());
        (swing + 10.0 * noise[0], swing + 10.0 * noise[1])
    };
    (0..steps).map(step).unzip()
}

/// How many of `runs` good canaries fail with blocks of `block`, watched at each of 480 steps.
fn failures(coefficient: f64, block: usize, runs: i64) -> usize {
    failures_of(coefficient, block, 480, runs)
}

fn failures_of(coefficient: f64, block: usize, steps: usize, runs: i64) -> usize {
    let options = json!({"direction": "increase", "effectSize": {"allowedIncrease": 1.0}});
    let judge = json!({"earlyPass": false, "block": block});
    let fails = |seed: &i64| {
        let mut random = Random::new(seed * 7_919 + 1);
        let (canary, baseline) = wandering(coefficient, steps, &mut random);
        let result = last(&[metric("m", &options, &baseline, &canary)], &judge);
        result.decision == Some(Decision::Fail)
    };
    (0..runs).filter(fails).count()
}

#[test]
fn few_good_canaries_fail_with_a_block_that_is_long_enough() {
    // One in a hundred of 300, and three standard errors.
    let (independent, wandering) = (failures(0.0, 1, 300), failures(0.8, 25, 300));
    assert!(
        independent <= 8 && wandering <= 8,
        "{independent} {wandering}"
    );
}

#[test]
fn few_good_canaries_fail_that_are_too_short_for_evidence() {
    // What the last look finds instead counts blocks too: steps of a block depend on one another.
    for steps in [60, 100, 240] {
        let failed = failures_of(0.8, 25, steps, 300);
        assert!(failed <= 8, "{failed} of 300 after {steps} steps");
    }
}

#[test]
fn many_good_canaries_fail_with_blocks_of_one_step_and_wandering_noise() {
    // The control: without calibration the promise is broken, and this test would see it.
    let failed = failures(0.8, 1, 200);
    assert!(failed >= 30, "{failed}");
}

#[test]
fn a_block_is_as_long_as_the_noise_asks_for() {
    let mut random = Random::new(11);
    let mut block = |coefficient: f64, steps: usize| {
        let (canary, baseline) = wandering(coefficient, steps, &mut random);
        let sides: Vec<(f64, f64)> = canary.into_iter().zip(baseline).collect();
        block_for(&sides)
    };
    let independent = block(0.0, 10_080).unwrap();
    assert_eq!(
        independent.block, 1,
        "a swing that both share asks for nothing"
    );
    let wandering = block(0.8, 10_080).unwrap();
    assert!((15..=60).contains(&wandering.block), "{wandering:?}");
    assert!(wandering.autocorrelation <= 0.12 && (0.75..0.85).contains(&wandering.of_steps));
    assert_eq!(block(0.8, 20), Err(Uncalibrated::TooShort { steps: 20 }));
    let refused = block(0.999, 2_000).unwrap_err().to_string();
    assert!(refused.starts_with("block refused: even blocks of 66 steps have differences with a lag-1 autocorrelation of 0."), "{refused}");
}

#[test]
fn each_metric_of_a_config_is_calibrated() {
    let mut random = Random::new(12);
    let metrics: Vec<_> = [("calm", 0.0), ("wild", 0.8)]
        .into_iter()
        .map(|(name, coefficient)| {
            let (canary, baseline) = wandering(coefficient, 10_080, &mut random);
            metric(name, &increase(), &baseline, &canary)
        })
        .collect();
    let config = configured(&metrics, &json!({"g": 100.0}), &json!({}));
    let found = judge::sequential::calibrate(&config, &pairs(&metrics).unwrap()).unwrap();
    let blocks: Vec<usize> = found
        .into_iter()
        .map(|found| found.unwrap().block)
        .collect();
    assert!(blocks[0] == 1 && blocks[1] > 15, "{blocks:?}");
}

#[test]
fn a_block_that_turns_out_too_short_is_refused_by_its_autocorrelation() {
    let mut random = Random::new(13);
    let (canary, baseline) = wandering(0.8, 480, &mut random);
    let options = json!({"direction": "increase", "effectSize": {"allowedIncrease": 1.2}});
    let metrics = [metric("m", &options, &baseline, &canary)];
    let config = configured(&metrics, &json!({"g": 100.0}), &json!({"earlyPass": false}));
    let result = look(&config, &pairs(&metrics).unwrap(), 0).unwrap();
    assert!(
        result.warnings[0].starts_with("block of 1 steps refused for metric \"m\": the lag-1 autocorrelation of its differences is 0."),
        "{:?}",
        result.warnings
    );
    let block = &result.results[0].result_metadata.as_ref().unwrap()["block"];
    assert!(block.as_u64().unwrap() >= 4, "{block}");
}
