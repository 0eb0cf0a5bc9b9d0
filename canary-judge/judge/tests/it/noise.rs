//! The generator, and where its draws begin.

use judge::{CanaryConfig, Judge, MetricSetPair, NetflixAca, Noise, Random};
use serde_json::{Value, json};

use crate::bench::{Metric, THRESHOLDS, config, pairs};

#[test]
fn the_generator_is_javas() {
    // What Java 17 prints.
    let mut random = Random::new(42);
    assert_eq!(
        [random.uniform(), random.uniform()],
        [0.7275636800328681, 0.6832234717598454]
    );
    let mut random = Random::new(42);
    let drawn: Vec<u64> = (0..10).map(|_| random.below(10)).collect();
    assert_eq!(drawn, [0, 3, 8, 4, 0, 5, 5, 8, 9, 3]);
    let mut random = Random::new(-7);
    assert_eq!(
        [random.uniform(), random.uniform()],
        [0.2691218093260761, 0.6731811902798038]
    );
    let drawn: Vec<u64> = (0..5).map(|_| random.below(8)).collect();
    assert_eq!(drawn, [4, 1, 6, 2, 0]);
    let mut random = Random::new(42);
    let drawn: Vec<f64> = (0..4).map(|_| random.gaussian()).collect();
    let expected = [
        1.1419053154730547,
        0.9194079489827879,
        -0.9498666368908959,
        -1.1069902863993377,
    ];
    assert_eq!(drawn, expected);
}

#[test]
fn normal_numbers_have_mean_zero_and_variance_one() {
    let mut random = Random::new(1);
    let drawn: Vec<f64> = (0..100_000).map(|_| random.gaussian()).collect();
    let mean = drawn.iter().sum::<f64>() / 1e5;
    let variance = drawn.iter().map(|value| value * value).sum::<f64>() / 1e5;
    assert!(
        mean.abs() < 0.015 && (variance - 1.0).abs() < 0.02,
        "{mean} {variance}"
    );
}

fn constants(names: &[&str]) -> Vec<Metric> {
    let constant = |value: f64| json!(vec![value; 10]);
    let metric = |name: &&str| Metric::new(name, &json!({}), &constant(5.0), &constant(5.1));
    names.iter().map(metric).collect()
}

fn ratios(metrics: &[Metric], mut noise: Noise) -> Vec<Value> {
    let config = CanaryConfig::read(config(metrics, &json!({}))).unwrap();
    let pairs: Vec<MetricSetPair> = pairs(metrics).unwrap();
    let result = NetflixAca
        .judge(&config, THRESHOLDS, &pairs, &mut noise)
        .unwrap();
    let ratio =
        |result: &judge::AnalysisResult| result.result_metadata.as_ref().unwrap()["ratio"].clone();
    result.results.iter().map(ratio).collect()
}

#[test]
fn a_pair_is_judged_alike_alone_and_among_others() {
    let both = ratios(&constants(&["a", "b"]), Noise::of_pairs());
    let turned = ratios(&constants(&["b", "a"]), Noise::of_pairs());
    assert_eq!([&both[0], &both[1]], [&turned[1], &turned[0]]);
    assert_eq!(ratios(&constants(&["a"]), Noise::of_pairs())[0], both[0]);
    assert_ne!(both[0], both[1], "each pair has noise of its own");
}

#[test]
fn with_a_seed_all_pairs_draw_from_one_generator() {
    let both = ratios(&constants(&["a", "b"]), Noise::seeded(42));
    assert_eq!(ratios(&constants(&["b", "a"]), Noise::seeded(42)), both);
    assert_ne!(both[0], both[1]);
    assert_ne!(ratios(&constants(&["a", "b"]), Noise::seeded(43)), both);
}
