//! The task that judges the last score of a canary. Source: `orca: AggregateCanaryResultsTask`.

use async_trait::async_trait;
use orchestrator_core::{Owner, Stage, TaskError, TaskPolicy, TaskResult};
use serde_json::{Value, json};

use super::thresholds::Thresholds;
use super::{DECISION, FINDINGS, link};
use crate::task::{Task, TaskContext};

/// Judges the last of the scores.
#[derive(Debug)]
pub(super) struct Aggregate;

#[async_trait]
impl Task for Aggregate {
    fn kind(&self) -> &'static str {
        "aggregateCanaryResults"
    }

    fn policy(&self) -> TaskPolicy {
        TaskPolicy::PLAIN
    }

    fn decide(&self, ctx: &TaskContext<'_>) -> Option<Result<TaskResult, TaskError>> {
        Some(aggregate(ctx))
    }
}

fn aggregate(ctx: &TaskContext<'_>) -> Result<TaskResult, TaskError> {
    let intervals = ctx
        .execution
        .synthetics(&ctx.stage.id, Some(Owner::StageBefore))
        .find(|s| s.kind == "runCanaryIntervals");
    let Some(intervals) = intervals else {
        return Err(TaskError::permanent(
            "the stage that runs the canary is gone",
        ));
    };
    let number = |stage: &Stage| {
        let (_, number) = stage.name.rsplit_once('#').unwrap_or(("", "0"));
        number.parse::<u64>().unwrap_or(0)
    };
    let runs = ctx.execution.synthetics(&intervals.id, None);
    let mut runs: Vec<&Stage> = runs.filter(|s| s.kind == "runCanary").collect();
    runs.sort_by_key(|stage| number(stage));
    let own = |stage: &Stage, key: &str| stage.context.get(key).filter(|v| !v.is_null()).cloned();
    let score = |stage: &&&Stage| {
        stage
            .context
            .get("canaryScore")
            .and_then(crate::task::number)
    };
    let scores: Vec<f64> = runs.iter().filter_map(|stage| score(&stage)).collect();
    let last = runs.last().copied();
    let decision = last.and_then(|stage| own(stage, DECISION));
    let mut result = TaskResult::succeeded()
        .with_context("intervalStageId", intervals.id.to_string())
        .with_context("canaryScores", scores.clone())
        .with_output("canaryScores", scores.clone());
    for key in [DECISION, FINDINGS] {
        if let Some(value) = last.and_then(|stage| own(stage, key)) {
            result = result
                .with_context(key, value.clone())
                .with_output(key, value);
        }
    }
    let said = last.and_then(|stage| own(stage, "canaryScoreMessage"));
    if decision == Some(json!("INCONCLUSIVE")) {
        // Whether this fails was decided where it was found; here a person is asked.
        let said = said.unwrap_or_else(|| json!("The canary judge could not decide."));
        return Ok(result.with_context("canaryScoreMessage", said));
    }
    let config = ctx
        .own("canaryConfig")
        .and_then(|c| c.get("scoreThresholds"));
    let thresholds = Thresholds::of(config)
        .map_err(|(path, why)| TaskError::user(format!("canaryConfig.{path}: {why}")))?;
    let Some(last_score) = scores.last().copied() else {
        return Err(TaskError::permanent("no judgement left a score"));
    };
    let (passes, message) = judge(thresholds, last_score);
    let result = result.with_context("canaryScoreMessage", message.clone());
    if passes {
        return Ok(result);
    }
    let mut error = TaskError::permanent(told(&message, last));
    error.context = result.context;
    if let Some(run) = last.and_then(|s| s.context.get("canaryPipelineExecutionId")?.as_str()) {
        error.details.push(format!("see {}", link(ctx, run)));
    }
    Err(error)
}

/// A failure with the metrics that made it.
fn told(message: &str, last: Option<&Stage>) -> String {
    let found = last.and_then(|stage| stage.context.get(FINDINGS)?.as_array());
    let found: Vec<&str> = found
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if found.is_empty() {
        message.to_owned()
    } else {
        format!("{} ({})", message.trim_end_matches('.'), found.join("; "))
    }
}

/// Whether the last score passes, and the sentence about it, which is Orca's.
fn judge(thresholds: Thresholds, score: f64) -> (bool, String) {
    let below = |limit: i64, equal: bool| {
        let limit = f64::from(i32::try_from(limit).unwrap_or(i32::MAX));
        score < limit || equal && score <= limit
    };
    let score = format!("{score:?}");
    match (thresholds.marginal, thresholds.pass) {
        (None, None) => (true, "No score thresholds were specified.".to_owned()),
        (Some(marginal), _) if below(marginal, true) => (
            false,
            format!("Final canary score {score} is not above the marginal score threshold."),
        ),
        (_, None) => (true, "No pass score threshold was specified.".to_owned()),
        (_, Some(pass)) if below(pass, false) => (
            false,
            format!("Final canary score {score} is below the pass score threshold."),
        ),
        (_, Some(_)) => (
            true,
            format!("Final canary score {score} met or exceeded the pass score threshold."),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_score_is_judged_in_orcas_words() {
        let of = |marginal, pass| Thresholds { pass, marginal };
        for (thresholds, score, passes, words) in [
            (
                of(None, None),
                0.0,
                true,
                "No score thresholds were specified.",
            ),
            (
                of(Some(50), Some(75)),
                50.0,
                false,
                "Final canary score 50.0 is not above the marginal score threshold.",
            ),
            (
                of(Some(50), None),
                51.0,
                true,
                "No pass score threshold was specified.",
            ),
            (
                of(Some(50), Some(75)),
                74.0,
                false,
                "Final canary score 74.0 is below the pass score threshold.",
            ),
            (
                of(None, Some(75)),
                75.0,
                true,
                "Final canary score 75.0 met or exceeded the pass score threshold.",
            ),
        ] {
            assert_eq!(judge(thresholds, score), (passes, words.to_owned()));
        }
    }
}
