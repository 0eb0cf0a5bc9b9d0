//! What an execution knows of the one that started it.

use orchestrator_core::flow::parent_reference;
use orchestrator_core::testing::{CountedIds, ToyCatalog};
use orchestrator_core::{
    Answers, Env, Execution, ExecutionId, ExecutionType, LookupRequest, Settings, Status, command,
    context, new_execution,
};
use serde_json::{Value, json};

fn parent() -> Value {
    json!({
        "id": "P", "type": "PIPELINE", "name": "Build", "status": "SUCCEEDED", "rootId": "R",
        "trigger": {"type": "git", "hash": "abc"},
        "stages": [{"name": "bake", "outputs": {"image": "shop:2"}}],
    })
}

fn child(parent: &Value) -> Execution {
    let body = json!({
        "application": "a", "stages": [{"type": "plain", "refId": "1"}],
        "trigger": {"type": "pipeline", "parentExecution": parent},
    });
    let (kind, id) = (ExecutionType::Pipeline, ExecutionId::new("E"));
    new_execution(kind, &body, id, "ann", 0, &mut CountedIds::default())
        .unwrap()
        .0
}

fn evaluated(execution: &Execution, text: &str, answers: &Answers) -> Result<Value, String> {
    let settings = Settings::default();
    let env = Env {
        now: 0,
        ids: &mut CountedIds::default(),
        answers,
        stages: &ToyCatalog,
        settings: &settings,
    };
    let stage = execution.stages.first();
    match context::evaluate(execution, stage, &json!(text), &env) {
        Ok(found) => Ok(found.value),
        Err(lookups) => {
            let LookupRequest::Execution(id) = &lookups[0].request else {
                panic!("{lookups:?}");
            };
            assert_eq!(lookups[0].key, context::PARENT);
            Err(id.clone())
        }
    }
}

#[test]
fn an_expression_that_asks_for_the_parent_waits_for_it_and_others_do_not() {
    let execution = child(&parent_reference(&parent()));
    assert_eq!(execution.root_id, Some(ExecutionId::new("R")));
    let none = Answers::new();
    let image = "${trigger.parentExecution.stages[0].outputs.image}";
    assert_eq!(evaluated(&execution, image, &none), Err("P".to_owned()));
    assert_eq!(
        evaluated(&execution, "${trigger.type}", &none),
        Ok(json!("pipeline"))
    );
    let found = Answers::from([(context::PARENT.to_owned(), Ok(parent().to_string()))]);
    assert_eq!(evaluated(&execution, image, &found), Ok(json!("shop:2")));
    let name = "${execution.trigger.parentExecution.stages[0].name}";
    assert_eq!(evaluated(&execution, name, &found), Ok(json!("bake")));
    // One that is gone is what is kept of it.
    let gone = Answers::from([(context::PARENT.to_owned(), Err("gone".to_owned()))]);
    let name = "${trigger.parentExecution.name}";
    assert_eq!(evaluated(&execution, name, &gone), Ok(json!("Build")));
    // Somebody's own account of it is whole.
    let whole = child(&parent());
    assert_eq!(evaluated(&whole, image, &none), Ok(json!("shop:2")));
}

#[test]
fn the_stage_that_waited_for_a_child_is_run_again_only_for_that_child() {
    let mut waiting = child(&Value::Null);
    waiting.status = Status::Terminal;
    let id = waiting.stages[0].id.clone();
    let again = |execution: &Execution, child: &str| {
        let effects = command::restart_for_child(execution, &id, child, "ann");
        effects.messages.len()
    };
    assert_eq!(again(&waiting, "C"), 0, "it is not over");
    waiting.stages[0].status = Status::Terminal;
    let context = json!({"executionId": "C"});
    waiting.stages[0].context = context.as_object().cloned().unwrap();
    assert_eq!(again(&waiting, "other"), 0);
    assert_eq!(again(&waiting, "C"), 1);
    waiting.status = Status::Running;
    assert_eq!(again(&waiting, "C"), 0, "it goes on already");
}
