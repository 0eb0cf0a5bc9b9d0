//! Event × pipelines → what to start, and why not.
//!
//! Pure: the same event and pipelines give the same decisions. Every trigger of
//! the event's type is answered for, one way or the other.
//! Source: `echo: BaseTriggerEventHandler`.

use artifact::Finding;
use jiff::Timestamp;
use proto::message::ExecutionRequested;
use serde_json::{Map, Value};

use crate::event::{self, Event};
use crate::parameters;
use crate::refusal::Refusal;
use crate::source::Source;

/// Since when a trigger can fire, as the definition service tells it; ms since the epoch.
const SINCE: &str = "since";
/// How far the clocks of a source and of the definition service may be apart.
const CLOCKS_MS: i64 = 2_000;

/// What was decided about one trigger.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Application of the pipeline.
    pub application: String,
    /// Id of the pipeline.
    pub pipeline_id: String,
    /// Its name.
    pub pipeline_name: String,
    /// Id of the trigger.
    pub trigger_id: String,
    /// What becomes of the artifacts that the pipeline expects, if the trigger matched.
    pub artifacts: Vec<Finding>,
    /// The start, or why there is none.
    pub outcome: Result<ExecutionRequested, Refusal>,
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// `true`, also when it was stored as a text.
pub(crate) fn is_true(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(value)) => *value,
        Some(Value::String(text)) => text.eq_ignore_ascii_case("true"),
        _ => false,
    }
}

/// The triggers of this type that a pipeline has.
pub fn triggers<'a>(
    pipeline: &'a Map<String, Value>,
    kind: &'a str,
) -> impl Iterator<Item = &'a Map<String, Value>> {
    let all = pipeline.get("triggers").and_then(Value::as_array);
    all.into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .filter(move |trigger| text(trigger, "type").eq_ignore_ascii_case(kind))
}

/// Whether a trigger can fire at all.
pub fn is_live(pipeline: &Map<String, Value>, trigger: &Map<String, Value>) -> bool {
    !is_true(pipeline.get("disabled")) && is_true(trigger.get("enabled"))
}

/// Whether a trigger can fire at all, or why not.
pub(crate) fn is_live_or_why(
    pipeline: &Map<String, Value>,
    trigger: &Map<String, Value>,
) -> Result<(), Refusal> {
    if is_true(pipeline.get("disabled")) {
        let (message, remedy) = ("the pipeline is disabled", "enable the pipeline");
        return Err(Refusal::new("disabled", "false", "true", message, remedy));
    }
    if !is_true(trigger.get("enabled")) {
        let (message, remedy) = ("the trigger is not enabled", "enable the trigger");
        return Err(Refusal::new("enabled", "true", "false", message, remedy));
    }
    Ok(())
}

/// Refuses what happened before a trigger could fire.
fn is_news(trigger: &Map<String, Value>, event: &Event) -> Result<(), Refusal> {
    let since = trigger.get(SINCE).and_then(Value::as_i64).unwrap_or(0);
    let happened = match event.happened_at_ms {
        0 => event.received_at_ms,
        happened => happened,
    };
    if since == 0 || happened + CLOCKS_MS >= since {
        return Ok(());
    }
    let iso = |ms: i64| {
        Timestamp::from_millisecond(ms)
            .unwrap_or_default()
            .to_string()
    };
    let (since, happened) = (iso(since), iso(happened));
    let message =
        format!("it happened at {happened}, before the trigger was there and enabled at {since}");
    let remedy = "start the pipeline by hand with it, or wait for the next";
    Err(Refusal::new("enabled", &since, &happened, &message, remedy))
}

/// The trigger's id, or one derived from its content when none was stored.
pub fn trigger_id(trigger: &Map<String, Value>) -> String {
    match text(trigger, "id") {
        "" => event::id("trigger", &[&Value::Object(trigger.clone()).to_string()]),
        id => id.to_owned(),
    }
}

/// Decides about every trigger of the event's type.
pub fn decide(
    source: &dyn Source,
    event: &Event,
    pipelines: &[Map<String, Value>],
) -> Vec<Decision> {
    let mut decisions = Vec::new();
    for pipeline in pipelines {
        for trigger in triggers(pipeline, source.kind()) {
            if !source.concerns(trigger, event) {
                continue;
            }
            let trigger_id = trigger_id(trigger);
            let mut artifacts = Vec::new();
            let outcome = one(
                source,
                event,
                (pipeline, trigger),
                &trigger_id,
                &mut artifacts,
            );
            decisions.push(Decision {
                application: text(pipeline, "application").to_owned(),
                pipeline_id: text(pipeline, "id").to_owned(),
                pipeline_name: text(pipeline, "name").to_owned(),
                trigger_id,
                artifacts,
                outcome,
            });
        }
    }
    decisions
}

/// Nothing that a trigger waits for came: every one of it with what came nearest.
fn nothing_came(missed: &[Finding], came: &[Value]) -> Refusal {
    let expected: Vec<&str> = missed.iter().map(|finding| finding.name.as_str()).collect();
    let expected = expected.join(", ");
    let mut message = format!("no artifact of the event is one of the expected {expected}");
    for finding in missed {
        let reason = finding.reason();
        if !reason.is_empty() {
            message.push_str(&format!("; {}: {reason}", finding.name));
        }
    }
    let remedy = "send such an artifact, or correct expectedArtifacts of the pipeline";
    let came = artifact::names(came);
    Refusal::new("expectedArtifactIds", &expected, &came, &message, remedy)
}

fn one(
    source: &dyn Source,
    event: &Event,
    (pipeline, trigger): (&Map<String, Value>, &Map<String, Value>),
    trigger_id: &str,
    report: &mut Vec<Finding>,
) -> Result<ExecutionRequested, Refusal> {
    is_live_or_why(pipeline, trigger)?;
    source.matches(trigger, event)?;
    is_news(trigger, event)?;
    if source.brings_artifacts() {
        *report = artifact::report(pipeline, trigger, &event.artifacts);
        artifact::received_one(pipeline, trigger, &event.artifacts)
            .map_err(|missed| nothing_came(&missed, &event.artifacts))?;
    }
    let id = text(pipeline, "id");
    let mut fired = source.fired(trigger, event);
    fired.shift_remove(SINCE);
    let user = match text(trigger, "runAsUser").trim() {
        "" => text(&fired, "user"),
        user => user,
    };
    let user = if user.is_empty() { "anonymous" } else { user }.to_owned();
    for (key, value) in [
        ("id", Value::from(trigger_id)),
        ("eventId", Value::from(event.id.as_str())),
        ("user", Value::from(user)),
    ] {
        fired.insert(key.to_owned(), value);
    }
    if source.brings_artifacts() {
        let artifacts = event.artifacts.clone();
        fired.insert("artifacts".to_owned(), artifacts.into());
    }
    let given = fired.get("parameters").and_then(Value::as_object);
    let parameters =
        parameters::complete(pipeline, given.cloned().unwrap_or_default()).map_err(|failure| {
            let remedy = "give the parameter a default, or have the event bring it";
            Refusal::new("parameterConfig", "", "", &failure.message, remedy)
        })?;
    fired.insert("parameters".to_owned(), Value::Object(parameters));
    Ok(ExecutionRequested {
        application: text(pipeline, "application").to_owned(),
        pipeline_config_id: id.to_owned(),
        trigger_id: trigger_id.to_owned(),
        event_id: event.id.clone(),
        recorded_at_ms: event.received_at_ms,
        trigger: Value::Object(fired),
    })
}

#[cfg(test)]
mod tests;
