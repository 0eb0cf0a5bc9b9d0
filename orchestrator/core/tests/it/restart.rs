//! Restarts, cancellations and ends: what is kept, and who is told.

use std::cell::RefCell;
use std::rc::Rc;

use orchestrator_core::{
    Effects, Execution, ExecutionId, Message, RunKind, Status, Target, TaskError, TaskResult,
    command,
    command::Refusal,
    testing::{execution, pipeline},
};
use serde_json::{Value, json};

use crate::runner::Runner;

fn act(runner: &mut Runner, command: impl Fn(&Execution) -> Result<Effects, Refusal>) {
    let effects = command(&runner.execution()).expect("it is allowed now");
    runner.apply(&Target::Execution(ExecutionId::new("E")), effects);
}

fn restart(runner: &mut Runner, stage: usize) {
    act(runner, |execution| {
        command::restart_stage(execution, &execution.stages[stage].id, "ann")
    });
}

fn ended(stages: &Value, fails: &'static str) -> Runner {
    let mut runner = Runner::new(execution(stages)).with(fails, Status::Terminal);
    runner.until(|_| false);
    runner
}

#[test]
fn a_restart_keeps_what_a_type_of_stage_wants_of_the_run_before() {
    let stages = json!([
        {"type": "plain", "refId": "1"},
        {"type": "plain", "refId": "2", "requisiteStageRefIds": ["1"]},
    ]);
    let mut made = 0;
    let mut runner = Runner::new(execution(&stages)).answering(move |_, _| {
        made += 1;
        Ok(TaskResult::succeeded().with_context("made", made))
    });
    runner.until(|_| false);
    restart(&mut runner, 0);
    let runner = runner.end();
    let execution = runner.execution();
    let kept = |stage: usize| execution.stages[stage].context["restartDetails"].clone();
    assert_eq!(kept(0)["restartedBy"], "ann");
    assert_eq!(kept(0)["previousMade"], 1);
    // What follows was restarted by nobody, but keeps its own.
    assert_eq!(kept(1), json!({"previousMade": 2}));
    assert_eq!(execution.stages[1].context["made"], 4);
}

#[test]
fn a_restart_is_not_too_late_though_the_start_would_be() {
    let body = json!({
        "application": "a", "name": "p", "id": "config", "limitConcurrent": true,
        "stages": [{"type": "plain", "refId": "1"}],
    });
    let start = || {
        let (mut execution, messages) = pipeline(&body);
        execution.start_time_expiry = Some(50_000);
        (execution, messages)
    };
    let mut runner = Runner::new(start());
    runner.until(|_| false);
    runner.now = 60_000;
    restart(&mut runner, 0);
    let runner = runner.end();
    assert_eq!(runner.summary(), "1=SUCCEEDED SUCCEEDED");
    assert_eq!(runner.ran.len(), 2);
    let mut late = Runner::new(start());
    late.now = 60_000;
    assert_eq!(late.end().summary(), "1=NOT_STARTED CANCELED");
}

#[test]
fn a_stage_that_never_began_can_be_begun_when_all_is_over() {
    let stages = json!([
        {"type": "plain", "refId": "1"},
        {"type": "plain", "refId": "2"},
        {"type": "plain", "refId": "3", "requisiteStageRefIds": ["2"]},
    ]);
    let mut runner = ended(&stages, "1");
    assert_eq!(
        runner.summary(),
        "1=TERMINAL 2=SUCCEEDED 3=NOT_STARTED TERMINAL"
    );
    restart(&mut runner, 2);
    let runner = runner.end();
    assert_eq!(
        runner.summary(),
        "1=TERMINAL 2=SUCCEEDED 3=SUCCEEDED TERMINAL"
    );
    // While it runs, its time may still come.
    let fresh = Runner::new(execution(&stages)).execution();
    let refused = command::restart_stage(&fresh, &fresh.stages[2].id, "ann");
    assert!(matches!(refused, Err(Refusal::State { .. })), "{refused:?}");
}

#[test]
fn a_restart_takes_over_the_preconditions_that_are_defined_now() {
    let old = json!([{"type": "expression", "context": {"expression": "false"}}]);
    let stages = json!([
        {"type": "checkPreconditions", "refId": "1", "preconditions": old},
        {"type": "checkPreconditions", "refId": "2", "preconditions": old},
        {"type": "plain", "refId": "3", "preconditions": old},
    ]);
    let runner = ended(&stages, "none");
    let new = json!([{"type": "expression", "context": {"expression": "true"}}]);
    let definition = json!({"name": "other", "stages": [
        {"type": "checkPreconditions", "refId": "2", "name": "other", "preconditions": new},
        {"type": "checkPreconditions", "refId": "3", "preconditions": new},
        {"type": "checkPreconditions", "refId": "1", "preconditions": "none"},
        {"type": "checkPreconditions", "refId": "9", "preconditions": new},
        "none",
    ]});
    let mut changed = runner;
    act(&mut changed, |execution| {
        let stage = &execution.stages[0].id;
        command::restart_stage_as(execution, stage, "ann", definition.as_object().unwrap())
    });
    let execution = changed.execution();
    let told = |stage: usize| execution.stages[stage].context["preconditions"].clone();
    assert_eq!([told(0), told(1), told(2)], [old.clone(), new, old]);
    assert_ne!(execution.stages[1].name, "other");
}

#[test]
fn the_last_who_cancels_is_told_of_even_after_the_end() {
    let stages = json!([{"type": "plain", "refId": "1"}]);
    let mut runner = Runner::new(execution(&stages)).answering(|_, _| Ok(TaskResult::running()));
    runner.until(|r| !r.ran.is_empty());
    let told = |runner: &Runner| {
        let execution = runner.execution();
        (execution.canceled_by, execution.cancellation_reason)
    };
    let text = |text: &str| Some(text.to_owned());
    act(&mut runner, |e| command::cancel(e, "ann", Some("first")));
    act(&mut runner, |e| command::cancel(e, "bob", Some("second")));
    runner.until(|_| false);
    assert_eq!(told(&runner), (text("bob"), text("second")));
    assert_eq!(runner.summary(), "1=CANCELED CANCELED");
    act(&mut runner, |e| command::cancel(e, "eve", None));
    assert_eq!(told(&runner), (text("eve"), None));
    assert_eq!(runner.waiting(), 0);
    // One that ended otherwise was not cancelled by anybody.
    let over = ended(&stages, "none").execution();
    assert!(command::cancel(&over, "eve", None).is_err());
}

#[test]
fn forced_it_ends_at_once_and_what_its_worker_answers_later_changes_nothing() {
    let stages = json!([
        {"type": "plain", "refId": "1"},
        {"type": "plain", "refId": "2"},
        {"type": "plain", "refId": "3", "requisiteStageRefIds": ["1", "2"]},
    ]);
    let mut runner = Runner::new(execution(&stages)).answering(|_, _| Ok(TaskResult::running()));
    runner.until(|r| r.ran.len() == 2);
    act(&mut runner, |e| {
        command::force_cancel(e, "ann", Some("stuck"), 7)
    });
    let over = runner.execution();
    assert_eq!(over.status, Status::Canceled);
    assert_eq!(over.canceled_by.as_deref(), Some("ann"));
    assert!(over.end_time >= over.start_time);
    runner.until(|_| false);
    assert_eq!(runner.execution().end_time, over.end_time);
    assert_eq!(
        runner.summary(),
        "1=CANCELED 2=CANCELED 3=NOT_STARTED CANCELED"
    );
    assert_eq!(runner.waiting(), 0);
    let again = command::force_cancel(&runner.execution(), "eve", None, 9);
    assert!(again.is_err());
}

#[test]
fn what_never_began_has_no_end() {
    let empty = Runner::new(execution(&json!([]))).end().execution();
    assert_eq!((empty.status, empty.end_time), (Status::Terminal, None));
    let mut runner = Runner::new(execution(&json!([{"type": "plain", "refId": "1"}])));
    let message = Message::CancelExecution {
        user: "ann".to_owned(),
        reason: None,
    };
    runner.handle_now(&Target::Execution(ExecutionId::new("E")), &message);
    let execution = runner.execution();
    assert_eq!(execution.status, Status::Canceled);
    assert_eq!((execution.start_time, execution.end_time), (None, None));
}

#[test]
fn an_ignored_failure_tells_the_errors_of_all_its_tasks() {
    let stages = json!([{"type": "plain", "refId": "1", "tasks": 3, "continuePipeline": true}]);
    let runner = Runner::new(execution(&stages))
        .answering(|run, _| match run.task_id.as_str() {
            "2" => Ok(TaskResult::succeeded()),
            task => Err(TaskError::permanent(format!("task {task} failed"))),
        })
        .end();
    assert_eq!(runner.summary(), "1=FAILED_CONTINUE SUCCEEDED");
    let execution = runner.execution();
    let errors = &execution.stages[0].context["exception"]["details"]["errors"];
    let mut errors: Vec<_> = errors.as_array().unwrap().clone();
    errors.sort_by_key(Value::to_string);
    assert_eq!(errors, ["task 1 failed", "task 3 failed"]);
}

#[test]
fn what_undoing_an_attempt_answers_late_is_not_told_of_the_next_one() {
    let undone = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&undone);
    let stages = json!([{"type": "plain", "refId": "1", "cancellable": true}]);
    let mut runner = Runner::new(execution(&stages)).answering(move |run, _| {
        if run.run == RunKind::Cancel {
            seen.borrow_mut().push(run.clone());
        }
        Ok(TaskResult::running())
    });
    let cancel = |runner: &mut Runner| act(runner, |e| command::cancel(e, "ann", None));
    let target = Target::Execution(ExecutionId::new("E"));
    runner.until(|r| !r.ran.is_empty());
    cancel(&mut runner);
    runner.until(|r| r.cancelled.len() == 1);
    restart(&mut runner, 0);
    runner.until(|r| r.execution().stages[0].attempt == 1 && r.ran.len() > 1);
    let late = undone.borrow()[0].clone();
    let told = |runner: &Runner| json!(runner.execution().stages[0].context).to_string();
    // While the next attempt runs, and while that is undone itself.
    for _ in 0..2 {
        let failed = Err(TaskError::permanent("it may not"));
        runner.answered(&target, &late, failed);
        let done = TaskResult::succeeded().with_context("cleanedUp", "old");
        runner.answered(&target, &late, Ok(done));
        let context = told(&runner);
        assert!(!context.contains("cancelFailure") && !context.contains("cleanedUp"));
        if runner.cancelled.len() == 1 {
            cancel(&mut runner);
            runner.until(|r| r.cancelled.len() > 1);
        }
    }
}
