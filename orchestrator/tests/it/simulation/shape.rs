//! What the checker and the reference model know of executions: which statuses are
//! ends, how stages hang together, what each toy stage is made of. All of it is
//! worked out here again; of the engine they use types and their fields alone (see
//! `independence.rs`).

use orchestrator_core::{Execution, Owner, Stage, StageId, Status, Task, TaskId};
use serde_json::{Map, Value, json};

type Context = Map<String, Value>;

/// Nothing follows in the thing itself.
pub(crate) fn over(status: Status) -> bool {
    match status {
        Status::Succeeded
        | Status::FailedContinue
        | Status::Terminal
        | Status::Canceled
        | Status::Stopped
        | Status::Skipped => true,
        Status::NotStarted
        | Status::Running
        | Status::Paused
        | Status::Suspended
        | Status::Redirect
        | Status::Buffered => false,
    }
}

/// Begun and not over.
pub(crate) fn at_work(status: Status) -> bool {
    matches!(status, Status::Running | Status::Paused)
}

/// What waits for it may begin.
pub(crate) fn lets_on(status: Status) -> bool {
    over(status) && !halts(status)
}

/// What waits for it never begins.
pub(crate) fn halts(status: Status) -> bool {
    matches!(
        status,
        Status::Terminal | Status::Canceled | Status::Stopped
    )
}

/// Something went wrong.
pub(crate) fn failed(status: Status) -> bool {
    matches!(
        status,
        Status::Terminal | Status::Stopped | Status::FailedContinue
    )
}

pub(crate) fn flag(context: &Context, key: &str) -> bool {
    context.get(key) == Some(&Value::Bool(true))
}

/// What a failure becomes by a stage's failure options.
pub(crate) fn failure(context: &Context, otherwise: Status) -> Status {
    let only_its_branch = context.get("failPipeline") == Some(&Value::Bool(false));
    match (flag(context, "continuePipeline"), only_its_branch) {
        (true, _) => Status::FailedContinue,
        (false, true) => Status::Stopped,
        (false, false) => otherwise,
    }
}

pub(crate) fn find<'a>(execution: &'a Execution, id: &StageId) -> Option<&'a Stage> {
    execution.stages.iter().find(|s| s.id == *id)
}

pub(crate) fn task_of<'a>(stage: &'a Stage, id: &TaskId) -> Option<&'a Task> {
    stage.tasks.iter().find(|t| t.id == *id)
}

pub(crate) fn parent<'a>(execution: &'a Execution, stage: &Stage) -> Option<&'a Stage> {
    find(execution, stage.parent_stage_id.as_ref()?)
}

/// Stages of the pipeline's author.
pub(crate) fn own(execution: &Execution) -> impl Iterator<Item = &Stage> {
    execution
        .stages
        .iter()
        .filter(|s| s.parent_stage_id.is_none())
}

/// Siblings it waits for.
pub(crate) fn before<'a>(execution: &'a Execution, stage: &Stage) -> Vec<&'a Stage> {
    let wanted = |s: &&Stage| {
        s.parent_stage_id == stage.parent_stage_id
            && stage.requisite_stage_ref_ids.contains(&s.ref_id)
    };
    execution.stages.iter().filter(wanted).collect()
}

/// What it planned, and what that planned.
pub(crate) fn below<'a>(execution: &'a Execution, stage: &Stage) -> Vec<&'a Stage> {
    let children = execution
        .stages
        .iter()
        .filter(|s| s.parent_stage_id.as_ref() == Some(&stage.id));
    children
        .flat_map(|child| std::iter::once(child).chain(below(execution, child)))
        .collect()
}

/// The stage of the author's that it belongs to.
pub(crate) fn root<'a>(execution: &'a Execution, stage: &'a Stage) -> &'a Stage {
    parent(execution, stage).map_or(stage, |above| root(execution, above))
}

/// Where a stage is: the refId of the author's stage, then names.
pub(crate) fn path(execution: &Execution, stage: &Stage) -> String {
    match parent(execution, stage) {
        Some(above) => format!("{}/{}", path(execution, above), stage.name),
        None => stage.ref_id.to_string(),
    }
}

/// Whether it runs after its parent's tasks.
pub(crate) fn comes_after(stage: &Stage) -> bool {
    stage.synthetic_stage_owner == Some(Owner::StageAfter)
}

/// `1=RUNNING 2=NOT_STARTED`, and what the whole is.
pub(crate) fn summary(execution: &Execution) -> String {
    let name = |s: &Stage| format!("{}={}", s.ref_id, s.status);
    let stages: Vec<String> = execution.stages.iter().map(name).collect();
    format!("{} ({})", execution.status, stages.join(" "))
}

/// A stage that a toy plans.
#[derive(Debug, Clone)]
pub(crate) struct Child {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) context: Context,
}

/// A task's place in a loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Alone,
    First,
    Last,
}

/// What a toy stage is made of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shape {
    pub(crate) tasks: Vec<Place>,
    /// Side by side.
    pub(crate) before: Vec<Child>,
    /// One after another.
    pub(crate) after: Vec<Child>,
    /// One after another.
    pub(crate) on_failure: Vec<Child>,
    pub(crate) skippable: bool,
}

/// The toy of a kind; none if such a stage cannot be planned.
pub(crate) fn shape(kind: &str, context: &Context) -> Option<Shape> {
    use Place::{Alone, First, Last};
    let count = |key: &str, otherwise: u64| {
        let count = context.get(key).and_then(Value::as_u64);
        usize::try_from(count.unwrap_or(otherwise)).unwrap()
    };
    let children = |kind: &'static str, side: &str| {
        (1..=count(side, 0))
            .map(|number| Child {
                kind,
                name: format!("{side} {number}"),
                context: inherited(kind, context),
            })
            .collect()
    };
    Some(match kind {
        "plain" => Shape {
            tasks: vec![Alone; count("tasks", 1)],
            ..Shape::default()
        },
        "nested" => Shape {
            tasks: vec![Alone; count("tasks", 1)],
            before: children("plain", "before"),
            after: children("plain", "after"),
            on_failure: children("plain", "onFailure"),
            ..Shape::default()
        },
        "deep" => Shape {
            before: children("nested", "before"),
            after: children("nested", "after"),
            on_failure: children("plain", "onFailure"),
            ..Shape::default()
        },
        "looping" => Shape {
            tasks: vec![Alone, First, Last, Alone],
            ..Shape::default()
        },
        "judged" => Shape {
            tasks: vec![Alone],
            ..Shape::default()
        },
        "manual" => Shape {
            tasks: vec![Alone, Alone],
            before: children("plain", "before"),
            skippable: true,
            ..Shape::default()
        },
        _ => return None,
    })
}

/// What a child has of its parent's context.
fn inherited(kind: &str, context: &Context) -> Context {
    let mut own = Context::new();
    for key in ["failPipeline", "continuePipeline"] {
        own.extend(
            context
                .get(key)
                .map(|value| (key.to_owned(), value.clone())),
        );
    }
    if kind == "nested" {
        for key in ["before", "after", "onFailure"] {
            own.insert(key.to_owned(), json!(1));
        }
    }
    own
}
