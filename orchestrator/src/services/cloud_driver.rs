//! cloud-driver over gRPC.

use async_trait::async_trait;
use proto::cloud_driver::v1 as wire;
use proto::cloud_driver::v1::operation_service_client::OperationServiceClient;
use proto::cloud_driver::v1::query_service_client::QueryServiceClient;
use proto::cloud_driver::v1::registry_service_client::RegistryServiceClient;
use proto::common::v1::Json;
use proto::status::{Failure, Kind};
use runtime::auth::AuthContext;
use runtime::client::Peer;
use serde_json::{Map, Value};

use super::{CloudDriver, NewOperation, Operation, OperationState, Target};

/// The cloud-driver behind a channel.
#[derive(Debug, Clone)]
pub struct GrpcCloudDriver {
    operations: OperationServiceClient<Peer>,
    queries: QueryServiceClient<Peer>,
    registries: RegistryServiceClient<Peer>,
}

impl GrpcCloudDriver {
    /// Uses this channel; it connects when first used.
    pub fn new(channel: Peer) -> Self {
        let limit = proto::MAX_MESSAGE_BYTES;
        Self {
            operations: OperationServiceClient::new(channel.clone())
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit),
            registries: RegistryServiceClient::new(channel.clone())
                .max_decoding_message_size(limit),
            queries: QueryServiceClient::new(channel)
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit),
        }
    }
}

fn failure(status: tonic::Status) -> Failure {
    let mut failure = Failure::from(status);
    if failure.kind == Kind::Unavailable {
        failure.message = format!("cloud-driver cannot be reached: {}", failure.message);
    }
    failure
}

/// `NOT_FOUND` is an answer here, not a failure.
fn found(answer: Result<tonic::Response<Json>, tonic::Status>) -> Result<Option<Value>, Failure> {
    match answer {
        Ok(reply) => Ok(Some(reply.into_inner().value("answer")?)),
        Err(status) if status.code() == tonic::Code::NotFound => Ok(None),
        Err(status) => Err(failure(status)),
    }
}

fn operation(reply: wire::Operation) -> Result<Operation, Failure> {
    let state = match reply.state() {
        wire::OperationState::Succeeded => OperationState::Succeeded,
        wire::OperationState::Failed => OperationState::Failed,
        wire::OperationState::Running | wire::OperationState::Unspecified => {
            OperationState::Running
        }
    };
    Ok(Operation {
        state,
        history: reply
            .history
            .into_iter()
            .map(|p| (p.phase, p.status))
            .collect(),
        result: match reply.result {
            Some(json) => json.value("result")?,
            None => Value::Null,
        },
        id: reply.id,
        kind: reply.kind,
        error: reply.error,
        error_details: reply.error_details,
        retryable: reply.retryable,
        ended_ms: reply.finished_at_ms,
    })
}

#[async_trait]
impl CloudDriver for GrpcCloudDriver {
    async fn submit(&self, new: NewOperation) -> Result<Operation, Failure> {
        let context = AuthContext {
            user: new.user.clone(),
            roles: new.roles,
            ..AuthContext::default()
        };
        let request = wire::SubmitRequest {
            effect_id: new.effect_id,
            kind: new.kind,
            input: Some(Json::of(&new.input)),
            user: new.user,
            applications: new.applications,
            waiter: new.waiter.map(|w| wire::Waiter {
                execution_id: w.execution_id,
                stage_id: w.stage_id,
                task_id: w.task_id,
            }),
        };
        let reply = self
            .operations
            .clone()
            .submit(context.request(request))
            .await;
        operation(reply.map_err(failure)?.into_inner())
    }

    async fn operation(&self, id: &str) -> Result<Operation, Failure> {
        let request = wire::GetOperationRequest { id: id.to_owned() };
        let reply = self.operations.clone().get(request).await;
        operation(reply.map_err(failure)?.into_inner())
    }

    async fn cancel(&self, id: &str) -> Result<Operation, Failure> {
        let request = wire::GetOperationRequest { id: id.to_owned() };
        let reply = self.operations.clone().cancel(request).await;
        operation(reply.map_err(failure)?.into_inner())
    }

    async fn accounts(&self) -> Result<Vec<String>, Failure> {
        let reply = self
            .queries
            .clone()
            .list_accounts(wire::ListAccountsRequest {})
            .await;
        let mut names = Vec::new();
        for json in reply.map_err(failure)?.into_inner().items {
            let account = json.value("account")?;
            if let Some(name) = account.get("name").and_then(Value::as_str) {
                names.push(name.to_owned());
            }
        }
        Ok(names)
    }

    async fn cluster(
        &self,
        application: &str,
        account: &str,
        cluster: &str,
        cloud_provider: &str,
    ) -> Result<Option<Value>, Failure> {
        let request = wire::ClusterQuery {
            application: application.to_owned(),
            account: account.to_owned(),
            cluster: cluster.to_owned(),
            cloud_provider: cloud_provider.to_owned(),
        };
        found(self.queries.clone().get_cluster(request).await)
    }

    async fn server_group(
        &self,
        account: &str,
        region: &str,
        name: &str,
    ) -> Result<Option<Value>, Failure> {
        let request = wire::ServerGroupQuery {
            account: account.to_owned(),
            region: region.to_owned(),
            name: name.to_owned(),
        };
        found(self.queries.clone().get_server_group(request).await)
    }

    async fn target(&self, target: &Target) -> Result<Option<Value>, Failure> {
        let request = wire::TargetQuery {
            account: target.account.clone(),
            region: target.region.clone(),
            cluster: target.cluster.clone(),
            target: target.target.clone(),
            cloud_provider: target.cloud_provider.clone(),
        };
        found(self.queries.clone().resolve_target(request).await)
    }

    async fn clusters(&self, application: &str) -> Result<Value, Failure> {
        let request = wire::ApplicationQuery {
            application: application.to_owned(),
        };
        let found = found(self.queries.clone().list_clusters(request).await)?;
        Ok(found.unwrap_or(Value::Null))
    }

    async fn images(&self, _cloud_provider: &str, name: &str) -> Result<Vec<Value>, Failure> {
        let request = wire::FindImagesRequest {
            query: name.to_owned(),
            ..wire::FindImagesRequest::default()
        };
        let reply = self.registries.clone().find_images(request).await;
        let images = reply.map_err(failure)?.into_inner().items;
        let images = images.iter().map(|json| json.value("image"));
        Ok(images.collect::<Result<_, _>>()?)
    }

    async fn labels(&self, image: &Value) -> Result<Map<String, Value>, Failure> {
        let text = |key: &str| {
            let found = image.get(key).and_then(Value::as_str);
            found.unwrap_or_default().to_owned()
        };
        let query = wire::ImageQuery {
            account: text("account"),
            repository: text("repository"),
            tag: text("tag"),
        };
        let reply = self.registries.clone().get_labels(query).await;
        match reply.map_err(failure)?.into_inner().value("labels")? {
            Value::Object(labels) => Ok(labels),
            _ => Ok(Map::new()),
        }
    }
}
