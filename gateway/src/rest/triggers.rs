//! Trying triggers out: why does my pipeline not start?

use axum::extract::State;
use http::StatusCode;
use proto::common::v1::Json;
use proto::trigger::v1::{Header, ReceiveRequest, TestRequest, TriggerKey};
use serde_json::{Map, Value, json};

use crate::Gateway;
use crate::answer::{Answer, Reply, values};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{At, Caller, Definition, Query};

fn text(map: &Map<String, Value>, key: &str) -> String {
    let value = map.get(key).and_then(Value::as_str);
    value.unwrap_or_default().to_owned()
}

/// The event of a request: `{type, source, headers: {name: value}, payload | body}`;
/// `body` is the text as it would come, for signatures.
fn event_of(event: &Map<String, Value>) -> Result<ReceiveRequest, Error> {
    let kind = text(event, "type");
    if kind.is_empty() {
        return Err(Error::field(
            "event.type",
            "it is missing; name docker, git or webhook",
        ));
    }
    let headers = event.get("headers").and_then(Value::as_object);
    let headers = headers.into_iter().flatten().map(|(name, value)| Header {
        name: name.clone(),
        value: value.as_str().unwrap_or_default().to_owned(),
    });
    let body = match (event.get("body"), event.get("payload")) {
        (Some(Value::String(body)), _) => body.clone(),
        (Some(_), _) => {
            let message = "it is no text; send the body as it would come, or payload as JSON";
            return Err(Error::field("event.body", message));
        }
        (None, payload) => payload.cloned().unwrap_or_else(|| json!({})).to_string(),
    };
    Ok(ReceiveRequest {
        r#type: kind,
        source: text(event, "source"),
        headers: headers.collect(),
        body: body.into_bytes(),
    })
}

/// `POST /triggers/test`: `{event?, application?, pipeline?}`, the pipeline by name or
/// id, or as an object that need not be stored. Answers for each trigger whether it
/// would start, or the rule that keeps it from starting; nothing is started.
pub(super) async fn test(State(gate): State<Gateway>, caller: Caller, body: Definition) -> Reply {
    let asked = body.object("the test")?;
    let event = match asked.get("event") {
        None | Some(Value::Null) => None,
        Some(Value::Object(event)) => Some(event_of(event)?),
        Some(_) => {
            return Err(Error::field(
                "event",
                "it is no object; send {type, source, payload}",
            ));
        }
    };
    let (mut id, mut given) = (String::new(), None);
    match asked.get("pipeline") {
        None | Some(Value::Null) => {}
        Some(Value::String(name)) => name.clone_into(&mut id),
        Some(pipeline @ Value::Object(_)) => given = Some(Json::of(pipeline)),
        Some(_) => {
            let message = "it is neither a name nor an object; send one of them";
            return Err(Error::field("pipeline", message));
        }
    }
    if event.is_none() && id.is_empty() && given.is_none() {
        let message = "it is missing, and so is event; send one of them";
        return Err(Error::field("pipeline", message));
    }
    let call = caller.request(TestRequest {
        event,
        pipeline_id: id,
        application: text(&asked, "application"),
        pipeline: given,
    });
    let found = answer(gate.clients.events.clone().test(call)).await?;
    Ok(Answer::Ok(json!({"decisions": values(&found.decisions)?})))
}

/// `DELETE /pipelines/{id}/triggers/{trigger}/hold`: a trigger that was held because it
/// fired too often may fire again. Not one of Gate's.
pub(super) async fn release(
    State(gate): State<Gateway>,
    caller: Caller,
    At((pipeline_id, trigger_id)): At<(String, String)>,
) -> Reply {
    let call = caller.request(TriggerKey {
        pipeline_id,
        trigger_id,
    });
    answer(gate.clients.events.clone().release_trigger(call)).await?;
    Ok(Answer::Empty)
}

/// `GET /validateCronExpression?cronExpression=&timeZone=`. Source: `gate:
/// ActuatorController`, `echo: ScheduledActionsController`.
pub(super) async fn validate_cron(
    State(gate): State<Gateway>,
    caller: Caller,
    query: Query,
) -> Reply {
    let trigger = json!({
        "type": "cron", "enabled": true, "id": "validated",
        "cronExpression": query.required("cronExpression")?, "timeZone": query.text("timeZone"),
    });
    let call = caller.request(TestRequest {
        pipeline: Some(Json::of(&json!({"triggers": [trigger]}))),
        ..TestRequest::default()
    });
    let found = answer(gate.clients.events.clone().test(call)).await?;
    let decisions = values(&found.decisions)?;
    let first = decisions.first().cloned().unwrap_or_default();
    if first.get("outcome").and_then(Value::as_str) == Some("ready") {
        return Ok(Answer::Ok(json!({
            "response": "Cron expression is valid", "next": first.get("next"),
        })));
    }
    let reason = first
        .get("reason")
        .and_then(Value::as_str)
        .unwrap_or_default();
    Err(Error::new(
        StatusCode::BAD_REQUEST,
        format!("Cron expression is not valid: {reason}"),
    ))
}
