//! `destroyServerGroup`: Takes a server group out of traffic and removes it.
//! Source: `orca: DestroyServerGroupStage`.

use orchestrator_core::graph::Fault;
use orchestrator_core::{Description, NewStage, PlanError, StageDefinition, StageView, TaskSpec};
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, schema, targeted};
use crate::task::{
    CANCEL_OPERATION, MONITOR_OPERATION, Submission, Task, WAIT_FOR_DESTROYED_SERVER_GROUP,
    submit_operation,
};

/// The type.
pub(super) static STAGE: DestroyServerGroup = DestroyServerGroup;

static SUBMIT: Submission = Submission {
    kind: "destroyServerGroup",
    operation: "destroyServerGroup",
    prepare: submit_operation::on_group,
    guarded: Some("Destroying"),
};

/// See the module.
#[derive(Debug)]
pub(super) struct DestroyServerGroup;

impl StageDefinition for DestroyServerGroup {
    fn kind(&self) -> &'static str {
        "destroyServerGroup"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Destroy server group",
            text: "Takes a server group out of traffic and removes it.",
            category: "deploy",
        }
    }

    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        if !targeted::acts(stage) {
            return Ok(Vec::new());
        }
        Ok(vec![
            TaskSpec::new("destroyServerGroup", SUBMIT.kind),
            TaskSpec::new("monitorServerGroup", MONITOR_OPERATION.kind()),
            TaskSpec::new(
                "waitForDestroyedServerGroup",
                WAIT_FOR_DESTROYED_SERVER_GROUP.kind(),
            ),
        ])
    }

    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        if !targeted::acts(stage) {
            return targeted::plan(stage, "destroyServerGroup");
        }
        let skip = stage.stage.flag("skipDisableBeforeDestroy") == Some(true);
        if skip || !targeted::is_child_of_users(stage) {
            return Ok(Vec::new());
        }
        let name = "disableServerGroup";
        let context = stage.stage.context.clone();
        Ok(vec![NewStage::new(name, name, context)])
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
                "skipDisableBeforeDestroy": {"type": "boolean"},
                "force": {"type": "boolean", "title": "Even if nothing else serves"},
            })),
            &["account", "region"],
        )
    }
}

impl StageType for DestroyServerGroup {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        static OWN: &[&dyn Task] = &[&SUBMIT];
        OWN
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}
