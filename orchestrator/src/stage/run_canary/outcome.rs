//! What a run, as the judge tells of it, means for the stage that waits for it. Pure.

use orchestrator_core::{TaskError, TaskResult};
use serde_json::{Map, Value, json};

use super::super::kayenta_canary::thresholds::{Thresholds, cut};
use super::super::kayenta_canary::verdict::{self, Decision};
use super::super::kayenta_canary::{DECISION, FINDINGS, link, pauses};
use super::{SHORTEST_LOOK_MS, STATUS, thresholds};
use crate::task::TaskContext;

/// The end of a run is told. Lest that is lost, it is looked at after this part of the time it was waited for.
const PART: u64 = 50;
const LONGEST_LOOK_MS: u64 = 15_000;

/// What a run means for the stage that waits for it.
pub(super) fn answer(
    ctx: &TaskContext<'_>,
    id: &str,
    run: &Value,
) -> Result<TaskResult, TaskError> {
    let status = run
        .get("status")
        .and_then(Value::as_str)
        .unwrap_or("running");
    let decision = verdict::decision(run).filter(|d| *d != Decision::Continue);
    match status.to_lowercase().as_str() {
        "succeeded" => judged(ctx, id, run),
        // It ends by itself; what it decided counts from now on.
        "running" | "not_started" | "paused" | "suspended" | "buffered" | "redirect" => {
            if decision.is_some() {
                return judged(ctx, id, run);
            }
            let started = ctx
                .task()
                .and_then(|task| task.start_time)
                .unwrap_or(ctx.now);
            let waited = u64::try_from(ctx.now - started).unwrap_or(0);
            let look = (waited / PART).clamp(SHORTEST_LOOK_MS, LONGEST_LOOK_MS);
            Ok(TaskResult {
                backoff_ms: Some(look),
                ..TaskResult::running().with_context(STATUS, status.to_uppercase())
            })
        }
        halted => {
            let said = run.get("exception").filter(|e| !e.is_null());
            let message = match (halted, said.and_then(said_of)) {
                ("canceled", _) => "Canary execution was canceled.".to_owned(),
                (_, Some(said)) => said,
                (_, None) => format!("canary run {id} ended as {halted} and does not say why"),
            };
            let mut error = TaskError::permanent(message);
            error
                .context
                .insert(STATUS.to_owned(), status.to_uppercase().into());
            error.details.push(format!("see {}", link(ctx, id)));
            Err(error)
        }
    }
}

/// The sentence in an exception of a run.
fn said_of(exception: &Value) -> Option<String> {
    let details = exception.get("details");
    let errors = details.and_then(|d| d.get("errors")?.as_array());
    let first = errors.and_then(|list| list.first()?.as_str());
    let more = || {
        let keys = [
            exception.get("message"),
            details.and_then(|d| d.get("error")),
        ];
        keys.into_iter().flatten().find_map(Value::as_str)
    };
    let said = exception.as_str().or(first).or_else(more)?;
    (!said.trim().is_empty()).then(|| said.to_owned())
}

/// A run that has a result.
fn judged(ctx: &TaskContext<'_>, id: &str, run: &Value) -> Result<TaskResult, TaskError> {
    let decision = verdict::decision(run).filter(|d| *d != Decision::Continue);
    let findings = verdict::findings(run);
    let score = verdict::score(run).and_then(cut).or(match decision {
        Some(Decision::Pass) => Some(100),
        Some(Decision::Fail) => Some(0),
        Some(Decision::Inconclusive | Decision::Continue) | None => None,
    });
    let mut context = told(run, score, &findings);
    if let Some(decision) = decision {
        context.insert(DECISION.to_owned(), decision.as_str().into());
        context.insert(
            "canaryDecisionReason".to_owned(),
            verdict::reason(run).into(),
        );
    }
    let failing = context.clone();
    let reason = verdict::reason(run);
    let fail = |message: &str, first: String| {
        let is_told = first.contains(&reason) || message.contains(&reason);
        let mut error = TaskError::permanent(first);
        error.details.push(message.to_owned());
        if !is_told {
            error.details.push(reason.clone());
        }
        error.details.push(format!("see {}", link(ctx, id)));
        error.context = failing.clone();
        let message = message.into();
        error
            .context
            .insert("canaryScoreMessage".to_owned(), message);
        Err(error)
    };
    let with_reason = |text: &str| match reason.as_str() {
        "" => text.to_owned(),
        reason => format!("{text}: {reason}"),
    };
    // Without a metric to name, what the judge says is all that people can go by.
    let because = |text: &str| match findings.as_slice() {
        [] => with_reason(text),
        found if verdict::is_worse(run) => {
            format!("canary is worse than the baseline: {}", found.join("; "))
        }
        // Where nothing was measured, nothing is worse.
        found => format!("{text}: {}", found.join("; ")),
    };
    match decision {
        Some(Decision::Fail) => {
            let text = "The canary judge decided FAIL";
            return fail(&with_reason(text), because(text));
        }
        Some(Decision::Inconclusive) => {
            let message = with_reason("The canary judge could not decide");
            if !pauses(&ctx.stage.context).map_err(TaskError::user)? {
                let advice =
                    "judge longer, send more requests, or set onInconclusive: pause to be asked";
                return fail(&message, format!("{message}; {advice}"));
            }
            context.insert("canaryScoreMessage".to_owned(), message.into());
            return Ok(TaskResult {
                context,
                ..TaskResult::succeeded()
            });
        }
        Some(Decision::Pass | Decision::Continue) | None => {}
    }
    let Some(score) = score else {
        return fail(
            "The canary run has no score.",
            format!("canary run {id} ended without a score; look at its metrics"),
        );
    };
    let message = match thresholds(ctx)? {
        Thresholds {
            marginal: None,
            pass: None,
        } => Some("No score thresholds were specified."),
        Thresholds { marginal: None, .. } => Some("No marginal score threshold was specified."),
        Thresholds {
            marginal: Some(marginal),
            ..
        } if score <= marginal && decision.is_none() => {
            let message = "Canary score is not above the marginal score threshold.";
            let first = because(&format!(
                "canary score {score} is not above the marginal threshold {marginal}"
            ));
            return fail(message, first);
        }
        Thresholds { .. } => None,
    };
    if let Some(message) = message {
        context.insert("canaryScoreMessage".to_owned(), message.into());
    }
    Ok(TaskResult {
        context,
        ..TaskResult::succeeded()
    })
}

/// What every run that was judged leaves in the context.
fn told(run: &Value, score: Option<i64>, findings: &[String]) -> Map<String, Value> {
    let mut context = Map::new();
    let mut keep = |key: &str, value: Option<Value>| {
        if let Some(value) = value.filter(|v| !v.is_null()) {
            context.insert(key.to_owned(), value);
        }
    };
    let iso = run.get("endTimeIso").and_then(Value::as_str);
    let millis = || {
        Some(
            iso?.parse::<jiff::Timestamp>()
                .ok()?
                .as_millisecond()
                .into(),
        )
    };
    keep(STATUS, Some("SUCCEEDED".into()));
    keep(
        "lastUpdated",
        run.get("endTimeMillis").cloned().or_else(millis),
    );
    keep("lastUpdatedIso", iso.map(Into::into));
    keep(
        "durationString",
        run.get("result")
            .and_then(|r| r.get("canaryDuration").cloned()),
    );
    keep("canaryScore", score.map(Into::into));
    keep("warnings", Some(json!(verdict::warnings(run))));
    let intervals = verdict::intervals(run);
    keep(
        "canaryIntervals",
        (!intervals.is_empty()).then(|| intervals.into()),
    );
    keep(FINDINGS, (!findings.is_empty()).then(|| json!(findings)));
    context
}
