//! Planning a stage: its tasks, and the synthetic stages around them
//! (`orca: StageDefinitionBuilder`).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::catalog::{NewStage, StageView, synthetic_ref};
use crate::change::Change;
use crate::context::evaluate_context;
use crate::env::Env;
use crate::execution::Execution;
use crate::ids::{RefId, StageId, TaskId};
use crate::outcome::Lookup;
use crate::stage::{Owner, Stage};
use crate::status::Status;
use crate::task::{Task, TaskSpec};

/// What stands in for the tasks of a dry run.
///
/// Differs from Spinnaker: as configured by default, Orca does everything a dry run
/// is meant to leave out.
pub const DRY_RUN_TASK: &str = "dryRun";

/// Type of the stage that waits for an execution window, and the flag that asks for one.
pub const WINDOW: &str = "restrictExecutionDuringTimeWindow";
/// Asks for such a stage before a stage's own; called the same in Orca.
const WINDOW_FLAG: &str = WINDOW;
/// When the window is open. Like the flag, no other planned stage inherits it.
const WINDOW_TIMES: &str = "restrictedExecutionWindow";

/// Why planning stopped.
pub(crate) enum Stop {
    /// Look-ups first.
    Needs(Vec<Lookup>),
    /// It cannot be planned: a sentence for the user.
    Failed(String),
}

/// Evaluates a stage's context and writes it back.
pub(crate) fn evaluate(change: &mut Change, id: &StageId, env: &Env<'_>) -> Result<(), Stop> {
    let Some(stage) = change.execution.stage(id) else {
        return Ok(());
    };
    let evaluated = evaluate_context(&change.execution, stage, env).map_err(Stop::Needs)?;
    if let (Some(context), Some(stage)) = (evaluated, change.stage(id)) {
        stage.context = context;
    }
    Ok(())
}

fn unknown(stage: &Stage) -> Stop {
    Stop::Failed(format!(
        "stage \"{}\" has the unknown type \"{}\"; correct its type in the pipeline",
        stage.name,
        stage.definition()
    ))
}

/// Builds tasks and before-stages of a stage that starts.
pub(crate) fn start(change: &mut Change, id: &StageId, env: &mut Env<'_>) -> Result<(), Stop> {
    let Some(stage) = change.execution.stage(id) else {
        return Ok(());
    };
    if !stage.is_synthetic() {
        evaluate(change, id, env)?;
    }
    prepare(change, id, env)?;
    let Some(stage) = change.execution.stage(id) else {
        return Ok(());
    };
    let definition = env
        .stages
        .stage(stage.definition())
        .ok_or_else(|| unknown(stage))?;
    let view = StageView {
        execution: &change.execution,
        stage,
    };
    let specs = if change.execution.trigger.is_dry_run() {
        vec![TaskSpec::new("dry run", DRY_RUN_TASK)]
    } else {
        definition.tasks(view).map_err(Stop::Failed)?
    };
    let mut before = definition.before(view).map_err(Stop::Failed)?;
    if let Some(window) = window(stage, env)? {
        for first in before.iter_mut().filter(|s| s.after.is_empty()) {
            first.after.push(window.name.clone());
        }
        before.insert(0, window);
    }
    let skippable = definition.can_be_skipped(view);
    if let Some(stage) = change.stage(id) {
        stage.tasks = tasks(&specs);
        if skippable {
            stage
                .context
                .insert("canManuallySkip".to_owned(), Value::Bool(true));
        }
    }
    for planned in add(change, id, Owner::StageBefore, before, env) {
        evaluate(change, &planned, env)?;
    }
    Ok(())
}

/// Puts over a stage's context what its type says of the operator's settings.
fn prepare(change: &mut Change, id: &StageId, env: &Env<'_>) -> Result<(), Stop> {
    let execution = &change.execution;
    let Some(stage) = execution.stage(id) else {
        return Ok(());
    };
    let definition = env.stages.stage(stage.definition());
    let Some(definition) = definition.filter(|_| !execution.trigger.is_dry_run()) else {
        return Ok(());
    };
    let view = StageView { execution, stage };
    let changes = definition
        .prepare(view, env.settings)
        .map_err(Stop::Failed)?;
    if changes.is_empty() {
        return Ok(());
    }
    if let Some(stage) = change.stage(id) {
        stage.context.extend(changes);
    }
    Ok(())
}

/// The stage that keeps a stage from beginning outside its execution window
/// (`orca: RestrictExecutionDuringTimeWindow`).
///
/// A catalogue without that type fails the stage: run at a forbidden time it would
/// do what its author forbade.
fn window(stage: &Stage, env: &Env<'_>) -> Result<Option<NewStage>, Stop> {
    if stage.flag(WINDOW_FLAG) != Some(true) || stage.is_synthetic() {
        return Ok(None);
    }
    if env.stages.stage(WINDOW).is_none() {
        return Err(Stop::Failed(format!(
            "stage \"{}\" may only begin in its execution window, which this version cannot \
             keep; set {WINDOW_FLAG} to false to run it at any time",
            stage.name
        )));
    }
    let mut context = stage.context.clone();
    for key in [WINDOW_FLAG, "stageTimeoutMs", "alias"] {
        context.shift_remove(key);
    }
    Ok(Some(NewStage::new(WINDOW, WINDOW, context)))
}

/// Plans the stages after tasks that did not fail; answers whether there are any.
pub(crate) fn after(change: &mut Change, id: &StageId, env: &mut Env<'_>) -> Result<bool, Stop> {
    let Some(stage) = change.execution.stage(id) else {
        return Ok(false);
    };
    let definition = env
        .stages
        .stage(stage.definition())
        .ok_or_else(|| unknown(stage))?;
    let view = StageView {
        execution: &change.execution,
        stage,
    };
    let planned = definition.after(view).map_err(Stop::Failed)?;
    let added = add(change, id, Owner::StageAfter, planned, env);
    for planned in &added {
        evaluate(change, planned, env)?;
    }
    Ok(!added.is_empty())
}

/// Whether a stage with this status has further stages that are not planned yet.
pub(crate) fn has_more(
    execution: &Execution,
    stage: &Stage,
    status: Status,
    env: &Env<'_>,
) -> bool {
    let Some(definition) = env.stages.stage(stage.definition()) else {
        return false;
    };
    let view = StageView { execution, stage };
    let hook = if status.is_failure() {
        definition.on_failure(view)
    } else {
        definition.after(view)
    };
    let planned = |new: &NewStage| {
        let mut after = execution.synthetics(&stage.id, Some(Owner::StageAfter));
        after.any(|s| s.name == new.name)
    };
    hook.is_ok_and(|list| list.iter().any(|new| !planned(new)))
}

/// Plans the stages after a failure, in a chain; those of a name that ran already
/// are left out. What of the stage has not started is taken away. Answers the first.
pub(crate) fn on_failure(
    change: &mut Change,
    id: &StageId,
    env: &mut Env<'_>,
) -> Result<Option<StageId>, Stop> {
    let Some(stage) = change.execution.stage(id) else {
        return Ok(None);
    };
    let definition = env
        .stages
        .stage(stage.definition())
        .ok_or_else(|| unknown(stage))?;
    let view = StageView {
        execution: &change.execution,
        stage,
    };
    let mut planned = definition.on_failure(view).map_err(Stop::Failed)?;
    planned.retain(|new| {
        !change
            .execution
            .synthetics(id, Some(Owner::StageAfter))
            .any(|s| s.name == new.name && s.status != Status::NotStarted)
    });
    if planned.is_empty() {
        return Ok(None);
    }
    // Those that are taken away keep their numbers, as in Orca.
    let planned_before = change
        .execution
        .synthetics(id, Some(Owner::StageAfter))
        .count();
    // What belongs to one that is still under way is that one's to begin, or it would wait for it for ever.
    let idle = change.execution.synthetics(id, None);
    let idle = idle.filter(|s| s.status == Status::NotStarted);
    let idle: Vec<StageId> = idle.map(|s| s.id.clone()).collect();
    for gone in idle {
        for below in change.execution.descendants(&gone) {
            change.remove(&below);
        }
        change.remove(&gone);
    }
    let planned = NewStage::chain(planned);
    let added = add_after(change, id, Owner::StageAfter, planned, planned_before, env);
    for planned in &added {
        evaluate(change, planned, env)?;
    }
    Ok(added.into_iter().next())
}

fn tasks(specs: &[TaskSpec]) -> Vec<Task> {
    let last = specs.len();
    specs
        .iter()
        .zip(1..)
        .map(|(spec, number)| Task {
            id: TaskId::new(number.to_string()),
            name: spec.name.clone(),
            implementing_class: spec.kind.to_owned(),
            stage_start: number == 1 && !spec.loop_start,
            stage_end: number == last && !spec.loop_end,
            loop_start: spec.loop_start,
            loop_end: spec.loop_end,
            ..Task::default()
        })
        .collect()
}

/// Puts planned stages into the execution: before-stages in front of their
/// parent, after-stages behind it and what it has already.
fn add(
    change: &mut Change,
    parent: &StageId,
    owner: Owner,
    planned: Vec<NewStage>,
    env: &mut Env<'_>,
) -> Vec<StageId> {
    let existing = change.execution.synthetics(parent, Some(owner)).count();
    add_after(change, parent, owner, planned, existing, env)
}

/// The id of a planned stage follows from where it is planned: what a store lost and is
/// planned again does what it does outside under the same effect ids.
fn planned_id(execution: &Execution, parent: &StageId, place: &str, env: &mut Env<'_>) -> StageId {
    let attempt = execution.stage(parent).map_or(0, |s| s.attempt);
    let mut purpose = format!("{}/{parent}/{attempt}/{place}", execution.id);
    loop {
        let id = StageId::new(env.ids.derived_id(execution.build_time, &purpose));
        if execution.stage(&id).is_none() {
            return id;
        }
        // Another of the same name.
        purpose.push('+');
    }
}

/// The same with the first number given: one more than `existing`.
fn add_after(
    change: &mut Change,
    parent: &StageId,
    owner: Owner,
    planned: Vec<NewStage>,
    existing: usize,
    env: &mut Env<'_>,
) -> Vec<StageId> {
    let Some(parent_ref) = change.execution.stage(parent).map(|s| s.ref_id.clone()) else {
        return Vec::new();
    };
    let side = match owner {
        Owner::StageBefore => '<',
        Owner::StageAfter => '>',
    };
    let mut refs: BTreeMap<String, RefId> = BTreeMap::new();
    let mut added = Vec::new();
    for (position, mut new) in planned.into_iter().enumerate() {
        if new.kind != WINDOW {
            new.context.shift_remove(WINDOW_FLAG);
            new.context.shift_remove(WINDOW_TIMES);
        }
        let ref_id = synthetic_ref(&parent_ref, side, existing + position + 1);
        let requisites = new
            .after
            .iter()
            .filter_map(|name| refs.get(name).cloned())
            .collect();
        refs.insert(new.name.clone(), ref_id.clone());
        let stage = Stage {
            id: planned_id(
                &change.execution,
                parent,
                &format!("{owner:?}/{}", new.name),
                env,
            ),
            ref_id,
            kind: new.kind,
            name: new.name,
            context: new.context,
            synthetic_stage_owner: Some(owner),
            parent_stage_id: Some(parent.clone()),
            requisite_stage_ref_ids: requisites,
            ..Stage::default()
        };
        let family = change.execution.descendants(parent);
        let at = |id: &StageId| change.execution.stages.iter().position(|s| s.id == *id);
        let own = at(parent).unwrap_or(0);
        let position = match owner {
            Owner::StageBefore => own,
            Owner::StageAfter => family.iter().filter_map(at).fold(own, usize::max) + 1,
        };
        added.push(stage.id.clone());
        change.insert(position, stage);
    }
    added
}
