//! An orchestrator that keeps objects with their versions, and nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use proto::common::v1::{Empty, Json};
use proto::orchestrator::v1 as orca;
use proto::orchestrator::v1::definition_service_server::{
    DefinitionService, DefinitionServiceServer,
};
use proto::status::{Failure, Kind};
use runtime::auth::AuthContext;
use serde_json::{Value, json};
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// Objects by id, each with its versions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keeper(Arc<Mutex<BTreeMap<String, Vec<Value>>>>);

impl Keeper {
    pub(crate) fn routes(&self) -> Routes {
        Routes::new(DefinitionServiceServer::new(self.clone()))
    }

    fn with<T>(&self, with: impl FnOnce(&mut BTreeMap<String, Vec<Value>>) -> T) -> T {
        with(&mut self.0.lock().unwrap())
    }
}

fn no<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not of this fake"))
}

#[tonic::async_trait]
impl DefinitionService for Keeper {
    async fn list_objects(
        &self,
        call: Request<orca::ObjectKey>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        assert_eq!(call.get_ref().kind, "canaryConfig");
        let items = self.with(|all| {
            all.values()
                .filter_map(|v| v.last())
                .map(Json::of)
                .collect()
        });
        Ok(Response::new(orca::DefinitionList { items }))
    }

    async fn get_object(&self, call: Request<orca::ObjectKey>) -> Result<Response<Json>, Status> {
        let id = call.into_inner().id;
        let found = self.with(|all| all.get(&id).and_then(|v| v.last()).map(Json::of));
        let missing = || Status::from(Failure::not_found("no such object"));
        found.map(Response::new).ok_or_else(missing)
    }

    async fn save_object(
        &self,
        call: Request<orca::SaveObjectRequest>,
    ) -> Result<Response<Json>, Status> {
        let user = AuthContext::from_metadata(call.metadata()).user;
        let asked = call.into_inner();
        let mut object = asked.object.unwrap().value("object").unwrap();
        let (id, name) = (
            object["id"].as_str().unwrap().to_owned(),
            object["name"].clone(),
        );
        let of = |v: &Value| v["applications"].as_array().unwrap().clone();
        let clash = |all: &mut BTreeMap<String, Vec<Value>>| {
            let mut others = all.iter().filter(|(other, _)| **other != id);
            others.any(|(_, versions)| {
                let other = versions.last().unwrap();
                other["name"] == name && of(other).iter().any(|a| of(&object).contains(a))
            })
        };
        if self.with(clash) {
            let message =
                "Canary config with name 'c' already exists in the scope of applications [shop].";
            return Err(Failure::field("name", message).into());
        }
        if asked.create && self.with(|all| all.contains_key(&id)) {
            return Err(Failure::new(Kind::Conflict, "it exists").into());
        }
        object["createTs"] = json!(1);
        object["updateTs"] = json!("2");
        object["lastModifiedBy"] = json!(user);
        let answer = Json::of(&object);
        self.with(|all| all.entry(id).or_default().push(object));
        Ok(Response::new(answer))
    }

    async fn delete_object(
        &self,
        call: Request<orca::ObjectKey>,
    ) -> Result<Response<Empty>, Status> {
        self.with(|all| all.remove(&call.into_inner().id));
        Ok(Response::new(Empty {}))
    }

    async fn object_versions(
        &self,
        call: Request<orca::ObjectVersionsKey>,
    ) -> Result<Response<Json>, Status> {
        let asked = call.into_inner();
        let versions = self.with(|all| all.get(&asked.id).cloned().unwrap_or_default());
        let versions: Vec<(u64, Value)> = (1..).zip(versions).collect();
        let versions = versions.into_iter().rev();
        let versions = versions.filter(|(number, _)| [0, *number].contains(&asked.version));
        let told = versions.map(|(number, object)| match asked.version {
            0 => json!({"version": number, "updatedTimestamp": object["updatedTimestamp"],
                        "lastModifiedBy": object["lastModifiedBy"]}),
            _ => json!({"version": number, "object": object}),
        });
        Ok(Response::new(Json::of(&told.collect())))
    }

    async fn list_applications(
        &self,
        _: Request<orca::ListApplicationsRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        no()
    }
    async fn get_application(
        &self,
        _: Request<orca::ApplicationName>,
    ) -> Result<Response<Json>, Status> {
        no()
    }
    async fn save_application(
        &self,
        _: Request<orca::SaveApplicationRequest>,
    ) -> Result<Response<Json>, Status> {
        no()
    }
    async fn delete_application(
        &self,
        _: Request<orca::ApplicationName>,
    ) -> Result<Response<Empty>, Status> {
        no()
    }
    async fn application_history(
        &self,
        _: Request<orca::ApplicationHistoryRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        no()
    }
    async fn list_pipelines(
        &self,
        _: Request<orca::ListPipelinesRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        no()
    }
    async fn get_pipeline(&self, _: Request<orca::PipelineKey>) -> Result<Response<Json>, Status> {
        no()
    }
    async fn save_pipeline(
        &self,
        _: Request<orca::SavePipelineRequest>,
    ) -> Result<Response<Json>, Status> {
        no()
    }
    async fn plan_pipeline(&self, _: Request<Json>) -> Result<Response<Json>, Status> {
        no()
    }
    async fn delete_pipeline(
        &self,
        _: Request<orca::PipelineKey>,
    ) -> Result<Response<Empty>, Status> {
        no()
    }
    async fn pipeline_history(
        &self,
        _: Request<orca::PipelineHistoryRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        no()
    }
    async fn list_stage_types(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        no()
    }
    async fn list_configured(
        &self,
        _: Request<orca::ConfiguredRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        no()
    }
}
