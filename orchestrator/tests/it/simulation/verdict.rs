//! What must hold in the end, when nothing will move any more.

use std::fmt::Debug;

use orchestrator_core::{Execution, PipelineGate, Stage, Status};

use super::law::{Invariant, Verdict};
use super::model::Model;
use super::shape::{below, failed, over, own, summary};

/// Invariant 7: it is complete, and so is what began of it.
pub(crate) fn ended(number: usize, execution: &Execution) -> Verdict {
    let idle = |s: &Stage| over(s.status) || s.status == Status::NotStarted;
    let all = execution.stages.iter().all(idle);
    if over(execution.status) && all {
        return Ok(());
    }
    Invariant::Ends.broken(format!("execution {number}: {}", summary(execution)))
}

/// Invariant 8: it is what the model makes of it.
pub(crate) fn agrees(model: &Model<'_>) -> Verdict {
    let (execution, number) = (model.end, model.number);
    let expected = model.whole();
    if !expected.contains(&execution.status) {
        return Invariant::Model.broken(format!(
            "execution {number} must be one of {expected:?}: {}",
            summary(execution)
        ));
    }
    let whole = execution.status == Status::Succeeded && !execution.canceled && !model.restarted;
    for stage in own(execution) {
        // Cut short by the end of the execution, it or something of it.
        let cut = |s: &Stage| {
            let status = |s| matches!(s, Status::Canceled | Status::NotStarted);
            status(s.status) || s.tasks.iter().any(|t| t.status == Status::Canceled)
        };
        let family = below(execution, stage);
        let begun = stage.status != Status::NotStarted;
        // Or what follows a failure was not begun any more.
        let ended = failed(stage.status) || cut(stage) || family.into_iter().any(cut);
        let cut_short = !begun || (!whole && ended);
        let expected = model.top(stage);
        if !cut_short && !expected.contains(&stage.status) {
            return Invariant::Model.broken(format!(
                "stage {} must be one of {expected:?}: {}",
                stage.ref_id,
                summary(execution)
            ));
        }
    }
    Ok(())
}

/// Invariant 9: neither the gate, nor a queue, nor a worker holds anything.
pub(crate) fn nothing_left(
    gate: Option<&PipelineGate>,
    due_ms: Option<u64>,
    held: &[impl Debug],
) -> Verdict {
    let left = gate.filter(|g| !g.running.is_empty() || !g.waiting.is_empty());
    if left.is_none() && due_ms.is_none() && held.is_empty() {
        return Ok(());
    }
    Invariant::NothingLeft.broken(format!(
        "due in {due_ms:?} ms, workers hold {held:?}, the gate {left:?}"
    ))
}
