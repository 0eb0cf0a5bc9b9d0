//! Series and options as they should not be: what the original makes of them, and what is said of those it refuses.

use judge::validate::{for_judging, for_saving};
use judge::{CanaryConfig, Classification, Error, MetricSetPair, Thresholds, resolve};
use serde_json::{Value, json};

use crate::bench::{Metric, config, judged, one, refusal};

fn classified(options: &Value, control: &Value, experiment: &Value) -> Classification {
    one(options, control, experiment).unwrap().classification
}

#[test]
fn empty_series_are_missing_data_unless_missing_values_are_replaced() {
    let (none, some) = (json!([]), json!([1.0, 2.0]));
    let cases = [
        (json!({}), Classification::Nodata, false),
        (json!({"critical": true}), Classification::Nodata, true),
        (
            json!({"mustHaveData": true}),
            Classification::NodataFailMetric,
            false,
        ),
        (
            json!({"mustHaveData": true, "critical": true}),
            Classification::Nodata,
            true,
        ),
        (
            json!({"nanStrategy": "replace", "mustHaveData": true}),
            Classification::Pass,
            false,
        ),
    ];
    for (options, expected, critical) in cases {
        for (control, experiment) in [(&none, &some), (&some, &none), (&none, &none)] {
            let result = one(&options, control, experiment).unwrap();
            let reason = (expected != Classification::Pass).then_some("Missing data for m");
            assert_eq!(result.classification, expected, "{options}");
            assert_eq!(result.critical, critical, "{options}");
            assert_eq!(result.classification_reason.as_deref(), reason);
            assert_eq!(result.result_metadata.unwrap()["ratio"], json!(1.0));
        }
    }
    let result = one(&json!({}), &none, &some).unwrap();
    let stats = json!({"min": 0.0, "max": 0.0, "mean": 0.0, "std": 0.0, "count": 0});
    assert_eq!(result.control_metadata["stats"], stats);
}

#[test]
fn series_of_nan_are_missing_or_zero() {
    let (nan, some) = (json!(["NaN", "NaN", "NaN"]), json!([1.0, 2.0, 3.0]));
    assert_eq!(classified(&json!({}), &nan, &some), Classification::Nodata);
    let replaced = one(&json!({"nanStrategy": "replace"}), &nan, &nan).unwrap();
    assert_eq!(replaced.classification, Classification::Pass);
    let identical = "The Canary and Baseline data are identical";
    assert_eq!(replaced.classification_reason.as_deref(), Some(identical));
    let zeros = one(&json!({"nanStrategy": "replace"}), &nan, &some).unwrap();
    assert_eq!(zeros.control_metadata["stats"]["count"], json!(3));
    assert_eq!(zeros.result_metadata.unwrap()["ratio"], json!("NaN"));
}

#[test]
fn null_in_a_series_is_zero() {
    let result = one(&json!({}), &json!([null, 1.0]), &json!([1.0, 2.0])).unwrap();
    assert_eq!(result.control_metadata["stats"]["min"], json!(0.0));
}

#[test]
fn constant_series_pass_if_equal_and_are_told_apart_if_not() {
    let constant = |value: f64, count: usize| json!(vec![value; count]);
    let judged = |a, b| classified(&json!({}), &a, &b);
    assert_eq!(
        judged(constant(5.0, 9), constant(5.0, 9)),
        Classification::Pass
    );
    // Of different lengths they are not identical, and have no reason.
    let longer = one(&json!({}), &constant(5.0, 9), &constant(5.0, 8)).unwrap();
    assert_eq!(longer.classification, Classification::Pass);
    assert_eq!(longer.classification_reason, None);
    assert_eq!(
        judged(constant(5.0, 9), constant(6.0, 9)),
        Classification::High
    );
    assert_eq!(
        judged(constant(6.0, 9), constant(5.0, 9)),
        Classification::Low
    );
    // Zero has no scale for noise, the other side has.
    assert_eq!(
        judged(constant(0.0, 9), constant(5.0, 9)),
        Classification::High
    );
    // Zeros of both signs are one value.
    assert_eq!(
        judged(json!([0.0, -0.0]), json!([-0.0, 0.0, 0.0])),
        Classification::Pass
    );
}

#[test]
fn short_series_have_the_widest_interval_and_single_points_none() {
    // Of two points each the interval is from one end to the other: a difference counts if they keep away.
    let far = one(&json!({}), &json!([10.0, 11.0]), &json!([100.0, 101.0])).unwrap();
    assert_eq!(far.classification, Classification::High);
    let near = one(&json!({}), &json!([10.0, 20.0]), &json!([15.0, 25.0])).unwrap();
    assert_eq!(near.classification, Classification::Pass);
    // One value on both sides needs no test.
    let single = one(
        &json!({"critical": true}),
        &json!([1.25]),
        &json!([1.25, 1.25]),
    )
    .unwrap();
    assert_eq!(single.classification, Classification::Pass);
    // Of two points the shift by their difference ties them, unless it was rounded: then there is an interval.
    let mut errors = 0;
    for seed in 0..20_u32 {
        let (a, b) = (f64::from(seed) + 1.0, 3.7 * f64::from(seed) + 3.7);
        let result = one(&json!({"critical": true}), &json!([a]), &json!([b])).unwrap();
        if result.classification == Classification::Error {
            errors += 1;
            let reason = result.classification_reason.as_deref();
            assert_eq!(reason, Some("Metric Classification Failed"));
            assert_eq!((result.critical, result.result_metadata), (false, None));
        }
    }
    assert!((1..20).contains(&errors), "{errors} of 20 single points");
}

#[test]
fn misaligned_series_are_judged_as_pools() {
    let control: Vec<f64> = (0..40).map(|n| f64::from(n * 7 % 40)).collect();
    let experiment: Vec<f64> = control.iter().map(|value| value + 30.0).collect();
    let shifted: Vec<f64> = experiment
        .iter()
        .skip(5)
        .chain(&experiment[..5])
        .copied()
        .collect();
    let shorter = json!(experiment[..33]);
    for other in [json!(experiment), json!(shifted), shorter] {
        let result = one(&json!({}), &json!(control), &other).unwrap();
        assert_eq!(result.classification, Classification::High);
    }
}

#[test]
fn infinite_series_pass_and_have_no_mean() {
    let control: Vec<f64> = (0..30).map(f64::from).collect();
    for infinite in ["Infinity", "-Infinity"] {
        let mut experiment: Vec<Value> = (500..530).map(Value::from).collect();
        experiment.push(json!(infinite));
        let result = one(&json!({}), &json!(control), &json!(experiment)).unwrap();
        assert_eq!(result.classification, Classification::Pass, "{infinite}");
        assert_eq!(result.experiment_metadata["stats"]["mean"], json!("NaN"));
        assert_eq!(result.result_metadata.unwrap()["ratio"], json!("NaN"));
    }
    // Removing outliers keeps it, because the percentile is infinite too.
    let mut experiment: Vec<Value> = (500..530).map(Value::from).collect();
    experiment.push(json!("Infinity"));
    let options = json!({"outliers": {"strategy": "remove"}});
    let result = one(&options, &json!(control), &json!(experiment)).unwrap();
    assert_eq!(result.experiment_metadata["stats"]["count"], json!(31));
}

#[test]
fn a_series_that_is_none_is_refused() {
    let refused = |pair: &mut dyn FnMut(&mut Value)| {
        let mut metric = Metric::new("m", &json!({}), &json!([1.0]), &json!([2.0]));
        pair(&mut metric.pair);
        judged(&[metric], &json!({})).unwrap_err().to_string()
    };
    let missing = "values.control of the metric set pair \"m\" is missing: \
        give a list of numbers, which may be empty";
    assert_eq!(
        refused(&mut |pair| pair["values"]["control"] = Value::Null),
        missing
    );
    assert_eq!(
        refused(&mut |pair| pair["values"] = json!({"experiment": []})),
        missing
    );
    assert_eq!(
        refused(&mut |pair| pair["values"]["control"] = json!([1.0, true])),
        "metricSetPairList[0].values.control[1] is true: give a number, or one of the texts \
         \"NaN\", \"Infinity\" and \"-Infinity\""
    );
    assert_eq!(
        refused(&mut |pair| pair["values"]["control"] = json!(["nan"])),
        "metricSetPairList[0].values.control[0] is \"nan\": give a number, or one of the texts \
         \"NaN\", \"Infinity\" and \"-Infinity\""
    );
    assert_eq!(
        refused(&mut |pair| pair["values"]["control"] = json!(7)),
        "metricSetPairList[0].values.control is 7: give a list"
    );
}

#[test]
fn a_pair_of_no_metric_is_refused_in_the_words_of_the_original() {
    let mut metric = Metric::new("m", &json!({}), &json!([1.0]), &json!([2.0]));
    metric.pair["name"] = json!("other");
    let error = judged(&[metric], &json!({})).unwrap_err();
    assert_eq!(error.to_string(), "Could not find metric config for other");
}

#[test]
fn outliers_need_a_factor_above_zero_only_where_they_are_removed() {
    let series = json!([1.0, 2.0, 3.0]);
    for factor in [json!(0), json!(-1.5), json!(null)] {
        let outliers =
            |strategy| json!({"outliers": {"strategy": strategy, "outlierFactor": factor}});
        assert_eq!(
            refusal(&outliers("remove"), &series, &series),
            "requirement failed: factor must be greater than zero"
        );
        assert_eq!(
            classified(&outliers("keep"), &series, &series),
            Classification::Pass
        );
    }
}

#[test]
fn options_of_another_type_are_refused_as_a_whole() {
    let (a, b) = (json!([1.0, 2.0]), json!([3.0, 4.0]));
    let number = "give a number, not a text; a whole one must fit into 32 bits";
    let text = "leave it out or give a text";
    let cases = [
        (
            json!({"critical": "true"}),
            "critical",
            "\"true\"",
            "give true or false, not a text",
        ),
        (
            json!({"muted": 1}),
            "muted",
            "1",
            "give true or false, not a text",
        ),
        (json!({"direction": null}), "direction", "null", text),
        (json!({"nanStrategy": null}), "nanStrategy", "null", text),
        (
            json!({"outliers": {"strategy": null}}),
            "outliers.strategy",
            "null",
            text,
        ),
        (
            json!({"effectSize": {"measure": null}}),
            "effectSize.measure",
            "null",
            text,
        ),
        (
            json!({"outliers": {"outlierFactor": "3"}}),
            "outliers.outlierFactor",
            "\"3\"",
            number,
        ),
        (
            json!({"effectSize": {"allowedIncrease": 3_000_000_000_i64}}),
            "effectSize.allowedIncrease",
            "3000000000",
            number,
        ),
        (
            json!({"effectSize": [{"allowedIncrease": 1.5}]}),
            "effectSize.allowedIncrease",
            "a list",
            number,
        ),
    ];
    for (options, field, value, remedy) in cases {
        assert_eq!(
            refusal(&options, &a, &b),
            format!("analysisConfigurations.canary.{field} of metric \"m\" is {value}: {remedy}")
        );
    }
}

#[test]
fn options_that_are_null_unknown_or_elsewhere_mean_what_they_mean_there() {
    let (a, b) = (json!([1.0, 2.0, 3.0]), json!([101.0, 102.0, 103.0]));
    let high = [
        json!(null),
        json!({"critical": null, "mustHaveData": null, "muted": null}),
        json!({"direction": "DECREASE", "nanStrategy": "no", "outliers": {"strategy": 7}}),
        json!({"effectSize": null, "outliers": null}),
        json!({"effectSize": "large"}),
        json!({"effectSize": {"measure": 5, "allowedIncrease": 2}}),
        // Null is zero: every effect reaches it.
        json!({"effectSize": {"allowedIncrease": null}}),
    ];
    for options in high {
        assert_eq!(
            classified(&options, &a, &b),
            Classification::High,
            "{options}"
        );
    }
    // No option is looked at before its metric is judged.
    let bad = Metric::new("bad", &json!({"critical": "no"}), &a, &b);
    let mut good = Metric::new("good", &json!({}), &a, &a);
    good.pair["name"] = json!("good");
    let config = CanaryConfig::read(config(&[bad, good.clone()], &json!({}))).unwrap();
    assert_eq!(config.metrics.len(), 2);
    assert!(judged(&[good], &json!({})).is_ok());
}

#[test]
fn a_config_of_another_shape_is_refused_with_the_place() {
    let refused = |config: Value| CanaryConfig::read(config).unwrap_err().to_string();
    assert_eq!(refused(json!([])), "canaryConfig is a list: give an object");
    assert_eq!(
        refused(json!({"metrics": {}})),
        "canaryConfig.metrics is an object: give a list"
    );
    assert_eq!(
        refused(json!({"metrics": [{"groups": "g"}]})),
        "canaryConfig.metrics[0].groups is \"g\": give a list"
    );
    assert_eq!(
        refused(json!({"metrics": [{"analysisConfigurations": {"canary": []}}]})),
        "canaryConfig.metrics[0].analysisConfigurations.canary is a list: give an object"
    );
    assert_eq!(
        refused(json!({"classifier": {"groupWeights": {"g": "much"}}})),
        "canaryConfig.classifier.groupWeights.g is \"much\": give a number, or one of the texts \
         \"NaN\", \"Infinity\" and \"-Infinity\""
    );
    let thresholds = Thresholds::read(&json!(null)).unwrap_err().to_string();
    assert_eq!(thresholds, "scoreThresholds is null: give an object");
    let pairs = MetricSetPair::read_list(json!({})).unwrap_err().to_string();
    assert_eq!(pairs, "metricSetPairList is an object: give a list");
    let long = "x".repeat(1000);
    assert!(refused(json!({"metrics": long})).len() < 150);
}

#[test]
fn an_unknown_judge_is_refused_in_the_words_of_the_original() {
    let error = resolve(Some("X")).unwrap_err();
    assert_eq!(
        error,
        Error::UnknownJudge {
            name: "X".to_owned()
        }
    );
    assert_eq!(error.to_string(), "Unable to resolve canary judge 'X'.");
    for name in [None, Some("")] {
        assert_eq!(resolve(name).unwrap().name(), "NetflixACAJudge-v1.0");
    }
}

#[test]
fn a_config_is_checked_before_it_is_saved_and_before_it_judges() {
    let metric = Metric::new("m", &json!({}), &json!([]), &json!([]));
    let with = |field: &str, value: Value| {
        let mut config = config(std::slice::from_ref(&metric), &json!({}));
        config[field] = value;
        CanaryConfig::read(config).unwrap()
    };
    let saving = |field, value| for_saving(&with(field, value)).unwrap_err().to_string();
    let name = "Canary config must specify a name.";
    assert_eq!(saving("name", json!("")), name);
    assert_eq!(saving("name", json!(null)), name);
    assert_eq!(
        saving("name", json!("my config")),
        "Canary config cannot be named 'my config'. Names must contain only letters, numbers, \
         dashes (-) and underscores (_)."
    );
    assert_eq!(
        saving("applications", json!([])),
        "Canary config must specify at least one application."
    );
    assert_eq!(
        saving(
            "metrics",
            json!([{"name": "m"}, {"name": "n"}, {"name": "m"}])
        ),
        "canaryConfig.metrics has two metrics named 'm': give each a name of its own"
    );
    assert_eq!(for_saving(&with("name", json!("my_config-1,b"))), Ok(()));
    let judging = |field, value| for_judging(&with(field, value)).unwrap_err().to_string();
    assert_eq!(
        judging("metrics", json!([])),
        "The canary config must specify at least one metric. Otherwise we're not analyzing \
         anything. :)"
    );
    assert_eq!(
        judging("judge", json!({"name": "X"})),
        "Unable to resolve canary judge 'X'."
    );
    for judge in ["NetflixACAJudge-v1.0", "dredd-v1.0", "RemoteJudge-v1.0", ""] {
        assert_eq!(for_judging(&with("judge", json!({"name": judge}))), Ok(()));
    }
}
