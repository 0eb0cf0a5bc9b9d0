//! The judges beside the one that users mean, and what holds of all.

use std::collections::BTreeMap;

use judge::{CanaryConfig, Classification, Dredd, JUDGES, Judge, Noise};
use serde_json::json;

use crate::bench::{Metric, THRESHOLDS, config, pairs};

#[test]
fn each_judge_signs_with_its_name_and_only_dredd_is_hidden() {
    let metrics = [Metric::new(
        "m",
        &json!({}),
        &json!([1.0, 2.0]),
        &json!([1.5, 2.5]),
    )];
    let config = CanaryConfig::read(config(&metrics, &json!({}))).unwrap();
    for judge in JUDGES {
        let pairs = pairs(&metrics).unwrap();
        let result = judge
            .judge(&config, THRESHOLDS, &pairs, &mut Noise::of_pairs())
            .unwrap();
        assert_eq!(result.judge_name, judge.name());
        assert_eq!(judge.is_visible(), judge.name() != "dredd-v1.0");
        assert_eq!(
            judge::resolve(Some(judge.name())).unwrap().name(),
            judge.name()
        );
        let refused = Metric::new("other", &json!({}), &json!([]), &json!([]));
        let refused = self::pairs(&[refused]).unwrap();
        let error = judge.judge(&config, THRESHOLDS, &refused, &mut Noise::of_pairs());
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "Could not find metric config for other");
    }
}

#[test]
fn dredd_draws_thirds_and_describes_the_values_as_they_came() {
    let metric = |n: usize| {
        Metric::new(
            &format!("m{n}"),
            &json!({"critical": true}),
            &json!(["NaN", 2.0, 1.0]),
            &json!([]),
        )
    };
    let metrics: Vec<Metric> = (0..3000).map(metric).collect();
    let config = CanaryConfig::read(config(&metrics, &json!({}))).unwrap();
    let pairs = pairs(&metrics).unwrap();
    let result = Dredd
        .judge(&config, THRESHOLDS, &pairs, &mut Noise::seeded(1))
        .unwrap();
    let mut counts = BTreeMap::new();
    for result in &result.results {
        *counts
            .entry(format!("{:?}", result.classification))
            .or_insert(0) += 1;
        assert_eq!((result.critical, &result.result_metadata), (false, &None));
    }
    // Low below 33, Pass below 66, High above: shares of 33, 33 and 34 %.
    assert_eq!(counts.len(), 3);
    assert!(
        counts.values().all(|count| (900..1100).contains(count)),
        "{counts:?}"
    );
    let stats = &result.results[0].control_metadata["stats"];
    assert_eq!(
        (&stats["count"], &stats["min"], &stats["mean"]),
        (&json!(3), &json!(1.0), &json!("NaN"))
    );
    let again = Dredd
        .judge(&config, THRESHOLDS, &pairs, &mut Noise::seeded(1))
        .unwrap();
    assert_eq!(again, result);
}

#[test]
fn dredd_draws_as_the_original_does() {
    // 72.76, 68.32, 30.88, 27.71, 66.55, 90.33 are what seed 42 gives.
    let metric = |n: usize| Metric::new(&format!("m{n}"), &json!({}), &json!([]), &json!([]));
    let metrics: Vec<Metric> = (0..6).map(metric).collect();
    let config = CanaryConfig::read(config(&metrics, &json!({}))).unwrap();
    let result = Dredd.judge(
        &config,
        THRESHOLDS,
        &pairs(&metrics).unwrap(),
        &mut Noise::seeded(42),
    );
    let found: Vec<Classification> = result
        .unwrap()
        .results
        .iter()
        .map(|result| result.classification)
        .collect();
    let (high, low) = (Classification::High, Classification::Low);
    assert_eq!(found, [high, high, low, low, high, high]);
}
