//! A pipeline builder, a toy catalogue of stages and known bugs, for tests.

mod mutant;

use serde_json::{Map, Value, json};

use crate::catalog::{Description, NewStage, PlanError, StageCatalog, StageDefinition, StageView};
use crate::env::IdSource;
use crate::execution::{Execution, ExecutionType};
use crate::ids::ExecutionId;
use crate::outcome::Outgoing;
use crate::stage::Stage;
use crate::task::{TaskPolicy, TaskSpec};

pub use mutant::Mutant;

/// Ids `S1`, `S2`, …
#[derive(Debug, Default)]
pub struct CountedIds(u64);

impl CountedIds {
    /// Ids after the `n`th.
    pub fn after(n: u64) -> Self {
        Self(n)
    }
}

impl IdSource for CountedIds {
    fn next_id(&mut self) -> String {
        self.0 += 1;
        format!("S{}", self.0)
    }

    fn derived_id(&mut self, _at: i64, _purpose: &str) -> String {
        self.next_id()
    }
}

/// An execution `E` of application `a` with these stages, and its first message.
///
/// # Panics
/// When the pipeline is refused.
pub fn execution(stages: &Value) -> (Execution, Vec<Outgoing>) {
    let body = json!({"application": "a", "name": "p", "id": "config", "stages": stages});
    pipeline(&body)
}

/// The same from a whole pipeline.
///
/// # Panics
/// When the pipeline is refused.
#[expect(clippy::expect_used, reason = "for tests only")]
pub fn pipeline(body: &Value) -> (Execution, Vec<Outgoing>) {
    let mut ids = CountedIds::default();
    crate::new_execution(
        ExecutionType::Pipeline,
        body,
        ExecutionId::new("E"),
        "ann",
        1_000,
        &mut ids,
    )
    .expect("the pipeline starts")
}

/// A catalogue with three toy types:
/// - `plain`: tasks by `tasks` (1 by default) of type `toy`;
/// - `nested`: before-, after- and on-failure stages by the numbers in its context;
/// - `broken`: cannot be planned.
#[derive(Debug, Default, Clone, Copy)]
pub struct ToyCatalog;

struct Plain;
struct Nested;
struct Broken;

fn number(stage: StageView<'_>, key: &str, default: u64) -> u64 {
    stage
        .stage
        .context
        .get(key)
        .and_then(Value::as_u64)
        .unwrap_or(default)
}

fn children(stage: StageView<'_>, key: &str, chained: bool) -> Vec<NewStage> {
    let list: Vec<NewStage> = (1..=number(stage, key, 0))
        .map(|n| {
            let mut context = Map::new();
            for inherited in ["failPipeline", "continuePipeline"] {
                if let Some(value) = stage.stage.context.get(inherited) {
                    context.insert(inherited.to_owned(), value.clone());
                }
            }
            NewStage::new("plain", &format!("{key} {n}"), context)
        })
        .collect();
    if chained { NewStage::chain(list) } else { list }
}

fn toys(stage: StageView<'_>) -> Vec<TaskSpec> {
    (1..=number(stage, "tasks", 1))
        .map(|n| TaskSpec::new(&format!("toy {n}"), "toy"))
        .collect()
}

const TOY: Description = Description {
    label: "Toy",
    text: "A toy.",
    category: "test",
};

impl StageDefinition for Plain {
    fn kind(&self) -> &'static str {
        "plain"
    }
    fn describe(&self) -> Description {
        TOY
    }
    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(toys(stage))
    }
    fn cancel_task(&self, stage: StageView<'_>) -> Option<&'static str> {
        (stage.stage.flag("cancellable") == Some(true)).then_some("toyCancel")
    }
    fn prepare_restart(&self, stage: &mut Stage) {
        stage.keep_for_restart("made", "previousMade");
    }
}

impl StageDefinition for Nested {
    fn kind(&self) -> &'static str {
        "nested"
    }
    fn describe(&self) -> Description {
        TOY
    }
    fn tasks(&self, stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(toys(stage))
    }
    fn before(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(children(stage, "before", false))
    }
    fn after(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(children(stage, "after", true))
    }
    fn on_failure(&self, stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(children(stage, "onFailure", true))
    }
}

impl StageDefinition for Broken {
    fn kind(&self) -> &'static str {
        "broken"
    }
    fn describe(&self) -> Description {
        TOY
    }
    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Err("this stage cannot be planned".to_owned())
    }
}

impl StageCatalog for ToyCatalog {
    fn stage(&self, kind: &str) -> Option<&dyn StageDefinition> {
        match kind {
            "plain" => Some(&Plain),
            "nested" => Some(&Nested),
            "broken" => Some(&Broken),
            _ => None,
        }
    }

    fn task(&self, kind: &str) -> Option<TaskPolicy> {
        match kind {
            "toy" => Some(TaskPolicy::retry(1_000, 3_600_000)),
            "toyCancel" => Some(TaskPolicy::PLAIN),
            _ => None,
        }
    }
}
