//! The services the gateway speaks to, and how long it waits for them.

use std::future::Future;
use std::time::Duration;

use proto::MAX_MESSAGE_BYTES;
use proto::canary_judge::v1::canary_service_client::CanaryServiceClient;
use proto::cloud_driver::v1::query_service_client::QueryServiceClient;
use proto::cloud_driver::v1::registry_service_client::RegistryServiceClient;
use proto::orchestrator::v1::audit_service_client::AuditServiceClient;
use proto::orchestrator::v1::definition_service_client::DefinitionServiceClient;
use proto::orchestrator::v1::execution_service_client::ExecutionServiceClient;
use proto::trigger::v1::build_service_client::BuildServiceClient;
use proto::trigger::v1::event_service_client::EventServiceClient;
use runtime::client::Peer;
use tonic::{Response, Status};

use crate::error::{self, Error};

/// How long a peer may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One client per service; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    pub(crate) audit: AuditServiceClient<Peer>,
    pub(crate) executions: ExecutionServiceClient<Peer>,
    pub(crate) definitions: DefinitionServiceClient<Peer>,
    pub(crate) query: QueryServiceClient<Peer>,
    pub(crate) registry: RegistryServiceClient<Peer>,
    pub(crate) events: EventServiceClient<Peer>,
    pub(crate) builds: BuildServiceClient<Peer>,
    pub(crate) canaries: CanaryServiceClient<Peer>,
}

macro_rules! client {
    ($kind:ident, $channel:expr) => {
        $kind::new($channel)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    };
}

impl Clients {
    pub(crate) fn new(
        orchestrator: Peer,
        cloud_driver: Peer,
        trigger: Peer,
        canary_judge: Peer,
    ) -> Self {
        Self {
            audit: client!(AuditServiceClient, orchestrator.clone()),
            executions: client!(ExecutionServiceClient, orchestrator.clone()),
            definitions: client!(DefinitionServiceClient, orchestrator),
            query: client!(QueryServiceClient, cloud_driver.clone()),
            registry: client!(RegistryServiceClient, cloud_driver),
            events: client!(EventServiceClient, trigger.clone()),
            builds: client!(BuildServiceClient, trigger),
            canaries: client!(CanaryServiceClient, canary_judge),
        }
    }
}

/// Waits for a peer's answer.
///
/// # Errors
/// What the peer answered, or 503 when it does not answer in time.
pub(crate) async fn answer<T>(
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Error> {
    match tokio::time::timeout(TIMEOUT, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(status.into()),
        Err(_) => Err(error::unavailable().into()),
    }
}
