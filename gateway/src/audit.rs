//! Who changed what: an entry before a change and one after it, with the same
//! request id, and one for what was refused.

use http::StatusCode;
use proto::common::v1::Json;
use proto::orchestrator::v1::AppendAuditRequest;
use serde_json::{Value, json};

use crate::Gateway;
use crate::clients::answer;
use crate::error::Error;
use crate::request::Caller;

/// A request that changes something.
pub(crate) struct Change<'a> {
    /// `<controller>.<function>`
    pub(crate) action: &'a str,
    pub(crate) method: &'a str,
    /// `pipeline/<id>` and so on.
    pub(crate) target: String,
}

impl Change<'_> {
    fn entry(&self, caller: &Caller, phase: &str) -> Value {
        json!({
            "phase": phase,
            "actor": caller.user(),
            "how": caller.how().map(|how| how.name()),
            "action": self.action,
            "method": self.method,
            "object": self.target,
            "requestId": caller.request_id(),
        })
    }
}

async fn append(gate: &Gateway, caller: &Caller, entry: &Value) -> Result<(), Error> {
    let call = caller.request(AppendAuditRequest {
        entry: Some(Json::of(entry)),
    });
    answer(gate.clients.audit.clone().append(call)).await?;
    Ok(())
}

/// Writes down what has been decided already: it stands also when this cannot be written.
async fn note(gate: &Gateway, caller: &Caller, entry: &Value) {
    if let Err(error) = append(gate, caller, entry).await {
        let reason = error.message();
        tracing::error!(
            reason,
            request = caller.request_id(),
            "an audit entry was not written"
        );
    }
}

/// Before the change; `before` is the hash of what it changes.
///
/// # Errors
/// When it cannot be written: the change must not be made then.
pub(crate) async fn begun(
    gate: &Gateway,
    caller: &Caller,
    change: &Change<'_>,
    before: Option<&str>,
) -> Result<(), Error> {
    let mut entry = change.entry(caller, "begun");
    entry["before"] = json!(before);
    append(gate, caller, &entry).await
}

/// After it. The change is made and answered also when this cannot be written.
pub(crate) async fn ended(
    gate: &Gateway,
    caller: &Caller,
    change: &Change<'_>,
    status: StatusCode,
    after: Option<&str>,
) {
    let mut entry = change.entry(caller, "ended");
    entry["status"] = json!(status.as_u16());
    entry["after"] = json!(after);
    note(gate, caller, &entry).await;
}

/// Something that the caller may not do.
pub(crate) async fn refused(gate: &Gateway, caller: &Caller, change: &Change<'_>, error: &Error) {
    let mut entry = change.entry(caller, "refused");
    entry["status"] = json!(error.status().as_u16());
    entry["reason"] = json!(error.message());
    note(gate, caller, &entry).await;
}
