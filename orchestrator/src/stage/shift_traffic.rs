//! `shiftTraffic`: new shares of the requests for the server groups of a cluster.
//! Planned by the strategy `canary`; also a stage of its own.

use orchestrator_core::graph::Fault;
use orchestrator_core::{Description, PlanError, StageDefinition, StageView, TaskError, TaskSpec};
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, schema, targeted};
use crate::task::{
    CANCEL_OPERATION, MONITOR_OPERATION, Submission, Task, TaskContext, server_group,
    submit_operation,
};

/// The type.
pub(super) static STAGE: ShiftTraffic = ShiftTraffic;

static SUBMIT: Submission = Submission {
    kind: "shiftTraffic",
    operation: "shiftTraffic",
    prepare: input,
    guarded: None,
};

/// See the module.
#[derive(Debug)]
pub(super) struct ShiftTraffic;

impl StageDefinition for ShiftTraffic {
    fn kind(&self) -> &'static str {
        "shiftTraffic"
    }

    fn describe(&self) -> Description {
        Description {
            label: "Shift traffic",
            text: "Changes the shares of the requests that server groups get.",
            category: "deploy",
        }
    }

    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![
            TaskSpec::new("shiftTraffic", SUBMIT.kind),
            TaskSpec::new("monitorShiftTraffic", MONITOR_OPERATION.kind()),
        ])
    }

    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        Some(CANCEL_OPERATION.kind())
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let mut faults = targeted::place_faults(context, path);
        let weights = context.get("weights").and_then(Value::as_object);
        let text = context.get("weights").is_some_and(Value::is_string);
        if !text && weights.is_none_or(Map::is_empty) {
            let message = "it is missing; set {server group: weight}";
            faults.push(Fault::new(format!("{path}.weights"), message));
        }
        faults
    }

    fn schema(&self) -> Value {
        schema(
            &json!({
                "account": {"type": "string", "title": "Account"},
                "region": {"type": "string", "title": "Region"},
                "weights": {
                    "type": "object", "title": "Weights of server groups",
                    "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 1000},
                },
            }),
            &["account", "region", "weights"],
        )
    }
}

impl StageType for ShiftTraffic {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        static OWN: &[&dyn Task] = &[&SUBMIT];
        OWN
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}

fn input(ctx: &TaskContext<'_>) -> Result<Map<String, Value>, TaskError> {
    let mut input = submit_operation::input_of(ctx);
    let region = server_group::region_of(ctx)?;
    input.insert("region".to_owned(), region.into());
    Ok(input)
}
