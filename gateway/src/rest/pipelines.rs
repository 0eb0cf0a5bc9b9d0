//! Executions of pipelines: starting, reading one, steering it.
//! Source: `gate: PipelineController`.

use axum::extract::State;
use proto::common::v1::Json;
use proto::orchestrator::v1::{
    CancelRequest, EvaluateRequest, ExecutionAction, ExecutionKind, FailRequest,
    GetExecutionRequest, StartRequest, UpdateStageRequest,
};
use proto::trigger::v1::{DecisionsRequest, FireManualReply, FireManualRequest};
use runtime::auth::AuthContext;
use serde_json::{Map, Value, json};

use super::pipeline_configs;
use crate::Gateway;
use crate::answer::{Answer, Reply, forward, values};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{At, Caller, Definition, Query};

const KIND: i32 = ExecutionKind::Pipeline as i32;

fn named(id: &str) -> impl FnOnce(Error) -> Error + use<> {
    let message = format!("Pipeline not found (id: {id})");
    move |error| error.or_not_found(|| message)
}

/// `GET /pipelines/{id}`
pub(super) async fn get(State(gate): State<Gateway>, caller: Caller, At(id): At<String>) -> Reply {
    let call = caller.request(GetExecutionRequest {
        kind: KIND,
        id: id.clone(),
    });
    let found = answer(gate.clients.executions.clone().get(call)).await;
    forward(&found.map_err(named(&id))?)
}

async fn fire(
    gate: &Gateway,
    caller: &Caller,
    application: String,
    pipeline: String,
    body: &Definition,
) -> Result<FireManualReply, Error> {
    let trigger = Value::Object(body.optional_object("a trigger")?);
    let unknown = format!(
        "Pipeline configuration not found (nameOrId: {pipeline} in application {application})"
    );
    let call = caller.request(FireManualRequest {
        application,
        pipeline,
        trigger: Some(Json::of(&trigger)),
        user: caller.user(),
        body: None,
    });
    answer(gate.clients.events.clone().fire_manual(call))
        .await
        .map_err(|error| error.or_not_found(|| unknown))
}

/// `POST /pipelines/{application}/{nameOrId}`: 202 with the execution's `ref`.
pub(super) async fn start(
    State(gate): State<Gateway>,
    caller: Caller,
    At((application, pipeline)): At<(String, String)>,
    body: Definition,
) -> Reply {
    let reply = fire(&gate, &caller, application, pipeline, &body).await?;
    Ok(Answer::Accepted(json!({"ref": reply.r#ref})))
}

/// `POST /pipelines/v2/{application}/{nameOrId}`: the same with the event's id.
pub(super) async fn start_v2(
    State(gate): State<Gateway>,
    caller: Caller,
    At((application, pipeline)): At<(String, String)>,
    body: Definition,
) -> Reply {
    let reply = fire(&gate, &caller, application, pipeline, &body).await?;
    Ok(Answer::Accepted(
        json!({"eventId": reply.event_id, "ref": reply.r#ref}),
    ))
}

/// The trigger of a pipeline that comes with it.
fn triggered_by(caller: &Caller, pipeline: &mut Map<String, Value>) {
    let trigger = pipeline.entry("trigger").or_insert_with(|| json!({}));
    if let Value::Object(trigger) = trigger {
        trigger.entry("type").or_insert_with(|| json!("manual"));
        // Who is known by name started it, whatever the body says.
        if caller.user() != AuthContext::ANONYMOUS {
            trigger.insert("user".to_owned(), json!(caller.user()));
        }
    }
}

/// `POST /pipelines/start`: a pipeline that need not be stored, with its trigger.
pub(super) async fn start_ad_hoc(
    State(gate): State<Gateway>,
    caller: Caller,
    body: Definition,
) -> Reply {
    let mut pipeline = body.object("a pipeline")?;
    let plan = pipeline.shift_remove("plan") == Some(Value::Bool(true));
    triggered_by(&caller, &mut pipeline);
    let body = Some(Json::of(&Value::Object(pipeline)));
    if plan {
        let call = caller.request(StartRequest {
            kind: KIND,
            body,
            event_id: String::new(),
        });
        return forward(&answer(gate.clients.executions.clone().plan(call)).await?);
    }
    let call = caller.request(FireManualRequest {
        user: caller.user(),
        body,
        ..FireManualRequest::default()
    });
    let started = answer(gate.clients.events.clone().fire_manual(call)).await?;
    Ok(Answer::Ok(json!({"ref": started.r#ref})))
}

/// `POST /pipelines/fail`: a pipeline with its trigger and `errorMessage`, kept as an execution that failed
/// before it began and never runs. Orca's `POST /fail`, which Gate does not offer.
pub(super) async fn fail(State(gate): State<Gateway>, caller: Caller, body: Definition) -> Reply {
    let mut pipeline = body.object("a pipeline")?;
    let error_message = match pipeline.shift_remove("errorMessage") {
        Some(Value::String(text)) if !text.trim().is_empty() => text,
        None | Some(Value::Null | Value::String(_)) => {
            let text = "is missing; say why the pipeline could not begin";
            return Err(Error::field("errorMessage", text));
        }
        Some(_) => return Err(Error::field("errorMessage", "is no text")),
    };
    triggered_by(&caller, &mut pipeline);
    let call = caller.request(FailRequest {
        body: Some(Json::of(&Value::Object(pipeline))),
        error_message,
    });
    let kept = answer(gate.clients.executions.clone().fail(call)).await?;
    Ok(Answer::Ok(json!({"ref": kept.r#ref})))
}

/// `PUT /pipelines/{id}/cancel?reason=&force=false`
pub(super) async fn cancel(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
    query: Query,
) -> Reply {
    let call = caller.request(CancelRequest {
        kind: KIND,
        id: id.clone(),
        reason: query.text("reason"),
        force: query.flag("force", false)?,
    });
    let done = answer(gate.clients.executions.clone().cancel(call)).await;
    done.map_err(named(&id))?;
    Ok(Answer::Empty)
}

/// `PUT /applications/{application}/pipelines/{id}/cancel`: `spin` sends a
/// placeholder as the application, so only the id counts.
pub(super) async fn cancel_of_application(
    state: State<Gateway>,
    caller: Caller,
    At((_, id)): At<(String, String)>,
    query: Query,
) -> Reply {
    cancel(state, caller, At(id), query).await
}

/// `PUT /pipelines/{id}/pause`
pub(super) async fn pause(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
) -> Reply {
    let call = caller.request(action(&id));
    let done = answer(gate.clients.executions.clone().pause(call)).await;
    done.map_err(named(&id))?;
    Ok(Answer::Empty)
}

/// `PUT /pipelines/{id}/resume`
pub(super) async fn resume(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
) -> Reply {
    let call = caller.request(action(&id));
    let done = answer(gate.clients.executions.clone().resume(call)).await;
    done.map_err(named(&id))?;
    Ok(Answer::Empty)
}

/// `DELETE /pipelines/{id}`: a finished execution.
pub(super) async fn delete(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
) -> Reply {
    let call = caller.request(action(&id));
    let done = answer(gate.clients.executions.clone().delete(call)).await;
    done.map_err(named(&id))?;
    Ok(Answer::Empty)
}

fn action(id: &str) -> ExecutionAction {
    ExecutionAction {
        kind: KIND,
        id: id.to_owned(),
    }
}

fn stage_update(id: &str, stage: &str, body: &Definition) -> Result<UpdateStageRequest, Error> {
    let context = Value::Object(body.optional_object("a stage's context")?);
    Ok(UpdateStageRequest {
        kind: KIND,
        execution_id: id.to_owned(),
        stage_id: stage.to_owned(),
        context: Some(Json::of(&context)),
    })
}

/// `PATCH /pipelines/{id}/stages/{stageId}`: how a judgment is given.
pub(super) async fn update_stage(
    State(gate): State<Gateway>,
    caller: Caller,
    At((id, stage)): At<(String, String)>,
    body: Definition,
) -> Reply {
    let update = stage_update(&id, &stage, &body)?;
    let skips = body.optional_object("a context")?.get("manualSkip") == Some(&json!(true));
    let call = caller.request(update);
    let updated = answer(gate.clients.executions.clone().update_stage(call)).await;
    forward(&updated.map_err(|error| match skips {
        true => error.conflict_is_not_allowed(),
        false => error,
    })?)
}

/// `PUT /pipelines/{id}/stages/{stageId}/restart`
pub(super) async fn restart_stage(
    State(gate): State<Gateway>,
    caller: Caller,
    At((id, stage)): At<(String, String)>,
    body: Definition,
) -> Reply {
    let call = caller.request(stage_update(&id, &stage, &body)?);
    forward(&answer(gate.clients.executions.clone().restart_stage(call)).await?)
}

async fn evaluated(gate: &Gateway, caller: &Caller, asked: EvaluateRequest) -> Reply {
    let unknown = named(&asked.execution_id);
    let call = caller.request(asked);
    let found = answer(gate.clients.executions.clone().evaluate(call)).await;
    forward(&found.map_err(unknown)?)
}

/// `GET /pipelines/{id}/evaluateExpression?expression=`
pub(super) async fn evaluate(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
    query: Query,
) -> Reply {
    let asked = EvaluateRequest {
        execution_id: id,
        expression: query.required("expression")?,
        ..EvaluateRequest::default()
    };
    evaluated(&gate, &caller, asked).await
}

/// `POST /pipelines/{id}/evaluateExpression`: the text itself, or `{"expression"}`.
pub(super) async fn evaluate_body(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
    body: Definition,
) -> Reply {
    let text = String::from_utf8(body.0.to_vec())
        .map_err(|_| Error::field("expression", "is not UTF-8 text"))?;
    let wrapped: Option<String> = serde_json::from_str::<Value>(&text)
        .ok()
        .and_then(|v| Some(v.get("expression")?.as_str()?.to_owned()));
    let expression = wrapped.unwrap_or(text);
    if expression.trim().is_empty() {
        return Err(Error::field("expression", "is empty; send it as the body"));
    }
    let asked = EvaluateRequest {
        execution_id: id,
        expression,
        ..EvaluateRequest::default()
    };
    evaluated(&gate, &caller, asked).await
}

/// `POST /pipelines/{id}/evaluateVariables?requisiteStageRefIds=&spelVersion=` of `[{"key", "value"}]`.
pub(super) async fn evaluate_variables(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
    query: Query,
    body: Definition,
) -> Reply {
    let after = query.get("requisiteStageRefIds").unwrap_or_default();
    let after = after.split(',').map(str::trim).filter(|id| !id.is_empty());
    let asked = EvaluateRequest {
        execution_id: id,
        variables: Some(Json::of(&body.value()?)),
        requisite_stage_ref_ids: after.map(str::to_owned).collect(),
        spel_version: query.get("spelVersion").unwrap_or_default().to_owned(),
        ..EvaluateRequest::default()
    };
    evaluated(&gate, &caller, asked).await
}

/// `GET /pipelines/{id}/{stageId}/evaluateExpression?expression=`
pub(super) async fn evaluate_at_stage(
    State(gate): State<Gateway>,
    caller: Caller,
    At((id, stage)): At<(String, String)>,
    query: Query,
) -> Reply {
    let asked = EvaluateRequest {
        execution_id: id,
        stage_id: stage,
        expression: query.required("expression")?,
        ..EvaluateRequest::default()
    };
    evaluated(&gate, &caller, asked).await
}

/// `GET /pipelines/{id}/triggerEvents`: what was decided about a definition's
/// triggers, newest first. Not one of Gate's: it answers "why did it not start?".
pub(super) async fn decisions(
    State(gate): State<Gateway>,
    caller: Caller,
    At(pipeline_id): At<String>,
) -> Reply {
    let call = caller.request(DecisionsRequest { pipeline_id });
    let found = answer(gate.clients.events.clone().list_decisions(call)).await?;
    Ok(Answer::Ok(Value::Array(values(&found.decisions)?)))
}

/// `GET /triggers/events?application=&pipeline=`: the same by name or id.
pub(super) async fn decisions_by_name(
    state: State<Gateway>,
    caller: Caller,
    query: Query,
) -> Reply {
    let (application, pipeline) = (query.required("application")?, query.required("pipeline")?);
    let found = pipeline_configs::find(&state, &caller, &application, &pipeline).await?;
    let id = found.get("id").and_then(Value::as_str).unwrap_or_default();
    decisions(state, caller, At(id.to_owned())).await
}
