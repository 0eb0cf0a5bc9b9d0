//! `disableServerGroup`: Takes a server group, or part of it, out of traffic.
//! Source: `orca: DisableServerGroupStage`.

use orchestrator_core::graph::Fault;
use orchestrator_core::{Description, NewStage, PlanError, StageDefinition, StageView, TaskSpec};
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, schema, targeted};
use crate::task::{
    CANCEL_OPERATION, DETERMINE_HEALTH_PROVIDERS, MONITOR_OPERATION, Submission, Task,
    WAIT_FOR_DOWN_INSTANCES, WAIT_FOR_SERVER_GROUP_DISABLED, submit_operation,
};

/// The type.
pub(super) static STAGE: DisableServerGroup = DisableServerGroup;

static SUBMIT: Submission = Submission {
    kind: "disableServerGroup",
    operation: "disableServerGroup",
    prepare: submit_operation::on_group,
    guarded: Some("Disabling"),
};

/// See the module.
#[derive(Debug)]
pub(super) struct DisableServerGroup;

impl StageDefinition for DisableServerGroup {
    fn kind(&self) -> &'static str {
        "disableServerGroup"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Disable server group",
            text: "Takes a server group, or part of it, out of traffic.",
            category: "deploy",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        if !targeted::acts(stage) {
            return Ok(Vec::new());
        }
        Ok(vec![
            TaskSpec::new(
                "determineHealthProviders",
                DETERMINE_HEALTH_PROVIDERS.kind(),
            ),
            TaskSpec::new("disableServerGroup", SUBMIT.kind),
            TaskSpec::new("monitorServerGroup", MONITOR_OPERATION.kind()),
            TaskSpec::new("waitForDownInstances", WAIT_FOR_DOWN_INSTANCES.kind()),
            TaskSpec::new(
                "waitForServerGroupDisabled",
                WAIT_FOR_SERVER_GROUP_DISABLED.kind(),
            ),
        ])
    }

    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        if targeted::acts(stage) {
            return Ok(Vec::new());
        }
        targeted::plan(stage, "disableServerGroup")
    }

    fn cancel_task(&self, stage: StageView<'_>) -> Option<&'static str> {
        targeted::acts(stage).then(|| CANCEL_OPERATION.kind())
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        targeted::faults(context, path)
    }

    fn schema(&self) -> Value {
        schema(
            &targeted::properties(json!({
                "desiredPercentage": {"type": "integer", "title": "Percentage to disable"},
            })),
            &["account", "region"],
        )
    }
}

impl StageType for DisableServerGroup {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        static OWN: &[&dyn Task] = &[&SUBMIT];
        OWN
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}
