//! Build servers over the trigger service's gRPC.

use async_trait::async_trait;
use proto::common::v1::Json;
use proto::status::{Failure, Kind};
use proto::trigger::v1::build_service_client::BuildServiceClient;
use proto::trigger::v1::{BuildKey, PropertiesRequest, StartBuildRequest, StopBuildRequest};
use runtime::auth::AuthContext;
use runtime::client::Peer;
use serde_json::{Map, Value};

use super::{BuildOf, Builds};

/// The trigger service behind a channel.
#[derive(Debug, Clone)]
pub struct GrpcBuilds(BuildServiceClient<Peer>);

impl GrpcBuilds {
    /// Uses this channel; it connects when first used.
    pub fn new(channel: Peer) -> Self {
        let limit = proto::MAX_MESSAGE_BYTES;
        Self(BuildServiceClient::new(channel).max_decoding_message_size(limit))
    }
}

fn key(build: &BuildOf) -> BuildKey {
    BuildKey {
        master: build.master.clone(),
        job: build.job.clone(),
        number: build.number,
        item: build.item.clone(),
    }
}

/// A call on behalf of whoever asks about the build.
fn call<T>(build: &BuildOf, message: T) -> tonic::Request<T> {
    let context = AuthContext {
        user: build.user.clone(),
        roles: build.roles.clone(),
        ..AuthContext::default()
    };
    context.request(message)
}

fn found(answer: Result<tonic::Response<Json>, tonic::Status>) -> Result<Option<Value>, Failure> {
    match answer.map_err(Failure::from) {
        Ok(reply) => Ok(Some(reply.into_inner().value("answer")?)),
        Err(failure) if failure.kind == Kind::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

#[async_trait]
impl Builds for GrpcBuilds {
    async fn start(
        &self,
        build: &BuildOf,
        parameters: &Map<String, Value>,
        effect_id: &str,
    ) -> Result<String, Failure> {
        let request = StartBuildRequest {
            master: build.master.clone(),
            job: build.job.clone(),
            parameters: Some(Json::of(&Value::Object(parameters.clone()))),
            effect_id: effect_id.to_owned(),
        };
        let reply = self.0.clone().start_build(call(build, request)).await;
        Ok(reply.map_err(Failure::from)?.into_inner().item)
    }

    async fn queued(&self, build: &BuildOf) -> Result<Option<u64>, Failure> {
        let reply = self.0.clone().get_queued(call(build, key(build))).await;
        let number = reply.map_err(Failure::from)?.into_inner().number;
        Ok(Some(number).filter(|n| *n > 0))
    }

    async fn build(&self, build: &BuildOf) -> Result<Option<Value>, Failure> {
        found(self.0.clone().get_build(call(build, key(build))).await)
    }

    async fn properties(&self, build: &BuildOf, file: &str) -> Result<Option<Value>, Failure> {
        let request = PropertiesRequest {
            build: Some(key(build)),
            file: file.to_owned(),
        };
        found(self.0.clone().get_properties(call(build, request)).await)
    }

    async fn stop(&self, build: &BuildOf) -> Result<(), Failure> {
        let request = StopBuildRequest {
            build: Some(key(build)),
        };
        let reply = self.0.clone().stop_build(call(build, request)).await;
        reply.map(|_| ()).map_err(Failure::from)
    }
}
