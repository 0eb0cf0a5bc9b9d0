//! What the simulator found: each as a pipeline of its own.

use std::cell::RefCell;
use std::rc::Rc;

use orchestrator_core::{
    Effects, Execution, Message, Mode, Outgoing, StageId, Status, TaskId, TaskResult, command,
    command::Refusal, testing::execution,
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

fn two_before_stages(more: serde_json::Value) -> serde_json::Value {
    let mut stage = json!({"type": "nested", "refId": "1", "before": 2});
    if let (Some(stage), Some(more)) = (stage.as_object_mut(), more.as_object()) {
        stage.extend(more.clone());
    }
    json!([stage])
}

fn handle(runner: &mut Runner, message: Message) {
    let to = orchestrator_core::Target::Execution(runner.execution().id);
    let (mode, delay_ms) = (Mode::Push, 0);
    runner.push(Outgoing {
        to,
        message,
        mode,
        delay_ms,
    });
}

#[test]
fn a_before_stage_that_fails_during_a_pause_fails_its_parent() {
    let mut asked = 0;
    let mut runner =
        Runner::new(execution(&two_before_stages(json!({})))).answering(move |_, _| {
            asked += 1;
            Ok(TaskResult::status(match asked {
                1 | 2 => Status::Running,
                _ => Status::Succeeded,
            }))
        });
    runner.until(|r| r.ran == ["1<1", "1<2"]);
    act(&mut runner, |execution, now| {
        command::pause(execution, "ann", now)
    });
    runner.until(|r| r.execution().stages[2].status == Status::Paused && r.waiting() == 0);
    // The second one is given up during the pause.
    let stage_id = runner.execution().stages[1].id.clone();
    handle(
        &mut runner,
        Message::AbortStage {
            stage_id,
            reason: "given up".into(),
        },
    );
    let runner = runner.end();
    assert_eq!(runner.execution().stages[2].status, Status::Terminal);
    assert_eq!(runner.execution().status, Status::Terminal);
}

#[test]
fn a_pause_that_is_over_before_the_stage_noticed_it_holds_nothing_up() {
    let mut asked = 0;
    let mut runner =
        Runner::new(execution(&json!([{"type": "plain", "refId": "1"}]))).answering(move |_, _| {
            asked += 1;
            let status = if asked == 1 {
                Status::Running
            } else {
                Status::Succeeded
            };
            Ok(TaskResult::status(status))
        });
    runner.until(|r| r.ran == ["1"]);
    act(&mut runner, |execution, now| {
        command::pause(execution, "ann", now)
    });
    runner.until(|r| r.execution().stages[0].tasks[0].status == Status::Paused);
    assert_eq!(runner.execution().stages[0].status, Status::Running);
    // Handled before the stage's own notice, as from another worker.
    let target = orchestrator_core::Target::Execution(runner.execution().id);
    runner.handle_now(&target, &Message::ResumeExecution { user: "ann".into() });
    let runner = runner.end();
    assert_eq!(runner.summary(), "1=SUCCEEDED SUCCEEDED");
}

#[test]
fn an_ignored_failure_before_a_stage_ends_it_whoever_is_last() {
    for failing in ["1<1", "1<2"] {
        let more = json!({"continuePipeline": true, "onFailure": 1});
        let runner = Runner::new(execution(&two_before_stages(more)))
            .with(failing, Status::Terminal)
            .end();
        assert_eq!(runner.ran, ["1<1", "1<2", "1>1"], "{failing} fails");
        assert_eq!(runner.execution().stages[2].status, Status::FailedContinue);
    }
}

#[test]
fn a_stage_whose_after_stages_were_given_up_has_not_succeeded() {
    let stages = json!([{"type": "nested", "refId": "1", "after": 1}]);
    let mut runner = Runner::new(execution(&stages));
    runner.until(|r| r.ran == ["1"]);
    act(&mut runner, |execution, _| {
        command::cancel(execution, "ann", None)
    });
    let target = orchestrator_core::Target::Execution(runner.execution().id);
    runner.handle_now(
        &target,
        &Message::CancelExecution {
            user: "ann".into(),
            reason: None,
        },
    );
    let runner = runner.end();
    assert_eq!(runner.summary(), "1=CANCELED CANCELED");
}

#[test]
fn a_task_does_not_begin_in_a_stage_that_ended_meanwhile() {
    let stages = json!([{"type": "plain", "refId": "1", "tasks": 2}]);
    let mut runner = Runner::new(execution(&stages)).with("1", Status::Terminal);
    runner.until(|r| r.execution().status.is_complete());
    let (stage_id, task_id) = (StageId::new("S1"), TaskId::new("2"));
    handle(&mut runner, Message::StartTask { stage_id, task_id });
    let runner = runner.end();
    assert_eq!(
        runner.execution().stages[0].tasks[1].status,
        Status::NotStarted
    );
}

#[test]
fn the_end_of_an_earlier_attempt_does_not_end_the_next_before_it_began() {
    let stages = json!([
        {"type": "plain", "refId": "1"},
        {"type": "nested", "refId": "2", "after": 1, "requisiteStageRefIds": ["1"]},
    ]);
    let mut runner = Runner::new(execution(&stages));
    let target = orchestrator_core::Target::Execution(runner.execution().id);
    let stage_id = runner.execution().stages[1].id.clone();
    runner.handle_now(&target, &Message::CompleteStage { stage_id });
    let runner = runner.end();
    assert_eq!(runner.ran, ["1", "2", "2>1"]);
    assert_eq!(
        runner.summary(),
        "1=SUCCEEDED 2=SUCCEEDED 2>1=SUCCEEDED SUCCEEDED"
    );
}

#[test]
fn a_restart_undoes_the_cancelling_of_what_still_ran_at_the_end_before() {
    let stages = json!([{"type": "plain", "refId": "1"}, {"type": "plain", "refId": "2"}]);
    let mut asked = 0;
    let mut runner = Runner::new(execution(&stages)).answering(move |run, _| {
        asked += 1;
        Ok(TaskResult::status(match (run.stage_id.as_str(), asked) {
            ("S1", 1 | 2) => Status::Terminal,
            ("S2", 1 | 2) => Status::Running,
            _ => Status::Succeeded,
        }))
    });
    runner.until(|r| r.execution().status.is_complete());
    assert_eq!(runner.summary(), "1=TERMINAL 2=RUNNING TERMINAL");
    let target = orchestrator_core::Target::Execution(runner.execution().id);
    let (stage_id, user) = (runner.execution().stages[0].id.clone(), "ann".into());
    runner.handle_now(&target, &Message::RestartStage { stage_id, user });
    let runner = runner.end();
    assert_eq!(runner.summary(), "1=SUCCEEDED 2=SUCCEEDED SUCCEEDED");
}

#[test]
fn a_wake_between_an_answer_and_its_record_runs_nothing_again() {
    let mut runner = Runner::new(execution(&json!([{"type": "plain", "refId": "1"}])));
    runner.until(|r| r.ran == ["1"]);
    let target = orchestrator_core::Target::Execution(runner.execution().id);
    let (stage_id, task_id) = (StageId::new("S1"), TaskId::new("1"));
    runner.handle_now(&target, &Message::RunTask { stage_id, task_id });
    let runner = runner.end();
    assert_eq!(runner.ran, ["1"]);
    assert_eq!(runner.summary(), "1=SUCCEEDED SUCCEEDED");
}

#[test]
fn skipping_by_hand_ends_the_tasks_of_synthetic_stages_too() {
    let stages = json!([{"type": "nested", "refId": "1", "before": 1}]);
    let mut runner = Runner::new(execution(&stages)).with("1<1", Status::Running);
    runner.until(|r| r.ran == ["1<1"]);
    let target = orchestrator_core::Target::Execution(runner.execution().id);
    let mut skipped = runner.execution().stages[1].clone();
    skipped.context.insert("manualSkip".to_owned(), true.into());
    let stage_id = skipped.id.clone();
    let writes = vec![orchestrator_core::Write::Stage(skipped.into())];
    runner.apply(
        &target,
        Effects {
            writes,
            ..Effects::default()
        },
    );
    runner.handle_now(&target, &Message::SkipStage { stage_id });
    let runner = runner.end();
    assert_eq!(runner.summary(), "1<1=SKIPPED 1=SKIPPED SUCCEEDED");
    let child = runner.execution().stages[0].clone();
    assert_eq!(child.tasks[0].status, Status::Skipped);
    assert_eq!(child.tasks[0].end_time, child.end_time);
}

#[test]
fn a_stage_that_could_not_be_planned_is_not_planned_again() {
    let mut runner = Runner::new(execution(&json!([{"type": "broken", "refId": "1"}])));
    runner.until(|r| r.execution().stages[0].start_time.is_some());
    let target = orchestrator_core::Target::Execution(runner.execution().id);
    let stage_id = runner.execution().stages[0].id.clone();
    runner.now += 5;
    runner.handle_now(&target, &Message::StartStage { stage_id });
    let runner = runner.end();
    assert_eq!(runner.summary(), "1=TERMINAL TERMINAL");
    assert_eq!(runner.execution().stages[0].start_time, Some(1_000));
}

/// It failed to be planned, and its end was on its way when what is before it was run again.
#[test]
fn the_end_of_a_stage_that_could_not_be_planned_does_not_outlive_a_restart_before_it() {
    let stages = json!([
        {"type": "plain", "refId": "1"},
        {"type": "broken", "refId": "2", "requisiteStageRefIds": ["1"]},
    ]);
    let mut runner = Runner::new(execution(&stages));
    runner.until(|r| r.execution().stages[1].start_time.is_some());
    act(&mut runner, restart_first);
    let target = orchestrator_core::Target::Execution(runner.execution().id);
    let stage_id = runner.execution().stages[0].id.clone();
    runner.handle_now(
        &target,
        &Message::RestartStage {
            stage_id,
            user: "ann".to_owned(),
        },
    );
    let stage_id = runner.execution().stages[1].id.clone();
    runner.handle_now(&target, &Message::CompleteStage { stage_id });
    assert_eq!(runner.execution().stages[1].status, Status::NotStarted);
    let runner = runner.end();
    assert_eq!(runner.summary(), "1=SUCCEEDED 2=TERMINAL TERMINAL");
}
