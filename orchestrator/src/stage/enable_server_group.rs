//! `enableServerGroup`: Gives traffic to a server group once all of it is ready.
//! Source: `orca: EnableServerGroupStage`.

use orchestrator_core::graph::Fault;
use orchestrator_core::{Description, NewStage, PlanError, StageDefinition, StageView, TaskSpec};
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, schema, targeted};
use crate::task::{
    CANCEL_OPERATION, DETERMINE_HEALTH_PROVIDERS, MONITOR_OPERATION, Submission, Task,
    WAIT_FOR_UP_INSTANCES, submit_operation,
};

/// The type.
pub(super) static STAGE: EnableServerGroup = EnableServerGroup;

static SUBMIT: Submission = Submission {
    kind: "enableServerGroup",
    operation: "enableServerGroup",
    prepare: submit_operation::on_group,
    guarded: None,
};

/// See the module.
#[derive(Debug)]
pub(super) struct EnableServerGroup;

impl StageDefinition for EnableServerGroup {
    fn kind(&self) -> &'static str {
        "enableServerGroup"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Enable server group",
            text: "Gives traffic to a server group once all of it is ready.",
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
            TaskSpec::new("enableServerGroup", SUBMIT.kind),
            TaskSpec::new("monitorServerGroup", MONITOR_OPERATION.kind()),
            TaskSpec::new("waitForUpInstances", WAIT_FOR_UP_INSTANCES.kind()),
        ])
    }

    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        if targeted::acts(stage) {
            return Ok(Vec::new());
        }
        targeted::plan(stage, "enableServerGroup")
    }

    fn cancel_task(&self, stage: StageView<'_>) -> Option<&'static str> {
        targeted::acts(stage).then(|| CANCEL_OPERATION.kind())
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        targeted::faults(context, path)
    }

    fn schema(&self) -> Value {
        schema(&targeted::properties(json!({})), &["account", "region"])
    }
}

impl StageType for EnableServerGroup {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        static OWN: &[&dyn Task] = &[&SUBMIT];
        OWN
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}
