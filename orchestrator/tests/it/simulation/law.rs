//! What must hold between one commit and the next.

use std::fmt::{Display, Formatter};

use orchestrator_core::{Execution, Stage, Status};

use super::shape::{
    at_work, before as waits_for, comes_after, find, lets_on, over, parent, task_of,
};

pub(crate) type Verdict = Result<(), String>;

/// What always holds, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Invariant {
    Moves = 1,
    Requisites,
    Wakes,
    OneAtWork,
    OnceOutside,
    Times,
    Ends,
    Model,
    NothingLeft,
    Limit,
    Cancel,
    Durable,
    BeginsOnce,
    AnsweredOnce,
}

impl Display for Invariant {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let says = match self {
            Self::Moves => "statuses move only along the table",
            Self::Requisites => "a stage starts only when its requisites allow it",
            Self::Wakes => "not complete, so something will wake it",
            Self::OneAtWork => "at most one live task of a stage",
            Self::OnceOutside => "one key for one effect outside",
            Self::Times => "times do not go back",
            Self::Ends => "in the end it is complete",
            Self::Model => "it ends as the reference model says",
            Self::NothingLeft => "in the end nothing is left in a queue",
            Self::Limit => "never more than the limit under way",
            Self::Cancel => "who is cancelled begins nothing more",
            Self::Durable => "what is stored is what was committed",
            Self::BeginsOnce => "what is delivered twice begins one execution",
            Self::AnsweredOnce => "an answer that was recorded is not replaced",
        };
        write!(f, "invariant {} ({says})", *self as u8)
    }
}

impl Invariant {
    pub(crate) fn broken<T>(self, what: impl Display) -> Result<T, String> {
        Err(format!("{self}: {what}"))
    }
}

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

/// Whether a stage was restarted in between.
pub(crate) fn restarted(before: &Execution, after: &Execution) -> bool {
    after.stages.iter().any(|stage| grown(before, stage))
}

fn grown(before: &Execution, stage: &Stage) -> bool {
    find(before, &stage.id).is_some_and(|was| was.attempt < stage.attempt)
}

/// Invariants 1, 2, 4, 6 and 11.
pub(crate) fn between(before: &Execution, after: &Execution) -> Verdict {
    let restarted = restarted(before, after);
    if !restarted && !moves(before.status, after.status) {
        let what = format!("execution: {} → {}", before.status, after.status);
        return Invariant::Moves.broken(what);
    }
    for stage in &after.stages {
        let name = &stage.ref_id;
        let was = find(before, &stage.id);
        let from = was.map_or(Status::NotStarted, |s| s.status);
        if was.is_some_and(|was| was.attempt > stage.attempt) {
            return Invariant::Moves.broken(format!("stage {name}: its attempt went back"));
        }
        let again = grown(before, stage);
        if !again {
            if !moves(from, stage.status) {
                let what = format!("stage {name}: {from} → {}", stage.status);
                return Invariant::Moves.broken(what);
            }
            tasks(was, stage)?;
            if let Some(was) = was
                && was.start_time.is_some()
                && was.start_time != stage.start_time
            {
                return Invariant::Times.broken(format!("stage {name}: its start moved"));
            }
            if before.canceled && !restarted {
                begins_nothing(was, stage)?;
            }
        }
        let began = stage.start_time.is_some()
            && stage.status != Status::NotStarted
            && (from == Status::NotStarted || again);
        if began {
            starts(before, after, stage)?;
        }
        if stage.tasks.iter().filter(|t| at_work(t.status)).count() > 1 {
            let what = format!("stage {name} has several tasks at work: {:?}", stage.tasks);
            return Invariant::OneAtWork.broken(what);
        }
        times(stage)?;
    }
    Ok(())
}

fn tasks(was: Option<&Stage>, stage: &Stage) -> Verdict {
    let repeats = stage.kind == "looping";
    for task in &stage.tasks {
        let from = was
            .and_then(|s| task_of(s, &task.id))
            .map_or(Status::NotStarted, |t| t.status);
        let name = format!("task {} of stage {}", task.id, stage.ref_id);
        if !moves(from, task.status) && !repeats {
            return Invariant::Moves.broken(format!("{name}: {from} → {}", task.status));
        }
        let began = from == Status::NotStarted && task.status == Status::Running;
        if began && was.is_some_and(|s| over(s.status)) && over(stage.status) {
            return Invariant::Moves.broken(format!("{name} began although the stage is over"));
        }
    }
    Ok(())
}

/// Of a cancelled execution no stage begins, and no task is run again.
fn begins_nothing(was: Option<&Stage>, stage: &Stage) -> Verdict {
    let from = was.map_or(Status::NotStarted, |s| s.status);
    if from == Status::NotStarted && stage.status == Status::Running {
        return Invariant::Cancel.broken(format!("stage {} began after it", stage.ref_id));
    }
    for task in &stage.tasks {
        let runs = was.and_then(|s| task_of(s, &task.id)).map_or(0, |t| t.runs);
        if task.runs > runs {
            let what = format!("task {} of stage {} is run after it", task.id, stage.ref_id);
            return Invariant::Cancel.broken(what);
        }
    }
    Ok(())
}

/// What a stage that has begun needs.
fn starts(before: &Execution, after: &Execution, stage: &Stage) -> Verdict {
    let ready = |s: &Stage| {
        // Restarted by the same commit, or taken up again since: it was over then.
        let was = find(before, &s.id);
        lets_on(s.status) || was.is_some_and(|was| was.attempt < s.attempt && lets_on(was.status))
    };
    for upstream in waits_for(after, stage) {
        if !ready(upstream) {
            return Invariant::Requisites.broken(format!(
                "stage {} started while {} is {}",
                stage.ref_id, upstream.ref_id, upstream.status
            ));
        }
    }
    let Some(parent) = parent(after, stage) else {
        return Ok(());
    };
    if parent.start_time.is_none() {
        let what = format!("stage {} started before its parent", stage.ref_id);
        return Invariant::Requisites.broken(what);
    }
    if comes_after(stage) && parent.tasks.iter().any(|t| at_work(t.status)) {
        let what = format!("stage {} started during its parent's tasks", stage.ref_id);
        return Invariant::Requisites.broken(what);
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
    if over(stage.status) != stage.end_time.is_some() {
        return Invariant::Times.broken(format!(
            "stage {} is {} with end {:?}",
            stage.ref_id, stage.status, stage.end_time
        ));
    }
    if fine {
        Ok(())
    } else {
        Invariant::Times.broken(format!("stage {}: {stage:?}", stage.ref_id))
    }
}

/// Invariant 10: of the executions of a pipeline no more than its limit are under way.
pub(crate) fn within(limit: usize, executions: &[&Execution]) -> Verdict {
    let busy: Vec<&str> = executions
        .iter()
        .filter(|e| at_work(e.status))
        .map(|e| e.id.as_str())
        .collect();
    if limit > 0 && busy.len() > limit {
        return Invariant::Limit.broken(format!("{} of {limit}: {busy:?}", busy.len()));
    }
    Ok(())
}
