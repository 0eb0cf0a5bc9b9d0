//! Environments, and what of an application runs in each. Spinnaker has no such
//! object.

use std::collections::BTreeMap;

use axum::extract::State;
use proto::cloud_driver::v1::ApplicationQuery;
use proto::common::v1::Json;
use proto::orchestrator::v1::{ExecutionKind, ListExecutionsRequest, ObjectKey, SaveObjectRequest};
use serde_json::{Value, json};

use super::applications;
use crate::answer::{Answer, Reply, value, values};
use crate::clients::answer;
use crate::environment::{Known, judge, made};
use crate::error::{Error, now_ms};
use crate::request::{At, Caller, Definition, Query};
use crate::{Gateway, listing};

const KIND: &str = "environment";
/// Executions of each kind among which the deployments of what runs are looked for.
const MOST_EXECUTIONS: usize = 200;
/// Statuses of what may be changing a cluster now.
const UNDER_WAY: [&str; 3] = ["RUNNING", "PAUSED", "SUSPENDED"];

fn key(name: &str) -> ObjectKey {
    ObjectKey {
        kind: KIND.to_owned(),
        id: name.to_owned(),
    }
}

async fn all(gate: &Gateway, caller: &Caller) -> Result<Vec<Value>, Error> {
    let mut found = listing::objects(&gate.clients, caller, KIND).await?;
    found.sort_by_cached_key(|e| {
        let order = e.get("order").and_then(Value::as_i64).unwrap_or(i64::MAX);
        let name = e.get("name").and_then(Value::as_str).unwrap_or_default();
        (order, name.to_owned())
    });
    Ok(found)
}

async fn find(gate: &Gateway, caller: &Caller, name: &str) -> Result<Value, Error> {
    let call = caller.request(key(name));
    let found = answer(gate.clients.definitions.clone().get_object(call)).await;
    let unknown = || format!("Environment not found (name: {name})");
    value(&found.map_err(|error| error.or_not_found(unknown))?)
}

async fn store(gate: &Gateway, caller: &Caller, object: Value, create: bool) -> Reply {
    let call = caller.request(SaveObjectRequest {
        kind: KIND.to_owned(),
        object: Some(Json::of(&object)),
        user: caller.user(),
        create,
    });
    let saved = answer(gate.clients.definitions.clone().save_object(call)).await;
    let saved = saved.map_err(Error::conflict_is_bad_request)?;
    Ok(Answer::Ok(value(&saved)?))
}

/// `GET /environments`, in their order.
pub(super) async fn list(State(gate): State<Gateway>, caller: Caller) -> Reply {
    Ok(Answer::Ok(Value::Array(all(&gate, &caller).await?)))
}

/// `GET /environments/{name}`
pub(super) async fn get(
    State(gate): State<Gateway>,
    caller: Caller,
    At(name): At<String>,
) -> Reply {
    Ok(Answer::Ok(find(&gate, &caller, &name).await?))
}

/// `POST /environments`: one of a new name.
pub(super) async fn create(State(gate): State<Gateway>, caller: Caller, body: Definition) -> Reply {
    let environment = body.object("an environment")?;
    store(&gate, &caller, Value::Object(environment), true).await
}

/// `PUT /environments/{name}`: replaces it.
pub(super) async fn update(
    State(gate): State<Gateway>,
    caller: Caller,
    At(name): At<String>,
    body: Definition,
) -> Reply {
    let mut environment = body.object("an environment")?;
    let given = environment.entry("name").or_insert_with(|| json!(name));
    if !given
        .as_str()
        .is_some_and(|g| g.eq_ignore_ascii_case(&name))
    {
        let message = format!("is {given}, but the path says \"{name}\"; make them equal");
        return Err(Error::field("name", message));
    }
    find(&gate, &caller, &name).await?;
    store(&gate, &caller, Value::Object(environment), false).await
}

/// `DELETE /environments/{name}`
pub(super) async fn delete(
    State(gate): State<Gateway>,
    caller: Caller,
    At(name): At<String>,
) -> Reply {
    find(&gate, &caller, &name).await?;
    let call = caller.request(key(&name));
    answer(gate.clients.definitions.clone().delete_object(call)).await?;
    Ok(Answer::Empty)
}

/// `GET /applications/{application}/environments`: which version runs where, how many of how
/// many, how healthy, since when, by whom.
pub(super) async fn of_application(
    State(gate): State<Gateway>,
    caller: Caller,
    At(application): At<String>,
    _query: Query,
) -> Reply {
    let environments = all(&gate, &caller).await?;
    let name = application.to_lowercase();
    let call = caller.request(ApplicationQuery {
        application: name.clone(),
    });
    let groups = answer(gate.clients.query.clone().list_server_groups(call)).await?;
    let server_groups = values(&groups.items)?;
    let executions = if server_groups.is_empty() {
        applications::require(&gate, &caller, &application).await?;
        Vec::new()
    } else {
        recent(&gate, &caller, &name, &server_groups).await?
    };
    let known = Known {
        server_groups: &server_groups,
        executions: &executions,
        now_ms: now_ms(),
    };
    let told = environments.iter().map(|e| judge(e, &known)).collect();
    Ok(Answer::Ok(Value::Array(told)))
}

/// Executions of both kinds with their contexts, newest first: those under way, and back to the
/// ones that made what runs.
async fn recent(
    gate: &Gateway,
    caller: &Caller,
    application: &str,
    server_groups: &[Value],
) -> Result<Vec<Value>, Error> {
    let mut found: BTreeMap<String, Value> = BTreeMap::new();
    for kind in [ExecutionKind::Pipeline, ExecutionKind::Orchestration] {
        let all = ListExecutionsRequest {
            kind: kind.into(),
            application: application.to_owned(),
            expand: true,
            ..ListExecutionsRequest::default()
        };
        let under_way = ListExecutionsRequest {
            statuses: UNDER_WAY.iter().map(|s| (*s).to_owned()).collect(),
            ..all.clone()
        };
        for (request, until_made) in [(under_way, false), (all, true)] {
            let mut unmade: Vec<&Value> = server_groups.iter().collect();
            let visit = |execution: Value| {
                unmade.retain(|group| !made(&execution, group));
                let id = execution.get("id").and_then(Value::as_str);
                found.insert(id.unwrap_or_default().to_owned(), execution);
                !(until_made && unmade.is_empty())
            };
            listing::search(gate, caller, request, MOST_EXECUTIONS, visit).await?;
        }
    }
    let mut found: Vec<Value> = found.into_values().collect();
    found.sort_by_key(|e| std::cmp::Reverse(e.get("buildTime").and_then(Value::as_u64)));
    Ok(found)
}
