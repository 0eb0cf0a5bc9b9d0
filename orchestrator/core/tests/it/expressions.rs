//! What expressions see of an execution, and when, as the real engine has it.

use orchestrator_core::testing::{CountedIds, pipeline};
use orchestrator_core::{Answers, Env, Execution, Settings, Stage, context};
use serde_json::{Map, Value, json};

use crate::golden::OrcaCatalog;

fn with_env<T>(longest: usize, ask: impl FnOnce(&Env<'_>) -> T) -> T {
    let (answers, mut ids) = (Answers::new(), CountedIds::default());
    let settings = Settings {
        longest_expression: longest,
        ..Settings::default()
    };
    ask(&Env {
        now: 1_000,
        ids: &mut ids,
        answers: &answers,
        stages: &OrcaCatalog,
        settings: &settings,
    })
}

fn variables_of(variables: &Value) -> (Execution, Map<String, Value>) {
    let (execution, _) = pipeline(&json!({
        "application": "a", "name": "p", "id": "config", "spelEvaluator": "v4",
        "stages": [{"type": "evaluateVariables", "refId": "1", "variables": variables,
                    "local": "L", "x": "${local}"}],
    }));
    let context = evaluated(&execution, &execution.stages[0]).unwrap();
    (execution, context)
}

fn evaluated(execution: &Execution, stage: &Stage) -> Option<Map<String, Value>> {
    with_env(10_000, |env| {
        context::evaluate_context(execution, stage, env).unwrap()
    })
}

#[test]
fn variables_are_evaluated_one_after_the_other_and_only_those_that_succeed_are_seen() {
    let (_, context) = variables_of(&json!([
        {"key": "a", "value": "${1+2}", "description": "is ${local}"},
        {"key": "b", "value": "plain"},
        {"key": "c", "value": "${missing}"},
        {"key": "d", "value": "${c}"},
        {"key": "e", "value": 5},
        {"key": "f", "value": "${e}"},
        {"key": "g", "value": "${a} ${b}"},
        {"key": "i", "value": "${1/0}"},
    ]));
    assert_eq!(
        context["variables"],
        json!([
            {"key": "a", "value": 3, "description": "is L", "sourceValue": "{1+2}"},
            {"key": "b", "value": "plain", "sourceValue": "plain"},
            {"key": "c", "value": "${missing}", "sourceValue": "{missing}"},
            {"key": "d", "value": "${c}", "sourceValue": "{c}"},
            {"key": "e", "value": 5},
            {"key": "f", "value": "${e}", "sourceValue": "{e}"},
            {"key": "g", "value": "3 plain", "sourceValue": "{a} {b}"},
            {"key": "i", "value": "${1/0}", "sourceValue": "{1/0}"},
        ])
    );
    assert_eq!(context["x"], "L");
    let told = context::failure_descriptions(&context);
    assert_eq!(
        told,
        [
            "Failed to evaluate [var] : missing not found",
            "Failed to evaluate [var] : c not found",
            "Failed to evaluate [var] : e not found",
            "Failed to evaluate [var] / by zero",
        ]
    );
}

#[test]
fn a_variable_is_restored_as_it_was_written() {
    for written in ["${1+2}", "plain", "a {b} ${1}", "${ {1,2} }", "{"] {
        let (_, context) = variables_of(&json!([{"key": "a", "value": written}]));
        let mut variable = context["variables"][0].as_object().unwrap().clone();
        context::restore_source(&mut variable);
        assert_eq!(Value::from(variable), json!({"key": "a", "value": written}));
    }
}

#[test]
fn what_failed_once_is_forgotten_when_nothing_fails_any_more() {
    let (mut execution, context) = variables_of(&json!([{"key": "a", "value": "${missing}"}]));
    assert!(context.contains_key(context::SUMMARY));
    let stage = &mut execution.stages[0];
    stage.context = context;
    stage.context.insert("variables".to_owned(), json!([]));
    let after = evaluated(&execution, &execution.stages[0]).unwrap();
    assert!(!after.contains_key(context::SUMMARY), "{after:?}");
    execution.stages[0].context = after;
    assert_eq!(evaluated(&execution, &execution.stages[0]), None);
}

#[test]
fn outputs_of_ancestors_are_names_and_no_keys_of_the_root() {
    let (mut execution, _) = pipeline(&json!({
        "application": "a", "name": "p", "id": "config", "stages": [
            {"type": "wait", "refId": "1"},
            {"type": "wait", "refId": "2", "requisiteStageRefIds": ["1"], "own": 1},
        ],
    }));
    execution.stages[0]
        .outputs
        .insert("made".to_owned(), json!("here"));
    let ask = |stage: Option<&Stage>, text: &str| {
        with_env(10_000, |env| {
            context::try_out(&execution, stage, text, "amy", env)
                .unwrap()
                .value
        })
    };
    let second = Some(&execution.stages[1]);
    for (stage, text, expected) in [
        (
            second,
            "${made} ${#root.made} ${#root['made']}",
            json!("here here here"),
        ),
        (second, "${#root.containsKey('made')}", json!(false)),
        (second, "${#root.containsKey('own')}", json!(true)),
        (second, "${#currentUser()}", json!("amy")),
        (None, "${own ?: 'none'}", json!("none")),
        (None, "${execution.stages[1].context.own}", json!(1)),
        (None, "own", json!("own")),
        // However it is come by, the execution is there.
        (None, "${execution.name}", json!("p")),
        (None, "${['execution'].name}", json!("p")),
        (None, "${containsKey('execution')}", json!(true)),
        (None, "${#root.execution.name}", json!("p")),
        (None, "${deployedServerGroups}", json!([])),
    ] {
        assert_eq!(ask(stage, text), expected, "{text}");
    }
}

#[test]
fn how_long_an_expression_may_be_is_a_setting() {
    let (execution, _) = pipeline(&json!({
        "application": "a", "name": "p", "id": "config", "stages": [{"type": "wait", "refId": "1"}],
    }));
    let text = "${'0123456789'}";
    let ask = |longest| {
        with_env(longest, |env| {
            let found = context::try_out(&execution, None, text, "amy", env);
            found.unwrap().value
        })
    };
    assert_eq!(ask(12), json!("0123456789"));
    assert_eq!(ask(11), json!(text));
}

#[test]
fn the_trigger_of_a_child_is_evaluated_before_the_pipeline_around_it() {
    let named = |trigger: Value| {
        let (execution, _) = pipeline(&json!({
            "application": "a", "name": "p-${parameters.b}", "id": "config", "stages": [],
            "trigger": trigger,
        }));
        execution.name.unwrap()
    };
    let parameters = json!({"a": "x", "b": "${parameters.a}"});
    let parent = json!({"id": "P", "name": "${parameters.a}"});
    let child = json!({"type": "pipeline", "parameters": parameters, "parentExecution": parent});
    assert_eq!(named(child), "p-x");
    let alone = json!({"type": "manual", "parameters": parameters});
    assert_eq!(named(alone), "p-${parameters.a}");
}
