//! Which stages made an execution fail, looked for in the pipelines it started too.
//! Source: `gate: ExecutionsController`, `orca: TaskController`.

use std::collections::{BTreeSet, VecDeque};

use axum::extract::State;
use proto::orchestrator::v1::{ExecutionKind, GetExecutionRequest};
use serde_json::{Value, json};

use crate::Gateway;
use crate::answer::{Answer, Reply, value};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{Caller, Query};

/// Executions that one request looks at, at the most.
const MOST: usize = 100;

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn has_failed(stage: &Value) -> bool {
    ["TERMINAL", "STOPPED", "FAILED_CONTINUE"].contains(&text(stage, "status"))
}

/// The failed stages of an execution that no failed stage of theirs explains.
fn leaves(execution: &Value) -> Vec<&Value> {
    let stages = execution.get("stages").and_then(Value::as_array);
    let failed: Vec<&Value> = stages
        .into_iter()
        .flatten()
        .filter(|s| has_failed(s))
        .collect();
    let parents: BTreeSet<&str> = failed.iter().map(|s| text(s, "parentStageId")).collect();
    let is_leaf = |stage: &&Value| !parents.contains(text(stage, "id"));
    failed.iter().copied().filter(is_leaf).collect()
}

/// The execution that a stage started and waited for.
fn child(stage: &Value) -> Option<&str> {
    let id = stage.pointer("/context/executionId")?.as_str();
    id.filter(|id| text(stage, "type") == "pipeline" && !id.is_empty())
}

/// Where a stage is among those people see: itself, or the stage that planned it.
fn position(execution: &Value, stage: &Value) -> usize {
    let stages = execution.get("stages").and_then(Value::as_array);
    let stages: Vec<&Value> = stages.into_iter().flatten().collect();
    let mut top = stage;
    // A stage has fewer ancestors than there are stages.
    for _ in 0..stages.len() {
        let parent = text(top, "parentStageId");
        match stages
            .iter()
            .find(|s| !parent.is_empty() && text(s, "id") == parent)
        {
            Some(found) => top = found,
            None => break,
        }
    }
    let mut people = stages
        .iter()
        .filter(|s| text(s, "parentStageId").is_empty());
    people
        .position(|s| text(s, "id") == text(top, "id"))
        .unwrap_or(0)
}

fn told(execution: &Value, stage: &Value, origin: &str) -> Value {
    let index = position(execution, stage);
    let error = stage.pointer("/context/exception/details/errors/0");
    let (application, id) = (text(execution, "application"), text(execution, "id"));
    let mut told = json!({
        "executionId": id,
        "application": application,
        "pipelineName": text(execution, "name"),
        "stageId": text(stage, "id"),
        "stageName": text(stage, "name"),
        "stageType": text(stage, "type"),
        "stageIndex": index,
        "status": text(stage, "status"),
        "error": error.cloned().unwrap_or_default(),
    });
    if !origin.is_empty() {
        let origin = origin.trim_end_matches('/');
        let at =
            format!("{origin}/#/applications/{application}/executions/details/{id}?stage={index}");
        told["url"] = at.into();
    }
    told
}

async fn loaded(gate: &Gateway, caller: &Caller, id: &str) -> Result<Value, Error> {
    let call = caller.request(GetExecutionRequest {
        kind: ExecutionKind::Pipeline.into(),
        id: id.to_owned(),
    });
    let found = answer(gate.clients.executions.clone().get(call)).await;
    value(&found.map_err(|e| e.or_not_found(|| format!("Pipeline not found (id: {id})")))?)
}

/// `GET /executions/failedStages?executionId=&limit=1&deckOrigin=`: breadth first.
pub(super) async fn list(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let id = query.required("executionId")?;
    let limit = usize::try_from(query.number("limit", 1)?).unwrap_or(usize::MAX);
    let origin = query.text("deckOrigin");
    if !origin.is_empty() && !origin.starts_with("http://") && !origin.starts_with("https://") {
        let message = "is no address of a page; begin it with https://";
        return Err(Error::field("deckOrigin", message));
    }
    let mut found = Vec::new();
    let mut seen = BTreeSet::from([id.clone()]);
    let mut next = VecDeque::from([loaded(&gate, &caller, &id).await?]);
    while let Some(execution) = next.pop_front() {
        for stage in leaves(&execution) {
            let child = child(stage).filter(|_| seen.len() < MOST);
            if let Some(child) = child.filter(|id| seen.insert((*id).to_owned())) {
                match loaded(&gate, &caller, child).await {
                    Ok(started) if !leaves(&started).is_empty() => {
                        next.push_back(started);
                        continue;
                    }
                    // It is gone, or not for this reader: then this stage is what there is to say.
                    Ok(_) => {}
                    Err(error) if error.status().is_client_error() => {}
                    Err(error) => return Err(error),
                }
            }
            if found.len() == limit {
                return Ok(Answer::Ok(found.into()));
            }
            found.push(told(&execution, stage, &origin));
        }
    }
    Ok(Answer::Ok(found.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution() -> Value {
        json!({"id": "E", "application": "shop", "name": "Deploy", "stages": [
            {"id": "a", "type": "wait", "status": "SUCCEEDED"},
            {"id": "b", "type": "deploy", "name": "Deploy", "status": "TERMINAL"},
            {"id": "c", "type": "createServerGroup", "name": "Create", "status": "TERMINAL",
             "parentStageId": "b", "context": {"exception": {"details": {"errors": ["no room"]}}}},
            {"id": "d", "type": "pipeline", "name": "Test", "status": "STOPPED",
             "context": {"executionId": "F"}},
        ]})
    }

    #[test]
    fn only_what_failed_by_itself_is_a_leaf() {
        let execution = execution();
        let leaves = leaves(&execution);
        let ids: Vec<_> = leaves.iter().map(|s| text(s, "id")).collect();
        assert_eq!(ids, ["c", "d"]);
        assert_eq!((child(leaves[0]), child(leaves[1])), (None, Some("F")));
    }

    #[test]
    fn a_leaf_says_where_it_is_and_why() {
        let execution = execution();
        let told = told(&execution, &execution["stages"][2], "https://deck/");
        assert_eq!(
            (&told["error"], &told["stageIndex"]),
            (&json!("no room"), &json!(1))
        );
        let url = "https://deck/#/applications/shop/executions/details/E?stage=1";
        assert_eq!(told["url"], url);
    }
}
