//! `manualJudgment`: people decide whether the pipeline goes on: one of certain roles, several,
//! not who started it, within a time. Source: `orca: ManualJudgmentStage`.
//!
//! Whether an answer counts is decided before it is written ([`vote`]), by what is known of the
//! caller; Differs from Spinnaker: there the stage looks at what was written, and takes it back.

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, Execution, PlanError, Stage, StageDefinition, StageView, Status, TaskError,
    TaskPolicy, TaskResult, TaskSpec, timing,
};
use serde_json::{Map, Value, json};

use super::{StageType, schema};
use crate::task::{Task, TaskContext};
use ballot::{CONTINUE, STOP};
use rules::Rules;

mod ballot;
mod notice;
mod rules;
mod vote;

pub(crate) use vote::{Voter, is_judgment, vote};

/// The type.
pub(super) static STAGE: ManualJudgment = ManualJudgment;

const KIND: &str = "manualJudgment";
const TASK: &str = "waitForJudgment";
/// What an answer leaves in the context.
const ANSWER: [&str; 4] = [
    "judgmentStatus",
    "judgmentInput",
    "lastModifiedBy",
    vote::VOTES,
];
/// Three days.
const TIMEOUT_MS: u64 = 259_200_000;
/// A decision wakes the task, so this only finds the end of the time.
const LOOK_MS: u64 = 3_600_000;
const SHORTEST_LOOK_MS: u64 = 100;

/// See the module.
#[derive(Debug)]
pub(super) struct ManualJudgment;

impl StageDefinition for ManualJudgment {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn describe(&self) -> Description {
        Description {
            label: "Manual judgment",
            text: "Waits for a person to decide whether the pipeline goes on.",
            category: "flow",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Rules::of(&stage.stage.context).map_err(|(field, fault)| format!("{field}: {fault}"))?;
        Ok(vec![TaskSpec::new("waitForJudgment", TASK)])
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        for key in ANSWER {
            stage.context.remove(key);
        }
        notice::forget(stage);
    }

    /// What people wrote is no expression, whoever they are.
    fn own_expressions(&self) -> &'static [&'static str] {
        &ANSWER
    }

    fn overdue(&self, stage: StageView<'_>) -> Option<String> {
        let rules = Rules::of(&stage.stage.context).ok()?;
        let votes = vote::votes(stage.stage);
        let names: Vec<_> = votes.iter().filter_map(|v| v["user"].as_str()).collect();
        let got = match (rules.approvals, names.as_slice()) {
            (1, _) => "nobody answered".to_owned(),
            (wanted, []) => format!("it has none of {wanted} approvals"),
            (wanted, names) => {
                format!(
                    "it has {} of {wanted} approvals, by {}",
                    names.len(),
                    names.join(", ")
                )
            }
        };
        let who = rules.who(stage.execution);
        Some(format!("the judgment expired: {got}; {who}"))
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let faults = Rules::faults(context).into_iter();
        faults
            .map(|(field, message)| Fault::new(format!("{path}.{field}"), message))
            .collect()
    }

    fn schema(&self) -> Value {
        let choice = json!({"type": "object", "properties": {"value": {"type": "string"}}});
        let roles = json!({"type": "array", "title": "Roles", "items": {"type": "string"}});
        schema(
            &json!({
                "instructions": {"type": "string", "title": "Instructions"},
                "judgmentInputs": {"type": "array", "title": "Choices", "items": choice},
                "selectedStageRoles": roles,
                "requiredApprovals": {"type": "integer", "title": "Approvals", "minimum": 1,
                    "maximum": rules::MOST_APPROVALS, "default": 1},
                "preventSelfApproval": {"type": "boolean", "title": "Not who started it"},
                "stageTimeoutMs": {"type": "integer", "title": "Expires after", "default": TIMEOUT_MS},
                "propagateAuthenticationContext": {"type": "boolean", "title": "Go on as the judge"},
                "sendNotifications": {"type": "boolean", "title": "Send notifications"},
            }),
            &[],
        )
    }
}

impl StageType for ManualJudgment {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&WaitForJudgment]
    }
}

#[derive(Debug)]
struct WaitForJudgment;

#[async_trait]
impl Task for WaitForJudgment {
    fn kind(&self) -> &'static str {
        TASK
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(1_000, TIMEOUT_MS)
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        Some(Ok(match decision(ctx.stage) {
            Some(CONTINUE) => TaskResult::succeeded(),
            Some(STOP) => TaskResult::status(Status::Terminal),
            _ => wait(ctx),
        }))
    }
}

/// What was decided. A decision that stands in the definition is nobody's, so it counts only
/// where nothing is asked of those who decide.
fn decision(stage: &Stage) -> Option<&'static str> {
    let says = stage.context.get("judgmentStatus")?.as_str()?.trim();
    let given = stage.last_modified.is_some();
    if !given && Rules::of(&stage.context).map_or(true, |rules| rules.restrict()) {
        return None;
    }
    let known = [CONTINUE, STOP].into_iter();
    known
        .into_iter()
        .find(|word| says.eq_ignore_ascii_case(word))
}

/// Who answered the nearest judgment before a stage whose stages act as its judge; none if
/// there is no such, or nobody was logged in.
pub(crate) fn acting<'a>(execution: &'a Execution, stage: &'a Stage) -> Option<&'a str> {
    let propagates = |at: &Stage| at.flag("propagateAuthenticationContext") == Some(true);
    // Ancestors are costly to find, and hardly any execution has such a judgment.
    if !execution.stages.iter().any(propagates) {
        return None;
    }
    let before = execution.ancestors(stage).into_iter();
    let mut judged = before.filter(|at| {
        at.id != stage.id
            && at.status != Status::Skipped
            && propagates(at)
            && is_judgment(at)
            && decision(at) == Some(CONTINUE)
    });
    let user = judged.next()?.last_modified.as_ref()?.get("user")?.as_str();
    user.filter(|user| *user != rules::NOBODY)
}

/// The limits of a judgment's task; none for a task of another type.
fn policy_of(task: &str) -> Option<TaskPolicy> {
    (task == TASK).then(|| WaitForJudgment.policy())
}

/// Nobody has decided: those who want to hear of it again are told.
fn wait(ctx: &TaskContext<'_>) -> TaskResult {
    let notices = notice::look(ctx.stage, ctx.now);
    let next = next_look(ctx);
    let result = TaskResult {
        backoff_ms: Some(notices.next.map_or(next, |due| due.min(next))),
        remind: notices.again,
        ..TaskResult::running()
    };
    match notices.notifications {
        Some(notifications) => result.with_context("notifications", notifications),
        None => result,
    }
}

/// In an hour, or right after the time is over.
fn next_look(ctx: &TaskContext<'_>) -> u64 {
    let left = ctx.task().and_then(|task| {
        let policy = WaitForJudgment.policy();
        timing::time_left(ctx.execution, ctx.stage, task, policy, ctx.now)
    });
    let left = left.and_then(|ms| u64::try_from(ms).ok());
    left.unwrap_or(LOOK_MS).clamp(SHORTEST_LOOK_MS, LOOK_MS)
}
