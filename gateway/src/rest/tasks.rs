//! Tasks: orchestrations, as people and `spin` see them.
//! Source: `gate: TaskController`, `orca: TaskController.convert`.

use axum::extract::State;
use proto::common::v1::Json;
use proto::orchestrator::v1::{
    CancelRequest, ExecutionAction, ExecutionKind, GetExecutionRequest, ListExecutionsRequest,
    StartRequest,
};
use serde_json::{Map, Value, json};

use crate::Gateway;
use crate::answer::{Answer, Reply, value};
use crate::clients::answer;
use crate::error::Error;
use crate::listing;
use crate::request::{At, Caller, Definition, Query};

const KIND: i32 = ExecutionKind::Orchestration as i32;
/// Tasks in one answer: so many Orca lists unless it is told how many, and here more are not asked for either,
/// so that an answer stays bounded.
const MOST: u64 = 3_500;

fn named(id: &str) -> impl FnOnce(Error) -> Error + use<> {
    let message = format!("Task not found (id: {id})");
    move |error| error.or_not_found(|| message)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// An orchestration as a task: all contexts merged into `variables`, all stages' tasks in `steps`.
fn view(execution: Value) -> Value {
    let mut variables: Map<String, Value> = Map::new();
    let mut steps = Vec::new();
    let stages = execution.get("stages").and_then(Value::as_array);
    for stage in stages.into_iter().flatten() {
        let context = stage.get("context").and_then(Value::as_object);
        for (key, value) in context.into_iter().flatten() {
            // A later empty value never hides an earlier one.
            let known = variables.get(key).is_some_and(|known| !is_empty(known));
            if !(known && is_empty(value)) {
                variables.insert(key.clone(), value.clone());
            }
        }
        let tasks = stage.get("tasks").and_then(Value::as_array);
        steps.extend(tasks.into_iter().flatten().cloned());
    }
    let variables: Vec<_> = variables
        .into_iter()
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect();
    let mut task = json!({
        "name": execution.get("description").cloned().unwrap_or_default(),
        "variables": variables,
        "steps": steps,
    });
    for key in [
        "id",
        "application",
        "status",
        "buildTime",
        "startTime",
        "endTime",
    ] {
        task[key] = execution.get(key).cloned().unwrap_or_default();
    }
    task["execution"] = execution;
    task
}

async fn submit(gate: &Gateway, caller: &Caller, mut body: Map<String, Value>) -> Reply {
    let jobs = match body.get_mut("job") {
        Some(Value::Array(jobs)) if !jobs.is_empty() => jobs,
        _ => {
            let message = "is missing; send a list of at least one job with its type";
            return Err(Error::field("job", message));
        }
    };
    for (at, job) in jobs.iter_mut().enumerate() {
        let typed = job
            .get("type")
            .and_then(Value::as_str)
            .is_some_and(|t| !t.is_empty());
        let Value::Object(job) = job else {
            return Err(Error::field(&format!("job[{at}]"), "is no object"));
        };
        if !typed {
            return Err(Error::field(&format!("job[{at}].type"), "is missing"));
        }
        // Who acts is who asked, whatever the body says.
        job.insert("user".to_owned(), json!(caller.user()));
    }
    if let Some(Value::Object(trigger)) = body.get_mut("trigger") {
        trigger.insert("user".to_owned(), json!(caller.user()));
    }
    let call = caller.request(StartRequest {
        kind: KIND,
        body: Some(Json::of(&Value::Object(body))),
        event_id: String::new(),
    });
    let started = answer(gate.clients.executions.clone().start(call)).await?;
    Ok(Answer::Ok(json!({"ref": started.r#ref})))
}

/// `POST /tasks`
pub(super) async fn start(State(gate): State<Gateway>, caller: Caller, body: Definition) -> Reply {
    submit(&gate, &caller, body.object("a task")?).await
}

/// `POST /applications/{application}/tasks`
pub(super) async fn start_of_application(
    State(gate): State<Gateway>,
    caller: Caller,
    At(application): At<String>,
    body: Definition,
) -> Reply {
    let mut task = body.object("a task")?;
    task.insert("application".to_owned(), json!(application));
    submit(&gate, &caller, task).await
}

/// `GET /tasks/{id}`
pub(super) async fn get(State(gate): State<Gateway>, caller: Caller, At(id): At<String>) -> Reply {
    let call = caller.request(GetExecutionRequest {
        kind: KIND,
        id: id.clone(),
    });
    let found = answer(gate.clients.executions.clone().get(call)).await;
    Ok(Answer::Ok(view(value(&found.map_err(named(&id))?)?)))
}

/// `GET /applications/{application}/tasks/{id}`: deprecated by Gate, still asked for.
pub(super) async fn get_of_application(
    state: State<Gateway>,
    caller: Caller,
    At((_, id)): At<(String, String)>,
) -> Reply {
    get(state, caller, At(id)).await
}

/// An operation of cloud-driver that one of a task's stages waited for, as the stage knows it.
fn operation(execution: &Value, id: &str) -> Option<Value> {
    let stages = execution.get("stages")?.as_array()?.iter();
    let known = stages.filter_map(|stage| stage.get("context")?.get("kato.tasks")?.as_array());
    let mut known = known.flatten();
    known
        .find(|operation| operation.get("id").and_then(Value::as_str) == Some(id))
        .cloned()
}

/// `GET /tasks/{id}/details/{details}`: an operation, by the task it belongs to.
///
/// Differs from Spinnaker: there any operation answers under any task.
pub(super) async fn details(
    State(gate): State<Gateway>,
    caller: Caller,
    At((id, details)): At<(String, String)>,
) -> Reply {
    let call = caller.request(GetExecutionRequest {
        kind: KIND,
        id: id.clone(),
    });
    let found = answer(gate.clients.executions.clone().get(call)).await;
    let execution = value(&found.map_err(named(&id))?)?;
    let unknown = || Error::not_found(format!("Operation not found (id: {details} in task {id})"));
    Ok(Answer::Ok(
        operation(&execution, &details).ok_or_else(unknown)?,
    ))
}

/// `GET /applications/{application}/tasks/{id}/details/{details}`: deprecated by Gate.
pub(super) async fn details_of_application(
    state: State<Gateway>,
    caller: Caller,
    At((_, id, operation)): At<(String, String, String)>,
) -> Reply {
    details(state, caller, At((id, operation))).await
}

async fn cancelled(gate: &Gateway, caller: &Caller, id: &str) -> Result<(), Error> {
    let call = caller.request(CancelRequest {
        kind: KIND,
        id: id.to_owned(),
        reason: String::new(),
        force: false,
    });
    let done = answer(gate.clients.executions.clone().cancel(call)).await;
    done.map_err(named(id))?;
    Ok(())
}

/// `PUT /tasks/{id}/cancel`
pub(super) async fn cancel(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
) -> Reply {
    cancelled(&gate, &caller, &id).await?;
    Ok(Answer::Empty)
}

/// `PUT /applications/{application}/tasks/{id}/cancel`: deprecated by Gate, still asked for.
pub(super) async fn cancel_of_application(
    state: State<Gateway>,
    caller: Caller,
    At((_, id)): At<(String, String)>,
) -> Reply {
    cancel(state, caller, At(id)).await
}

/// `PUT /tasks/cancel?ids=`
pub(super) async fn cancel_many(
    State(gate): State<Gateway>,
    caller: Caller,
    query: Query,
) -> Reply {
    for id in query.list("ids") {
        cancelled(&gate, &caller, &id).await?;
    }
    Ok(Answer::Empty)
}

/// `DELETE /tasks/{id}`
pub(super) async fn delete(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
) -> Reply {
    let call = caller.request(ExecutionAction {
        kind: KIND,
        id: id.clone(),
    });
    let done = answer(gate.clients.executions.clone().delete(call)).await;
    done.map_err(named(&id))?;
    Ok(Answer::Empty)
}

/// `GET /applications/{application}/tasks?page=1&limit=3500&statuses=`
pub(super) async fn of_application(
    State(gate): State<Gateway>,
    caller: Caller,
    At(application): At<String>,
    query: Query,
) -> Reply {
    let limit = query.number("limit", MOST)?.min(MOST);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let page = usize::try_from(query.number("page", 1)?.max(1)).unwrap_or(usize::MAX);
    let request = ListExecutionsRequest {
        kind: KIND,
        application: application.to_lowercase(),
        statuses: query.list("statuses"),
        expand: true,
        ..ListExecutionsRequest::default()
    };
    let skip = (page - 1).saturating_mul(limit);
    let mut seen = 0;
    let mut found = Vec::new();
    listing::search(
        &gate,
        &caller,
        request,
        listing::MAX_SEARCHED,
        |execution| {
            seen += 1;
            if seen > skip {
                found.push(view(execution));
            }
            found.len() < limit
        },
    )
    .await?;
    Ok(Answer::Ok(Value::Array(found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_merges_contexts_and_flattens_steps() {
        let task = view(json!({
            "id": "1", "description": "Create", "status": "SUCCEEDED", "buildTime": 1,
            "stages": [
                {"context": {"a": "1", "b": [], "c": {"x": 1}}, "tasks": [{"name": "t1"}]},
                {"context": {"a": "", "b": [1], "c": false}, "tasks": [{"name": "t2"}, {"name": "t3"}]},
            ],
        }));
        assert_eq!(task["name"], "Create");
        assert_eq!(
            task["variables"],
            json!([{"key": "a", "value": "1"}, {"key": "b", "value": [1]}, {"key": "c", "value": false}])
        );
        assert_eq!(task["steps"].as_array().unwrap().len(), 3);
        assert_eq!(task["execution"]["id"], "1");
    }
}
