//! What must hold of any values.

use judge::{JudgeResult, MetricSetPair};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{configured, look};
use crate::bench::{Metric, pairs};

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (0_u32..6).prop_map(f64::from),
        6 => 50.0..150.0_f64,
        2 => -1e-6..1e-6_f64,
        1 => prop_oneof![Just(0.0), Just(-0.0), Just(1e300), Just(-1e300)],
        1 => prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), Just(f64::NAN)],
    ]
}

fn series(longest: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(value(), 0..longest)
}

fn written(values: &[f64]) -> Value {
    let write = |value: &f64| {
        if value.is_finite() {
            json!(value)
        } else {
            json!(format!("{value}").replace("inf", "Infinity"))
        }
    };
    values.iter().map(write).collect()
}

fn judged(
    options: &Value,
    judge: &Value,
    control: &[f64],
    experiment: &[f64],
    remaining: u64,
) -> JudgeResult {
    let metric = Metric::new("m", options, &written(control), &written(experiment));
    let config = configured(std::slice::from_ref(&metric), &json!({"g": 100.0}), judge);
    look(&config, &pairs(&[metric]).unwrap(), remaining).unwrap()
}

fn of(result: &JudgeResult, field: &str) -> f64 {
    result.results[0].result_metadata.as_ref().unwrap()[field]
        .as_f64()
        .unwrap()
}

fn direction() -> impl Strategy<Value = Value> {
    prop_oneof![Just("increase"), Just("decrease"), Just("either")]
        .prop_map(|d| json!({"direction": d}))
}

proptest! {
    #[test]
    fn whatever_comes_is_decided_and_evidence_is_never_negative(
        control in series(80), experiment in series(80), options in direction(), block in 1_usize..5, remaining in 0_u64..3,
    ) {
        let result = judged(&options, &json!({"block": block}), &control, &experiment, remaining);
        let decision = result.decision.unwrap();
        prop_assert!(remaining > 0 || decision.is_final());
        let (harm, p) = (of(&result, "eValue"), of(&result, "pValue"));
        prop_assert!(harm >= 0.0 && (0.0..=1.0).contains(&p), "{} {}", harm, p);
        let again = judged(&options, &json!({"block": block}), &control, &experiment, remaining);
        prop_assert_eq!(&again, &result);
        let read: JudgeResult = serde_json::from_value(json!(result)).unwrap();
        prop_assert_eq!(read, result);
    }

    #[test]
    fn the_unit_of_a_metric_changes_nothing(
        both in prop::collection::vec((1.0..200.0_f64, 1.0..200.0_f64), 1..60), options in direction(), power in -30_i32..30,
    ) {
        // Powers of two scale without rounding.
        let scale = 2.0_f64.powi(power);
        let (control, experiment): (Vec<f64>, Vec<f64>) = both.into_iter().unzip();
        let scaled = |values: &[f64]| values.iter().map(|value| value * scale).collect::<Vec<f64>>();
        let plain = judged(&options, &json!({}), &control, &experiment, 0);
        let other = judged(&options, &json!({}), &scaled(&control), &scaled(&experiment), 0);
        prop_assert_eq!(plain.decision, other.decision);
        prop_assert_eq!(of(&plain, "eValue").to_bits(), of(&other, "eValue").to_bits());
        prop_assert_eq!(of(&plain, "safeEValue").to_bits(), of(&other, "safeEValue").to_bits());
    }

    #[test]
    fn with_no_margin_a_swing_that_both_sides_share_changes_nothing(
        steps in prop::collection::vec((0_i32..50, 0_i32..50, -1000_i32..1000), 1..60),
    ) {
        let options = json!({"direction": "increase", "effectSize": {"allowedIncrease": 1.0}});
        let side = |of: fn(&(i32, i32, i32)) -> i32| steps.iter().map(|step| f64::from(of(step))).collect::<Vec<f64>>();
        let judge = json!({"earlyPass": false});
        let plain = judged(&options, &judge, &side(|s| s.0), &side(|s| s.1), 1);
        let swung = judged(&options, &judge, &side(|s| s.0 + s.2), &side(|s| s.1 + s.2), 1);
        prop_assert_eq!(of(&plain, "eValue").to_bits(), of(&swung, "eValue").to_bits());
        prop_assert_eq!(plain.decision, swung.decision);
    }

    #[test]
    fn steps_without_a_side_change_nothing(
        both in prop::collection::vec((1.0..200.0_f64, 1.0..200.0_f64), 1..40), gaps in prop::collection::vec(0_usize..40, 0..10),
    ) {
        let (control, experiment): (Vec<f64>, Vec<f64>) = both.into_iter().unzip();
        let plain = judged(&json!({}), &json!({}), &control, &experiment, 0);
        let (mut holed, mut whole) = (control, experiment);
        for gap in gaps.into_iter().filter(|gap| *gap <= holed.len()).collect::<std::collections::BTreeSet<_>>().into_iter().rev() {
            holed.insert(gap, f64::NAN);
            whole.insert(gap, 3.0);
        }
        let other = judged(&json!({}), &json!({}), &holed, &whole, 0);
        prop_assert_eq!(plain.decision, other.decision);
        prop_assert_eq!(of(&plain, "eValue").to_bits(), of(&other, "eValue").to_bits());
    }

    #[test]
    fn the_order_in_which_times_are_written_changes_nothing(
        steps in prop::collection::vec((0_i64..90, value(), value()), 1..60), rotate in 0_usize..60,
    ) {
        let mut steps = steps;
        steps.sort_by_key(|step| step.0);
        steps.dedup_by_key(|step| step.0);
        let timed = |steps: &[(i64, f64, f64)]| {
            let times: Vec<i64> = steps.iter().map(|step| step.0 * 1000).collect();
            let values = |of: fn(&(i64, f64, f64)) -> f64| written(&steps.iter().map(of).collect::<Vec<f64>>());
            let mut metric = Metric::new("m", &json!({}), &values(|s| s.1), &values(|s| s.2));
            metric.pair["timestamps"] = json!({"control": times, "experiment": times});
            let config = configured(std::slice::from_ref(&metric), &json!({"g": 100.0}), &json!({}));
            let pairs: Vec<MetricSetPair> = pairs(&[metric]).unwrap();
            look(&config, &pairs, 0).unwrap()
        };
        let plain = timed(&steps);
        let at = rotate % steps.len();
        steps.rotate_left(at);
        let other = timed(&steps);
        prop_assert_eq!(plain.decision, other.decision);
        prop_assert_eq!(plain.decision_reason, other.decision_reason);
    }
}
