//! Who changed what. Not one of Gate's.

use axum::extract::State;
use proto::common::v1::PageRequest;
use proto::orchestrator::v1::ListAuditRequest;
use serde_json::json;

use crate::Gateway;
use crate::answer::{Answer, Reply, values};
use crate::clients::answer;
use crate::request::{Caller, Query};

/// `GET /audit?limit=100&cursor=`: entries, newest first, and the cursor of the next page.
pub(super) async fn list(State(gate): State<Gateway>, caller: Caller, query: Query) -> Reply {
    let limit = query.number("limit", 100)?.clamp(1, 500);
    let call = caller.request(ListAuditRequest {
        page: Some(PageRequest {
            size: u32::try_from(limit).unwrap_or(500),
            cursor: query.text("cursor"),
        }),
    });
    let page = answer(gate.clients.audit.clone().list_entries(call)).await?;
    Ok(Answer::Ok(json!({
        "entries": values(&page.entries)?, "nextCursor": page.next_cursor,
    })))
}
