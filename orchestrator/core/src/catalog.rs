//! What a stage is to the engine: a definition whose hooks are pure functions.

use serde_json::{Map, Value};

use crate::env::Settings;
use crate::execution::Execution;
use crate::graph::Fault;
use crate::ids::RefId;
use crate::message::Message;
use crate::plan::DRY_RUN_TASK;
use crate::stage::Stage;
use crate::task::{TaskPolicy, TaskSpec};

/// The types of stages and tasks there are.
pub trait StageCatalog: Send + Sync {
    /// A definition by type or alias.
    fn stage(&self, kind: &str) -> Option<&dyn StageDefinition>;
    /// The policy of a type of task; none if there is no such type.
    fn task(&self, kind: &str) -> Option<TaskPolicy>;
}

/// What of a message's subject this catalogue cannot run: the type of its stage or of its task. A newer
/// version's catalogue may.
pub fn foreign_type(
    message: &Message,
    execution: &Execution,
    stages: &dyn StageCatalog,
) -> Option<String> {
    let stage = execution.stage(message.stage_id()?)?;
    let kind = stage.definition();
    let known = stages.stage(kind);
    if !known.is_some_and(StageDefinition::is_built) {
        return Some(stage_type(kind));
    }
    let kind = &stage.task(message.task_id()?)?.implementing_class;
    let known = kind == DRY_RUN_TASK || stages.task(kind).is_some();
    (!known).then(|| task_type(kind))
}

/// How a type of stage is named among all that a version knows.
pub fn stage_type(kind: &str) -> String {
    format!("stage {kind}")
}

/// How a type of task is named among all that a version knows.
pub fn task_type(kind: &str) -> String {
    format!("task {kind}")
}

/// A stage with the execution it is in.
#[derive(Debug, Clone, Copy)]
pub struct StageView<'a> {
    /// The execution.
    pub execution: &'a Execution,
    /// The stage.
    pub stage: &'a Stage,
}

impl<'a> StageView<'a> {
    /// A key as the stage sees it: own value, else the nearest ancestor's output.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.execution.lookup(self.stage, key)
    }

    /// A key that is text.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.get(key)?.as_str()
    }

    /// The stage that planned this one.
    pub fn parent(&self) -> Option<Self> {
        let parent = self.stage.parent_stage_id.as_ref()?;
        let stage = self.execution.stage(parent)?;
        Some(Self {
            execution: self.execution,
            stage,
        })
    }
}

/// A stage that another one plans.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NewStage {
    /// Type.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Context; nothing is inherited.
    pub context: Map<String, Value>,
    /// Names of stages planned with it that go first; empty: starts with the others.
    pub after: Vec<String>,
}

impl NewStage {
    /// A stage that starts with its siblings.
    pub fn new(kind: &str, name: &str, context: Map<String, Value>) -> Self {
        Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            context,
            after: Vec::new(),
        }
    }

    /// Each of a list after the one before it.
    pub fn chain(mut stages: Vec<Self>) -> Vec<Self> {
        let mut before: Option<String> = None;
        for stage in &mut stages {
            stage.after = before.into_iter().collect();
            before = Some(stage.name.clone());
        }
        stages
    }
}

/// Why a stage cannot be planned: one sentence for the user.
pub type PlanError = String;

/// How a stage type presents itself to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Short name.
    pub label: &'static str,
    /// One sentence.
    pub text: &'static str,
    /// `flow`, `deploy`, `integration`, …
    pub category: &'static str,
}

/// One type of stage. All hooks are pure: planning the same gives the same.
pub trait StageDefinition: Send + Sync {
    /// The type, as in pipeline JSON.
    fn kind(&self) -> &'static str;

    /// For people.
    fn describe(&self) -> Description;

    /// Whether this version can run it, or knows no more of it than that it exists.
    fn is_built(&self) -> bool {
        true
    }

    /// What goes over the stage's context before anything of it is planned: what the
    /// operator set for it. Asked when it begins, and not in a dry run.
    fn prepare(
        &self,
        _stage: StageView<'_>,
        _settings: &Settings,
    ) -> Result<Map<String, Value>, PlanError> {
        Ok(Map::new())
    }

    /// Tasks, in order.
    fn tasks(&self, _stage: StageView<'_>) -> Result<Vec<TaskSpec>, PlanError> {
        Ok(Vec::new())
    }

    /// Stages before the tasks.
    fn before(&self, _stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(Vec::new())
    }

    /// Stages after tasks that did not fail.
    fn after(&self, _stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(Vec::new())
    }

    /// Stages after a failure, run one after another. Asked again after each
    /// failure; one of a name that ran already is not run again.
    fn on_failure(&self, _stage: StageView<'_>) -> Result<Vec<NewStage>, PlanError> {
        Ok(Vec::new())
    }

    /// Type of the task that undoes what a failed or cancelled stage still does outside.
    fn cancel_task(&self, _stage: StageView<'_>) -> Option<&'static str> {
        None
    }

    /// What its running task waited for in vain, told before the fact that its time was over.
    fn overdue(&self, _stage: StageView<'_>) -> Option<String> {
        None
    }

    /// What a restart forgets, beside status, times and tasks.
    fn prepare_restart(&self, _stage: &mut Stage) {}

    /// A person may skip it while it runs.
    fn can_be_skipped(&self, _stage: StageView<'_>) -> bool {
        false
    }

    /// A failed synthetic child of this type lets its siblings go on.
    fn lets_siblings_continue(&self) -> bool {
        false
    }

    /// Context keys whose expressions its own tasks evaluate.
    fn own_expressions(&self) -> &'static [&'static str] {
        &[]
    }

    /// What is wrong with a context as a user wrote it; paths begin with `path`.
    fn validate(&self, _context: &Map<String, Value>, _path: &str) -> Vec<Fault> {
        Vec::new()
    }

    /// A JSON schema of the context, for forms.
    fn schema(&self) -> Value {
        serde_json::json!({"type": "object"})
    }
}

/// The refId of the `position`th synthetic stage on a side: `1<2`, `1>1`.
pub(crate) fn synthetic_ref(parent: &RefId, side: char, position: usize) -> RefId {
    RefId::new(format!("{parent}{side}{position}"))
}
