//! A run as Kayenta's status response (`kayenta: CanaryExecutionStatusResponse`), with what we know beside it.

use judge::iso;
use judge::run::{Judged, Pace, State, Status};
use serde_json::{Map, Value, json};

use super::judgement::stage_status;
use super::record::{Run, list_id};
use crate::request::ExecutionRequest;

/// The response. Differs from Spinnaker: a run has all intervals of a canary, each with score and window, where there
/// each is a run of its own; and `decision` and `warnings` stand beside them.
pub(super) fn response(run: &Run, state: &State, result: Option<Value>) -> Value {
    let mut told = Map::new();
    let mut put = |key: &str, value: Value| {
        if !value.is_null() && value.as_str() != Some("") {
            told.insert(key.to_owned(), value);
        }
    };
    put("application", json!(run.application));
    put("parentPipelineExecutionId", json!(run.parent_execution_id));
    put("pipelineId", json!(run.id));
    put("user", json!(run.user));
    let stages = stage_status(run.config.metrics.len(), state.status);
    put("stageStatus", Value::Object(stages));
    put("complete", json!(state.status.is_complete()));
    put("status", json!(state.status.as_str()));
    put("exception", exception(state));
    let decided = state
        .last
        .as_ref()
        .filter(|last| last.kept && result.is_some());
    if let Some(result) = result {
        let mut whole = Map::from_iter([("judgeResult".to_owned(), result)]);
        if let Some(duration) = duration(run, state) {
            whole.insert("canaryDuration".to_owned(), duration.into());
        }
        put("result", Value::Object(whole));
    }
    // Differs from Spinnaker: templates are told as they were written; there `${` comes back as `$\{`.
    put("config", json!(run.config));
    put("canaryConfigId", json!(run.config_id));
    put("canaryExecutionRequest", run.request.clone());
    // Those that the result is of, or none; the intervals name theirs.
    put(
        "metricSetPairListId",
        json!(decided.map(|last| list_id(&run.id, last.number))),
    );
    for (name, at) in [
        ("build", Some(run.created_ms)),
        ("start", state.started_ms),
        ("end", state.ended_ms),
    ] {
        put(&format!("{name}TimeMillis"), json!(at));
        put(&format!("{name}TimeIso"), json!(at.map(iso)));
    }
    put("storageAccountName", json!(run.storage_account));
    put("metricsAccountName", json!(run.metrics_account));
    put("configurationAccountName", json!(run.configuration_account));
    let intervals = state.intervals.iter().map(|judged| interval(run, judged));
    put("intervals", intervals.collect());
    let last = state.last.as_ref();
    put("decision", json!(last.and_then(|judged| judged.decision)));
    put("judgements", json!(state.judged));
    put(
        "attempts",
        json!((state.attempts > 0).then_some(state.attempts)),
    );
    put("trouble", json!(state.trouble));
    let mut warnings = run.warnings.clone();
    warnings.extend(last.into_iter().flat_map(|judged| judged.warnings.clone()));
    put("warnings", json!(warnings));
    Value::Object(told)
}

/// One judgement of the run, in the words of Kayenta's standalone analysis.
fn interval(run: &Run, judged: &Judged) -> Value {
    let mut told = Map::new();
    told.insert("number".to_owned(), json!(judged.number));
    if let Some(window) = judged.window {
        for (name, at) in [("Start", window.start_ms), ("End", window.end_ms)] {
            told.insert(format!("judgement{name}TimeMillis"), json!(at));
            told.insert(format!("judgement{name}TimeIso"), json!(iso(at)));
        }
    }
    // A score may be no number; then it is the text of it.
    let score = serde_json::Number::from_f64(judged.score);
    let score = score.map_or_else(|| json!("NaN"), Value::Number);
    told.insert("score".to_owned(), score);
    told.insert("classification".to_owned(), json!(judged.classification));
    if let Some(decision) = judged.decision {
        told.insert("decision".to_owned(), json!(decision));
    }
    told.insert("digest".to_owned(), json!(judged.digest));
    told.insert("judgedTimeMillis".to_owned(), json!(judged.at_ms));
    if !judged.warnings.is_empty() {
        told.insert("warnings".to_owned(), json!(judged.warnings));
    }
    if judged.kept {
        let id = list_id(&run.id, judged.number);
        told.insert("metricSetPairListId".to_owned(), json!(id));
    }
    Value::Object(told)
}

/// As Orca tells of a failed stage.
fn exception(state: &State) -> Value {
    let Some(message) = &state.exception else {
        return Value::Null;
    };
    let kind = match state.status {
        Status::Canceled => "Canceled",
        _ => "CanaryRunFailed",
    };
    json!({
        "exceptionType": kind,
        "operation": "judge",
        "timestamp": state.ended_ms,
        "details": {"error": "Unexpected Task Failure", "errors": [message]},
    })
}

fn duration(run: &Run, state: &State) -> Option<String> {
    let ms = match (&run.course.pace, state.last.as_ref()?.window) {
        (Pace::Intervals(_) | Pace::Steps { .. }, Some(window)) => window.end_ms - window.start_ms,
        _ => ExecutionRequest::read(&run.config, &run.request, false)
            .ok()?
            .duration_ms()?,
    };
    Some(iso_duration(ms))
}

/// A duration as the original's library writes it: `PT1H5M0.5S`.
pub(super) fn iso_duration(ms: i64) -> String {
    if ms == 0 {
        return "PT0S".to_owned();
    }
    let (hours, minutes) = (ms / 3_600_000, ms / 60_000 % 60);
    let (seconds, rest) = (ms / 1_000 % 60, ms % 1_000);
    let mut text = "PT".to_owned();
    for (count, unit) in [(hours, 'H'), (minutes, 'M')] {
        if count != 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    match (seconds, rest) {
        (0, 0) => {}
        (seconds, 0) => text.push_str(&format!("{seconds}S")),
        (seconds, rest) => {
            let rest = format!("{rest:03}");
            text.push_str(&format!("{seconds}.{}S", rest.trim_end_matches('0')));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_the_original_writes_them() {
        for (ms, expected) in [
            (0, "PT0S"),
            (3_600_000, "PT1H"),
            (3_900_500, "PT1H5M0.5S"),
            (90_000, "PT1M30S"),
            (86_400_000, "PT24H"),
        ] {
            assert_eq!(iso_duration(ms), expected);
        }
    }
}
