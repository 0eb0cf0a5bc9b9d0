//! What administrators do with executions that do not end by themselves.

use axum::extract::State;
use proto::orchestrator::v1::{CancelRequest, ExecutionKind, HydrateRequest};

use crate::Gateway;
use crate::answer::{Answer, Reply, forward};
use crate::clients::answer;
use crate::error::Error;
use crate::request::{Caller, Query};

/// `PUT /admin/executions/forceCancel?executionId=&executionType=pipeline&canceledBy=`: CANCELED at once.
pub(super) async fn force_cancel(
    State(gate): State<Gateway>,
    caller: Caller,
    query: Query,
) -> Reply {
    let id = query.required("executionId")?;
    let kind = match query.get("executionType").unwrap_or("pipeline") {
        kind if kind.eq_ignore_ascii_case("pipeline") => ExecutionKind::Pipeline,
        kind if kind.eq_ignore_ascii_case("orchestration") => ExecutionKind::Orchestration,
        other => {
            let text = format!("\"{other}\" is no type; use pipeline or orchestration");
            return Err(Error::field("executionType", text));
        }
    };
    let by = query.get("canceledBy").filter(|name| !name.is_empty());
    let call = caller.request(CancelRequest {
        kind: kind.into(),
        id,
        reason: by.map_or_else(|| "forced".to_owned(), |by| format!("forced by {by}")),
        force: true,
    });
    answer(gate.clients.executions.clone().cancel(call)).await?;
    Ok(Answer::Empty)
}

/// `POST /admin/executions/hydrate?executionId=&dryRun=false`: puts messages that a running execution lost, and
/// tells which. Without a wish for a dry run it is none, as in Gate; in Orca itself it is one.
pub(super) async fn hydrate(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let id = query.required("executionId")?;
    let call = caller.request(HydrateRequest {
        id: id.clone(),
        dry_run: query.flag("dryRun", false)?,
    });
    let told = answer(gate.clients.executions.clone().hydrate(call)).await;
    let unknown = || format!("Execution not found (id: {id})");
    forward(&told.map_err(|error| error.or_not_found(unknown))?)
}
