//! What must hold between one commit and the next.

use orchestrator_core::{Execution, Owner, Stage, Status};

type Verdict = Result<(), String>;

/// Where a stage or task may go from, by one message.
///
/// | from | to |
/// |---|---|
/// | NOT_STARTED | RUNNING, or, passed over, cancelled or not to be planned, its end |
/// | RUNNING | PAUSED, an end; a task of a loop NOT_STARTED |
/// | PAUSED | RUNNING, an end |
/// | an end | only by a restart, which is a new attempt; a task of a loop NOT_STARTED |
///
/// Several messages make one commit, so the closure of the table is what is seen.
fn moves(from: Status, to: Status) -> bool {
    match from {
        _ if from == to => true,
        Status::NotStarted => true,
        Status::Running | Status::Paused => to != Status::NotStarted,
        _ => false,
    }
}

/// Invariants 1, 2 and 6.
pub(crate) fn between(before: &Execution, after: &Execution) -> Verdict {
    let grown = |s: &Stage| before.stage(&s.id).is_some_and(|b| b.attempt < s.attempt);
    let restarted = after.stages.iter().any(grown);
    let no = |what: String| Err(what);
    if !restarted && !moves(before.status, after.status) {
        return no(format!("execution: {} → {}", before.status, after.status));
    }
    for stage in &after.stages {
        let name = &stage.ref_id;
        let was = before.stage(&stage.id);
        let from = was.map_or(Status::NotStarted, |s| s.status);
        if was.is_some_and(|was| was.attempt > stage.attempt) {
            return no(format!("stage {name}: its attempt went back"));
        }
        if !grown(stage) {
            if !moves(from, stage.status) {
                return no(format!("stage {name}: {from} → {}", stage.status));
            }
            tasks(was, stage)?;
            if let Some(was) = was
                && was.start_time.is_some()
                && was.start_time != stage.start_time
            {
                return no(format!("stage {name}: its start moved"));
            }
        }
        let began = stage.start_time.is_some()
            && stage.status != Status::NotStarted
            && (from == Status::NotStarted || grown(stage));
        if began {
            starts(before, after, stage)?;
        }
        times(stage)?;
    }
    Ok(())
}

fn tasks(was: Option<&Stage>, stage: &Stage) -> Verdict {
    let repeats = stage.kind == "looping";
    for task in &stage.tasks {
        let from = was
            .and_then(|s| s.task(&task.id))
            .map_or(Status::NotStarted, |t| t.status);
        if !moves(from, task.status) && !repeats {
            return Err(format!(
                "task {} of stage {}: {from} → {}",
                task.id, stage.ref_id, task.status
            ));
        }
        let began = from == Status::NotStarted && task.status == Status::Running;
        if began && was.is_some_and(|s| s.status.is_complete()) && stage.status.is_complete() {
            return Err(format!(
                "task {} began in the complete stage {}",
                task.id, stage.ref_id
            ));
        }
    }
    Ok(())
}

/// What a stage that has begun needs.
fn starts(before: &Execution, after: &Execution, stage: &Stage) -> Verdict {
    let ready = |s: &Stage| {
        // Restarted by the same commit, or taken up again since: it was over then.
        let was = before.stage(&s.id);
        s.status.lets_downstream_run()
            || was.is_some_and(|was| was.attempt < s.attempt && was.status.lets_downstream_run())
    };
    for upstream in after.upstream(stage) {
        if !ready(upstream) {
            return Err(format!(
                "stage {} started while {} is {}",
                stage.ref_id, upstream.ref_id, upstream.status
            ));
        }
    }
    let Some(parent) = stage.parent_stage_id.as_ref().and_then(|p| after.stage(p)) else {
        return Ok(());
    };
    if parent.start_time.is_none() {
        return Err(format!("stage {} started before its parent", stage.ref_id));
    }
    let busy = parent
        .tasks
        .iter()
        .any(|t| matches!(t.status, Status::Running | Status::Paused));
    if stage.synthetic_stage_owner == Some(Owner::StageAfter) && busy {
        return Err(format!(
            "after-stage {} started during its parent's tasks",
            stage.ref_id
        ));
    }
    Ok(())
}

fn times(stage: &Stage) -> Verdict {
    let ordered =
        |start: Option<i64>, end: Option<i64>| !matches!((start, end), (Some(s), Some(e)) if e < s);
    let mut fine = ordered(stage.start_time, stage.end_time);
    for task in &stage.tasks {
        fine &= ordered(task.start_time, task.end_time);
        fine &= ordered(stage.start_time, task.start_time);
        fine &= ordered(task.end_time, stage.end_time) || task.end_time.is_none();
    }
    if stage.status.is_complete() != stage.end_time.is_some() {
        return Err(format!(
            "stage {} is {} with end {:?}",
            stage.ref_id, stage.status, stage.end_time
        ));
    }
    if fine {
        Ok(())
    } else {
        Err(format!(
            "times of stage {} go back: {stage:?}",
            stage.ref_id
        ))
    }
}
