//! Trying an event out: what it would start and why not. Nothing is started, kept or
//! counted. Without an event the triggers themselves are checked.

use proto::status::{Failure, FieldError, Kind};
use proto::trigger::v1::TestRequest;
use serde_json::{Map, Value, json};

use crate::api::Api;
use crate::intake::{Intake, now_ms};
use crate::jenkins::{self, access};
use crate::matcher::{self, Decision};
use crate::refusal::Refusal;
use crate::{breaker, cron, decisions, source};

/// What readers of a pipeline see in place of a secret.
const MASK: &str = "********";

/// Next times that are told of a schedule.
const NEXT: usize = 5;

/// The decisions, one for each trigger that is looked at.
pub(crate) async fn run(
    api: &Api,
    intake: &Intake,
    request: TestRequest,
) -> Result<Vec<Value>, Failure> {
    let event = request.event.clone().unwrap_or_default();
    let chosen = pipelines(intake, &request, &event.r#type).await?;
    if event.r#type.is_empty() {
        let mut found: Vec<Value> = Vec::new();
        for pipeline in &chosen {
            found.extend(standing(intake, pipeline).await?);
        }
        return Ok(found);
    }
    let kind = source::of_kind(&event.r#type)?;
    if !kind.is_posted() {
        let field = FieldError {
            path: "event.type".to_owned(),
            message: format!(
                "\"{}\" is not posted by anybody; leave event out to check such triggers",
                event.r#type
            ),
        };
        return Err(Failure::invalid("", vec![field]));
    }
    let events = api.events(&event).await?;
    let mut found = Vec::new();
    for pipeline in &chosen {
        for trigger in all_triggers(pipeline) {
            let of_kind = text(trigger, "type").eq_ignore_ascii_case(kind.kind());
            if !of_kind {
                let refusal = Refusal::differs("type", text(trigger, "type"), kind.kind());
                found.push(decision(pipeline, trigger, Err(refusal)));
            } else if events.is_empty() {
                let message = "what was posted is no event: a deletion, a test of the sender, or \
                               an action that nothing waits for";
                let remedy = "post an event that changes something";
                let refusal = Refusal::new("event", "an event", "none", message, remedy);
                found.push(decision(pipeline, trigger, Err(refusal)));
            }
        }
    }
    for event in &events {
        let mut all = matcher::decide(kind, event, &chosen);
        crate::access::apply(intake, &chosen, &mut all).await?;
        breaker::look(intake, &mut all).await?;
        for decided in all {
            let mut told = decisions::tell(&decided);
            told.insert("event".to_owned(), json!(event.content));
            found.push(told.into());
        }
    }
    Ok(found)
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn all_triggers(pipeline: &Map<String, Value>) -> impl Iterator<Item = &Map<String, Value>> {
    let all = pipeline.get("triggers").and_then(Value::as_array);
    all.into_iter().flatten().filter_map(Value::as_object)
}

async fn pipelines(
    intake: &Intake,
    request: &TestRequest,
    kind: &str,
) -> Result<Vec<Map<String, Value>>, Failure> {
    if let Some(given) = &request.pipeline {
        return match given.value("pipeline")? {
            Value::Object(pipeline) => Ok(vec![unmasked(intake, pipeline).await]),
            _ => Err(Failure::new(
                Kind::Invalid,
                "pipeline is no object; send a pipeline",
            )),
        };
    }
    if !request.pipeline_id.is_empty() {
        let found = intake
            .peers
            .pipeline_with_secrets(&request.application, &request.pipeline_id);
        return Ok(vec![found.await?]);
    }
    intake.peers.pipelines(kind).await
}

/// A pipeline as somebody has read it, with the stored secrets in place of what was shown.
async fn unmasked(intake: &Intake, mut pipeline: Map<String, Value>) -> Map<String, Value> {
    let masked = |trigger: &Map<String, Value>| text(trigger, "secret") == MASK;
    if !all_triggers(&pipeline).any(masked) {
        return pipeline;
    }
    let (application, id) = (text(&pipeline, "application"), text(&pipeline, "id"));
    let stored = intake.peers.pipeline_with_secrets(application, id).await;
    let stored = stored.unwrap_or_default();
    let triggers = pipeline.get_mut("triggers").and_then(Value::as_array_mut);
    let triggers = triggers.into_iter().flatten();
    for trigger in triggers.filter_map(Value::as_object_mut) {
        let same = |other: &&Map<String, Value>| other.get("id") == trigger.get("id");
        let known = all_triggers(&stored).find(same);
        if let Some(secret) = known.and_then(|known| known.get("secret"))
            && masked(trigger)
        {
            trigger.insert("secret".to_owned(), secret.clone());
        }
    }
    pipeline
}

fn decision(
    pipeline: &Map<String, Value>,
    trigger: &Map<String, Value>,
    outcome: Result<(), Refusal>,
) -> Value {
    let refused = outcome.err();
    let told = Decision {
        application: text(pipeline, "application").to_owned(),
        pipeline_id: text(pipeline, "id").to_owned(),
        pipeline_name: text(pipeline, "name").to_owned(),
        trigger_id: matcher::trigger_id(trigger),
        artifacts: Vec::new(),
        outcome: Err(refused.clone().unwrap_or_else(|| Refusal::absent(""))),
    };
    let mut told = decisions::tell(&told);
    if refused.is_none() {
        for key in ["reason", "field", "expected", "actual", "remedy"] {
            told.shift_remove(key);
        }
        told.insert("outcome".to_owned(), json!("ready"));
    }
    told.insert("type".to_owned(), json!(text(trigger, "type")));
    told.into()
}

/// Whether each trigger of a pipeline can ever fire.
async fn standing(intake: &Intake, pipeline: &Map<String, Value>) -> Result<Vec<Value>, Failure> {
    let mut found = Vec::new();
    for trigger in all_triggers(pipeline) {
        let id = matcher::trigger_id(trigger);
        let kind = text(trigger, "type");
        let outcome =
            matcher::is_live_or_why(pipeline, trigger).and_then(|()| match source::of_kind(kind) {
                Ok(source) => source.standing(trigger),
                Err(failure) => {
                    let remedy = "use a type that is supported";
                    Err(Refusal::new("type", "", kind, &failure.message, remedy))
                }
            });
        let mut told = decision(pipeline, trigger, outcome.clone());
        if kind.eq_ignore_ascii_case("cron") && outcome.is_ok() {
            match cron::read(trigger, &id) {
                Err((field, message)) => {
                    let actual = text(trigger, field);
                    let remedy = format!("correct {field}");
                    let refusal = Refusal::new(field, "", actual, &message, &remedy);
                    told = decision(pipeline, trigger, Err(refusal));
                }
                Ok((expression, zone)) => {
                    let mut next = Vec::new();
                    let mut at = now_ms();
                    while next.len() < NEXT
                        && let Some(found) = expression.next_after(at, &zone)
                    {
                        next.push(found);
                        at = found;
                    }
                    told["next"] = json!(next);
                }
            }
        }
        if kind.eq_ignore_ascii_case("pipeline") && outcome.is_ok() {
            let (of, id) = (text(trigger, "application"), text(trigger, "pipeline"));
            let of = if of.is_empty() {
                text(pipeline, "application")
            } else {
                of
            };
            if let Err(failure) = intake.peers.pipeline(of, id).await {
                let remedy = "name the id of a stored pipeline, and its application";
                let refusal = Refusal::new("pipeline", "a pipeline", id, &failure.message, remedy);
                told = decision(pipeline, trigger, Err(refusal));
            }
        }
        if kind.eq_ignore_ascii_case("jenkins") && outcome.is_ok() {
            let master = text(trigger, "master");
            if let Err(failure) = jenkins::known(intake, master) {
                let remedy = "name a configured master";
                let refusal = Refusal::new("master", "a master", master, &failure.message, remedy);
                told = decision(pipeline, trigger, Err(refusal));
            }
            if let Some(refusal) = access::refused(intake, pipeline, trigger, master).await? {
                told = decision(pipeline, trigger, Err(refusal));
            }
        }
        found.push(told);
    }
    Ok(found)
}
