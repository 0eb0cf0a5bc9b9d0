//! The first line of a failure names its cause: a table of the shapes executions fail in.

mod around;
mod running;

use orchestrator::notification::cause::{of_execution, of_stage};
use orchestrator_core::Execution;
use serde_json::{Value, json};

use around::{engine, outside, people};
use running::{capacity, health, images};

/// `(what, execution, first line, a word of its place)`
type Row = (&'static str, Value, &'static str, &'static str);

fn exception(errors: Value) -> Value {
    json!({"exceptionType": "TaskException", "operation": "t",
           "details": {"error": "Unexpected Task Failure", "errors": errors}})
}

fn execution(status: &str, stages: Value) -> Value {
    json!({"id": "E", "type": "PIPELINE", "application": "shop", "status": status, "stages": stages})
}

fn stage(id: &str, kind: &str, end: i64, context: Value) -> Value {
    json!({"id": id, "refId": id, "type": kind, "name": format!("{kind} {id}"), "status": "TERMINAL",
           "endTime": end, "context": context})
}

/// One failed stage with a context.
fn one(kind: &str, context: Value) -> Value {
    execution("TERMINAL", json!([stage("1", kind, 10, context)]))
}

/// One failed stage whose task failed with these errors.
fn task(kind: &str, name: &str, errors: Value) -> Value {
    with_context(kind, name, errors, json!({}))
}

fn with_context(kind: &str, name: &str, errors: Value, mut context: Value) -> Value {
    context["exception"] = exception(errors.clone());
    let mut failed = stage("1", kind, 10, context);
    failed["tasks"] = json!([
        {"id": "1", "name": "before", "status": "SUCCEEDED", "endTime": 5},
        {"id": "2", "name": name, "status": "TERMINAL", "endTime": 10,
         "taskExceptionDetails": {"exception": exception(errors)}},
    ]);
    execution("TERMINAL", json!([failed]))
}

/// A deploy stage that failed in a synthetic stage below it.
fn below(kind: &str, name: &str, errors: Value) -> Value {
    let mut inner = stage(
        "2",
        kind,
        10,
        json!({"exception": exception(errors.clone())}),
    );
    inner["parentStageId"] = json!("1");
    inner["syntheticStageOwner"] = json!("STAGE_BEFORE");
    inner["tasks"] = json!([{"id": "1", "name": name, "status": "TERMINAL", "endTime": 9,
        "taskExceptionDetails": {"exception": exception(errors)}}]);
    execution(
        "TERMINAL",
        json!([stage("1", "deploy", 12, json!({})), inner]),
    )
}

fn operation(error: &str, details: Value) -> Value {
    let mut errors = vec![json!(error)];
    errors.extend(details.as_array().unwrap().iter().cloned());
    let kato = json!([{"id": "op", "status": {"failed": true}, "exception": {
        "type": "EXCEPTION", "operation": "replaceInPlace", "message": error, "details": details}}]);
    with_context(
        "replaceInPlace",
        "monitorReplace",
        json!(errors),
        json!({"kato.tasks": kato}),
    )
}

fn timed_out(context: Value) -> Value {
    let text = "waitForUpInstances of stage Deploy timed out after 10 minutes. pausedDuration: 0, \
                elapsedTime: 10 minutes, timeoutValue: 10 minutes";
    with_context(
        "createServerGroup",
        "waitForUpInstances",
        json!([text]),
        context,
    )
}

fn webhook(context: Value) -> Value {
    let mut all = json!({"url": "http://hook.test/start?token=x"});
    all.as_object_mut()
        .unwrap()
        .extend(context.as_object().unwrap().clone());
    one("webhook", all)
}

fn canceled(by: Value, reason: Value) -> Value {
    let mut e = execution("CANCELED", json!([]));
    e["canceled"] = true.into();
    e["canceledBy"] = by;
    e["cancellationReason"] = reason;
    e
}

fn judgment(context: Value, modified: Value) -> Value {
    let mut waits = stage("1", "manualJudgment", 10, context);
    waits["lastModified"] = modified;
    execution("TERMINAL", json!([waits]))
}

#[test]
fn the_first_line_names_the_cause() {
    let rows: Vec<Row> = [
        images(),
        health(),
        capacity(),
        outside(),
        people(),
        engine(),
    ]
    .concat();
    assert!(rows.len() >= 60, "{}", rows.len());
    for (what, execution, first, place) in rows {
        let read: Execution = serde_json::from_value(execution.clone()).unwrap();
        let cause = of_execution(&read).unwrap_or_else(|| panic!("{what}: no cause"));
        assert!(cause.first.starts_with(first), "{what}: {cause:#?}");
        assert!(cause.place.contains(place), "{what}: {cause:#?}");
        assert!(!cause.lines()[0].contains('\n'), "{what}");
        // No secret of a URL is told.
        assert!(
            !cause.lines().concat().contains("token=x"),
            "{what}: {cause:#?}"
        );
    }
}

#[test]
fn what_follows_is_behind_the_cause() {
    let died = operation(
        "instance a died: exit code 1",
        json!(["Address already in use"]),
    );
    let cause = of_execution(&serde_json::from_value(died).unwrap()).unwrap();
    assert!(
        cause
            .first
            .starts_with("Address already in use: instance a died")
    );
    assert_eq!(cause.more, ["Address already in use"]);
    let (_, rolled, ..) = capacity().pop().unwrap();
    let cause = of_execution(&serde_json::from_value(rolled).unwrap()).unwrap();
    let then = cause.more.last().unwrap();
    assert!(
        then.starts_with("then: no server group to restore"),
        "{cause:#?}"
    );
}

#[test]
fn what_went_well_has_no_cause() {
    for status in ["SUCCEEDED", "RUNNING", "NOT_STARTED", "PAUSED"] {
        let read: Execution = serde_json::from_value(execution(status, json!([]))).unwrap();
        assert_eq!(of_execution(&read), None, "{status}");
    }
}

#[test]
fn a_stage_has_the_cause_of_its_own_failure() {
    let mut accepted = stage(
        "1",
        "wait",
        1,
        json!({"exception": exception(json!(["mine"]))}),
    );
    accepted["status"] = json!("FAILED_CONTINUE");
    let other = stage(
        "2",
        "wait",
        0,
        json!({"exception": exception(json!(["another's"]))}),
    );
    let read: Execution =
        serde_json::from_value(execution("SUCCEEDED", json!([accepted, other]))).unwrap();
    assert_eq!(of_stage(&read, &read.stages[0]).unwrap().first, "mine");
}
