//! `terminateInstances`: takes instances down; their group brings others up.
//! Source: `orca: TerminateInstancesStage`, `TerminateInstancesTask`.

use async_trait::async_trait;
use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, PlanError, StageDefinition, StageView, TaskError, TaskPolicy, TaskResult, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, schema, targeted, unbuilt};
use crate::task::{
    CANCEL_OPERATION, MONITOR_OPERATION, Task, TaskContext, server_group, submit_operation,
    traffic_guard,
};

/// The type.
pub(super) static STAGE: Terminate = Terminate {
    kind: "terminateInstances",
    label: "Terminate instances",
    text: "Takes instances down; their server group brings others up.",
    key: "instanceIds",
    task: &SUBMIT,
    tasks: &[&SUBMIT, &WAIT],
};

static SUBMIT: Submit = Submit {
    kind: "terminateInstances",
    decrement: false,
};

static WAIT: Wait = Wait;

/// A type that takes instances down.
pub(super) struct Terminate {
    pub(super) kind: &'static str,
    pub(super) label: &'static str,
    pub(super) text: &'static str,
    /// The field that names them.
    pub(super) key: &'static str,
    pub(super) task: &'static Submit,
    pub(super) tasks: &'static [&'static dyn Task],
}

/// The instances that a stage names, by either field.
fn ids(context: &Map<String, Value>) -> Vec<String> {
    let listed = context.get("instanceIds").and_then(Value::as_array);
    let one = ["instance", "instanceId"]
        .iter()
        .find_map(|k| context.get(*k));
    let all = listed.into_iter().flatten().chain(one);
    let texts = all.filter_map(Value::as_str).filter(|id| !id.is_empty());
    texts.map(ToOwned::to_owned).collect()
}

impl StageDefinition for Terminate {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn describe(&self) -> Description {
        Description {
            label: self.label,
            text: self.text,
            category: "deploy",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        unbuilt::require_provider(stage.stage)?;
        Ok(vec![
            TaskSpec::new(self.kind, self.task.kind()),
            TaskSpec::new("monitorTermination", MONITOR_OPERATION.kind()),
            TaskSpec::new("waitForTerminatedInstances", WAIT.kind()),
        ])
    }

    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        Some(CANCEL_OPERATION.kind())
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let mut faults = targeted::place_faults(context, path);
        let template = context.get(self.key).and_then(Value::as_str);
        if ids(context).is_empty() && !template.is_some_and(|t| t.contains("${")) {
            let message = "it is missing; name the instances to take down";
            faults.push(Fault::new(format!("{path}.{}", self.key), message));
        }
        faults
    }

    fn schema(&self) -> Value {
        let many = json!({"type": "array", "items": {"type": "string"}, "title": "Instances"});
        let one = json!({"type": "string", "title": "Instance"});
        let named = if self.key == "instanceIds" { many } else { one };
        schema(
            &json!({
                "account": {"type": "string", "title": "Account"},
                "region": {"type": "string", "title": "Region"},
                "serverGroupName": {"type": "string", "title": "Server group"},
                self.key: named,
            }),
            &["account", "region", self.key],
        )
    }
}

impl StageType for Terminate {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        self.tasks
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}

/// Has instances taken down.
#[derive(Debug)]
pub(super) struct Submit {
    pub(super) kind: &'static str,
    /// Nobody comes in their place.
    pub(super) decrement: bool,
}

/// The group of the instances, if the stage names it.
fn group<'a>(ctx: &TaskContext<'a>) -> Option<&'a str> {
    ctx.text("serverGroupName").or_else(|| ctx.text("asgName"))
}

/// Whether everything of a group that serves is to go.
fn all_go(group: &Value, going: &[String]) -> bool {
    let instances = server_group::instances(group).iter();
    let mut up = instances
        .filter(|i| server_group::is_up(i, None))
        .filter_map(|i| i.get("id")?.as_str())
        .peekable();
    up.peek().is_some() && up.all(|id| going.iter().any(|g| g == id))
}

/// Asks the traffic guards where nothing of the group would serve any more.
async fn guard(ctx: &TaskContext<'_>, going: &[String]) -> Result<(), TaskError> {
    let Some(name) = group(ctx) else {
        return Ok(());
    };
    let Some(found) = server_group::live(ctx, name).await? else {
        return Ok(());
    };
    if !all_go(&found, going) {
        return Ok(());
    }
    let region = server_group::region_of(ctx)?;
    traffic_guard::check(ctx, "Terminating instances of", &region, &[name.to_owned()]).await
}

#[async_trait]
impl Task for Submit {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn policy(&self) -> TaskPolicy {
        submit_operation::SUBMISSION
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        let ids = ids(&ctx.stage.context);
        if ids.is_empty() {
            return Err(TaskError::user(
                "instanceIds is missing; name the instances to take down",
            ));
        }
        guard(ctx, &ids).await?;
        let mut input = submit_operation::input_of(ctx);
        let (account, region) = (server_group::account(ctx)?, server_group::region_of(ctx)?);
        for key in ["account", "credentials"] {
            input.insert(key.to_owned(), account.into());
        }
        input.insert("region".to_owned(), region.clone().into());
        input.insert("instanceIds".to_owned(), json!(ids));
        if self.decrement {
            input.insert("decrement".to_owned(), true.into());
        }
        let submitted = submit_operation::submit(ctx, "terminateInstances", input).await?;
        Ok(submitted
            .with_context("terminate.instance.ids", json!(ids))
            .with_context("terminate.account.name", account)
            .with_context("terminate.region", region))
    }
}

/// Waits until none of the instances is in the group any more.
#[derive(Debug)]
struct Wait;

#[async_trait]
impl Task for Wait {
    fn kind(&self) -> &'static str {
        "waitForTerminatedInstances"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::retry(10_000, 3_600_000)
    }

    async fn run(&self, ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
        // Without its name the end of the operation says that they are gone.
        let Some(name) = group(ctx) else {
            return Ok(TaskResult::succeeded());
        };
        let gone = ids(&ctx.stage.context);
        let found = server_group::live(ctx, name).await?.unwrap_or_default();
        let mut left = server_group::instances(&found)
            .iter()
            .filter_map(|i| i.get("id")?.as_str());
        Ok(if left.any(|id| gone.iter().any(|g| g == id)) {
            TaskResult::running()
        } else {
            TaskResult::succeeded()
        })
    }
}
