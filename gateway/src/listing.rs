//! Lists that the orchestrator keeps: executions, read page by page, and objects of a kind.

use proto::common::v1::PageRequest;
use proto::orchestrator::v1::{ListExecutionsRequest, ObjectKey};
use serde_json::Value;

use crate::answer::values;
use crate::clients::{Clients, answer};
use crate::error::Error;
use crate::{Gateway, request::Caller};

/// Executions in one answer.
const MAX_LISTED: usize = 2_000;
/// Executions looked at for one search.
pub(crate) const MAX_SEARCHED: usize = 10_000;
/// Executions asked for at a time.
const PAGE: u32 = 200;
/// The same with contexts, so that a page fits into a message.
const EXPANDED_PAGE: u32 = 25;

/// All executions that a request describes, newest first.
///
/// # Errors
/// What the orchestrator answers.
pub(crate) async fn executions(
    gate: &Gateway,
    caller: &Caller,
    request: ListExecutionsRequest,
) -> Result<Vec<Value>, Error> {
    let mut found = Vec::new();
    search(gate, caller, request, MAX_LISTED, |execution| {
        found.push(execution);
        found.len() < MAX_LISTED
    })
    .await?;
    Ok(found)
}

/// Hands out executions, newest first, until `visit` has enough or `most` were read.
///
/// # Errors
/// What the orchestrator answers.
pub(crate) async fn search(
    gate: &Gateway,
    caller: &Caller,
    mut request: ListExecutionsRequest,
    most: usize,
    mut visit: impl FnMut(Value) -> bool,
) -> Result<(), Error> {
    let mut cursor = String::new();
    let mut read = 0;
    let size = if request.expand { EXPANDED_PAGE } else { PAGE };
    loop {
        request.page = Some(PageRequest {
            size,
            cursor: cursor.clone(),
        });
        let call = caller.request(request.clone());
        let page = answer(gate.clients.executions.clone().list(call)).await?;
        for execution in values(&page.executions)? {
            read += 1;
            if !visit(execution) || read >= most {
                return Ok(());
            }
        }
        // A cursor that does not move would never end.
        if page.next_cursor.is_empty() || page.next_cursor == cursor {
            return Ok(());
        }
        cursor = page.next_cursor;
    }
}

/// All objects of a kind.
///
/// # Errors
/// What the orchestrator answers.
pub(crate) async fn objects(
    clients: &Clients,
    caller: &Caller,
    kind: &str,
) -> Result<Vec<Value>, Error> {
    let call = caller.request(ObjectKey {
        kind: kind.to_owned(),
        id: String::new(),
    });
    let list = answer(clients.definitions.clone().list_objects(call)).await?;
    values(&list.items)
}
