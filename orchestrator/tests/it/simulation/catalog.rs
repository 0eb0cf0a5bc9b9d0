//! The toys of `shape.rs` as the engine takes stages: plain ones, synthetic stages
//! three deep, loops, judgments, stages that a person may skip, one that cannot be
//! planned.

use orchestrator_core::{
    Description, NewStage, PlanError, Stage, StageCatalog, StageDefinition, StageView, TaskPolicy,
    TaskSpec,
};
use serde_json::Value;

use super::shape::{Child, Place, Shape, shape};

/// The type of the toys' tasks, and of what undoes them.
pub(crate) const TOY: &str = "toy";
pub(crate) const UNDO: &str = "toyCancel";

#[derive(Debug, Clone, Copy)]
pub(crate) struct Catalog;

struct Toy(&'static str);

static TOYS: [Toy; 7] = [
    Toy("plain"),
    Toy("nested"),
    Toy("deep"),
    Toy("looping"),
    Toy("judged"),
    Toy("manual"),
    Toy("broken"),
];

impl Toy {
    fn shape(&self, stage: StageView<'_>) -> Result<Shape, PlanError> {
        let found = shape(self.0, &stage.stage.context);
        found.ok_or_else(|| "this stage cannot be planned".to_owned())
    }
}

fn planned(children: Vec<Child>) -> Vec<NewStage> {
    children
        .into_iter()
        .map(|child| NewStage::new(child.kind, &child.name, child.context))
        .collect()
}

impl StageDefinition for Toy {
    fn kind(&self) -> &'static str {
        self.0
    }
    fn describe(&self) -> Description {
        Description {
            label: "Toy",
            text: "A toy.",
            category: "test",
        }
    }
    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        let places = self.shape(stage)?.tasks;
        let tasks = (1..).zip(places).map(|(number, place)| TaskSpec {
            loop_start: place == Place::First,
            loop_end: place == Place::Last,
            ..TaskSpec::new(&format!("toy {number}"), TOY)
        });
        Ok(tasks.collect())
    }
    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(planned(self.shape(stage).unwrap_or_default().before))
    }
    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let shape = self.shape(stage).unwrap_or_default();
        Ok(NewStage::chain(planned(shape.after)))
    }
    fn on_failure(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        let shape = self.shape(stage).unwrap_or_default();
        Ok(NewStage::chain(planned(shape.on_failure)))
    }
    fn cancel_task(&self, stage: StageView<'_>) -> Option<&'static str> {
        let asks = stage.stage.context.get("cancellable") == Some(&Value::Bool(true));
        (self.0 == "plain" && asks).then_some(UNDO)
    }
    fn prepare_restart(&self, stage: &mut Stage) {
        stage.context.remove("judgmentStatus");
    }
    fn can_be_skipped(&self, stage: StageView<'_>) -> bool {
        self.shape(stage).is_ok_and(|shape| shape.skippable)
    }
}

impl StageCatalog for Catalog {
    fn stage(&self, kind: &str) -> Option<&dyn StageDefinition> {
        let found = TOYS.iter().find(|toy| toy.0 == kind)?;
        Some(found)
    }

    fn task(&self, kind: &str) -> Option<TaskPolicy> {
        match kind {
            TOY => Some(TaskPolicy::retry(1_000, 3_600_000)),
            UNDO => Some(TaskPolicy::PLAIN),
            _ => None,
        }
    }
}
