//! `BuildService`: what the `jenkins` stage and the interface ask of masters.

use std::sync::Arc;

use authorization::Permission;
use proto::common::v1::{Empty, Json};
use proto::status::{Failure, Kind};
use proto::trigger::v1::build_service_server::{BuildService, BuildServiceServer};
use proto::trigger::v1::{
    BuildKey, ExplainMasterRequest, MasterList, PropertiesRequest, QueueReply, StartBuildRequest,
    StopBuildRequest,
};
use runtime::auth::AuthContext;
use serde_json::{Map, Value, json};
use store::{Batch, DocumentKey, Refused};
use tonic::{Request, Response, Status};

use super::client::Client;
use super::{client, configured};
use crate::config::Master;
use crate::intake::{Intake, failed};

fn master(build: Option<&BuildKey>) -> String {
    build.map(|build| build.master.clone()).unwrap_or_default()
}

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

    /// The client of a master that the caller may do this to, and what is asked.
    fn permitted<T>(
        &self,
        request: Request<T>,
        master: impl Fn(&T) -> String,
        permission: Permission,
    ) -> Result<(Client, T), Failure> {
        let caller = AuthContext::from_metadata(request.metadata());
        let asked = request.into_inner();
        let master = configured(&self.intake, &master(&asked))?;
        self.intake.access.require(&caller, master, permission)?;
        Ok((client(master)?, asked))
    }

    fn may_read(&self, request: Request<BuildKey>) -> Result<(Client, BuildKey), Failure> {
        self.permitted(request, |key| key.master.clone(), Permission::Read)
    }

    /// Starts a build once per effect. Jenkins cannot be asked whether a start
    /// arrived, so one that may have arrived is not repeated.
    async fn started(&self, client: &Client, asked: &StartBuildRequest) -> Result<String, Failure> {
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
    async fn list_masters(&self, request: Request<Empty>) -> Result<Response<MasterList>, Status> {
        let caller = AuthContext::from_metadata(request.metadata());
        let may = |master: &&Master| {
            let asked = self
                .intake
                .access
                .require(&caller, master, Permission::Read);
            asked.is_ok()
        };
        let names = self.intake.config.jenkins.iter().filter(may);
        let names = names.map(|master| master.name.clone());
        Ok(Response::new(MasterList {
            names: names.collect(),
        }))
    }

    async fn explain(
        &self,
        request: Request<ExplainMasterRequest>,
    ) -> Result<Response<Json>, Status> {
        let caller = AuthContext::from_metadata(request.metadata());
        let asked = request.into_inner();
        let master = configured(&self.intake, &asked.master)?;
        let permission = serde_json::from_value(Value::from(asked.permission.as_str()));
        let permission = permission.map_err(|_| {
            let told: String = asked.permission.chars().take(40).collect();
            let message = format!("\"{told}\" is none; use READ, WRITE, EXECUTE or CREATE");
            Failure::field("permission", message)
        })?;
        let told = self.intake.access.explain(&caller, master, permission);
        Ok(Response::new(Json::of(&told)))
    }

    async fn list_jobs(&self, request: Request<BuildKey>) -> Result<Response<MasterList>, Status> {
        let (client, _) = self.may_read(request)?;
        let jobs = client.jobs().await?;
        Ok(Response::new(MasterList {
            names: jobs.into_iter().map(|job| job.name).collect(),
        }))
    }

    async fn get_job(&self, request: Request<BuildKey>) -> Result<Response<Json>, Status> {
        let (client, key) = self.may_read(request)?;
        let found = client.job(&key.job).await?;
        let unknown =
            || Failure::not_found(format!("master {} has no job {}", key.master, key.job));
        Ok(Response::new(Json::of(&found.ok_or_else(unknown)?)))
    }

    async fn list_builds(&self, request: Request<BuildKey>) -> Result<Response<Json>, Status> {
        let (client, key) = self.may_read(request)?;
        let builds = client.builds(&key.job).await?;
        let builds: Vec<Value> = builds.iter().map(|b| b.to_json(&key.job)).collect();
        Ok(Response::new(Json::of(&json!(builds))))
    }

    async fn get_build(&self, request: Request<BuildKey>) -> Result<Response<Json>, Status> {
        let (client, key) = self.may_read(request)?;
        let build = client.build(&key.job, key.number).await?.ok_or_else(|| {
            Failure::not_found(format!("job {} has no build {}", key.job, key.number))
        })?;
        Ok(Response::new(Json::of(&build.to_json(&key.job))))
    }

    async fn get_properties(
        &self,
        request: Request<PropertiesRequest>,
    ) -> Result<Response<Json>, Status> {
        let of = |asked: &PropertiesRequest| master(asked.build.as_ref());
        let (client, asked) = self.permitted(request, of, Permission::Read)?;
        let key = asked.build.unwrap_or_default();
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
        let caller = AuthContext::from_metadata(request.metadata());
        let master = configured(&self.intake, &request.get_ref().master)?;
        // Whoever starts a build follows it: one that cannot be followed would go on by itself.
        self.intake
            .access
            .require(&caller, master, Permission::Read)?;
        let (client, asked) = self.permitted(request, |a| a.master.clone(), Permission::Write)?;
        let item = self.started(&client, &asked).await?;
        Ok(Response::new(QueueReply { item, number: 0 }))
    }

    async fn get_queued(&self, request: Request<BuildKey>) -> Result<Response<QueueReply>, Status> {
        let (client, key) = self.may_read(request)?;
        let number = client.queued(&key.item).await?;
        Ok(Response::new(QueueReply {
            item: key.item,
            number: number.unwrap_or(0),
        }))
    }

    async fn stop_build(
        &self,
        request: Request<StopBuildRequest>,
    ) -> Result<Response<Empty>, Status> {
        let of = |asked: &StopBuildRequest| master(asked.build.as_ref());
        let (client, asked) = self.permitted(request, of, Permission::Write)?;
        let key = asked.build.unwrap_or_default();
        client.stop(&key.job, &key.item, key.number).await?;
        Ok(Response::new(Empty {}))
    }
}
