//! Expressions and variables that somebody tries out against an execution.

use orchestrator::services::fake::Fake;
use orchestrator::{Config, SpelVersion};
use proto::orchestrator::v1::EvaluateRequest;
use serde_json::{Value, json};

use crate::rig::{Rig, as_user, make, memory, quick, stage};

#[tokio::test]
async fn an_expression_is_tried_out_against_a_stage() {
    let rig = Rig::up().await;
    let stages = json!([make(
        "evaluateVariables",
        "1",
        &[],
        json!({"variables": [{"key": "a", "value": "b"}]})
    )]);
    let id = rig.start_stages(stages).await;
    let execution = rig.ends(&id, "SUCCEEDED").await;
    let at_stage = stage(&execution, "1")["id"].as_str().unwrap().to_owned();
    let ask = async |stage_id: &str, expression: &str| {
        let request = EvaluateRequest {
            execution_id: id.clone(),
            stage_id: stage_id.into(),
            expression: expression.into(),
            ..EvaluateRequest::default()
        };
        let reply = rig.executions.clone().evaluate(as_user(request)).await;
        reply.unwrap().into_inner().value("answer").unwrap()
    };
    assert_eq!(ask(&at_stage, "${a + '!'}").await["result"], "b!");
    // The whole execution has no names of its stages.
    assert_eq!(ask("", "${a + '!'}").await["result"], "null!");
    assert_eq!(
        ask("", "${execution.stages[0].outputs.a}").await["result"],
        "b"
    );
    // What holds no expression is no expression.
    assert_eq!(ask(&at_stage, "a + '!'").await["result"], "a + '!'");
    // No stage runs while one is tried out, and what is missing is told by its key.
    let failed = ask(&at_stage, "${#currentStage().name}").await;
    assert_eq!(failed["result"], "${#currentStage().name}");
    let (_, told) = failed["detail"].as_object().unwrap().iter().next().unwrap();
    let told = told[0]["description"].as_str().unwrap();
    assert!(
        told.starts_with("Failed to evaluate [expression] "),
        "{told}"
    );
    // Documents are looked up.
    let missing = ask("", "${#pipelineIdOrNull('nowhere') ?: 'none'}").await;
    assert_eq!(missing, json!({"result": "none", "detail": {}}));
}

#[tokio::test]
async fn variables_are_tried_out_after_the_stages_that_are_named() {
    let rig = Rig::up().await;
    let sets = |id: &str, key: &str, value: i64| {
        let variables = json!({"variables": [{"key": key, "value": value}]});
        make("evaluateVariables", id, &[], variables)
    };
    let stages = json!([sets("1", "one", 1), sets("2", "varFromStage2", 200)]);
    let id = rig.start_stages(stages).await;
    rig.ends(&id, "SUCCEEDED").await;
    let asked = json!([
        {"key": "var1", "value": "${100}"},
        {"key": "var2", "value": "${varFromStage2}"},
        {"key": "sum", "value": "${var1 + var2}", "description": "should be ${varFromStage2}"},
    ]);
    let ask = async |variables: &Value, after: &[&str], version: &str| {
        let request = EvaluateRequest {
            execution_id: id.clone(),
            variables: Some(proto::common::v1::Json::of(variables)),
            requisite_stage_ref_ids: after.iter().map(|id| (*id).to_owned()).collect(),
            spel_version: version.to_owned(),
            ..EvaluateRequest::default()
        };
        let reply = rig.executions.clone().evaluate(as_user(request)).await;
        reply.map(|reply| reply.into_inner().value("answer").unwrap())
    };
    let values = |answer: &Value| -> Vec<Value> {
        let all = answer["result"].as_array().unwrap().iter();
        all.map(|variable| variable["value"].clone()).collect()
    };
    let all = ask(&asked, &["1", "2"], "v4").await.unwrap();
    assert_eq!(values(&all), [json!(100), json!(200), json!(300)], "{all}");
    assert_eq!(all["result"][2]["description"], "should be 200");
    assert_eq!(all["result"][2]["sourceValue"], "{var1 + var2}");
    assert_eq!(all["detail"], json!({}));
    let some = ask(&asked, &["1"], "v4").await.unwrap();
    let (second, third) = (json!("${varFromStage2}"), json!("${var1 + var2}"));
    assert_eq!(values(&some), [json!(100), second, third.clone()]);
    let failed: Vec<&String> = some["detail"].as_object().unwrap().keys().collect();
    assert_eq!(failed[..2], ["varFromStage2", "var1 + var2"]);
    let at_once = ask(&asked, &["1", "2"], "v3").await.unwrap();
    assert_eq!(values(&at_once), [json!(100), json!(200), third]);
    assert_eq!(at_once["detail"].as_object().unwrap().len(), 1);
    assert_eq!(at_once["result"][1].get("sourceValue"), None);
    for (variables, after, version, told) in [
        (json!({}), "1", "", "variables is no list"),
        (json!([{"value": 1}]), "1", "", "[0].key is missing"),
        (
            json!([]),
            "7",
            "",
            "requisiteStageRefIds names stage \"7\"; there are 1, 2",
        ),
        (json!([]), "1", "v9", "spelVersion is \"v9\"; use v3 or v4"),
    ] {
        let refused = ask(&variables, &[after], version).await.unwrap_err();
        assert!(refused.message().contains(told), "{refused}");
    }
}

#[tokio::test]
async fn the_operator_says_how_expressions_are_evaluated() {
    for (version, sum) in [(None, "${one + 1}"), (Some(SpelVersion::V4), "2")] {
        let config = Config {
            spel_version_override: version,
            ..quick()
        };
        let rig = Rig::over(memory(), Fake::new(), config).await;
        let variables = json!([
            {"key": "one", "value": "${1}"}, {"key": "sum", "value": "${one + 1}"},
        ]);
        let stages = json!([make(
            "evaluateVariables",
            "1",
            &[],
            json!({"variables": variables})
        )]);
        let id = rig.start_stages(stages).await;
        let ended = rig.end(&id).await;
        assert_eq!(ended["spelEvaluator"].as_str(), version.map(|_| "v4"));
        let found = &stage(&ended, "1")["outputs"]["sum"];
        let text = found
            .as_str()
            .map_or_else(|| found.to_string(), str::to_owned);
        assert_eq!(text, sum);
    }
}
