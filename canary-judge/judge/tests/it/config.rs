//! Canary configs and metric set pairs keep what nobody here reads.

use judge::{CanaryConfig, MetricSetPair, remote};
use serde_json::{Value, json};

use crate::bench::THRESHOLDS;

fn document() -> Value {
    json!({
        "id": "c", "name": "my-config", "configVersion": "1", "applications": ["app", 7],
        "ours": {"z": 1, "a": [1.10, 1e3, 12345678901234567890123_u128]},
        "judge": {"name": "NetflixACAJudge-v1.0", "judgeConfigurations": {"x": null}},
        "metrics": [{"name": "m", "scopeName": "default", "groups": ["g"], "extra": true,
            "query": {"type": "prometheus", "metricName": "m", "serviceType": "prometheus"},
            "analysisConfigurations": {"canary": {"direction": "increase", "own": 1}, "b": {}}}],
        "templates": {"t": "${scope}"},
        "classifier": {"groupWeights": {"g": 100, "h": "1.5"}, "scoreThresholds": {"pass": 95}},
    })
}

#[test]
fn a_config_is_written_as_it_was_read() {
    let text = serde_json::to_string(&document()).unwrap();
    let config: CanaryConfig = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&config).unwrap(), text);
    assert_eq!(config.id.as_deref(), Some("c"));
    assert_eq!(config.applications, ["app", "7"]);
    let weights = [("g".to_owned(), 100.0), ("h".to_owned(), 1.5)];
    assert_eq!(config.group_weights.as_deref(), Some(&weights[..]));
    let metric = config.metric("m").unwrap();
    assert_eq!(metric.scope_name.as_deref(), Some("default"));
    assert_eq!(metric.query.as_ref().unwrap()["type"], "prometheus");
    assert_eq!(metric.analysis.as_ref().unwrap()["own"], 1);
}

#[test]
fn of_two_metrics_with_one_name_the_first_is_meant() {
    let config = json!({"metrics": [{"name": "m", "groups": ["a"]}, {"name": "m", "groups": []}]});
    let config = CanaryConfig::read(config).unwrap();
    assert_eq!(
        config.metric("m").unwrap().groups,
        Some(vec!["a".to_owned()])
    );
}

#[test]
fn a_pair_is_written_with_every_number_it_had() {
    let document = json!({
        "name": "m", "id": "p", "tags": {"zone": "a"},
        "values": {
            "control": [0.1, 1e-323, "NaN", 100.0],
            "experiment": ["Infinity", "-Infinity", 5e300]
        },
        "scopes": {"control": {"stepMillis": 60000}}, "attributes": {}, "ours": [1],
    });
    let pair: MetricSetPair = serde_json::from_value(document.clone()).unwrap();
    assert!(pair.values["control"][2].is_nan());
    assert_eq!(pair.values["control"][1], 1e-323);
    assert_eq!(serde_json::to_value(&pair).unwrap(), document);
}

#[test]
fn numbers_are_read_to_the_last_bit() {
    // Readers that round twice get the last bit of these wrong.
    let text = r#"{"name": "m", "values": {"control": [8.988465674311579e307, 9007199254740993,
        0.3000000000000000166533453693773481063544750213623046875, 1e400, -0, -0.0, "1.5", " 2 "]}}"#;
    let pair: MetricSetPair = serde_json::from_str(text).unwrap();
    let expected = [
        8.988465674311579e307,
        9007199254740992.0,
        0.30000000000000004,
        f64::INFINITY,
        0.0,
        -0.0,
        1.5,
        2.0,
    ];
    let bits = |values: &[f64]| {
        values
            .iter()
            .map(|value| value.to_bits())
            .collect::<Vec<_>>()
    };
    assert_eq!(bits(&pair.values["control"]), bits(&expected));
}

#[test]
fn a_remote_judge_is_asked_with_everything_and_its_answer_is_read() {
    let config = CanaryConfig::read(document()).unwrap();
    let pairs = json!([{"name": "m", "values": {"control": ["NaN"], "experiment": [1.0]}}]);
    let pairs = MetricSetPair::read_list(pairs).unwrap();
    let request = remote::request(&config, THRESHOLDS, &pairs);
    assert_eq!(request["canaryConfig"], document());
    assert_eq!(
        request["scoreThresholds"],
        json!({"pass": 95.0, "marginal": 75.0})
    );
    assert_eq!(
        request["metricSetPairList"][0]["values"]["control"],
        json!(["NaN"])
    );
    let answer = json!({
        "judgeName": "mine", "score": {"score": 71.3, "classification": "Marginal"},
        "results": [{"name": "m", "classification": "High", "groups": ["g"], "more": {},
            "resultMetadata": {"ratio": "NaN", "p": 0.01}}],
    });
    let result = remote::answer(answer.to_string().as_bytes()).unwrap();
    assert_eq!(
        (result.score.score, result.score.classification.as_str()),
        (71.3, "Marginal")
    );
    assert_eq!(
        result.results[0].result_metadata.as_ref().unwrap()["p"],
        json!(0.01)
    );
    assert!(result.group_scores.is_empty());
    assert!(remote::answer(b"{\"results\": [{\"classification\": \"Odd\"}]}").is_err());
}
