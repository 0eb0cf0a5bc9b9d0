//! What the simulator found: each as a pipeline of its own.

use std::cell::RefCell;
use std::rc::Rc;

use orchestrator_core::{
    Effects, Execution, Status, TaskResult, command, command::Refusal, testing::execution,
};
use serde_json::json;

use crate::runner::Runner;

type Command = fn(&Execution, i64) -> Result<Effects, Refusal>;

fn act(runner: &mut Runner, command: Command) {
    let execution = runner.execution();
    let target = orchestrator_core::Target::Execution(execution.id.clone());
    let effects = command(&execution, runner.now).expect("it is allowed now");
    runner.apply(&target, effects);
}

fn restart_first(execution: &Execution, _now: i64) -> Result<Effects, Refusal> {
    command::restart_stage(execution, &execution.stages[0].id, "ann")
}

#[test]
fn each_round_of_a_loop_acts_under_an_effect_id_of_its_own() {
    let ids = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&ids);
    let runner = Runner::new(execution(&json!([{"type": "plain", "refId": "1"}])))
        .answering(move |run, _| {
            seen.borrow_mut().push(run.effect_id.clone());
            let again = seen.borrow().len() < 3;
            Ok(TaskResult::status(if again {
                Status::Redirect
            } else {
                Status::Succeeded
            }))
        })
        .end();
    assert_eq!(runner.summary(), "1=SUCCEEDED SUCCEEDED");
    assert_eq!(*ids.borrow(), ["E/S1/0/1", "E/S1/0/1.1", "E/S1/0/1.2"]);
}

#[test]
fn times_never_go_back_though_the_clock_does() {
    let mut runner = Runner::new(execution(&json!([
        {"type": "plain", "refId": "1", "tasks": 2},
        {"type": "plain", "refId": "2", "requisiteStageRefIds": ["1"]},
    ])));
    while runner.step() {
        runner.now -= 100;
    }
    let execution = runner.execution();
    assert_eq!(execution.status, Status::Succeeded);
    for stage in &execution.stages {
        assert!(stage.start_time >= Some(1_000) && stage.start_time <= stage.end_time);
    }
}

#[test]
fn an_upstream_that_ran_again_ends_the_execution_though_what_follows_was_over() {
    let stages = json!([
        {"type": "plain", "refId": "1"},
        {"type": "plain", "refId": "2", "requisiteStageRefIds": ["1"]},
    ]);
    let mut asked = 0;
    let mut runner = Runner::new(execution(&stages)).answering(move |_, _| {
        // The first, then the second until the first has begun again and waits.
        asked += 1;
        let waits = matches!(asked, 2 | 3);
        Ok(if waits {
            TaskResult::running()
        } else {
            TaskResult::succeeded()
        })
    });
    runner.until(|r| r.ran == ["1", "2"]);
    act(&mut runner, restart_first);
    let runner = runner.end();
    assert_eq!(runner.ran, ["1", "2", "1", "2", "1"]);
    assert_eq!(runner.summary(), "1=SUCCEEDED 2=SUCCEEDED SUCCEEDED");
}

#[test]
fn a_restart_while_paused_resumes_what_was_paused() {
    let stages = json!([{"type": "plain", "refId": "1"}, {"type": "plain", "refId": "2"}]);
    let mut asked = 0;
    let mut runner = Runner::new(execution(&stages)).answering(move |run, _| {
        asked += 1;
        let waits = run.stage_id.as_str() == "S2" && asked == 2;
        Ok(if waits {
            TaskResult::running()
        } else {
            TaskResult::succeeded()
        })
    });
    runner.until(|r| r.execution().stages[0].status.is_complete());
    runner.until(|r| r.ran == ["1", "2"]);
    act(&mut runner, |execution, now| {
        command::pause(execution, "ann", now)
    });
    runner.until(|r| r.execution().stages[1].status == Status::Paused);
    act(&mut runner, restart_first);
    let runner = runner.end();
    assert_eq!(runner.summary(), "1=SUCCEEDED 2=SUCCEEDED SUCCEEDED");
    assert!(runner.execution().pauses[0].resume_time.is_some());
}

#[test]
fn a_restart_begins_what_the_end_before_kept_from_beginning() {
    let stages = json!([
        {"type": "plain", "refId": "1"},
        {"type": "plain", "refId": "2"},
        {"type": "plain", "refId": "3", "requisiteStageRefIds": ["2"]},
    ]);
    let mut asked = 0;
    let mut runner = Runner::new(execution(&stages)).answering(move |_, _| {
        asked += 1;
        Ok(TaskResult::status(if asked == 1 {
            Status::Terminal
        } else {
            Status::Succeeded
        }))
    });
    runner.until(|_| false);
    assert_eq!(
        runner.summary(),
        "1=TERMINAL 2=SUCCEEDED 3=NOT_STARTED TERMINAL"
    );
    act(&mut runner, restart_first);
    let runner = runner.end();
    assert_eq!(
        runner.summary(),
        "1=SUCCEEDED 2=SUCCEEDED 3=SUCCEEDED SUCCEEDED"
    );
}
