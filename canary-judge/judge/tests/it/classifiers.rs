//! Classifiers that no judge uses, and the thresholds of the one that does.

use judge::classify::{
    Classification, Classified, Classifier, MeanInequality, RandomLabel, Rules, Samples,
};
use judge::{Direction, NanStrategy, Random};
use serde_json::json;

use crate::bench::one;

const RULES: Rules = Rules {
    direction: Direction::Either,
    nan_strategy: NanStrategy::Remove,
    critical: false,
    must_have_data: false,
};

fn classified(
    classifier: &dyn Classifier,
    control: &[f64],
    experiment: &[f64],
    rules: Rules,
) -> Classified {
    let samples = Samples {
        name: "m",
        control,
        experiment,
    };
    let classified = classifier.classify(samples, rules, &mut Random::new(3));
    classified.unwrap()
}

#[test]
fn without_data_both_say_so_without_a_reason() {
    let critical = Rules {
        critical: true,
        must_have_data: true,
        ..RULES
    };
    let required = Rules {
        must_have_data: true,
        ..RULES
    };
    let replaced = Rules {
        nan_strategy: NanStrategy::Replace,
        ..required
    };
    let cases = [
        (RULES, Classification::Nodata, 0.0, false),
        (critical, Classification::Nodata, 0.0, true),
        (required, Classification::NodataFailMetric, 1.0, false),
        (replaced, Classification::Pass, 1.0, false),
    ];
    for (rules, classification, deviation, critical) in cases {
        for classifier in [&MeanInequality as &dyn Classifier, &RandomLabel] {
            let expected = Classified {
                classification,
                reason: None,
                deviation,
                critical,
            };
            assert_eq!(classified(classifier, &[], &[1.0], rules), expected);
        }
    }
}

#[test]
fn means_that_differ_are_high_or_low_if_the_direction_minds() {
    let judge = |control: &[f64], experiment: &[f64], direction, critical| {
        let rules = Rules {
            direction,
            critical,
            ..RULES
        };
        classified(&MeanInequality, control, experiment, rules)
    };
    let high = judge(&[1.0, 3.0], &[2.0, 4.0], Direction::Either, true);
    assert_eq!(high.classification, Classification::High);
    let reason = "The Canary mean was greater than the Baseline mean";
    assert_eq!(
        (high.reason.as_deref(), high.deviation, high.critical),
        (Some(reason), 1.5, true)
    );
    let low = judge(&[2.0, 4.0], &[1.0, 2.0], Direction::Decrease, false);
    assert_eq!(low.classification, Classification::Low);
    let reason = "The Canary mean was less than the Baseline mean";
    assert_eq!(
        (low.reason.as_deref(), low.deviation, low.critical),
        (Some(reason), 0.5, false)
    );
    let unminded = judge(&[1.0], &[2.0], Direction::Decrease, true);
    let equal = judge(&[1.0, 3.0], &[2.0], Direction::Either, true);
    for passed in [unminded, equal] {
        assert_eq!(passed.classification, Classification::Pass);
        assert_eq!(
            (passed.reason, passed.deviation, passed.critical),
            (None, 1.0, false)
        );
    }
}

#[test]
fn random_labels_are_drawn_alike_often_and_not_for_equal_values() {
    let mut random = Random::new(9);
    let mut draw = |experiment: &[f64]| {
        let samples = Samples {
            name: "m",
            control: &[1.0, 2.0],
            experiment,
        };
        RandomLabel.classify(samples, RULES, &mut random).unwrap()
    };
    let labels = [
        Classification::Pass,
        Classification::High,
        Classification::Low,
    ];
    let drawn: Vec<Classified> = (0..3000).map(|_| draw(&[3.0, 6.0])).collect();
    for label in labels {
        let count = drawn
            .iter()
            .filter(|drawn| drawn.classification == label)
            .count();
        assert!((900..1100).contains(&count), "{label:?} {count} times");
    }
    assert!(
        drawn
            .iter()
            .all(|drawn| drawn.deviation == 3.0 && drawn.reason.is_none())
    );
    for _ in 0..30 {
        assert_eq!(draw(&[1.0, 2.0]).classification, Classification::Pass);
    }
    assert_eq!(Random::new(1).shuffled_first::<u8, 0>([]), None);
}

#[test]
fn an_effect_equal_to_its_threshold_reaches_it() {
    let control: Vec<f64> = (0..20).map(|n| 100.0 + f64::from(n % 2)).collect();
    let experiment: Vec<f64> = control.iter().map(|value| value * 1.5).collect();
    let (control, experiment) = (json!(control), json!(experiment));
    let judged = |options| one(&options, &control, &experiment).unwrap();
    let effect = |increase: f64, critical: f64| {
        let sizes = json!({"allowedIncrease": increase, "criticalIncrease": critical});
        judged(json!({"critical": true, "effectSize": sizes}))
    };
    let at = effect(1.5, 1.5);
    assert_eq!(
        (at.classification, at.critical),
        (Classification::High, true)
    );
    let reason = "The metric m was classified as High (Critical)";
    assert_eq!(at.classification_reason.as_deref(), Some(reason));
    let between = effect(1.5, 1.6);
    assert_eq!(
        (between.classification, between.critical),
        (Classification::High, false)
    );
    let reason = "m was classified as High";
    assert_eq!(between.classification_reason.as_deref(), Some(reason));
    assert_eq!(effect(1.500001, 1.0).classification, Classification::Pass);
    // Critical thresholds do not matter to a metric that is not critical.
    assert!(!judged(json!({})).critical);
    // Every value is higher: the share of pairs is one.
    let cles = |increase: f64| {
        judged(json!({"effectSize": {"measure": "cles", "allowedIncrease": increase}}))
    };
    assert_eq!(cles(1.0).classification, Classification::High);
    assert_eq!(cles(1.01).classification, Classification::Pass);
    // Without thresholds it is one half, not one: falling to it is Low.
    let low = one(
        &json!({"effectSize": {"measure": "cles"}}),
        &experiment,
        &control,
    )
    .unwrap();
    assert_eq!(low.classification, Classification::Low);
}

#[test]
fn the_interval_must_keep_away_by_a_quarter_of_the_estimate() {
    // Of two points each, 10 apart and shifted by a: the interval begins at a - 10, and a is the estimate.
    let judged = |a: f64| {
        let classified = |control, experiment| one(&json!({}), &control, &experiment).unwrap();
        let (low, high) = (json!([0.0, 10.0]), json!([a, a + 10.0]));
        let up = classified(low.clone(), high.clone()).classification;
        (up, classified(high, low).classification)
    };
    assert_eq!(judged(13.34), (Classification::High, Classification::Low));
    assert_eq!(judged(13.33), (Classification::Pass, Classification::Pass));
}

#[test]
fn without_thresholds_an_effect_counts_from_where_there_is_none() {
    let control: Vec<f64> = (0..20).map(f64::from).collect();
    let experiment: Vec<f64> = (8..28).map(f64::from).collect();
    let (low, high) = (json!(control), json!(experiment));
    for measure in ["cles", "meanRatio"] {
        let options = json!({"effectSize": {"measure": measure}});
        let judged = |control, experiment| one(&options, control, experiment).unwrap();
        assert_eq!(
            judged(&low, &high).classification,
            Classification::High,
            "{measure}"
        );
        assert_eq!(
            judged(&high, &low).classification,
            Classification::Low,
            "{measure}"
        );
    }
}

#[test]
fn the_direction_says_which_difference_is_bad() {
    let low: Vec<f64> = (0..20).map(f64::from).collect();
    let high: Vec<f64> = (100..120).map(f64::from).collect();
    let judged = |direction: &str, control: &[f64], experiment: &[f64]| {
        let options = json!({"direction": direction});
        one(&options, &json!(control), &json!(experiment))
            .unwrap()
            .classification
    };
    let (up, down, pass) = (
        Classification::High,
        Classification::Low,
        Classification::Pass,
    );
    for (direction, increase, decrease) in [
        ("increase", up, pass),
        ("decrease", pass, down),
        ("either", up, down),
    ] {
        assert_eq!(judged(direction, &low, &high), increase, "{direction}");
        assert_eq!(judged(direction, &high, &low), decrease, "{direction}");
    }
}
