//! What the stages on a whole cluster share: tasks, fields, schema.
//! Source: `orca: AbstractClusterWideClouddriverOperationStage`.

use orchestrator_core::graph::Fault;
use orchestrator_core::{
    Description, NewStage, PlanError, Stage, StageDefinition, StageView, TaskSpec,
};
use serde_json::{Map, Value, json};

use super::{StageType, accounts_of, schema};
use crate::task::cluster::{ClusterOperation, ClusterWait};
use crate::task::{CANCEL_OPERATION, DETERMINE_HEALTH_PROVIDERS, MONITOR_OPERATION, Task};

/// A type of stage on a cluster.
pub(super) struct ClusterWide {
    pub(super) kind: &'static str,
    pub(super) label: &'static str,
    pub(super) text: &'static str,
    pub(super) operation: &'static ClusterOperation,
    pub(super) wait: &'static ClusterWait,
    /// Name of the task between the two.
    pub(super) monitor: &'static str,
    pub(super) tasks: &'static [&'static dyn Task],
    /// Properties of its own, for its schema.
    pub(super) properties: fn() -> Value,
    /// What is to be done before.
    pub(super) before: fn(StageView<'_>) -> Vec<NewStage>,
}

impl StageDefinition for ClusterWide {
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
        super::unbuilt::require_provider(stage.stage)?;
        Ok(vec![
            TaskSpec::new(
                "determineHealthProviders",
                DETERMINE_HEALTH_PROVIDERS.kind(),
            ),
            TaskSpec::new(self.operation.kind, self.operation.kind),
            TaskSpec::new(self.monitor, MONITOR_OPERATION.kind()),
            TaskSpec::new(self.wait.kind, self.wait.kind),
        ])
    }

    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok((self.before)(stage))
    }

    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        Some(CANCEL_OPERATION.kind())
    }

    fn prepare_restart(&self, stage: &mut Stage) {
        for key in ["deploy.server.groups", "remainingDeployServerGroups"] {
            stage.context.shift_remove(key);
        }
    }

    fn validate(&self, context: &Map<String, Value>, path: &str) -> Vec<Fault> {
        let mut faults = super::targeted::place_faults(context, path);
        let named = context.get("cluster").or_else(|| context.get("moniker"));
        if named.is_none_or(|v| v.is_null() || v == "") {
            let message = "it is missing; name the cluster";
            faults.push(Fault::new(format!("{path}.cluster"), message));
        }
        faults
    }

    fn schema(&self) -> Value {
        let mut properties = json!({
            "credentials": {"type": "string", "title": "Account"},
            "regions": {"type": "array", "items": {"type": "string"}, "title": "Regions"},
            "cluster": {"type": "string", "title": "Cluster"},
        });
        if let (Value::Object(all), Value::Object(own)) = (&mut properties, (self.properties)()) {
            all.extend(own);
        }
        schema(&properties, &["credentials", "regions", "cluster"])
    }
}

impl StageType for ClusterWide {
    fn own_tasks(&self) -> &'static [&'static dyn Task] {
        self.tasks
    }

    fn accounts(&self, stage: &Map<String, Value>) -> Vec<(String, String)> {
        accounts_of(stage, "")
    }
}
