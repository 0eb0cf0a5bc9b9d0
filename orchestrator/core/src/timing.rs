//! Timeouts and backoff: arithmetic only.

use crate::execution::Execution;
use crate::plan::WINDOW;
use crate::stage::{Owner, Stage};
use crate::task::{Task, TaskPolicy};

/// What ran out, if something did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimedOut {
    /// Time since the start, pauses left out, in ms.
    pub elapsed_ms: i64,
    /// The limit, in ms.
    pub limit_ms: i64,
    /// Time it was paused, in ms.
    pub paused_ms: i64,
}

/// The nearest `stageTimeoutMs` of the stage or a stage that planned it, with its owner.
fn stage_limit<'a>(execution: &'a Execution, stage: &'a Stage) -> Option<(&'a Stage, i64)> {
    let mut at = Some(stage);
    while let Some(stage) = at {
        if let Some(limit) = stage.number("stageTimeoutMs").filter(|ms| *ms > 0) {
            return Some((stage, limit));
        }
        at = stage
            .parent_stage_id
            .as_ref()
            .and_then(|p| execution.stage(p));
    }
    None
}

/// Time the stage waited for its execution window, in ms.
///
/// Differs from Spinnaker: Orca fails where that wait has not ended.
fn window_ms(execution: &Execution, stage: &Stage, now: i64) -> i64 {
    let before = execution.synthetics(&stage.id, Some(Owner::StageBefore));
    before
        .filter(|s| s.kind == WINDOW)
        .filter_map(|s| Some(s.end_time.unwrap_or(now) - s.start_time?))
        .sum()
}

/// A limit and how much of it is used up.
fn used(
    execution: &Execution,
    since: Option<i64>,
    limit_ms: i64,
    window_ms: i64,
    now: i64,
) -> Option<TimedOut> {
    let since = since?;
    let paused_ms = execution.paused_since(since, now);
    Some(TimedOut {
        elapsed_ms: now - since - paused_ms - window_ms,
        limit_ms,
        paused_ms,
    })
}

/// The limits of a stage and of its task, in that order (`orca: RunTaskHandler`).
/// Waiting for an execution window never takes too long.
fn limits(
    execution: &Execution,
    stage: &Stage,
    task: &Task,
    policy: TaskPolicy,
    now: i64,
) -> [Option<TimedOut>; 2] {
    if stage.kind == WINDOW {
        return [None, None];
    }
    let stage_limit = stage_limit(execution, stage);
    let of_stage = stage_limit.and_then(|(owner, limit)| {
        let window = window_ms(execution, stage, now);
        used(execution, owner.start_time, limit, window, now)
    });
    let own = policy.timeout_ms.and_then(|ms| i64::try_from(ms).ok());
    let of_task = own.and_then(|own| {
        let limit = match stage_limit {
            Some((_, limit)) if policy.overridable => limit,
            _ => own,
        };
        used(execution, task.start_time, limit, 0, now)
    });
    [of_stage, of_task]
}

/// Whether a stage or its task has taken too long.
pub fn timed_out(
    execution: &Execution,
    stage: &Stage,
    task: &Task,
    policy: TaskPolicy,
    now: i64,
) -> Option<TimedOut> {
    let limits = limits(execution, stage, task, policy, now);
    let mut limits = limits.into_iter().flatten();
    limits.find(|used| used.elapsed_ms > used.limit_ms)
}

/// How long until [`timed_out`] says so if nothing is paused meanwhile, in ms; none
/// without a limit.
pub fn time_left(
    execution: &Execution,
    stage: &Stage,
    task: &Task,
    policy: TaskPolicy,
    now: i64,
) -> Option<i64> {
    let limits = limits(execution, stage, task, policy, now);
    let limits = limits.into_iter().flatten();
    limits.map(|used| used.limit_ms - used.elapsed_ms + 1).min()
}

/// The pause before a task is asked again, in ms: the largest of its policy's,
/// its result's and the stage's `backoffPeriodMs`.
pub fn backoff_ms(stage: &Stage, policy: TaskPolicy, asked: Option<u64>) -> u64 {
    let configured = stage
        .number("backoffPeriodMs")
        .and_then(|ms| u64::try_from(ms).ok());
    asked
        .unwrap_or(policy.backoff_ms)
        .max(configured.unwrap_or(0))
}

/// A duration in words, for messages: `2 hours 5 minutes`.
pub fn words(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    let parts = [
        (seconds / 86_400, "day"),
        (seconds / 3_600 % 24, "hour"),
        (seconds / 60 % 60, "minute"),
        (seconds % 60, "second"),
    ];
    let named: Vec<String> = parts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    if named.is_empty() {
        "0 seconds".to_owned()
    } else {
        named.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::Pause;

    #[test]
    fn every_pause_is_left_out() {
        let mut execution = Execution::default();
        for (from, to) in [(10, Some(20)), (30, Some(50)), (90, None)] {
            execution.pauses.push(Pause {
                pause_time: from,
                resume_time: to,
                ..Pause::default()
            });
        }
        assert_eq!(execution.paused_since(0, 100), 10 + 20 + 10);
        assert_eq!(execution.paused_since(40, 100), 10 + 10);
    }

    #[test]
    fn what_is_left_of_a_limit_leaves_pauses_out_and_ignores_no_limit() {
        let mut execution = Execution::default();
        execution.pauses.push(Pause {
            pause_time: 10,
            resume_time: Some(60),
            ..Pause::default()
        });
        let mut stage = Stage {
            start_time: Some(0),
            ..Stage::default()
        };
        let task = Task {
            start_time: Some(0),
            ..Task::default()
        };
        let left =
            |stage: &Stage| time_left(&execution, stage, &task, TaskPolicy::retry(1, 500), 100);
        stage.context.insert("stageTimeoutMs".into(), 0.into());
        assert_eq!(left(&stage), Some(500 - 50 + 1));
        stage.context.insert("stageTimeoutMs".into(), 70.into());
        assert_eq!(left(&stage), Some(70 - 50 + 1));
    }

    #[test]
    fn a_stages_timeout_replaces_only_what_may_be_replaced() {
        let execution = Execution::default();
        let stage = Stage {
            start_time: Some(0),
            ..Stage::default()
        };
        let task = Task {
            start_time: Some(0),
            ..Task::default()
        };
        let policy = TaskPolicy::retry(1, 100);
        assert!(timed_out(&execution, &stage, &task, policy, 100).is_none());
        assert!(timed_out(&execution, &stage, &task, policy, 101).is_some());
        let mut longer = stage.clone();
        longer.context.insert("stageTimeoutMs".into(), 500.into());
        assert!(timed_out(&execution, &longer, &task, policy, 400).is_none());
        assert!(timed_out(&execution, &longer, &task, policy, 501).is_some());
        let fixed = TaskPolicy {
            overridable: false,
            ..policy
        };
        assert!(timed_out(&execution, &longer, &task, fixed, 400).is_some());
        let mut text = stage;
        text.context.insert("stageTimeoutMs".into(), "500".into());
        assert!(timed_out(&execution, &text, &task, policy, 101).is_some());
    }

    #[test]
    fn durations_read_as_words() {
        assert_eq!(words(7_500_000), "2 hours 5 minutes");
        assert_eq!(words(1), "0 seconds");
    }
}
