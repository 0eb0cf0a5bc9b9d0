//! Whole pipelines, as in `orca: QueueIntegrationTest`.

use orchestrator_core::{
    ExecutionId, Mode, Outgoing, Owner, RunKind, StageId, Status, Target, TaskError, TaskResult,
    command,
    testing::{ToyCatalog, execution, pipeline},
};
use serde_json::{Value, json};

use crate::runner::Runner;

fn stage(ref_id: &str, requisites: &[&str], more: Value) -> Value {
    let mut stage = json!({"refId": ref_id, "type": "plain", "requisiteStageRefIds": requisites});
    if let (Some(stage), Value::Object(more)) = (stage.as_object_mut(), more) {
        stage.extend(more);
    }
    stage
}

fn run(stages: Value) -> Runner {
    Runner::new(execution(&stages))
}

#[test]
fn statuses_of_stages_branches_and_the_whole() {
    let two = json!([stage("1", &[], json!({})), stage("2", &["1"], json!({}))]);
    let branches = |more: Value| {
        json!([
            stage("1", &[], json!({})),
            stage("2a", &["1"], more),
            stage("2b", &["1"], json!({})),
            stage("3", &["2a", "2b"], json!({})),
        ])
    };
    let halt_branch = json!({"failPipeline": false});
    let fail_later = json!({"failPipeline": false, "completeOtherBranchesThenFail": true});
    let ignore = json!({"failPipeline": false, "continuePipeline": true});
    for (name, stages, failing, status, expected) in [
        (
            "a chain",
            two.clone(),
            "",
            Status::Succeeded,
            "1=SUCCEEDED 2=SUCCEEDED SUCCEEDED",
        ),
        (
            "a failed first",
            two.clone(),
            "1",
            Status::Terminal,
            "1=TERMINAL 2=NOT_STARTED TERMINAL",
        ),
        (
            "a skipped task",
            two.clone(),
            "1",
            Status::Skipped,
            "1=SUCCEEDED 2=SUCCEEDED SUCCEEDED",
        ),
        (
            "a stopped one",
            two,
            "1",
            Status::Stopped,
            "1=STOPPED 2=NOT_STARTED SUCCEEDED",
        ),
        (
            "a join",
            branches(json!({})),
            "",
            Status::Succeeded,
            "1=SUCCEEDED 2a=SUCCEEDED 2b=SUCCEEDED 3=SUCCEEDED SUCCEEDED",
        ),
        (
            "a branch that halts",
            branches(halt_branch),
            "2a",
            Status::Terminal,
            "1=SUCCEEDED 2a=STOPPED 2b=SUCCEEDED 3=NOT_STARTED SUCCEEDED",
        ),
        (
            "a branch that fails the pipeline in the end",
            branches(fail_later),
            "2a",
            Status::Terminal,
            "1=SUCCEEDED 2a=STOPPED 2b=SUCCEEDED 3=NOT_STARTED TERMINAL",
        ),
        (
            "an ignored failure",
            branches(ignore),
            "2a",
            Status::Terminal,
            "1=SUCCEEDED 2a=FAILED_CONTINUE 2b=SUCCEEDED 3=SUCCEEDED SUCCEEDED",
        ),
    ] {
        let runner = run(stages)
            .with(Box::leak(failing.to_owned().into_boxed_str()), status)
            .end();
        assert_eq!(runner.summary(), expected, "{name}");
        assert_eq!(runner.waiting(), 0, "{name}");
    }
}

#[test]
fn synthetic_stages_run_around_their_parent_in_order() {
    let nested = json!({"type": "nested", "before": 2, "after": 2, "tasks": 2});
    let runner = run(json!([
        stage("1", &[], nested),
        stage("2", &["1"], json!({}))
    ]))
    .end();
    assert_eq!(
        runner.summary(),
        "1<1=SUCCEEDED 1<2=SUCCEEDED 1=SUCCEEDED 1>1=SUCCEEDED 1>2=SUCCEEDED 2=SUCCEEDED SUCCEEDED"
    );
    assert_eq!(runner.ran, ["1<1", "1<2", "1", "1", "1>1", "1>2", "2"]);
    let owners: Vec<_> = runner
        .execution()
        .stages
        .iter()
        .map(|s| s.synthetic_stage_owner)
        .collect();
    assert_eq!(owners[1], Some(Owner::StageBefore));
    assert_eq!(owners[3], Some(Owner::StageAfter));
}

#[test]
fn a_failed_before_stage_fails_its_parent() {
    let nested = json!({"type": "nested", "before": 1, "after": 1});
    let runner = run(json!([stage("1", &[], nested)]))
        .with("1<1", Status::Terminal)
        .end();
    assert_eq!(runner.summary(), "1<1=TERMINAL 1=TERMINAL TERMINAL");
}

#[test]
fn on_failure_stages_run_in_a_chain_and_the_parent_stays_failed() {
    let nested = json!({"type": "nested", "after": 2, "onFailure": 2});
    let runner = run(json!([stage("1", &[], nested)]))
        .with("1", Status::Terminal)
        .end();
    assert_eq!(
        runner.summary(),
        "1=TERMINAL 1>1=SUCCEEDED 1>2=SUCCEEDED TERMINAL"
    );
    assert_eq!(runner.ran, ["1", "1>1", "1>2"]);
}

#[test]
fn a_failed_after_stage_leads_to_the_on_failure_stages() {
    let nested = json!({"type": "nested", "after": 2, "onFailure": 1});
    let runner = run(json!([stage("1", &[], nested)]))
        .with("1>1", Status::Terminal)
        .end();
    assert_eq!(
        runner.summary(),
        "1=TERMINAL 1>1=TERMINAL 1>3=SUCCEEDED TERMINAL"
    );
    assert_eq!(runner.execution().stages[2].name, "onFailure 1");
}

#[test]
fn on_failure_stages_of_an_ignored_failure_run_and_what_follows_runs_too() {
    let nested = json!({
        "type": "nested", "after": 1, "onFailure": 1,
        "failPipeline": false, "continuePipeline": true
    });
    let runner = run(json!([
        stage("1", &[], nested),
        stage("2", &["1"], json!({}))
    ]))
    .with("1", Status::Terminal)
    .end();
    assert_eq!(
        runner.summary(),
        "1=FAILED_CONTINUE 1>1=SUCCEEDED 2=SUCCEEDED SUCCEEDED"
    );
    assert_eq!(runner.execution().stages[1].name, "onFailure 1");
}

#[test]
fn what_cannot_be_planned_ends_terminal_with_the_cause() {
    for (kind, cause) in [
        ("broken", "cannot be planned"),
        ("nope", "unknown type \"nope\""),
    ] {
        let runner = run(json!([stage("1", &[], json!({"type": kind}))])).end();
        assert_eq!(runner.summary(), "1=TERMINAL TERMINAL");
        let execution = runner.execution();
        let error = execution.stages[0].context["exception"]["details"]["errors"][0].clone();
        assert!(error.as_str().unwrap().contains(cause), "{error}");
    }
}

#[test]
fn a_malformed_body_becomes_an_execution_that_ends_terminal() {
    for (stages, cause) in [
        (json!([]), "there are no stages"),
        (json!([{"refId": "1"}]), "stages[0].type is missing"),
        (
            json!([stage("1", &["2"], json!({})), stage("2", &["1"], json!({}))]),
            "break the circle",
        ),
        (
            json!([stage("1", &["9"], json!({}))]),
            "\"9\" is no stage's refId",
        ),
        (json!([1]), "stages[0] is not an object"),
    ] {
        let runner = run(stages).end();
        let execution = runner.execution();
        assert_eq!(execution.status, Status::Terminal);
        assert!(
            execution.failure.as_deref().unwrap().contains(cause),
            "{:?}",
            execution.failure
        );
        assert_eq!(execution.end_time, None, "it never began");
    }
}

#[test]
fn a_task_that_runs_on_is_asked_again_after_its_backoff() {
    let mut asked = 0;
    let runner = run(json!([stage("1", &[], json!({"backoffPeriodMs": 5_000}))]))
        .answering(move |_, _| {
            asked += 1;
            Ok(if asked < 4 {
                TaskResult::running()
            } else {
                TaskResult::succeeded()
            })
        })
        .end();
    assert_eq!(runner.execution().status, Status::Succeeded);
    assert_eq!(runner.now, 1_000 + 3 * 5_000);
}

#[test]
fn a_passing_error_is_tried_again_and_a_lasting_one_fails_with_its_details() {
    let mut asked = 0;
    let runner = run(json!([stage("1", &[], json!({}))]))
        .answering(move |_, _| {
            asked += 1;
            if asked < 3 {
                return Err(TaskError::transient("unreachable"));
            }
            let mut error = TaskError::permanent("the instance died");
            error.details.push("last line of its log".into());
            Err(error)
        })
        .end();
    let execution = runner.execution();
    assert_eq!(execution.status, Status::Terminal);
    let errors = &execution.stages[0].context["exception"]["details"]["errors"];
    assert_eq!(
        *errors,
        json!(["the instance died", "last line of its log"])
    );
    assert!(
        execution.stages[0].tasks[0]
            .task_exception_details
            .contains_key("exception")
    );
}

#[test]
fn a_stage_that_takes_too_long_fails_or_counts_as_done_if_it_says_so() {
    for (mark, expected) in [(false, Status::Terminal), (true, Status::Succeeded)] {
        let context = json!({"stageTimeoutMs": 10_000, "markSuccessfulOnTimeout": mark});
        let runner = run(json!([stage("1", &[], context)]))
            .answering(|_, _| Ok(TaskResult::running()))
            .end();
        assert_eq!(runner.execution().status, expected);
        assert!(runner.now < 20_000);
    }
}

#[test]
fn what_a_task_waits_for_is_told_until_the_stage_is_restarted() {
    let stages = json!([stage("1", &[], json!({})), stage("2", &["1"], json!({}))]);
    let mut runner = Runner::new(execution(&stages)).answering(|run, _| {
        Ok(if run.number == 1 {
            TaskResult {
                scheduled_time: Some(70_000),
                ..TaskResult::running()
            }
        } else {
            TaskResult::succeeded()
        })
    });
    runner.until(|r| r.ran.len() == 1);
    assert_eq!(
        runner.execution().to_json()["stages"][0]["scheduledTime"],
        70_000
    );
    // An answer that tells nothing of it leaves it.
    runner.until(|r| r.ran.len() == 3);
    assert_eq!(runner.execution().stages[0].scheduled_time, Some(70_000));
    let target = Target::Execution(ExecutionId::new("E"));
    let effects = command::restart_stage(&runner.execution(), &StageId::new("S1"), "ann");
    runner.apply(&target, effects.unwrap());
    runner.until(|r| r.execution().stages[0].attempt == 1);
    assert_eq!(runner.execution().stages[0].scheduled_time, None);
}

#[test]
fn redirect_repeats_the_loop() {
    let mut answers = [Status::Redirect, Status::Redirect, Status::Succeeded].into_iter();
    let runner = run(json!([stage("1", &[], json!({}))]))
        .answering(move |_, _| Ok(TaskResult::status(answers.next().unwrap())))
        .end();
    assert_eq!(runner.ran.len(), 3);
    assert_eq!(runner.execution().status, Status::Succeeded);
}

fn act(
    runner: &mut Runner,
    act: impl FnOnce(
        &orchestrator_core::Execution,
        i64,
    ) -> Result<orchestrator_core::Effects, command::Refusal>,
) {
    let (execution, now) = (runner.execution(), runner.now);
    let effects = act(&execution, now).unwrap();
    runner.apply(&Target::Execution(ExecutionId::new("E")), effects);
}

#[test]
fn what_a_cancelled_stage_does_outside_is_undone_until_that_is_done_or_given_up() {
    for (done_after, failure) in [(3, Value::Null), (usize::MAX, json!("still"))] {
        let mut asked = 0;
        let mut runner =
            run(json!([stage("1", &[], json!({"cancellable": true}))])).answering(move |run, _| {
                asked += usize::from(run.run == RunKind::Cancel);
                match run.run {
                    RunKind::Cancel if asked >= done_after => Ok(TaskResult::succeeded()),
                    RunKind::Cancel if asked % 2 == 0 => Err(TaskError::transient("away")),
                    RunKind::Run | RunKind::Cancel => Ok(TaskResult::running()),
                }
            });
        runner.until(|r| !r.ran.is_empty());
        act(&mut runner, |execution, _| {
            command::cancel(execution, "ann", None)
        });
        let runner = runner.end();
        assert_eq!(runner.summary(), "1=CANCELED CANCELED");
        let given_up = done_after == usize::MAX;
        assert!(given_up && runner.cancelled.len() > 100 || runner.cancelled.len() == done_after);
        let execution = runner.execution();
        let told = execution.stages[0].context.get("cancelFailure").is_some();
        assert_eq!(told, !failure.is_null());
    }
}

#[test]
fn cancelling_ends_what_runs_and_undoes_it_outside() {
    let mut runner = run(json!([
        stage("1", &[], json!({"cancellable": true})),
        stage("2", &["1"], json!({}))
    ]))
    .answering(|run, _| match run.run {
        RunKind::Run => Ok(TaskResult::running()),
        RunKind::Cancel => Ok(TaskResult::succeeded()),
    });
    runner.until(|r| !r.ran.is_empty());
    act(&mut runner, |execution, _| {
        command::cancel(execution, "ann", Some("enough"))
    });
    let runner = runner.end();
    assert_eq!(runner.summary(), "1=CANCELED 2=NOT_STARTED CANCELED");
    assert_eq!(runner.cancelled, ["1"]);
    let execution = runner.execution();
    assert_eq!(execution.canceled_by.as_deref(), Some("ann"));
    assert_eq!(execution.cancellation_reason.as_deref(), Some("enough"));
    let again = command::cancel(&execution, "ann", None).unwrap();
    assert!(again.messages.is_empty());
}

#[test]
fn a_pause_holds_the_tasks_and_a_resume_lets_them_go_on() {
    let mut asked = 0;
    let mut runner = run(json!([stage("1", &[], json!({}))])).answering(move |_, _| {
        asked += 1;
        Ok(if asked < 3 {
            TaskResult::running()
        } else {
            TaskResult::succeeded()
        })
    });
    runner.until(|r| !r.ran.is_empty());
    act(&mut runner, |execution, now| {
        command::pause(execution, "ann", now)
    });
    runner.until(|r| r.waiting() == 0);
    assert_eq!(runner.summary(), "1=PAUSED PAUSED");
    runner.now += 60_000;
    act(&mut runner, |execution, _| {
        command::resume(execution, "bob")
    });
    let runner = runner.end();
    assert_eq!(runner.summary(), "1=SUCCEEDED SUCCEEDED");
    let paused = &runner.execution().to_json()["paused"];
    assert_eq!(
        (&paused["pausedBy"], &paused["resumedBy"]),
        (&json!("ann"), &json!("bob"))
    );
    assert!(paused["pausedMs"].as_i64().unwrap() >= 60_000);
}

#[test]
fn a_restart_runs_the_stage_and_what_follows_again_under_a_new_attempt() {
    let mut effects = Vec::new();
    let nested = json!({"type": "nested", "before": 1});
    let mut runner = run(json!([
        stage("1", &[], json!({})),
        stage("2", &["1"], nested)
    ]))
    .with("2", Status::Terminal);
    runner.until(|r| r.execution().status.is_complete());
    assert_eq!(
        runner.summary(),
        "1=SUCCEEDED 2<1=SUCCEEDED 2=TERMINAL TERMINAL"
    );
    let runner_id = runner
        .execution()
        .stage_by_ref(&orchestrator_core::RefId::new("2"))
        .unwrap()
        .id
        .clone();
    let mut runner = runner.answering(|_, _| Ok(TaskResult::succeeded()));
    act(&mut runner, |execution, _| {
        command::restart_stage(execution, &runner_id, "ann")
    });
    let runner = runner.end();
    assert_eq!(
        runner.summary(),
        "1=SUCCEEDED 2<1=SUCCEEDED 2=SUCCEEDED SUCCEEDED"
    );
    assert_eq!(runner.ran, ["1", "2<1", "2", "2<1", "2"]);
    let stage = runner.execution().stage(&runner_id).unwrap().clone();
    effects.push(stage.attempt);
    assert_eq!(effects, [1]);
    assert_eq!(stage.context["restartDetails"]["restartedBy"], "ann");
    assert!(stage.context["restartDetails"]["previousException"].is_null());
}

#[test]
fn a_stage_that_was_woken_while_a_worker_had_it_runs_again_at_once() {
    let (first, message) = execution(&json!([stage(
        "1",
        &[],
        json!({"backoffPeriodMs": 3_600_000})
    )]));
    let stage_id = first.stages[0].id.clone();
    let mut asked = 0;
    let mut runner = Runner::new((first, message)).answering(move |_, _| {
        asked += 1;
        Ok(if asked == 1 {
            TaskResult::running()
        } else {
            TaskResult::succeeded()
        })
    });
    runner.until(|r| !r.ran.is_empty());
    let task = orchestrator_core::TaskId::new("1");
    act(&mut runner, |execution, _| {
        Ok(command::wake(execution, &stage_id, &task))
    });
    let runner = runner.end();
    assert_eq!(runner.execution().status, Status::Succeeded);
    assert_eq!(runner.now, 1_000, "the hour of backoff was not waited for");
}

#[test]
fn one_execution_of_a_limited_pipeline_runs_at_a_time() {
    let body = json!({
        "application": "a", "name": "p", "id": "config", "limitConcurrent": true,
        "keepWaitingPipelines": true, "stages": [stage("1", &[], json!({}))]
    });
    let (first, messages) = pipeline(&body);
    let mut second = first.clone();
    second.id = ExecutionId::new("F");
    let mut runner =
        Runner::new((first, messages.clone())).answering(|_, _| Ok(TaskResult::running()));
    let message = orchestrator_core::Message::StartExecution {
        execution_id: second.id.clone(),
        application: "a".into(),
        limit: 1,
        beside: Vec::new(),
        life: None,
    };
    let to = messages[0].to.clone();
    runner.add((
        second,
        vec![Outgoing {
            to,
            message,
            mode: Mode::Push,
            delay_ms: 0,
        }],
    ));
    runner.until(|r| r.ran.len() > 3);
    let status = |runner: &Runner, id: &str| match &runner.subjects
        [&Target::Execution(ExecutionId::new(id))]
    {
        orchestrator_core::Subject::Execution(e) => e.status,
        orchestrator_core::Subject::PipelineGate(_) => unreachable!(),
    };
    assert_eq!(status(&runner, "E"), Status::Running);
    assert_eq!(status(&runner, "F"), Status::NotStarted);
    let runner = runner.answering(|_, _| Ok(TaskResult::succeeded())).end();
    assert_eq!(status(&runner, "E"), Status::Succeeded);
    assert_eq!(status(&runner, "F"), Status::Succeeded);
}

#[test]
fn disabled_pipelines_are_refused() {
    let start = |body: Value| {
        orchestrator_core::new_execution(
            orchestrator_core::ExecutionType::Pipeline,
            &body,
            ExecutionId::new("E"),
            "ann",
            0,
            &mut orchestrator_core::testing::CountedIds::default(),
        )
    };
    let disabled = start(json!({"application": "a", "name": "p", "disabled": true}));
    assert!(
        disabled
            .unwrap_err()
            .to_string()
            .contains("\"p\" is disabled")
    );
}

#[test]
fn a_manual_skip_is_refused_where_the_stage_does_not_allow_it() {
    let runner = run(json!([stage("1", &[], json!({}))]));
    let id = runner.execution().stages[0].id.clone();
    let skip = serde_json::from_value(json!({"manualSkip": true})).unwrap();
    let refused = command::update_stage(&runner.execution(), &id, skip, "ann", 0, &ToyCatalog);
    assert!(refused.is_err());
    let gone = StageId::new("nope");
    let missing = serde_json::Map::new();
    assert!(
        command::update_stage(&runner.execution(), &gone, missing, "ann", 0, &ToyCatalog).is_err()
    );
}

#[test]
fn parts_and_header_make_the_execution_again() {
    let nested = json!({"type": "nested", "before": 1, "after": 1});
    let execution = run(json!([stage("1", &[], nested)])).end().execution();
    let header = execution.header_json().to_string();
    let mut stages: Vec<_> = execution.stages.iter().cloned().collect();
    stages.reverse();
    let again = orchestrator_core::Execution::from_parts(&header, stages).unwrap();
    assert_eq!(again.to_json(), execution.to_json());
    assert_eq!(again.stages, execution.stages);
    let served = execution.to_json().to_string();
    assert!(!served.contains("\"_"), "{served}");
}

#[test]
fn an_expression_sees_its_execution_by_whatever_name() {
    let seen = [
        ("bare", "${execution.application}"),
        ("root", "${#root.execution.application}"),
        ("index", "${['execution'].application}"),
        ("computed", "${['exec' + 'ution'].application}"),
        ("stage", "${#stage('plain').refId == '1' ? 'a' : ''}"),
    ];
    let mut context = json!({});
    for (key, text) in seen {
        context[key] = text.into();
    }
    let execution = run(json!([stage("1", &[], context)])).end().execution();
    for (key, _) in seen {
        assert_eq!(execution.stages[0].context[key], "a", "{key}");
    }
}
