//! Whether a pipeline can be started: the process's own checks, and each peer
//! asked something small.

use std::future::Future;

use proto::cloud_driver::v1::ListRegistriesRequest;
use proto::common::v1::Empty;
use proto::trigger::v1::DecisionsRequest;
use runtime::health::{Health, Report};
use tonic::{Response, Status};

use crate::Gateway;

/// Asks everything at the same time.
pub(crate) async fn report(gate: &Gateway) -> Report {
    let mut health: Health = gate.health.as_ref().clone();
    let clients = gate.clients.clone();
    health.add("orchestrator", move || {
        let mut client = clients.definitions.clone();
        said("the orchestrator", async move {
            client.list_stage_types(Empty {}).await
        })
    });
    let clients = gate.clients.clone();
    health.add("trigger", move || {
        let mut client = clients.events.clone();
        let request = DecisionsRequest {
            pipeline_id: "health".to_owned(),
        };
        said("the trigger service", async move {
            client.list_decisions(request).await
        })
    });
    let clients = gate.clients.clone();
    health.add("cloud-driver", move || {
        let mut client = clients.registry.clone();
        said("the cloud driver", async move {
            client.list_registries(ListRegistriesRequest {}).await
        })
    });
    health.report().await
}

async fn said<T>(
    who: &str,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<(), String> {
    match call.await {
        Ok(_) => Ok(()),
        Err(status) => Err(format!("{who} does not answer: {:?}", status.code())),
    }
}
