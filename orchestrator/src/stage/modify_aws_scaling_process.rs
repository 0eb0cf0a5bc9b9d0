//! `modifyAwsScalingProcess`: suspends or resumes what changes an auto scaling
//! group by itself. Source: `orca: ModifyAwsScalingProcessStage`.
//!
//! Planned around a resize, so that the group follows it.

use async_trait::async_trait;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of};
use crate::task::{
    CANCEL_OPERATION, MONITOR_OPERATION, Task, TaskContext, server_group, submit_operation,
};

/// The type.
pub(super) static STAGE: ModifyAwsScalingProcess = ModifyAwsScalingProcess;

/// See the module.
#[derive(Debug)]
pub(super) struct ModifyAwsScalingProcess;

impl StageDefinition for ModifyAwsScalingProcess {
    fn kind(&self) -> &'static str {
        "modifyAwsScalingProcess"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Modify scaling process",
            text: "Suspends or resumes scaling processes of an auto scaling group.",
            category: "deploy",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        let action = stage.stage.context.get("action").and_then(Value::as_str);
        let name = match action.unwrap_or_default() {
            "resume" => "resume",
            "suspend" => "suspend",
            other => {
                return Err(format!(
                    "action \"{other}\" is unknown; use suspend or resume"
                ));
            }
        };
        Ok(vec![
            TaskSpec::new(name, Modify.kind()),
            TaskSpec::new("monitor", MONITOR_OPERATION.kind()),
            TaskSpec::new("waitForScalingProcesses", Wait.kind()),
        ])
    }

    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        Some(CANCEL_OPERATION.kind())
    }
}

impl StageType for ModifyAwsScalingProcess {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        &[&Modify, &Wait]
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|v| Some(v.as_str()?.to_owned())).collect()
}

/// The processes of a group that are suspended.
fn suspended(group: &Value) -> Vec<String> {
    let asg = group.get("asg").unwrap_or(group);
    let list = asg.get("suspendedProcesses").and_then(Value::as_array);
    let name = |p: &Value| {
        let text = p.as_str().or_else(|| p.get("processName")?.as_str());
        text.map(ToOwned::to_owned)
    };
    list.into_iter().flatten().filter_map(name).collect()
}

/// Which of the processes asked for have to change.
///
/// As in Orca, the suspension after a resize names none, and so suspends none.
fn to_change(ctx: &TaskContext<'_>, action: &str, group: &Value) -> Vec<String> {
    let asked = texts(ctx.own("processes"));
    let now = suspended(group);
    let resume = action == "resume";
    let changes = |p: &String| now.contains(p) == resume;
    asked.into_iter().filter(changes).collect()
}

#[derive(Debug)]
struct Modify;

#[async_trait]
impl Task for Modify {
    fn kind(&self) -> &'static str {
        "modifyScalingProcess"
    }

    fn policy(&self) -> TaskPolicy {
        submit_operation::SUBMISSION
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let name = server_group::target_name(ctx)?;
        let action = ctx.text("action").unwrap_or_default();
        let key = format!("scalingProcesses.{name}");
        let processes = match ctx.own(&key) {
            Some(decided) => texts(Some(decided)),
            None => {
                let group = server_group::live(ctx, &name).await?.ok_or_else(|| {
                    TaskError::user(format!(
                        "server group {name} does not exist; correct its name"
                    ))
                })?;
                to_change(ctx, action, &group)
            }
        };
        let result = if processes.is_empty() {
            TaskResult::succeeded()
        } else {
            let mut input = submit_operation::on_group(ctx)?;
            input.insert("processes".to_owned(), json!(processes));
            let kind = format!("{action}AsgProcessesDescription");
            submit_operation::submit(ctx, &kind, input).await?
        };
        Ok(result
            .with_context(&key, json!(processes))
            .with_output(&key, json!(processes)))
    }
}

#[derive(Debug)]
struct Wait;

#[async_trait]
impl Task for Wait {
    fn kind(&self) -> &'static str {
        "waitForScalingProcesses"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(2_000, 1_200_000)
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let name = server_group::target_name(ctx)?;
        let changed = texts(ctx.own(&format!("scalingProcesses.{name}")));
        if changed.is_empty() {
            return Ok(TaskResult::succeeded());
        }
        let Some(group) = server_group::live(ctx, &name).await? else {
            return Ok(TaskResult::succeeded());
        };
        let now = suspended(&group);
        let resumed = ctx.text("action") == Some("resume");
        let done = changed.iter().all(|p| now.contains(p) != resumed);
        Ok(if done {
            TaskResult::succeeded()
        } else {
            TaskResult::running()
        })
    }
}
