//! `DefinitionService`: applications, pipelines, stage types. Secrets of triggers leave it only
//! for who asks for them to check signatures.

use std::sync::Arc;

use proto::common::v1::{Empty, Json};
use proto::json::required;
use proto::orchestrator::v1::definition_service_server::DefinitionService;
use proto::orchestrator::v1::{
    ApplicationHistoryRequest, ApplicationName, ConfiguredRequest, DefinitionList,
    ListApplicationsRequest, ListPipelinesRequest, ObjectKey, ObjectVersionsKey,
    PipelineHistoryRequest, PipelineKey, SaveApplicationRequest, SaveObjectRequest,
    SavePipelineRequest,
};
use proto::status::Failure;
use tonic::{Request, Response, Status};

use super::{list, user_of};
use crate::definition::secret::masked;
use crate::definition::{Definitions, Object};
use crate::services::Services;
use crate::stage;
use crate::template;

/// `DefinitionService` over [`Definitions`].
#[derive(Clone)]
pub struct DefinitionApi {
    definitions: Definitions,
    services: Arc<dyn Services>,
}

impl DefinitionApi {
    /// Serves these definitions, and what the operator set for stages.
    pub fn new(definitions: Definitions, services: Arc<dyn Services>) -> Self {
        Self {
            definitions,
            services,
        }
    }
}

#[tonic::async_trait]
impl DefinitionService for DefinitionApi {
    async fn list_applications(
        &self,
        _request: Request<ListApplicationsRequest>,
    ) -> Result<Response<DefinitionList>, Status> {
        Ok(Response::new(list(
            &self.definitions.list_applications().await?,
        )))
    }

    async fn get_application(
        &self,
        request: Request<ApplicationName>,
    ) -> Result<Response<Json>, Status> {
        let name = request.into_inner().name;
        let found = self.definitions.get_application(&name).await?;
        let missing = || Failure::not_found(format!("Application not found (id: {name})"));
        Ok(Response::new(Json::of(&found.ok_or_else(missing)?)))
    }

    async fn save_application(
        &self,
        request: Request<SaveApplicationRequest>,
    ) -> Result<Response<Json>, Status> {
        let user = user_of(&request, &request.get_ref().user);
        let application = required(request.get_ref().application.as_ref(), "application")?;
        let saved = self.definitions.put_application(application, &user).await?;
        Ok(Response::new(Json::of(&saved)))
    }

    async fn delete_application(
        &self,
        request: Request<ApplicationName>,
    ) -> Result<Response<Empty>, Status> {
        self.definitions
            .remove_application(&request.into_inner().name)
            .await?;
        Ok(Response::new(Empty {}))
    }

    async fn application_history(
        &self,
        request: Request<ApplicationHistoryRequest>,
    ) -> Result<Response<DefinitionList>, Status> {
        let asked = request.into_inner();
        let found = self
            .definitions
            .application_history(&asked.name, asked.limit)
            .await?;
        Ok(Response::new(list(&found)))
    }

    async fn list_pipelines(
        &self,
        request: Request<ListPipelinesRequest>,
    ) -> Result<Response<DefinitionList>, Status> {
        let asked = request.into_inner();
        let found = self
            .definitions
            .list_pipelines(&asked.application, &asked.trigger_type)
            .await?;
        let found = if asked.with_secrets {
            found
        } else {
            found.into_iter().map(masked).collect()
        };
        Ok(Response::new(list(&found)))
    }

    async fn get_pipeline(&self, request: Request<PipelineKey>) -> Result<Response<Json>, Status> {
        let key = request.into_inner();
        let found = if key.id.is_empty() {
            self.definitions
                .get_pipeline_by_name(&key.application, &key.name)
                .await?
        } else {
            self.definitions
                .get_pipeline(&key.id, &key.application)
                .await?
        };
        let found = found.ok_or_else(|| missing(&key))?;
        let found = if key.with_secrets {
            found
        } else {
            masked(found)
        };
        Ok(Response::new(Json::of(&found)))
    }

    async fn plan_pipeline(&self, request: Request<Json>) -> Result<Response<Json>, Status> {
        let user = user_of(&request, "");
        let config = request.into_inner().value("configuration");
        let config = config.map_err(Failure::from)?;
        let now = self.definitions.now_ms().await?;
        let planned = template::plan(&self.definitions, config, &user, now).await?;
        Ok(Response::new(Json::of(&planned)))
    }

    async fn save_pipeline(
        &self,
        request: Request<SavePipelineRequest>,
    ) -> Result<Response<Json>, Status> {
        let user = user_of(&request, &request.get_ref().user);
        let asked = request.into_inner();
        let pipeline = required(asked.pipeline.as_ref(), "pipeline")?;
        let saved = self
            .definitions
            .put_pipeline(pipeline, &user, asked.stale_check)
            .await?;
        Ok(Response::new(Json::of(&masked(saved))))
    }

    async fn delete_pipeline(
        &self,
        request: Request<PipelineKey>,
    ) -> Result<Response<Empty>, Status> {
        let key = request.into_inner();
        let id = if key.id.is_empty() {
            let found = self
                .definitions
                .get_pipeline_by_name(&key.application, &key.name)
                .await?;
            let id = found.and_then(|p| p.get("id")?.as_str().map(ToOwned::to_owned));
            id.ok_or_else(|| missing(&key))?
        } else {
            key.id.clone()
        };
        if self
            .definitions
            .remove_pipeline(&id, &key.application)
            .await?
        {
            Ok(Response::new(Empty {}))
        } else {
            Err(missing(&key).into())
        }
    }

    async fn pipeline_history(
        &self,
        request: Request<PipelineHistoryRequest>,
    ) -> Result<Response<DefinitionList>, Status> {
        let asked = request.into_inner();
        let found = self
            .definitions
            .pipeline_history(&asked.id, asked.limit)
            .await?;
        let found: Vec<_> = found.into_iter().map(masked).collect();
        Ok(Response::new(list(&found)))
    }

    async fn list_objects(
        &self,
        request: Request<ObjectKey>,
    ) -> Result<Response<DefinitionList>, Status> {
        let kind = Object::of(&request.into_inner().kind)?;
        let found = self.definitions.list_objects(kind).await?;
        Ok(Response::new(list(&found)))
    }

    async fn get_object(&self, request: Request<ObjectKey>) -> Result<Response<Json>, Status> {
        let key = request.into_inner();
        let found = self
            .definitions
            .get_object(Object::of(&key.kind)?, &key.id)
            .await?;
        let missing = || Failure::not_found(format!("{} {} does not exist", key.kind, key.id));
        Ok(Response::new(Json::of(&found.ok_or_else(missing)?)))
    }

    async fn save_object(
        &self,
        request: Request<SaveObjectRequest>,
    ) -> Result<Response<Json>, Status> {
        let user = user_of(&request, &request.get_ref().user);
        let asked = request.into_inner();
        let object = required(asked.object.as_ref(), "object")?;
        let kind = Object::of(&asked.kind)?;
        let saved = self
            .definitions
            .put_object(kind, object, &user, asked.create);
        Ok(Response::new(Json::of(&saved.await?)))
    }

    async fn delete_object(&self, request: Request<ObjectKey>) -> Result<Response<Empty>, Status> {
        let key = request.into_inner();
        let kind = Object::of(&key.kind)?;
        self.definitions.delete_object(kind, &key.id).await?;
        Ok(Response::new(Empty {}))
    }

    async fn object_versions(
        &self,
        request: Request<ObjectVersionsKey>,
    ) -> Result<Response<Json>, Status> {
        let key = request.into_inner();
        let kind = Object::of(&key.kind)?;
        let found = self
            .definitions
            .object_versions(kind, &key.id, key.version)
            .await?;
        Ok(Response::new(Json::of(&serde_json::Value::Array(found))))
    }

    async fn list_stage_types(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<DefinitionList>, Status> {
        let built = stage::STAGES.iter().map(|s| stage::describe(*s));
        let unbuilt = stage::unbuilt::UNBUILT.iter().map(|s| stage::describe(s));
        let described: Vec<_> = built.chain(unbuilt).collect();
        Ok(Response::new(list(&described)))
    }

    async fn list_configured(
        &self,
        request: Request<ConfiguredRequest>,
    ) -> Result<Response<DefinitionList>, Status> {
        let user = user_of(&request, "");
        let kind = &request.get_ref().kind;
        let found = stage::configured::visible(&*self.services, &user, kind);
        Ok(Response::new(list(&found.await)))
    }
}

fn missing(key: &PipelineKey) -> Failure {
    Failure::not_found(if key.id.is_empty() {
        format!(
            "there is no pipeline {} in application {}",
            key.name, key.application
        )
    } else {
        format!("there is no pipeline {}", key.id)
    })
}
