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

/// Whether a stage or its task has taken too long (`orca: RunTaskHandler`). Waiting
/// for an execution window never takes too long.
pub fn timed_out(
    execution: &Execution,
    stage: &Stage,
    task: &Task,
    policy: TaskPolicy,
    now: i64,
) -> Option<TimedOut> {
    if stage.kind == WINDOW {
        return None;
    }
    let stage_limit = stage_limit(execution, stage);
    let over = |since: Option<i64>, limit: i64, window_ms: i64| {
        let since = since?;
        let paused_ms = execution.paused_since(since, now);
        let elapsed_ms = now - since - paused_ms - window_ms;
        (elapsed_ms > limit).then_some(TimedOut {
            elapsed_ms,
            limit_ms: limit,
            paused_ms,
        })
    };
    if let Some((owner, limit)) = stage_limit
        && let Some(timed_out) = over(owner.start_time, limit, window_ms(execution, stage, now))
    {
        return Some(timed_out);
    }
    let own = policy.timeout_ms.and_then(|ms| i64::try_from(ms).ok())?;
    let limit = match stage_limit {
        Some((_, limit)) if policy.overridable => limit,
        _ => own,
    };
    over(task.start_time, limit, 0)
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
