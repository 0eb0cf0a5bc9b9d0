//! Deployment strategies made of pipelines: definitions of the type `strategy`, by routes of
//! their own. Source: `gate: PipelineController, ReorderPipelinesController`, `front50: StrategyController`.

use axum::extract::State;
use serde_json::{Map, Value, json};

use super::pipeline_configs::{self, find, is_strategy, listed, replaced, stored};
use crate::Gateway;
use crate::answer::{Answer, Reply};
use crate::error::Error;
use crate::request::{At, Caller, Definition, Query};

/// The body as a strategy, whatever it says of its type.
fn strategy(body: &Definition) -> Result<Map<String, Value>, Error> {
    let mut strategy = body.object("a strategy")?;
    strategy.insert("type".to_owned(), json!("strategy"));
    Ok(strategy)
}

/// A strategy by name or id; a pipeline of that name is none.
async fn found(
    gate: &Gateway,
    caller: &Caller,
    application: &str,
    name: &str,
) -> Result<Value, Error> {
    let unknown = || {
        Error::not_found(format!(
            "Strategy not found (name: {name} in application {application})"
        ))
    };
    let found = find(gate, caller, application, name).await?;
    if is_strategy(&found) {
        Ok(found)
    } else {
        Err(unknown())
    }
}

/// `GET /strategyConfigs`
pub(super) async fn all(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let found = listed(&gate, &caller, "", &query, true).await?;
    Ok(Answer::Ok(Value::Array(found)))
}

/// `GET /applications/{application}/strategyConfigs/{name}`
pub(super) async fn get(
    State(gate): State<Gateway>,
    caller: Caller,
    At((application, name)): At<(String, String)>,
) -> Reply {
    Ok(Answer::Ok(
        found(&gate, &caller, &application, &name).await?,
    ))
}

/// `POST /strategies`: 200 without a body once it is stored.
pub(super) async fn save(
    State(gate): State<Gateway>,
    caller: Caller,
    query: Query,
    body: Definition,
) -> Reply {
    stored(&gate, &caller, strategy(&body)?, &query).await?;
    Ok(Answer::Empty)
}

/// `PUT /strategies/{id}`: the stored definition.
pub(super) async fn update(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
    query: Query,
    body: Definition,
) -> Reply {
    let strategy = strategy(&body)?;
    Ok(Answer::Ok(
        replaced(&gate, &caller, id, strategy, &query).await?,
    ))
}

/// `DELETE /strategies/{application}/{name}`
pub(super) async fn delete(
    state: State<Gateway>,
    caller: Caller,
    At((application, name)): At<(String, String)>,
) -> Reply {
    found(&state.0, &caller, &application, &name).await?;
    pipeline_configs::delete(state, caller, At((application, name))).await
}
