//! The orchestrator and cloud-driver as the service sees them, with a state that tests change.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use authorization::Policy;
use proto::cloud_driver::v1 as cloud;
use proto::cloud_driver::v1::registry_service_server::RegistryService;
use proto::common::v1::{Empty, Json};
use proto::orchestrator::v1 as orca;
use proto::orchestrator::v1::definition_service_server::DefinitionService;
use proto::orchestrator::v1::execution_service_server::ExecutionService;
use proto::status::{Failure, Kind};
use serde_json::{Value, json};
use tokio_stream::Empty as NoStream;
use tonic::{Request, Response, Status};

use crate::world::shown;

/// The peers' state.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) pipelines: Vec<Value>,
    pub(crate) executions: Vec<Value>,
    pub(crate) starts: Vec<orca::StartRequest>,
    /// Repository → tag → digest.
    pub(crate) images: BTreeMap<String, BTreeMap<String, String>>,
    /// The account's own list of repositories.
    pub(crate) configured: Vec<String>,
    /// Service accounts by name.
    pub(crate) accounts: BTreeMap<String, Value>,
    /// Those of every application.
    pub(crate) permissions: Value,
    /// The rules, where people have to authenticate.
    pub(crate) policy: Option<Arc<Policy>>,
    pub(crate) orchestrator_down: bool,
    /// Calls for pipelines that will not be answered.
    pub(crate) unanswered: usize,
    pub(crate) catalogue_down: bool,
    pub(crate) broken_repository: Option<String>,
    /// How often tags were listed.
    pub(crate) listings: usize,
    /// How often a digest was asked for.
    pub(crate) digests: usize,
}

#[derive(Clone, Default)]
pub(crate) struct Peers(pub(crate) Arc<Mutex<State>>);

impl Peers {
    fn up(&self) -> Result<std::sync::MutexGuard<'_, State>, Status> {
        let state = self.0.lock().unwrap();
        if state.orchestrator_down {
            return Err(Failure::new(Kind::Unavailable, "down").into());
        }
        Ok(state)
    }

    /// Whether this call is one that is not answered.
    fn is_silent(&self) -> bool {
        let mut state = self.0.lock().unwrap();
        let silent = state.unanswered > 0;
        state.unanswered = state.unanswered.saturating_sub(1);
        silent
    }
}

fn no() -> Status {
    Failure::not_found("none").into()
}

#[tonic::async_trait]
impl DefinitionService for Peers {
    async fn list_pipelines(
        &self,
        call: Request<orca::ListPipelinesRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        let call = call.into_inner();
        let (kind, open) = (call.trigger_type, call.with_secrets);
        if self.is_silent() {
            return std::future::pending().await;
        }
        let state = self.up()?;
        let has = |p: &&Value| {
            let triggers = p["triggers"].as_array().into_iter().flatten();
            kind.is_empty() || triggers.into_iter().any(|t| t["type"] == kind.as_str())
        };
        let shown = |p: &Value| Json::of(&shown(p, open));
        let items = state.pipelines.iter().filter(has).map(shown).collect();
        Ok(Response::new(orca::DefinitionList { items }))
    }

    async fn get_pipeline(
        &self,
        call: Request<orca::PipelineKey>,
    ) -> Result<Response<Json>, Status> {
        let key = call.into_inner();
        let state = self.up()?;
        let found = state.pipelines.iter().find(|p| {
            p["id"] == key.id.as_str()
                || (p["application"] == key.application.as_str() && p["name"] == key.name.as_str())
        });
        let shown = |p: &Value| Json::of(&shown(p, key.with_secrets));
        found.map(|p| Response::new(shown(p))).ok_or_else(no)
    }

    async fn list_applications(
        &self,
        _: Request<orca::ListApplicationsRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        Err(no())
    }
    async fn get_application(
        &self,
        call: Request<orca::ApplicationName>,
    ) -> Result<Response<Json>, Status> {
        let state = self.up()?;
        let name = call.into_inner().name;
        let own = state.permissions.clone();
        Ok(Response::new(Json::of(
            &json!({"name": name, "permissions": own}),
        )))
    }
    async fn application_history(
        &self,
        _: Request<orca::ApplicationHistoryRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        Err(no())
    }
    async fn save_application(
        &self,
        _: Request<orca::SaveApplicationRequest>,
    ) -> Result<Response<Json>, Status> {
        Err(no())
    }
    async fn delete_application(
        &self,
        _: Request<orca::ApplicationName>,
    ) -> Result<Response<Empty>, Status> {
        Err(no())
    }
    async fn plan_pipeline(&self, _: Request<Json>) -> Result<Response<Json>, Status> {
        Err(no())
    }
    async fn save_pipeline(
        &self,
        _: Request<orca::SavePipelineRequest>,
    ) -> Result<Response<Json>, Status> {
        Err(no())
    }
    async fn delete_pipeline(
        &self,
        _: Request<orca::PipelineKey>,
    ) -> Result<Response<Empty>, Status> {
        Err(no())
    }
    async fn pipeline_history(
        &self,
        _: Request<orca::PipelineHistoryRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        Err(no())
    }
    async fn list_objects(
        &self,
        _: Request<orca::ObjectKey>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        Err(no())
    }
    async fn get_object(&self, call: Request<orca::ObjectKey>) -> Result<Response<Json>, Status> {
        let key = call.into_inner();
        let state = self.up()?;
        let found = state
            .accounts
            .get(&key.id)
            .filter(|_| key.kind == "serviceAccount");
        let found = found.map(Json::of);
        found.map(Response::new).ok_or_else(no)
    }
    async fn save_object(
        &self,
        _: Request<orca::SaveObjectRequest>,
    ) -> Result<Response<Json>, Status> {
        Err(no())
    }
    async fn delete_object(&self, _: Request<orca::ObjectKey>) -> Result<Response<Empty>, Status> {
        Err(no())
    }
    async fn object_versions(
        &self,
        _: Request<orca::ObjectVersionsKey>,
    ) -> Result<Response<Json>, Status> {
        Err(no())
    }
    async fn list_stage_types(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        Err(no())
    }
    async fn list_configured(
        &self,
        _: Request<orca::ConfiguredRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        Err(no())
    }
}

#[tonic::async_trait]
impl ExecutionService for Peers {
    type WatchStream = NoStream<Result<orca::WatchEvent, Status>>;

    async fn start(
        &self,
        call: Request<orca::StartRequest>,
    ) -> Result<Response<orca::StartReply>, Status> {
        self.up()?.starts.push(call.into_inner());
        Ok(Response::new(orca::StartReply {
            id: "01X".into(),
            r#ref: "/pipelines/01X".into(),
        }))
    }

    async fn fail(
        &self,
        _: Request<orca::FailRequest>,
    ) -> Result<Response<orca::StartReply>, Status> {
        Err(no())
    }

    async fn list(
        &self,
        call: Request<orca::ListExecutionsRequest>,
    ) -> Result<Response<orca::ListExecutionsReply>, Status> {
        let ids = &call.get_ref().pipeline_config_ids;
        let state = self.up()?;
        let of = state
            .executions
            .iter()
            .filter(|e| ids.iter().any(|id| e["pipelineConfigId"] == id.as_str()));
        Ok(Response::new(orca::ListExecutionsReply {
            executions: of.map(Json::of).collect(),
            next_cursor: String::new(),
        }))
    }

    async fn get(
        &self,
        call: Request<orca::GetExecutionRequest>,
    ) -> Result<Response<Json>, Status> {
        let id = call.into_inner().id;
        let state = self.up()?;
        let found = state.executions.iter().find(|e| e["id"] == id.as_str());
        found.map(|e| Response::new(Json::of(e))).ok_or_else(no)
    }
    async fn get_log(
        &self,
        _: Request<orca::GetLogRequest>,
    ) -> Result<Response<orca::GetLogReply>, Status> {
        Err(no())
    }
    async fn cancel(&self, _: Request<orca::CancelRequest>) -> Result<Response<Empty>, Status> {
        Err(no())
    }
    async fn hydrate(&self, _: Request<orca::HydrateRequest>) -> Result<Response<Json>, Status> {
        Err(no())
    }
    async fn pause(&self, _: Request<orca::ExecutionAction>) -> Result<Response<Empty>, Status> {
        Err(no())
    }
    async fn resume(&self, _: Request<orca::ExecutionAction>) -> Result<Response<Empty>, Status> {
        Err(no())
    }
    async fn delete(&self, _: Request<orca::ExecutionAction>) -> Result<Response<Empty>, Status> {
        Err(no())
    }
    async fn update_stage(
        &self,
        _: Request<orca::UpdateStageRequest>,
    ) -> Result<Response<Json>, Status> {
        Err(no())
    }
    async fn restart_stage(
        &self,
        _: Request<orca::UpdateStageRequest>,
    ) -> Result<Response<Json>, Status> {
        Err(no())
    }
    async fn plan(&self, _: Request<orca::StartRequest>) -> Result<Response<Json>, Status> {
        Err(no())
    }
    async fn evaluate(&self, _: Request<orca::EvaluateRequest>) -> Result<Response<Json>, Status> {
        Err(no())
    }
    async fn watch(
        &self,
        _: Request<orca::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        Err(no())
    }
}

#[tonic::async_trait]
impl RegistryService for Peers {
    async fn list_registries(
        &self,
        _: Request<cloud::ListRegistriesRequest>,
    ) -> Result<Response<cloud::ListRegistriesReply>, Status> {
        let registry = cloud::Registry {
            account: "r".into(),
            address: "h:1".into(),
            repositories: self.0.lock().unwrap().configured.clone(),
            notifications_authenticated: false,
        };
        Ok(Response::new(cloud::ListRegistriesReply {
            registries: vec![registry],
        }))
    }

    async fn list_repositories(
        &self,
        _: Request<cloud::RepositoryQuery>,
    ) -> Result<Response<cloud::NameList>, Status> {
        let state = self.0.lock().unwrap();
        if state.catalogue_down {
            return Err(Failure::new(Kind::Unavailable, "no catalogue").into());
        }
        let names = if state.configured.is_empty() {
            state.images.keys().cloned().collect()
        } else {
            state.configured.clone()
        };
        Ok(Response::new(cloud::NameList { names }))
    }

    async fn list_tags(
        &self,
        call: Request<cloud::RepositoryQuery>,
    ) -> Result<Response<cloud::NameList>, Status> {
        let mut state = self.0.lock().unwrap();
        state.listings += 1;
        let repository = &call.get_ref().repository;
        if state.broken_repository.as_ref() == Some(repository) {
            return Err(Failure::new(Kind::Unavailable, "broken").into());
        }
        let tags = state.images.get(repository).ok_or_else(no)?;
        Ok(Response::new(cloud::NameList {
            names: tags.keys().cloned().collect(),
        }))
    }

    async fn get_digest(
        &self,
        call: Request<cloud::ImageQuery>,
    ) -> Result<Response<cloud::ImageReply>, Status> {
        let mut state = self.0.lock().unwrap();
        state.digests += 1;
        let query = call.get_ref();
        let digest = state
            .images
            .get(&query.repository)
            .and_then(|tags| tags.get(&query.tag))
            .cloned()
            .ok_or_else(no)?;
        Ok(Response::new(cloud::ImageReply { digest }))
    }

    async fn get_labels(&self, _: Request<cloud::ImageQuery>) -> Result<Response<Json>, Status> {
        Err(no())
    }

    async fn find_images(
        &self,
        _: Request<cloud::FindImagesRequest>,
    ) -> Result<Response<cloud::ImageList>, Status> {
        Err(no())
    }
}
