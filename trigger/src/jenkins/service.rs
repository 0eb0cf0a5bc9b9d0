//! `BuildService`: what the `jenkins` stage and the interface ask of masters.

use std::sync::Arc;

use proto::common::v1::{Empty, Json};
use proto::status::{Failure, Kind};
use proto::trigger::v1::build_service_server::{BuildService, BuildServiceServer};
use proto::trigger::v1::{
    BuildKey, MasterList, PropertiesRequest, QueueReply, StartBuildRequest, StopBuildRequest,
};
use serde_json::{Map, Value, json};
use store::{Batch, DocumentKey, Refused};
use tonic::{Request, Response, Status};

use super::client;
use crate::intake::{Intake, failed};

/// Serves [`BuildService`].
#[derive(Debug, Clone)]
pub(crate) struct Builds {
    intake: Arc<Intake>,
}

impl Builds {
    pub(crate) fn new(intake: Arc<Intake>) -> Self {
        Self { intake }
    }

    pub(crate) fn into_server(self) -> BuildServiceServer<Self> {
        BuildServiceServer::new(self).max_decoding_message_size(proto::MAX_MESSAGE_BYTES)
    }

    /// Starts a build once per effect. Jenkins cannot be asked whether a start
    /// arrived, so one that may have arrived is not repeated.
    async fn started(&self, asked: &StartBuildRequest) -> Result<String, Failure> {
        let store = &self.intake.store;
        let shard = store.shards().of_name(&asked.effect_id);
        let key = DocumentKey::new("build-start", &asked.effect_id);
        let document = store.load(shard, &key).await.map_err(failed)?;
        if let Some(document) = document {
            return document.text("item").map(ToOwned::to_owned).ok_or_else(|| {
                let text = format!(
                    "whether job {} of {} was started is not known: the process that asked for \
                     it fell silent; look at the job, and restart the stage to start it again",
                    asked.job, asked.master
                );
                Failure::new(Kind::Internal, text)
            });
        }
        let parameters = match &asked.parameters {
            Some(json) => json.value("parameters")?,
            None => Value::Null,
        };
        let parameters = match parameters {
            Value::Object(parameters) => parameters,
            Value::Null => Map::new(),
            _ => {
                return Err(Failure::new(
                    Kind::Invalid,
                    "parameters is no object; send one",
                ));
            }
        };
        let client = client(&self.intake, &asked.master)?;
        let begun = Batch::new(shard, format!("build:{}", self.intake.unique()))
            .document(&key, 0)
            .set("job", asked.job.clone());
        match store.commit(begun).await.map_err(failed)? {
            Ok(_) => {}
            Err(Refused::Conflict { .. }) => {
                let text = "the build is being started by another process";
                return Err(Failure::new(Kind::Unavailable, text));
            }
            Err(other) => return Err(Failure::new(Kind::Unavailable, other.to_string())),
        }
        let queued = client.start(&asked.job, &parameters).await;
        let batch = Batch::new(shard, format!("build:{}", self.intake.unique())).document(&key, 1);
        let batch = match &queued {
            Ok(queued) => batch.set("item", queued.item.clone()),
            // Refused: nothing was started, and it may be tried again.
            Err(failure) if failure.kind != Kind::Unavailable => batch.delete(),
            Err(_) => return queued.map(|q| q.item),
        };
        if let Err(refused) = store.commit(batch).await.map_err(failed)? {
            tracing::error!(reason = %refused, "the start of a build cannot be noted");
        }
        queued.map(|q| q.item)
    }
}

#[tonic::async_trait]
impl BuildService for Builds {
    async fn list_masters(&self, _: Request<Empty>) -> Result<Response<MasterList>, Status> {
        let names = self.intake.config.jenkins.iter().map(|m| m.name.clone());
        Ok(Response::new(MasterList {
            names: names.collect(),
        }))
    }

    async fn list_jobs(&self, request: Request<BuildKey>) -> Result<Response<MasterList>, Status> {
        let client = client(&self.intake, &request.into_inner().master)?;
        let jobs = client.jobs().await?;
        Ok(Response::new(MasterList {
            names: jobs.into_iter().map(|job| job.name).collect(),
        }))
    }

    async fn get_job(&self, request: Request<BuildKey>) -> Result<Response<Json>, Status> {
        let key = request.into_inner();
        let found = client(&self.intake, &key.master)?.job(&key.job).await?;
        let unknown =
            || Failure::not_found(format!("master {} has no job {}", key.master, key.job));
        Ok(Response::new(Json::of(&found.ok_or_else(unknown)?)))
    }

    async fn list_builds(&self, request: Request<BuildKey>) -> Result<Response<Json>, Status> {
        let key = request.into_inner();
        let builds = client(&self.intake, &key.master)?.builds(&key.job).await?;
        let builds: Vec<Value> = builds.iter().map(|b| b.to_json(&key.job)).collect();
        Ok(Response::new(Json::of(&json!(builds))))
    }

    async fn get_build(&self, request: Request<BuildKey>) -> Result<Response<Json>, Status> {
        let key = request.into_inner();
        let client = client(&self.intake, &key.master)?;
        let build = client.build(&key.job, key.number).await?.ok_or_else(|| {
            Failure::not_found(format!("job {} has no build {}", key.job, key.number))
        })?;
        Ok(Response::new(Json::of(&build.to_json(&key.job))))
    }

    async fn get_properties(
        &self,
        request: Request<PropertiesRequest>,
    ) -> Result<Response<Json>, Status> {
        let asked = request.into_inner();
        let key = asked.build.unwrap_or_default();
        let client = client(&self.intake, &key.master)?;
        let build = client.build(&key.job, key.number).await?.ok_or_else(|| {
            Failure::not_found(format!("job {} has no build {}", key.job, key.number))
        })?;
        let found = client.properties(&key.job, &build, &asked.file).await?;
        let found = found.ok_or_else(|| {
            Failure::not_found(format!(
                "build {} of {} keeps no file {}",
                key.number, key.job, asked.file
            ))
        })?;
        Ok(Response::new(Json::of(&Value::Object(found))))
    }

    async fn start_build(
        &self,
        request: Request<StartBuildRequest>,
    ) -> Result<Response<QueueReply>, Status> {
        let item = self.started(&request.into_inner()).await?;
        Ok(Response::new(QueueReply { item, number: 0 }))
    }

    async fn get_queued(&self, request: Request<BuildKey>) -> Result<Response<QueueReply>, Status> {
        let key = request.into_inner();
        let number = client(&self.intake, &key.master)?.queued(&key.item).await?;
        Ok(Response::new(QueueReply {
            item: key.item,
            number: number.unwrap_or(0),
        }))
    }

    async fn stop_build(
        &self,
        request: Request<StopBuildRequest>,
    ) -> Result<Response<Empty>, Status> {
        let key = request.into_inner().build.unwrap_or_default();
        let client = client(&self.intake, &key.master)?;
        client.stop(&key.job, &key.item, key.number).await?;
        Ok(Response::new(Empty {}))
    }
}
