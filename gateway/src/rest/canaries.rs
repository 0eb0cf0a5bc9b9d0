//! Canary runs, and what they are made with. Source: `gate: V2CanaryController`, `kayenta: CanaryController`.
//!
//! Differs from Spinnaker: Kayenta asks nobody who they are. Here a run needs EXECUTE on its application, and is seen
//! by who may READ it.

use axum::extract::State;
use proto::canary_judge::v1::{
    CancelRunRequest, MetricSetPairsKey, MetricsQuery, RunKey, RunQuery, StartRunRequest,
};
use proto::common::v1::{Empty, Json};
use serde_json::{Value, json};

use crate::Gateway;
use crate::answer::{Answer, Reply, forward};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{At, Caller, Definition, Query};

/// The runs of a list, if nobody says: Deck's number.
const LIMIT: u64 = 20;

/// What the query says of a run.
fn asked(query: &Query) -> StartRunRequest {
    StartRunRequest {
        application: query.text("application"),
        metrics_account: query.text("metricsAccountName"),
        configuration_account: query.text("configurationAccountName"),
        storage_account: query.text("storageAccountName"),
        parent_execution_id: query.text("parentPipelineExecutionId"),
        ..StartRunRequest::default()
    }
}

/// The run of a body with config and request, or of a short one.
fn ad_hoc(query: &Query, body: &Definition) -> Result<StartRunRequest, Error> {
    let body = body.value()?;
    let mut asked = asked(query);
    if body.get("query").is_some_and(Value::is_string) {
        let text = |key: &str| body.get(key).and_then(Value::as_str);
        for (field, key) in [
            (&mut asked.application, "application"),
            (&mut asked.metrics_account, "metricsAccountName"),
        ] {
            if field.is_empty() {
                text(key).unwrap_or_default().clone_into(field);
            }
        }
        asked.config = Some(Json::of(&body));
        return Ok(asked);
    }
    let part = |key: &str| {
        let part = body.get(key).filter(|part| part.is_object());
        let missing = "it is missing: send {\"canaryConfig\": {…}, \"executionRequest\": {…}}";
        part.map(Json::of).ok_or_else(|| Error::field(key, missing))
    };
    asked.config = Some(part("canaryConfig")?);
    asked.request = Some(part("executionRequest")?);
    Ok(asked)
}

async fn started(gate: &Gateway, caller: &Caller, asked: StartRunRequest) -> Reply {
    let call = caller.request(asked);
    let key = answer(gate.clients.canaries.clone().start_run(call)).await?;
    Ok(Answer::Ok(json!({"canaryExecutionId": key.id})))
}

/// `POST /v2/canaries/canary/{configId}`
pub(super) async fn start(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
    query: Query,
    body: Definition,
) -> Reply {
    let asked = StartRunRequest {
        config_id: id,
        request: Some(Json::of(&body.value()?)),
        ..asked(&query)
    };
    started(&gate, &caller, asked).await
}

/// `POST /v2/canaries/canary`
pub(super) async fn start_ad_hoc(
    State(gate): State<Gateway>,
    caller: Caller,
    query: Query,
    body: Definition,
) -> Reply {
    started(&gate, &caller, ad_hoc(&query, &body)?).await
}

/// `POST /v2/canaries/dryRun`: judges once, at once, and keeps nothing; ours.
pub(super) async fn dry_run(
    State(gate): State<Gateway>,
    caller: Caller,
    query: Query,
    body: Definition,
) -> Reply {
    let call = caller.request(ad_hoc(&query, &body)?);
    forward(&answer(gate.clients.canaries.clone().dry_run(call)).await?)
}

async fn found(gate: &Gateway, caller: &Caller, id: String) -> Reply {
    let call = caller.request(RunKey { id });
    forward(&answer(gate.clients.canaries.clone().get_run(call)).await?)
}

/// `GET /v2/canaries/canary/{executionId}`
pub(super) async fn get(State(gate): State<Gateway>, caller: Caller, At(id): At<String>) -> Reply {
    found(&gate, &caller, id).await
}

/// `GET /v2/canaries/canary/{configId}/{executionId}`: the first part counts for nothing.
pub(super) async fn get_of_config(
    State(gate): State<Gateway>,
    caller: Caller,
    At((_, id)): At<(String, String)>,
) -> Reply {
    found(&gate, &caller, id).await
}

/// `GET /v2/canaries/{application}/executions?limit=&page=&statuses=`
pub(super) async fn executions(
    State(gate): State<Gateway>,
    caller: Caller,
    At(application): At<String>,
    query: Query,
) -> Reply {
    let number = |name, default| {
        let number = query.number(name, default)?;
        Ok::<_, Error>(u32::try_from(number).unwrap_or(u32::MAX))
    };
    let call = caller.request(RunQuery {
        limit: number("limit", LIMIT)?,
        page: number("page", 1)?,
        statuses: query.list("statuses"),
        application,
    });
    forward(&answer(gate.clients.canaries.clone().list_runs(call)).await?)
}

/// `PUT /v2/canaries/{application}/executions/{id}/cancel?reason=`; ours.
pub(super) async fn cancel(
    State(gate): State<Gateway>,
    caller: Caller,
    At((_, id)): At<(String, String)>,
    query: Query,
) -> Reply {
    let reason = query.text("reason");
    let call = caller.request(CancelRunRequest { id, reason });
    answer(gate.clients.canaries.clone().cancel_run(call)).await?;
    Ok(Answer::Empty)
}

/// `GET /v2/canaries/metricSetPairList/{id}`
pub(super) async fn pairs(
    State(gate): State<Gateway>,
    caller: Caller,
    At(id): At<String>,
) -> Reply {
    let pair_id = String::new();
    let call = caller.request(MetricSetPairsKey { id, pair_id });
    forward(&answer(gate.clients.canaries.clone().get_metric_set_pairs(call)).await?)
}

/// `GET /v2/canaries/judges`
pub(super) async fn judges(State(gate): State<Gateway>, caller: Caller) -> Reply {
    let call = caller.request(Empty {});
    forward(&answer(gate.clients.canaries.clone().list_judges(call)).await?)
}

/// `GET /v2/canaries/credentials`
pub(super) async fn credentials(State(gate): State<Gateway>, caller: Caller) -> Reply {
    let call = caller.request(Empty {});
    forward(&answer(gate.clients.canaries.clone().list_accounts(call)).await?)
}

/// `GET /v2/canaries/metadata/metricsService?filter=&metricsAccountName=`
pub(super) async fn metrics(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let call = caller.request(MetricsQuery {
        account: query.text("metricsAccountName"),
        filter: query.text("filter"),
    });
    forward(&answer(gate.clients.canaries.clone().list_metrics(call)).await?)
}
