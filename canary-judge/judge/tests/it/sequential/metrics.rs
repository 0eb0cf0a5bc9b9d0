//! Counts, pods, weights: what a metric can be.

use judge::{Classification, Decision, JudgeResult, MetricSetPair, Random};
use serde_json::{Value, json};

use super::{configured, increase, last, look, metric, normal, steps};
use crate::bench::{Metric, pairs};

#[test]
fn eleven_errors_against_none_fail_at_equal_requests() {
    let counted = |errors: usize| {
        let mut events = vec![0.0; 20];
        events[..errors].fill(1.0);
        let options = json!({"direction": "increase", "effectSize": {"allowedIncrease": 1.0},
            "sequential": {"requests": "requests"}});
        [
            metric("errors", &options, &[0.0; 20], &events),
            metric("requests", &json!({}), &[10.0; 20], &[10.0; 20]),
        ]
    };
    let judge = json!({"settle": 0});
    let result = last(&counted(11), &judge);
    assert_eq!(result.decision, Some(Decision::Fail), "{}", steps(&result));
    assert_eq!(result.results[0].classification, Classification::High);
    assert!(
        steps(&result).contains("at step 11 of 20"),
        "{}",
        steps(&result)
    );
    assert!(result.results[1].muted, "denominators are not judged");
    let result = last(&counted(10), &judge);
    assert_eq!(result.decision, Some(Decision::Inconclusive));
    assert!(
        steps(&result).contains("more requests"),
        "{}",
        steps(&result)
    );
}

#[test]
fn a_service_without_errors_passes_by_its_requests() {
    let options = json!({"direction": "increase", "sequential": {"requests": "requests"}});
    let metrics = [
        metric("errors", &options, &[0.0; 30], &[0.0; 30]),
        metric("requests", &json!({}), &[1800.0; 30], &[200.0; 30]),
    ];
    let result = last(&metrics, &json!({}));
    assert_eq!(result.decision, Some(Decision::Pass), "{}", steps(&result));
    // A thousand requests; the baseline's nine thousand do not count.
    assert!(
        steps(&result).contains("at step 5 of 30"),
        "{}",
        steps(&result)
    );
}

#[test]
fn two_per_cent_of_errors_fail_within_seconds_and_never_pass() {
    let mut random = Random::new(9);
    let mut failed = 0;
    for _ in 0..100 {
        let mut errors = |rate: f64| -> Vec<f64> {
            (0..60)
                .map(|_| (0..200).filter(|_| random.uniform() < rate).count() as f64)
                .collect()
        };
        let options = json!({"direction": "increase", "sequential": {"requests": "requests"}});
        let metrics = [
            metric("errors", &options, &errors(0.0), &errors(0.02)),
            metric("requests", &json!({}), &[200.0; 60], &[200.0; 60]),
        ];
        let result = last(&metrics, &json!({}));
        failed += usize::from(result.decision == Some(Decision::Fail));
    }
    assert_eq!(failed, 100);
}

#[test]
fn bursts_are_not_believed_to_be_single_events() {
    let mut random = Random::new(2);
    let (mut failed, mut warned, mut unseen) = (0, 0, 0);
    for _ in 0..100 {
        let mut bursts = || -> Vec<f64> {
            (0..200)
                .map(|_| if random.uniform() < 0.3 { 20.0 } else { 0.0 })
                .collect()
        };
        let options = json!({"direction": "increase", "sequential": {"requests": "requests"}});
        let metrics = [
            metric("errors", &options, &bursts(), &bursts()),
            metric("requests", &json!({}), &[1000.0; 200], &[1000.0; 200]),
        ];
        let result = last(&metrics, &json!({"earlyPass": false}));
        let has_failed = result.decision == Some(Decision::Fail);
        let told = result.warnings.iter();
        let has_warned = told.clone().any(|warning| warning.contains("bursts"));
        failed += usize::from(has_failed);
        warned += usize::from(has_warned);
        unseen += usize::from(!has_failed && !has_warned);
    }
    // Those that fail before a window is full have no bursts to tell of.
    assert!(warned >= 50 && unseen == 0, "{warned} {unseen}");
    assert!(failed < 60, "{failed}");
}

#[test]
fn pods_are_compared_with_pods() {
    let pod = |name: &str, side: &str, level: f64, random: &mut Random| {
        // A pod's noise wanders, which blocks of one step could not bear.
        let mut noise = 0.0;
        let values: Vec<f64> = (0..80)
            .map(|_| {
                noise = 0.95 * noise + random.gaussian();
                level + noise
            })
            .collect();
        let missing = vec!["NaN"; 80];
        let (control, experiment) = if side == "control" {
            (json!(values), json!(missing))
        } else {
            (json!(missing), json!(values))
        };
        json!({"name": "latency", "id": name, "tags": {"pod": name},
            "values": {"control": control, "experiment": experiment}})
    };
    let judged = |shift: f64, pods: usize, seed: i64| {
        let mut random = Random::new(seed);
        let list: Value = (0..pods)
            .flat_map(|i| {
                [
                    pod(&format!("b{i}"), "control", 100.0, &mut random),
                    pod(&format!("c{i}"), "experiment", 100.0 + shift, &mut random),
                ]
            })
            .collect();
        let metric = Metric::new("latency", &increase(), &json!([]), &json!([]));
        let config = configured(&[metric], &json!({"g": 100.0}), &json!({"pods": "pod"}));
        look(&config, &MetricSetPair::read_list(list).unwrap(), 0).unwrap()
    };
    assert_eq!(judged(40.0, 6, 1).decision, Some(Decision::Fail));
    assert_eq!(judged(0.0, 6, 1).decision, Some(Decision::Pass));
    let failed = (0..300)
        .filter(|seed| judged(5.0, 6, *seed).decision == Some(Decision::Fail))
        .count();
    // At the margin itself: at most 1 %, 3 of 300, and what chance adds.
    assert!(failed <= 8, "{failed}");
    let few = judged(40.0, 4, 1);
    assert!(
        few.warnings[0].contains("4 pods of the canary and 4 of the baseline"),
        "{:?}",
        few.warnings
    );
    assert_eq!(few.decision, Some(Decision::Fail));
}

#[test]
fn weights_are_taken_in_proportion_and_a_light_metric_needs_more_evidence() {
    let mut random = Random::new(4);
    let mut noise = || normal(&mut random, 40, 100.0, 5.0);
    let light = metric("light", &increase(), &noise(), &vec![200.0; 40]).groups(&["l"]);
    let heavy = metric("heavy", &increase(), &noise(), &noise()).groups(&["h"]);
    let metrics = [light, heavy];
    let judged = |weights: &Value| {
        let config = configured(&metrics, weights, &json!({"earlyPass": false}));
        look(&config, &pairs(&metrics).unwrap(), 0).unwrap()
    };
    let equal = judged(&json!({"l": 50.0, "h": 50.0}));
    let odd = |warning: &&String| !warning.contains("too few to see");
    assert_eq!(equal.warnings.iter().find(odd), None, "weights of 100");
    let unequal = judged(&json!({"l": 1.0, "h": 89.0}));
    assert_eq!(unequal.decision, Some(Decision::Fail));
    assert!(
        unequal.warnings[0].contains("add up to 90, not 100"),
        "{:?}",
        unequal.warnings
    );
    let at = |result: &JudgeResult| {
        let reason = steps(result);
        let at = reason
            .split("at step ")
            .nth(1)
            .unwrap()
            .split(' ')
            .next()
            .unwrap();
        at.parse::<u32>().unwrap()
    };
    assert!(at(&equal) < at(&unequal), "{} {}", at(&equal), at(&unequal));
    let weight = unequal.results[0].result_metadata.as_ref().unwrap()["weight"]
        .as_f64()
        .unwrap();
    assert!((weight - 1.0 / 90.0).abs() < 1e-12);
    let none = judged(&json!({"l": 0.0, "h": 100.0, "gone": 5.0}));
    assert_ne!(none.decision, Some(Decision::Fail));
    assert_ne!(
        none.decision,
        Some(Decision::Pass),
        "it still keeps the canary from passing"
    );
    assert!(
        none.warnings
            .iter()
            .any(|warning| warning.contains("group \"gone\" has weight 5 and no metric"))
    );
    assert!(
        none.warnings
            .iter()
            .any(|warning| warning.contains("metric \"light\" has no weight"))
    );
}

#[test]
fn a_muted_metric_is_told_and_fails_nothing() {
    let mut random = Random::new(4);
    let mut noise = || normal(&mut random, 40, 100.0, 5.0);
    let muted = json!({"direction": "increase", "muted": true});
    let metrics = [
        metric("muted", &muted, &noise(), &vec![200.0; 40]),
        metric("latency", &increase(), &noise(), &noise()),
    ];
    let result = last(&metrics, &json!({"earlyPass": false}));
    assert_eq!(result.decision, Some(Decision::Pass), "{}", steps(&result));
    assert_eq!(result.results[0].classification, Classification::High);
    assert!(result.results[0].muted);
}

#[test]
fn a_critical_failure_is_called_so() {
    let options = json!({"direction": "decrease", "critical": true});
    let result = last(
        &[metric("hits", &options, &[20.0; 15], &[10.0; 15])],
        &json!({}),
    );
    assert_eq!(result.decision, Some(Decision::Fail));
    assert!(result.results[0].critical);
    assert_eq!(result.results[0].classification, Classification::Low);
    assert!(
        steps(&result).contains("hits was classified as Low (Critical): -50.0 %"),
        "{}",
        steps(&result)
    );
}

#[test]
fn events_that_are_not_counted_are_told_where_most_steps_have_none() {
    let events = |every: usize| -> Vec<f64> {
        let event = |step: usize| f64::from(u8::from(step % every == 1));
        (0..120).map(event).collect()
    };
    let warnings = |options: Value, control: &[f64], experiment: &[f64]| {
        let requests = [1000.0; 120];
        let metrics = [
            metric("errors", &options, control, experiment),
            metric("requests", &json!({}), &requests, &requests),
        ];
        last(&metrics, &json!({"earlyPass": false})).warnings
    };
    // Three times as many fail at step 66, and what is told is of these.
    let (few, more) = (events(12), events(4));
    assert_eq!(
        warnings(increase(), &few, &more),
        [
            "55 of 66 differences of metric \"errors\" are zero and speak for the canary, however much the others differ: if \
             it is a number of events, name the metric of their requests in \
             analysisConfigurations.canary.sequential.requests, and they are counted"
        ]
    );
    let counted = json!({"direction": "increase", "sequential": {"requests": "requests"}});
    assert_eq!(warnings(counted, &few, &more), [""; 0]);
    assert_eq!(warnings(increase(), &[5.0; 120], &[5.0; 120]), [""; 0]);
}
