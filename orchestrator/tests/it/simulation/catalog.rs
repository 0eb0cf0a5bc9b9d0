//! The toy catalogue and what it lacks: loops, judgments, stages that a person may
//! skip, synthetic stages with synthetic stages of their own.

use orchestrator_core::testing::ToyCatalog;
use orchestrator_core::{
    Description, NewStage, PlanError, Stage, StageCatalog, StageDefinition, StageView, TaskPolicy,
    TaskSpec,
};
use serde_json::{Map, Value, json};

/// Task types of the simulator.
pub(crate) const TOY: &str = "toy";

#[derive(Debug, Clone, Copy)]
pub(crate) struct Catalog;

struct Looping;
struct Judged;
struct Manual;
struct Deep;

const ABOUT: Description = Description {
    label: "Toy",
    text: "A toy.",
    category: "test",
};

impl StageDefinition for Looping {
    fn kind(&self) -> &'static str {
        "looping"
    }
    fn describe(&self) -> Description {
        ABOUT
    }
    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        let mut tasks: Vec<TaskSpec> = (1..=4)
            .map(|n| TaskSpec::new(&format!("toy {n}"), TOY))
            .collect();
        tasks[1].loop_start = true;
        tasks[2].loop_end = true;
        Ok(tasks)
    }
}

impl StageDefinition for Judged {
    fn kind(&self) -> &'static str {
        "judged"
    }
    fn describe(&self) -> Description {
        ABOUT
    }
    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![TaskSpec::new("judge", TOY)])
    }
    fn prepare_restart(&self, stage: &mut Stage) {
        stage.context.remove("judgmentStatus");
    }
}

impl StageDefinition for Manual {
    fn kind(&self) -> &'static str {
        "manual"
    }
    fn describe(&self) -> Description {
        ABOUT
    }
    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(vec![
            TaskSpec::new("toy 1", TOY),
            TaskSpec::new("toy 2", TOY),
        ])
    }
    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(children(stage, "plain", "before"))
    }
    fn can_be_skipped(&self, _stage: StageView<'_>) -> bool {
        true
    }
}

impl StageDefinition for Deep {
    fn kind(&self) -> &'static str {
        "deep"
    }
    fn describe(&self) -> Description {
        ABOUT
    }
    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(children(stage, "nested", "before"))
    }
    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(NewStage::chain(children(stage, "nested", "after")))
    }
    fn on_failure(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(NewStage::chain(children(stage, "plain", "onFailure")))
    }
}

fn children(stage: StageView<'_>, kind: &str, side: &str) -> Vec<NewStage> {
    let own = &stage.stage.context;
    let count = own.get(side).and_then(Value::as_u64).unwrap_or(0);
    let mut context = Map::new();
    for key in ["failPipeline", "continuePipeline"] {
        context.extend(own.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    if kind == "nested" {
        for key in ["before", "after", "onFailure"] {
            context.insert(key.to_owned(), json!(1));
        }
    }
    (1..=count)
        .map(|n| NewStage::new(kind, &format!("{side} {n}"), context.clone()))
        .collect()
}

impl StageCatalog for Catalog {
    fn stage(&self, kind: &str) -> Option<&dyn StageDefinition> {
        match kind {
            "looping" => Some(&Looping),
            "judged" => Some(&Judged),
            "manual" => Some(&Manual),
            "deep" => Some(&Deep),
            other => ToyCatalog.stage(other),
        }
    }

    fn task(&self, kind: &str) -> Option<TaskPolicy> {
        ToyCatalog.task(kind)
    }
}
