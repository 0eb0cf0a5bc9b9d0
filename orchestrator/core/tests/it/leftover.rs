//! Stages that are under way where their owner is not any more: none of them stays so for ever.

use orchestrator_core::testing::execution;
use orchestrator_core::{Execution, ExecutionId, Message, Stage, Status, Subject, Target};
use serde_json::{Value, json};

use crate::runner::Runner;

/// An execution that stands as said: its own status, then what is other of each stage. `parent` is the place of one
/// stage in the list.
fn standing(status: &str, stages: &[Value]) -> Runner {
    let kinds: Vec<Value> = stages
        .iter()
        .enumerate()
        .map(|(at, stage)| {
            let mut own = stage["own"].as_object().cloned().unwrap_or_default();
            own.entry("type").or_insert_with(|| "plain".into());
            own.insert("refId".to_owned(), at.to_string().into());
            own.into()
        })
        .collect();
    let (made, messages) = execution(&json!(kinds));
    let mut header = made.header_json();
    header["status"] = json!(status);
    let made_stages = made.stages.iter().zip(stages).map(|(made, said)| {
        let mut stage = serde_json::to_value(made).unwrap();
        stage["status"] = said["status"].clone();
        if said["status"] != "NOT_STARTED" {
            stage["tasks"] = json!([{"id": "1", "name": "t", "implementingClass": "plain", "startTime": 1,
                "status": said["status"], "stageStart": true, "stageEnd": true}]);
        }
        if let Some(parent) = said["parent"].as_u64() {
            let parent = usize::try_from(parent).unwrap();
            stage["parentStageId"] = json!(made_id(&kinds, parent));
            stage["syntheticStageOwner"] = said["owner"].clone();
        }
        serde_json::from_value::<Stage>(stage).unwrap()
    });
    let stages = made_stages.collect();
    let stands = Execution::from_parts(&header.to_string(), stages).unwrap();
    let mut runner = Runner::new((made, messages));
    runner.until(|_| true);
    let subject = Subject::Execution(Box::new(stands));
    runner
        .subjects
        .insert(Target::Execution(ExecutionId::new("E")), subject);
    runner
}

fn made_id(kinds: &[Value], at: usize) -> String {
    execution(&json!(kinds)).0.stages[at].id.to_string()
}

fn tell(runner: &mut Runner, message: &Message) {
    runner.handle_now(&Target::Execution(ExecutionId::new("E")), message);
}

fn status(runner: &Runner, stage: usize) -> Status {
    runner.execution().stages[stage].status
}

#[test]
fn below_an_execution_that_ended_well_nothing_stays_paused() {
    let mut runner = standing(
        "RUNNING",
        &[
            json!({"status": "STOPPED"}),
            json!({"status": "PAUSED", "parent": 0, "owner": "STAGE_BEFORE"}),
        ],
    );
    tell(&mut runner, &Message::CompleteExecution);
    runner.until(|_| false);
    assert_eq!(runner.execution().status, Status::Succeeded);
    assert_eq!(status(&runner, 1), Status::Canceled);
}

#[test]
fn what_waits_to_be_let_in_is_cancelled_at_once_whatever_its_former_life_left() {
    let mut runner = standing(
        "NOT_STARTED",
        &[
            json!({"status": "NOT_STARTED"}),
            json!({"status": "RUNNING", "parent": 0, "owner": "STAGE_BEFORE"}),
        ],
    );
    let message = Message::CancelExecution {
        user: "ann".to_owned(),
        reason: None,
    };
    tell(&mut runner, &message);
    assert_eq!(runner.execution().status, Status::Canceled);
    runner.until(|_| false);
    assert_eq!(status(&runner, 1), Status::Canceled);
}

#[test]
fn a_stage_that_was_paused_between_the_wish_to_skip_it_and_the_skip_is_skipped() {
    let own = json!({"manualSkip": true});
    let mut runner = standing("PAUSED", &[json!({"status": "PAUSED", "own": own})]);
    let stage_id = runner.execution().stages[0].id.clone();
    tell(&mut runner, &Message::SkipStage { stage_id });
    assert_eq!(status(&runner, 0), Status::Skipped);
}

#[test]
fn a_failure_takes_away_what_has_not_begun_but_not_of_a_stage_that_is_under_way() {
    let own = json!({"type": "nested", "onFailure": 1});
    let mut runner = standing(
        "RUNNING",
        &[
            json!({"status": "RUNNING", "own": own}),
            json!({"status": "STOPPED", "parent": 0, "owner": "STAGE_BEFORE"}),
            json!({"status": "RUNNING", "parent": 0, "owner": "STAGE_BEFORE"}),
            json!({"status": "NOT_STARTED", "parent": 2, "owner": "STAGE_AFTER"}),
            json!({"status": "NOT_STARTED", "parent": 0, "owner": "STAGE_AFTER"}),
        ],
    );
    let before: Vec<_> = runner
        .execution()
        .stages
        .iter()
        .map(|s| s.id.clone())
        .collect();
    let stage_id = before[0].clone();
    tell(&mut runner, &Message::CompleteStage { stage_id });
    let after = runner.execution();
    let there: Vec<bool> = before.iter().map(|id| after.stage(id).is_some()).collect();
    assert_eq!(there, [true, true, true, true, false]);
}
