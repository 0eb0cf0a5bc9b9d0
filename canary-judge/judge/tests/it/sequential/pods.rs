//! Pods that start late: what is compared is chosen once, so that no verdict is taken back.

use judge::{Decision, JudgeResult, MetricSetPair, Random};
use serde_json::{Value, json};

use super::{configured, increase, look, steps};
use crate::bench::Metric;

const SIDE: usize = 6;
const STEPS: usize = 80;

/// Of each pod its values, the baseline's before the canary's, and since which step it has them.
fn values(shift: f64, begins: [usize; 2 * SIDE], seed: i64) -> Vec<(Vec<f64>, usize)> {
    let mut random = Random::new(seed);
    let pods = begins.into_iter().enumerate().map(|(pod, begin)| {
        let level = if pod < SIDE { 100.0 } else { 100.0 + shift };
        let values = (0..STEPS).map(|_| level + random.gaussian());
        (values.collect(), begin)
    });
    pods.collect()
}

/// What is found after `count` steps.
fn judged(pods: &[(Vec<f64>, usize)], count: usize, remaining: u64) -> JudgeResult {
    let pair = |(pod, (values, begin)): (usize, &(Vec<f64>, usize))| {
        let own = values.iter().take(count).enumerate();
        let own: Vec<Value> = own
            .map(|(step, value)| {
                if step < *begin {
                    json!("NaN")
                } else {
                    json!(value)
                }
            })
            .collect();
        let missing = json!(vec!["NaN"; count]);
        let (control, experiment) = if pod < SIDE {
            (json!(own), missing)
        } else {
            (missing, json!(own))
        };
        json!({"name": "latency", "id": pod.to_string(), "tags": {"pod": pod.to_string()},
            "values": {"control": control, "experiment": experiment}})
    };
    let list: Value = pods.iter().enumerate().map(pair).collect();
    let metric = Metric::new("latency", &increase(), &json!([]), &json!([]));
    let judge = json!({"pods": "pod", "settle": 0});
    let config = configured(&[metric], &json!({"g": 100.0}), &judge);
    look(&config, &MetricSetPair::read_list(list).unwrap(), remaining).unwrap()
}

/// The begins of pods of which the last one of the canary has no value before `late`, and the canary none before `all`.
fn begins(all: usize, late: usize) -> [usize; 2 * SIDE] {
    std::array::from_fn(|pod| {
        if pod < SIDE {
            0
        } else if pod + 1 < 2 * SIDE {
            all
        } else {
            late
        }
    })
}

fn evidence(result: &JudgeResult) -> &str {
    let metadata = result.results[0].result_metadata.as_ref().unwrap();
    metadata["evidence"].as_str().unwrap()
}

#[test]
fn a_verdict_is_never_taken_back_when_the_sixth_pod_starts() {
    for (shift, late) in [(8.0, 30), (8.0, 5), (8.0, 12), (0.0, 30), (40.0, 19)] {
        let pods = values(shift, begins(0, late), 3);
        let mut decided: Option<(Decision, Option<u64>)> = None;
        for count in 1..=STEPS {
            let result = judged(&pods, count, 1);
            let found = (result.decision.unwrap(), result.decision_steps);
            match decided {
                Some(decided) => assert_eq!(found, decided, "{shift} {late} {count}"),
                None if found.0.is_final() => decided = Some(found),
                None => {}
            }
        }
        assert!(decided.is_some(), "{shift} {late}");
    }
}

#[test]
fn pods_are_compared_that_start_within_the_first_ten_steps_of_both_sides() {
    let of = |all: usize, late: usize| judged(&values(40.0, begins(all, late), 3), STEPS, 0);
    let (soon, slow) = (of(0, 9), of(25, 34));
    for result in [&soon, &slow] {
        assert_eq!(evidence(result), "pods");
        assert_eq!(result.decision, Some(Decision::Fail), "{}", steps(result));
        assert_eq!(result.warnings, Vec::<String>::new());
    }
    for result in [of(0, 10), of(25, 35)] {
        assert_eq!(evidence(&result), "steps");
        assert_eq!(result.decision, Some(Decision::Fail), "{}", steps(&result));
        let told = "metric \"latency\" has 5 pods of the canary and 6 of the baseline by the tag \"pod\" in its first 10 \
                    steps: fewer than 6 a side";
        assert!(
            result.warnings[0].starts_with(told),
            "{:?}",
            result.warnings
        );
    }
}

#[test]
fn few_good_canaries_fail_whose_pods_start_late() {
    let fails = |seed: &i64| {
        let late = usize::try_from(seed % 40).unwrap();
        let pods = values(5.0, begins(0, late), *seed);
        judged(&pods, STEPS, 0).decision == Some(Decision::Fail)
    };
    let failed = (0..200).filter(fails).count();
    // At the margin itself: at most 1 %, 2 of 200, and what chance adds.
    assert!(failed <= 6, "{failed}");
}
