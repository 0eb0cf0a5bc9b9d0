//! What a config may not ask for.

use judge::Decision;
use serde_json::{Value, json};

use super::{configured, increase, last, metric, refusal};

#[test]
fn settings_that_make_no_sense_are_refused_with_field_value_and_remedy() {
    let m = || [metric("m", &increase(), &[1.0], &[1.0])];
    let at = "canaryConfig.judge.judgeConfigurations";
    for (judge, told) in [
        (
            json!({"alpha": 0}),
            format!("{at}.alpha is 0: give a probability from 1e-12 to 0.5, as in 0.01"),
        ),
        (
            json!({"alpha": "0.01"}),
            format!("{at}.alpha is \"0.01\": give a probability from 1e-12 to 0.5, as in 0.01"),
        ),
        (
            json!({"beta": 0.6}),
            format!("{at}.beta is 0.6: give a probability from 1e-12 to 0.5, as in 0.01"),
        ),
        (
            json!({"block": 0}),
            format!(
                "{at}.block is 0: give a whole number of steps from 1 to 1440, best the one that calibration found"
            ),
        ),
        (
            json!({"block": 1.5}),
            format!(
                "{at}.block is 1.5: give a whole number of steps from 1 to 1440, best the one that calibration found"
            ),
        ),
        (
            json!({"settle": -1}),
            format!("{at}.settle is -1: give a whole number of steps from 0 to 1000"),
        ),
        (
            json!({"silence": 0}),
            format!("{at}.silence is 0: give a whole number of steps from 1 on"),
        ),
        (
            json!({"earlyPass": "no"}),
            format!("{at}.earlyPass is \"no\": give true or false, not a text"),
        ),
        (
            json!({"pods": 7}),
            format!(
                "{at}.pods is 7: give the name of the tag that tells pods apart, as in \"pod\""
            ),
        ),
        (json!([]), format!("{at} is a list: give an object")),
    ] {
        assert_eq!(refusal(&m(), &json!({"g": 100.0}), &judge), told);
    }
    let options = |options: Value| {
        refusal(
            &[metric("m", &options, &[1.0], &[1.0])],
            &json!({"g": 100.0}),
            &json!({}),
        )
    };
    let at = "analysisConfigurations.canary";
    assert_eq!(
        options(json!({"effectSize": {"allowedIncrease": 0.1}})),
        format!(
            "{at}.effectSize.allowedIncrease of metric \"m\" is 0.1: give a ratio from 1 on, as in 1.05 for five per cent more"
        )
    );
    assert_eq!(
        options(json!({"effectSize": {"allowedDecrease": 1.5}})),
        format!(
            "{at}.effectSize.allowedDecrease of metric \"m\" is 1.5: give a ratio from 0 to 1, as in 0.95 for five per cent less"
        )
    );
    assert_eq!(
        options(json!({"effectSize": {"allowedIncrease": 1.5, "criticalIncrease": 1.2}})),
        format!(
            "{at}.effectSize.criticalIncrease of metric \"m\" is 1.2: give one that is further from 1 than the allowed one, or leave it out"
        )
    );
    assert_eq!(
        options(json!({"effectSize": {"measure": "cles"}})),
        format!(
            "{at}.effectSize.measure of metric \"m\" is \"cles\": leave it out and give ratios: SequentialJudge-v1.0 compares by them"
        )
    );
    assert_eq!(
        options(json!({"sequential": {"requests": "other"}})),
        format!(
            "{at}.sequential.requests of metric \"m\" is \"other\": give the name of another metric of this config, the one with the requests"
        )
    );
    assert_eq!(
        options(json!({"sequential": {"acceptable": 1}})),
        format!(
            "{at}.sequential.acceptable of metric \"m\" is 1: give a share from 0 up to, not including, 1, as in 0.005"
        )
    );
    assert_eq!(
        refusal(&m(), &json!({"g": -5.0}), &json!({})),
        "canaryConfig.classifier.groupWeights.g is -5.0: give a weight from 0 to 100"
    );
    let typo = last(&m(), &json!({"alhpa": 0.05}));
    assert_eq!(
        typo.warnings,
        ["canaryConfig.judge.judgeConfigurations.alhpa is not known and has no effect"]
    );
}

#[test]
fn an_unknown_judge_is_refused_by_name() {
    let error = judge::resolve(Some("SequentialJudge-v2.0")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Unable to resolve canary judge 'SequentialJudge-v2.0'."
    );
}

#[test]
fn a_config_that_the_sequential_judge_cannot_use_is_not_saved() {
    let with = |judge: serde_json::Value, options: serde_json::Value| {
        let config = configured(
            &[metric("m", &options, &[], &[])],
            &json!({"g": 100.0}),
            &judge,
        );
        let saved = judge::validate::for_saving(&config).map_err(|error| error.to_string());
        let judged = judge::validate::for_judging(&config).map_err(|error| error.to_string());
        assert_eq!(saved, judged);
        saved
    };
    assert_eq!(with(json!({}), increase()), Ok(()));
    let refused = with(json!({"alpha": 2}), increase()).unwrap_err();
    assert!(
        refused.starts_with("canaryConfig.judge.judgeConfigurations.alpha is 2: "),
        "{refused}"
    );
    let refused = with(json!({}), json!({"effectSize": {"allowedIncrease": 0.1}})).unwrap_err();
    assert!(
        refused.contains("allowedIncrease of metric \"m\" is 0.1"),
        "{refused}"
    );
}

#[test]
fn a_risk_whose_inverse_no_evidence_reaches_is_refused() {
    let m = || [metric("m", &increase(), &[100.0; 60], &[200.0; 60])];
    for field in ["alpha", "beta"] {
        for risk in [1e-320, 1e-13] {
            let told = refusal(&m(), &json!({"g": 100.0}), &json!({ field: risk }));
            let expected = format!(
                "canaryConfig.judge.judgeConfigurations.{field} is {}: give a probability from 1e-12 to 0.5, as in 0.01",
                json!(risk)
            );
            assert_eq!(told, expected);
        }
    }
    let least = last(&m(), &json!({"alpha": 1e-12, "beta": 1e-12}));
    assert_eq!(least.decision, Some(Decision::Fail));
}

#[test]
fn a_field_of_sequential_that_nobody_knows_is_told_with_those_that_are_known() {
    let options = json!({"sequential": {"request": "r", "blocks": 5, "block": 1}});
    let result = last(&[metric("m", &options, &[1.0; 30], &[1.0; 30])], &json!({}));
    let told = |field: &str| {
        format!(
            "analysisConfigurations.canary.sequential.{field} of metric \"m\" is not known and has no effect: known are requests, acceptable, block, pods"
        )
    };
    let mut warnings = result.warnings;
    warnings.sort();
    assert_eq!(warnings, [told("blocks"), told("request")]);
}

#[test]
fn options_that_only_the_other_judge_uses_are_told() {
    let warnings = |options: Value| {
        last(&[metric("m", &options, &[1.0; 30], &[1.0; 30])], &json!({})).warnings
    };
    let told = |fields: &str| {
        [format!(
            "analysisConfigurations.canary of metric \"m\" asks for what SequentialJudge-v1.0 does not use: {fields}"
        )]
    };
    assert_eq!(
        warnings(json!({"outliers": {"strategy": "remove", "outlierFactor": 5}})),
        told("outliers.strategy, outliers.outlierFactor")
    );
    assert_eq!(
        warnings(json!({"outliers": {"strategy": "remove"}})),
        told("outliers.strategy")
    );
    let pods = json!({"nanStrategy": "replace", "sequential": {"pods": "pod"}});
    let pods = warnings(pods);
    assert!(pods.contains(&told("nanStrategy")[0]), "{pods:?}");
    let usual = json!({
        "outliers": {"strategy": "keep", "outlierFactor": 3.0},
        "nanStrategy": "replace",
    });
    assert_eq!(warnings(usual), [""; 0]);
}
