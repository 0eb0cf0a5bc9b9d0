//! What the operator configured for stages, as forms offer it: webhook stages, job
//! stages, services that judge deployments. Source: `gate: WebhookController`,
//! `JobController`, `CapabilitiesController`.

use axum::extract::State;
use proto::orchestrator::v1::ConfiguredRequest;
use serde_json::Value;

use crate::Gateway;
use crate::answer::{Answer, Reply, values};
use crate::clients::answer;
use crate::request::Caller;

async fn list(gate: &Gateway, caller: &Caller, kind: &str) -> Reply {
    let call = caller.request(ConfiguredRequest {
        kind: kind.to_owned(),
    });
    let found = answer(gate.clients.definitions.clone().list_configured(call)).await?;
    Ok(Answer::Ok(Value::Array(values(&found.items)?)))
}

/// `GET /webhooks/preconfigured`: those that the caller may see.
pub(super) async fn webhooks(State(gate): State<Gateway>, caller: Caller) -> Reply {
    list(&gate, &caller, "preconfiguredWebhook").await
}

/// `GET /jobs/preconfigured`: those that the caller may see.
pub(super) async fn jobs(State(gate): State<Gateway>, caller: Caller) -> Reply {
    list(&gate, &caller, "preconfiguredJob").await
}

/// `GET /capabilities/deploymentMonitors`
pub(super) async fn deployment_monitors(State(gate): State<Gateway>, caller: Caller) -> Reply {
    list(&gate, &caller, "deploymentMonitor").await
}
