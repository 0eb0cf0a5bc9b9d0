//! What must hold of any values: the counting is the ranking, and the judgement is one of pools.

use judge::mann_whitney::{Confidence, interval, statistic};
use judge::offline;
use proptest::prelude::*;
use serde_json::json;

use crate::golden::same;

/// z(μ) as the original computes it: every value is ranked. None if all are tied.
fn ranked(x: &[f64], y: &[f64], mu: f64) -> Option<f64> {
    let shifted = x.iter().map(|value| value - mu);
    let pool: Vec<f64> = shifted
        .chain(y.iter().copied())
        .map(|value| if value.is_nan() { f64::INFINITY } else { value })
        .collect();
    let mut order: Vec<usize> = (0..pool.len()).collect();
    order.sort_by(|a, b| pool[*a].total_cmp(&pool[*b]));
    let mut ranks = vec![0.0; pool.len()];
    let (mut begin, mut ties) = (0, 0.0);
    while begin < order.len() {
        let equal = |index: &usize| pool[*index].total_cmp(&pool[order[begin]]).is_eq();
        let end = begin
            + order[begin..]
                .iter()
                .take_while(|index| equal(index))
                .count();
        let t = (end - begin) as f64;
        for index in &order[begin..end] {
            ranks[*index] = (begin + 1 + end) as f64 / 2.0;
        }
        ties += t.powi(3) - t;
        begin = end;
    }
    let (n, m) = (x.len() as f64, y.len() as f64);
    let sum: f64 = ranks[..x.len()].iter().sum();
    let d = sum - n * (n + 1.0) / 2.0 - n * m / 2.0;
    let sigma = ((n * m / 12.0) * ((n + m + 1.0) - ties / ((n + m) * (n + m - 1.0)))).sqrt();
    let sign = if d == 0.0 { 0.0 } else { d.signum() };
    (sigma != 0.0).then(|| (d - sign * 0.5) / sigma)
}

/// Values of all kinds: few different ones, many, tiny beside huge, zeros of both signs, infinities.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => (-3_i32..6).prop_map(f64::from),
        4 => (0_u32..400).prop_map(|n| f64::from(n) / 100.0),
        4 => -10.0..10.0_f64,
        2 => prop_oneof![Just(0.0), Just(-0.0)],
        1 => (0_u32..5).prop_map(|n| f64::from(n) * 1e-17),
        1 => (0_u32..5).prop_map(|n| 1e16 + f64::from(n)),
        1 => prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY)],
    ]
}

fn sample() -> impl Strategy<Value = Vec<f64>> {
    prop_oneof![
        prop::collection::vec(value(), 1..12),
        prop::collection::vec(value(), 1..150),
        // Whole numbers alone: more runs than values.
        prop::collection::vec((0_i32..6).prop_map(f64::from), 1..80),
        // Different ones alone.
        prop::collection::vec(0.0..1.0_f64, 1..80),
    ]
}

fn finite() -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-100.0..100.0_f64, 2..60)
}

fn question(control: &[f64], experiment: &[f64]) -> serde_json::Value {
    json!({
        "canaryConfig": {"metrics": [{"name": "m", "groups": ["g"]}], "classifier": {}},
        "scoreThresholds": {"pass": 95, "marginal": 75},
        "metricSetPairList": [{"name": "m", "id": "p",
            "values": {"control": control, "experiment": experiment}}],
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn counting_pairs_is_ranking_them(x in sample(), y in sample(), i in any::<prop::sample::Index>(),
        j in any::<prop::sample::Index>(), near in prop_oneof![Just(0.0), Just(-0.0), Just(1e-4), Just(0.1)]) {
        let least = x.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = y.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        for mu in [near, i.get(&x) - j.get(&y), i.get(&x) - j.get(&y) + near, least - greatest, f64::NAN] {
            let (ours, ranked) = (statistic(&x, &y, mu).ok(), ranked(&x, &y, mu));
            prop_assert!(
                ours == ranked || ours.zip(ranked).is_some_and(|(a, b)| same(a, b)),
                "{ours:?} instead of {ranked:?} at {mu:?} of {x:?} and {y:?}"
            );
        }
    }

    #[test]
    fn the_order_of_values_changes_no_interval(x in sample(), y in sample()) {
        // Of zeros of both signs the first one is the end of the range: there is one sign here.
        let [x, y] = [x, y].map(|values| values.iter().map(|value| value + 0.0).collect::<Vec<_>>());
        let turned = |values: &[f64]| values.iter().rev().copied().collect::<Vec<_>>();
        let (a, b) = (interval(&x, &y, Confidence::P98), interval(&turned(&x), &turned(&y), Confidence::P98));
        let ends = |made: judge::mann_whitney::Interval| [made.lower, made.upper, made.estimate].map(f64::to_bits);
        prop_assert_eq!(a.map(ends), b.map(ends));
    }

    #[test]
    fn the_sides_turned_round_turn_the_interval_round(x in finite(), y in finite()) {
        let a = interval(&x, &y, Confidence::P98).unwrap();
        let b = interval(&y, &x, Confidence::P98).unwrap();
        // Each end is known to within the root finder's tolerance.
        prop_assert!((a.lower + b.upper).abs() <= 2.1e-4, "{a:?} {b:?}");
        prop_assert!((a.upper + b.lower).abs() <= 2.1e-4, "{a:?} {b:?}");
        prop_assert!(a.lower <= a.upper + 2.1e-4);
    }

    #[test]
    fn a_higher_level_has_a_wider_interval(x in finite(), y in finite()) {
        let levels = [Confidence::P90, Confidence::P95, Confidence::P98, Confidence::P99];
        let made = levels.map(|level| interval(&x, &y, level).unwrap());
        for pair in made.windows(2) {
            prop_assert!(pair[1].lower <= pair[0].lower + 2.1e-4);
            prop_assert!(pair[1].upper >= pair[0].upper - 2.1e-4);
        }
    }

    #[test]
    fn a_judgement_is_the_same_each_time_and_never_both(x in finite(), y in finite()) {
        let answer = || offline::answer(question(&y, &x), true);
        let told = answer();
        prop_assert_eq!(&answer(), &told);
        let found = |told: &serde_json::Map<String, serde_json::Value>| {
            told["result"]["results"][0]["classification"].as_str().unwrap().to_owned()
        };
        let turned = found(&offline::answer(question(&x, &y), true));
        prop_assert!(found(&told) == "Pass" || found(&told) != turned);
    }
}
