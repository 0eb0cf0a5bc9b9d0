//! Stage types of the recorded pipelines, planned as Orca plans them.

use orchestrator_core::{
    Description, NewStage, PlanError, StageCatalog, StageDefinition, StageView, TaskPolicy,
    TaskSpec,
};
use serde_json::{Map, Value};

#[derive(Debug)]
pub(crate) struct OrcaCatalog;

/// A type with one task.
struct OneTask {
    kind: &'static str,
    task: &'static str,
    own: &'static [&'static str],
}

struct CheckPreconditions;

const DESCRIPTION: Description = Description {
    label: "As recorded",
    text: "A stage of a recorded pipeline.",
    category: "test",
};

static TYPES: [OneTask; 4] = [
    OneTask {
        kind: "wait",
        task: "wait",
        own: &[],
    },
    OneTask {
        kind: "evaluateVariables",
        task: "evaluateVariables",
        own: &["variables"],
    },
    OneTask {
        kind: "manualJudgment",
        task: "waitForJudgment",
        own: &[],
    },
    OneTask {
        kind: "restrictExecutionDuringTimeWindow",
        task: "suspendExecutionDuringTimeWindow",
        own: &[],
    },
];

impl StageDefinition for OneTask {
    fn kind(&self) -> &'static str {
        self.kind
    }
    fn describe(&self) -> Description {
        DESCRIPTION
    }
    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new(self.task, self.task)])
    }
    fn own_expressions(&self) -> &'static [&'static str] {
        self.own
    }
}

/// What a precondition takes over from its stage.
const INHERITED: [&str; 2] = ["continuePipeline", "completeOtherBranchesThenFail"];

fn one(stage: StageView<'_>, precondition: &Value) -> NewStage {
    let mut context = Map::new();
    for key in INHERITED {
        if let Some(flag) = stage.stage.context.get(key) {
            context.insert(key.to_owned(), flag.clone());
        }
    }
    let kind = &precondition["type"];
    context.insert("context".to_owned(), precondition["context"].clone());
    context.insert(
        "failPipeline".to_owned(),
        precondition["failPipeline"].clone(),
    );
    context.insert("preconditionType".to_owned(), kind.clone());
    context.insert("type".to_owned(), "checkPreconditions".into());
    let name = format!("Check precondition ({})", kind.as_str().unwrap());
    NewStage::new("checkPreconditions", &name, context)
}

impl StageDefinition for CheckPreconditions {
    fn kind(&self) -> &'static str {
        "checkPreconditions"
    }
    fn describe(&self) -> Description {
        DESCRIPTION
    }
    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        let task = TaskSpec::new("checkPrecondition", "checkPrecondition");
        Ok(stage
            .stage
            .is_synthetic()
            .then_some(task)
            .into_iter()
            .collect())
    }
    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let listed = stage
            .stage
            .context
            .get("preconditions")
            .and_then(Value::as_array);
        Ok(listed
            .into_iter()
            .flatten()
            .map(|p| one(stage, p))
            .collect())
    }
}

impl StageCatalog for OrcaCatalog {
    fn stage(&self, kind: &str) -> Option<&dyn StageDefinition> {
        if kind == "checkPreconditions" {
            return Some(&CheckPreconditions);
        }
        let found = TYPES.iter().find(|t| t.kind == kind);
        found.map(|t| t as &dyn StageDefinition)
    }

    fn task(&self, _kind: &str) -> Option<TaskPolicy> {
        Some(TaskPolicy::PLAIN)
    }
}
