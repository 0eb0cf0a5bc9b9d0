//! Fake peers with one application, one pipeline and one execution; they note
//! every call and can be told to fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use gateway::{Config, Deps};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use proto::cloud_driver::v1 as cloud;
use proto::cloud_driver::v1::query_service_server::{QueryService, QueryServiceServer};
use proto::cloud_driver::v1::registry_service_server::{RegistryService, RegistryServiceServer};
use proto::common::v1::{Empty, Json};
use proto::orchestrator::v1 as orca;
use proto::orchestrator::v1::audit_service_server::AuditServiceServer;
use proto::orchestrator::v1::definition_service_server::{
    DefinitionService, DefinitionServiceServer,
};
use proto::orchestrator::v1::execution_service_server::{ExecutionService, ExecutionServiceServer};
use proto::status::{Failure, Kind};
use proto::trigger::v1 as events;
use proto::trigger::v1::build_service_server::BuildServiceServer;
use proto::trigger::v1::event_service_server::{EventService, EventServiceServer};
use runtime::Shutdown;
use runtime::health::Health;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request as Call, Response, Status};
use tower::ServiceExt;

use crate::builds::Masters;
use crate::keeper::Kept;

/// The peers.
#[derive(Clone, Default)]
pub(crate) struct Peers(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    calls: Vec<(&'static str, String)>,
    failures: BTreeMap<&'static str, Failure>,
    executions: Vec<Value>,
    /// What tests set: permissions of application `a` and of account `k8s`.
    pub(crate) kept: Kept,
    watchers: Vec<mpsc::Sender<Result<orca::WatchEvent, Status>>>,
}

impl Peers {
    /// The calls of one method, as they were received.
    pub(crate) fn calls(&self, method: &str) -> Vec<String> {
        let state = self.0.lock().unwrap();
        let of = state.calls.iter().filter(|(name, _)| *name == method);
        of.map(|(_, call)| call.clone()).collect()
    }

    /// Lets a method fail from now on.
    pub(crate) fn fail(&self, method: &'static str, failure: Failure) {
        self.0.lock().unwrap().failures.insert(method, failure);
    }

    /// Replaces the list of executions.
    pub(crate) fn executions(&self, executions: Vec<Value>) {
        self.0.lock().unwrap().executions = executions;
    }

    /// Sends an event to everybody who watches; false when nobody does.
    pub(crate) async fn publish(&self, event: orca::WatchEvent) -> bool {
        let watchers = self.0.lock().unwrap().watchers.clone();
        let mut any = false;
        for watcher in watchers {
            any |= watcher.send(Ok(event.clone())).await.is_ok();
        }
        any
    }

    /// What is kept for identities.
    pub(crate) fn kept<T>(&self, with: impl FnOnce(&mut Kept) -> T) -> T {
        with(&mut self.0.lock().unwrap().kept)
    }

    pub(crate) fn note(
        &self,
        method: &'static str,
        call: &impl std::fmt::Debug,
    ) -> Result<(), Status> {
        let mut state = self.0.lock().unwrap();
        state.calls.push((method, format!("{call:?}")));
        match state.failures.get(method) {
            Some(failure) => Err(failure.clone().into()),
            None => Ok(()),
        }
    }
}

fn json_reply(value: &Value) -> Result<Response<Json>, Status> {
    Ok(Response::new(Json::of(value)))
}

fn missing(what: &str) -> Status {
    Failure::not_found(format!("no {what}")).into()
}

fn execution(id: &str) -> Value {
    json!({"id": id, "type": "PIPELINE", "application": "a", "name": "n", "status": "SUCCEEDED",
           "pipelineConfigId": "p1", "buildTime": 1, "trigger": {"type": "manual", "user": "u"},
           "stages": [{"refId": "1", "context": {"z": 1.0, "b": {"y": 1, "a": 2}}, "tasks": []}]})
}

/// An execution whose stage failed: one that started another, or waited for an operation.
fn failed(id: &str, kind: &str, child: &str) -> Value {
    let context = json!({"executionId": child, "kato.tasks": [{"id": "op1", "history": []}],
        "exception": {"details": {"errors": ["exit code 1"]}}});
    json!({"id": id, "application": "a", "name": "n", "status": "TERMINAL", "stages": [
        {"id": "s", "refId": "1", "type": kind, "name": kind, "status": "TERMINAL",
         "context": context}]})
}

fn pipeline() -> Value {
    json!({"id": "p1", "application": "a", "name": "n", "stages": [], "triggers": []})
}

fn strategy() -> Value {
    json!({"id": "s1", "application": "a", "name": "s", "type": "strategy"})
}

#[tonic::async_trait]
impl ExecutionService for Peers {
    type WatchStream = ReceiverStream<Result<orca::WatchEvent, Status>>;

    async fn start(
        &self,
        call: Call<orca::StartRequest>,
    ) -> Result<Response<orca::StartReply>, Status> {
        self.note("start", call.get_ref())?;
        let kind = if call.get_ref().kind == 1 {
            "pipelines"
        } else {
            "tasks"
        };
        Ok(Response::new(orca::StartReply {
            id: "01ABC".into(),
            r#ref: format!("/{kind}/01ABC"),
        }))
    }

    async fn get(&self, call: Call<orca::GetExecutionRequest>) -> Result<Response<Json>, Status> {
        self.note("get", call.get_ref())?;
        match call.get_ref().id.as_str() {
            "E1" | "01ABC" => json_reply(&execution(&call.get_ref().id)),
            "FAILED" => json_reply(&failed("FAILED", "pipeline", "CHILD")),
            "CHILD" => json_reply(&failed("CHILD", "runJob", "")),
            _ => Err(missing("execution")),
        }
    }

    async fn list(
        &self,
        call: Call<orca::ListExecutionsRequest>,
    ) -> Result<Response<orca::ListExecutionsReply>, Status> {
        self.note("list", call.get_ref())?;
        let executions = self.0.lock().unwrap().executions.clone();
        // Two pages, whatever was asked for.
        let second = !call.get_ref().page.as_ref().unwrap().cursor.is_empty();
        let half = executions.len().div_ceil(2);
        let page = if second {
            &executions[half..]
        } else {
            &executions[..half]
        };
        let more = !second && half < executions.len();
        Ok(Response::new(orca::ListExecutionsReply {
            executions: page.iter().map(Json::of).collect(),
            next_cursor: if more { "2".into() } else { String::new() },
        }))
    }

    async fn cancel(&self, call: Call<orca::CancelRequest>) -> Result<Response<Empty>, Status> {
        self.note("cancel", call.get_ref())?;
        match call.get_ref().id.as_str() {
            "E1" | "01ABC" => Ok(Response::new(Empty {})),
            _ => Err(missing("execution")),
        }
    }

    async fn pause(&self, call: Call<orca::ExecutionAction>) -> Result<Response<Empty>, Status> {
        self.note("pause", call.get_ref())?;
        Ok(Response::new(Empty {}))
    }

    async fn resume(&self, call: Call<orca::ExecutionAction>) -> Result<Response<Empty>, Status> {
        self.note("resume", call.get_ref())?;
        Ok(Response::new(Empty {}))
    }

    async fn delete(&self, call: Call<orca::ExecutionAction>) -> Result<Response<Empty>, Status> {
        self.note("delete", call.get_ref())?;
        Ok(Response::new(Empty {}))
    }

    async fn update_stage(
        &self,
        call: Call<orca::UpdateStageRequest>,
    ) -> Result<Response<Json>, Status> {
        self.note("update_stage", call.get_ref())?;
        json_reply(&execution("E1"))
    }

    async fn restart_stage(
        &self,
        call: Call<orca::UpdateStageRequest>,
    ) -> Result<Response<Json>, Status> {
        self.note("restart_stage", call.get_ref())?;
        json_reply(&execution("E1"))
    }

    async fn evaluate(&self, call: Call<orca::EvaluateRequest>) -> Result<Response<Json>, Status> {
        self.note("evaluate", call.get_ref())?;
        json_reply(&json!({"result": call.get_ref().expression, "detail": {}}))
    }

    async fn watch(
        &self,
        call: Call<orca::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        self.note("watch", call.get_ref())?;
        let (sender, receiver) = mpsc::channel(1_000);
        self.0.lock().unwrap().watchers.push(sender);
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

#[tonic::async_trait]
impl DefinitionService for Peers {
    async fn list_applications(
        &self,
        call: Call<orca::ListApplicationsRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        self.note("list_applications", call.get_ref())?;
        let permissions = self.kept(|kept| kept.application.clone());
        let a = json!({"name": "A", "email": "e@x", "permissions": permissions});
        let items = vec![Json::of(&a)];
        Ok(Response::new(orca::DefinitionList { items }))
    }

    async fn get_application(
        &self,
        call: Call<orca::ApplicationName>,
    ) -> Result<Response<Json>, Status> {
        self.note("get_application", call.get_ref())?;
        match call.get_ref().name.as_str() {
            "a" => {
                let permissions = self.kept(|kept| kept.application.clone());
                json_reply(&json!({"name": "A", "email": "e@x", "permissions": permissions}))
            }
            _ => Err(missing("application")),
        }
    }

    async fn save_application(
        &self,
        call: Call<orca::SaveApplicationRequest>,
    ) -> Result<Response<Json>, Status> {
        self.note("save_application", call.get_ref())?;
        json_reply(&json!({}))
    }

    async fn delete_application(
        &self,
        call: Call<orca::ApplicationName>,
    ) -> Result<Response<Empty>, Status> {
        self.note("delete_application", call.get_ref())?;
        Ok(Response::new(Empty {}))
    }

    async fn application_history(
        &self,
        call: Call<orca::ApplicationHistoryRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        self.note("application_history", call.get_ref())?;
        if call.get_ref().name != "a" {
            return Err(missing("application"));
        }
        let items = vec![Json::of(&json!({"name": "A", "email": "e@x"}))];
        Ok(Response::new(orca::DefinitionList { items }))
    }

    async fn list_pipelines(
        &self,
        call: Call<orca::ListPipelinesRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        self.note("list_pipelines", call.get_ref())?;
        Ok(Response::new(orca::DefinitionList {
            items: vec![Json::of(&pipeline()), Json::of(&strategy())],
        }))
    }

    async fn get_pipeline(&self, call: Call<orca::PipelineKey>) -> Result<Response<Json>, Status> {
        self.note("get_pipeline", call.get_ref())?;
        let key = call.get_ref();
        if key.application == "a" && key.name == "s" || key.id == "s1" {
            return json_reply(&strategy());
        }
        let named = key.application == "a" && ["n", "my pipe", "x/y"].contains(&key.name.as_str());
        if named || key.id == "p1" {
            json_reply(&pipeline())
        } else {
            Err(missing("pipeline"))
        }
    }

    async fn save_pipeline(
        &self,
        call: Call<orca::SavePipelineRequest>,
    ) -> Result<Response<Json>, Status> {
        self.note("save_pipeline", call.get_ref())?;
        json_reply(&pipeline())
    }

    async fn delete_pipeline(
        &self,
        call: Call<orca::PipelineKey>,
    ) -> Result<Response<Empty>, Status> {
        self.note("delete_pipeline", call.get_ref())?;
        match call.get_ref().name.as_str() {
            "n" | "s" => Ok(Response::new(Empty {})),
            _ => Err(missing("pipeline")),
        }
    }

    async fn pipeline_history(
        &self,
        call: Call<orca::PipelineHistoryRequest>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        self.note("pipeline_history", call.get_ref())?;
        Ok(Response::new(orca::DefinitionList {
            items: vec![Json::of(&pipeline())],
        }))
    }

    async fn list_objects(
        &self,
        call: Call<orca::ObjectKey>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        self.note("list_objects", call.get_ref())?;
        if let Some(items) = self.kept(|kept| kept.list(&call.get_ref().kind)) {
            return Ok(Response::new(orca::DefinitionList { items }));
        }
        let item = match call.get_ref().kind.as_str() {
            "environment" => json!({"id": "prod", "name": "prod", "order": 1, "accounts": ["k8s"]}),
            _ => json!({"id": "o1", "name": "p", "tag": "latest"}),
        };
        let items = vec![Json::of(&item)];
        Ok(Response::new(orca::DefinitionList { items }))
    }

    async fn get_object(&self, call: Call<orca::ObjectKey>) -> Result<Response<Json>, Status> {
        self.note("get_object", call.get_ref())?;
        let key = call.get_ref();
        if let Some(found) = self.kept(|kept| kept.get(&key.kind, &key.id)) {
            return found.map(Response::new).ok_or_else(|| missing("object"));
        }
        let id = call.into_inner().id;
        if id == "none" {
            return Err(Status::not_found("project none does not exist"));
        }
        Ok(Response::new(Json::of(&json!({
            "id": id, "name": id, "config": {"applications": ["a"]}, "accounts": ["k8s"],
        }))))
    }

    async fn save_object(
        &self,
        call: Call<orca::SaveObjectRequest>,
    ) -> Result<Response<Json>, Status> {
        self.note("save_object", call.get_ref())?;
        let request = call.into_inner();
        let object = request.object.unwrap_or_default();
        if request.create && self.kept(|kept| kept.has(&request.kind, &object)) {
            return Err(Failure::new(Kind::Conflict, "it exists already").into());
        }
        self.kept(|kept| kept.save(&request.kind, &object));
        Ok(Response::new(object))
    }

    async fn delete_object(&self, call: Call<orca::ObjectKey>) -> Result<Response<Empty>, Status> {
        self.note("delete_object", call.get_ref())?;
        self.kept(|kept| kept.delete(&call.get_ref().kind, &call.get_ref().id));
        Ok(Response::new(Empty {}))
    }

    async fn list_stage_types(
        &self,
        call: Call<Empty>,
    ) -> Result<Response<orca::DefinitionList>, Status> {
        self.note("list_stage_types", call.get_ref())?;
        Ok(Response::new(orca::DefinitionList::default()))
    }
}

#[tonic::async_trait]
impl EventService for Peers {
    async fn receive(
        &self,
        call: Call<events::ReceiveRequest>,
    ) -> Result<Response<events::ReceiveReply>, Status> {
        self.note("receive", call.get_ref())?;
        Ok(Response::new(events::ReceiveReply {
            event_ids: vec!["ev1".into()],
            accepted: 1,
        }))
    }

    async fn fire_manual(
        &self,
        call: Call<events::FireManualRequest>,
    ) -> Result<Response<events::FireManualReply>, Status> {
        self.note("fire_manual", call.get_ref())?;
        match call.get_ref().pipeline.as_str() {
            // A pipeline that need not be stored has no name to be found by.
            "" if call.get_ref().body.is_none() => Err(missing("pipeline")),
            "" | "n" | "p1" | "x/y" => Ok(Response::new(events::FireManualReply {
                r#ref: "/pipelines/01ABC".into(),
                execution_id: "01ABC".into(),
                event_id: "ev1".into(),
            })),
            _ => Err(missing("pipeline")),
        }
    }

    async fn test(
        &self,
        call: Call<events::TestRequest>,
    ) -> Result<Response<events::DecisionsReply>, Status> {
        self.note("test", call.get_ref())?;
        Ok(Response::new(events::DecisionsReply {
            decisions: vec![Json::of(&json!({"outcome": "ready", "next": [1]}))],
        }))
    }

    async fn list_decisions(
        &self,
        call: Call<events::DecisionsRequest>,
    ) -> Result<Response<events::DecisionsReply>, Status> {
        self.note("list_decisions", call.get_ref())?;
        Ok(Response::new(events::DecisionsReply {
            decisions: vec![Json::of(&json!({"outcome": "started"}))],
        }))
    }

    async fn release_trigger(
        &self,
        call: Call<events::TriggerKey>,
    ) -> Result<Response<Empty>, Status> {
        self.note("release_trigger", call.get_ref())?;
        Ok(Response::new(Empty {}))
    }
}

fn list(items: &[Value]) -> Result<Response<cloud::JsonList>, Status> {
    Ok(Response::new(cloud::JsonList {
        items: items.iter().map(Json::of).collect(),
    }))
}

fn group() -> Value {
    json!({"name": "a-v000", "account": "k8s", "region": "local", "cluster": "a",
           "application": "a", "cloudProvider": "local", "createdTime": 7,
           "instances": [{"id": "i-1", "healthState": "Up"}],
           "capacity": {"desired": 1}, "instanceCounts": {"up": 1, "total": 1},
           "buildInfo": {"version": "1", "images": ["r/a:1"]}})
}

#[tonic::async_trait]
impl QueryService for Peers {
    async fn list_accounts(
        &self,
        call: Call<cloud::ListAccountsRequest>,
    ) -> Result<Response<cloud::JsonList>, Status> {
        self.note("list_accounts", call.get_ref())?;
        let permissions = self.kept(|kept| kept.account.clone());
        list(&[json!({"name": "k8s", "type": "local", "permissions": permissions})])
    }

    async fn get_account(&self, call: Call<cloud::AccountName>) -> Result<Response<Json>, Status> {
        self.note("get_account", call.get_ref())?;
        match call.get_ref().name.as_str() {
            "k8s" => json_reply(&json!({"name": "k8s", "type": "local"})),
            _ => Err(missing("account")),
        }
    }

    async fn list_applications(
        &self,
        call: Call<cloud::ListAccountsRequest>,
    ) -> Result<Response<cloud::JsonList>, Status> {
        self.note("cloud_applications", call.get_ref())?;
        list(&[
            json!({"name": "a", "clusterNames": {"k8s": ["a"]}}),
            json!({"name": "wild", "clusterNames": {"k8s": ["wild"]}}),
        ])
    }

    async fn list_clusters(
        &self,
        call: Call<cloud::ApplicationQuery>,
    ) -> Result<Response<Json>, Status> {
        self.note("list_clusters", call.get_ref())?;
        json_reply(&json!({"k8s": [{"name": "a", "serverGroups": []}]}))
    }

    async fn get_cluster(&self, call: Call<cloud::ClusterQuery>) -> Result<Response<Json>, Status> {
        self.note("get_cluster", call.get_ref())?;
        match call.get_ref().cluster.as_str() {
            "a" => json_reply(&json!({"name": "a", "serverGroups": [group()]})),
            _ => Err(missing("cluster")),
        }
    }

    async fn list_server_groups(
        &self,
        call: Call<cloud::ApplicationQuery>,
    ) -> Result<Response<cloud::JsonList>, Status> {
        self.note("list_server_groups", call.get_ref())?;
        list(&[group()])
    }

    async fn get_server_group(
        &self,
        call: Call<cloud::ServerGroupQuery>,
    ) -> Result<Response<Json>, Status> {
        self.note("get_server_group", call.get_ref())?;
        match call.get_ref().name.as_str() {
            "a-v000" => json_reply(&group()),
            _ => Err(missing("server group")),
        }
    }

    async fn resolve_target(
        &self,
        call: Call<cloud::TargetQuery>,
    ) -> Result<Response<Json>, Status> {
        self.note("resolve_target", call.get_ref())?;
        json_reply(&group())
    }

    async fn get_instance(
        &self,
        call: Call<cloud::InstanceQuery>,
    ) -> Result<Response<Json>, Status> {
        self.note("get_instance", call.get_ref())?;
        json_reply(&json!({"name": "i-1", "healthState": "Up", "application": "a"}))
    }

    async fn get_console_output(
        &self,
        call: Call<cloud::InstanceQuery>,
    ) -> Result<Response<Json>, Status> {
        self.note("get_console_output", call.get_ref())?;
        json_reply(&json!({"output": ["line"]}))
    }

    async fn get_job(&self, call: Call<cloud::JobQuery>) -> Result<Response<Json>, Status> {
        self.note("get_job", call.get_ref())?;
        match call.get_ref().name.as_str() {
            "j1" => json_reply(&json!({"name": "j1", "jobState": "Running", "logs": "so far"})),
            _ => Err(missing("job")),
        }
    }

    async fn list_load_balancers(
        &self,
        call: Call<cloud::ApplicationQuery>,
    ) -> Result<Response<cloud::JsonList>, Status> {
        self.note("list_load_balancers", call.get_ref())?;
        list(&[json!({"name": "lb", "account": "k8s", "region": "local"})])
    }

    async fn get_traffic(&self, call: Call<cloud::TrafficQuery>) -> Result<Response<Json>, Status> {
        self.note("get_traffic", call.get_ref())?;
        json_reply(&json!({"seconds": []}))
    }
}

#[tonic::async_trait]
impl RegistryService for Peers {
    async fn list_registries(
        &self,
        call: Call<cloud::ListRegistriesRequest>,
    ) -> Result<Response<cloud::ListRegistriesReply>, Status> {
        self.note("list_registries", call.get_ref())?;
        Ok(Response::new(cloud::ListRegistriesReply {
            registries: vec![cloud::Registry {
                account: "hub".into(),
                ..cloud::Registry::default()
            }],
        }))
    }

    async fn list_repositories(
        &self,
        call: Call<cloud::RepositoryQuery>,
    ) -> Result<Response<cloud::NameList>, Status> {
        self.note("list_repositories", call.get_ref())?;
        Ok(Response::new(cloud::NameList::default()))
    }

    async fn list_tags(
        &self,
        call: Call<cloud::RepositoryQuery>,
    ) -> Result<Response<cloud::NameList>, Status> {
        self.note("list_tags", call.get_ref())?;
        Ok(Response::new(cloud::NameList {
            names: vec!["1".into()],
        }))
    }

    async fn get_digest(
        &self,
        call: Call<cloud::ImageQuery>,
    ) -> Result<Response<cloud::ImageReply>, Status> {
        self.note("get_digest", call.get_ref())?;
        Ok(Response::new(cloud::ImageReply::default()))
    }

    async fn find_images(
        &self,
        call: Call<cloud::FindImagesRequest>,
    ) -> Result<Response<cloud::ImageList>, Status> {
        self.note("find_images", call.get_ref())?;
        Ok(Response::new(cloud::ImageList {
            items: vec![Json::of(&json!({"repository": "demo", "tag": "1"}))],
        }))
    }
}

/// A gateway with its peers.
pub(crate) struct Gate {
    pub(crate) peers: Peers,
    pub(crate) shutdown: Shutdown,
    router: Router,
}

/// An answer, read whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        let kind = self.headers.get("content-type").unwrap();
        assert_eq!(kind, "application/json");
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Gate {
    pub(crate) fn up() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        let peers = Peers::default();
        peers.executions(vec![execution("E1"), execution("E2"), execution("E3")]);
        let shutdown = Shutdown::new();
        let serve = |routes: Routes| {
            let key = runtime::auth::Key::from([7; 32]);
            let (link, acceptor) = runtime::client::in_process(&key);
            tokio::spawn(acceptor.serve(routes, shutdown.clone()));
            link.of("gateway")
        };
        let size = proto::MAX_MESSAGE_BYTES;
        let mut orchestrator = Routes::builder();
        orchestrator
            .add_service(ExecutionServiceServer::new(peers.clone()).max_decoding_message_size(size))
            .add_service(AuditServiceServer::new(peers.clone()))
            .add_service(
                DefinitionServiceServer::new(peers.clone()).max_decoding_message_size(size),
            );
        let mut cloud = Routes::builder();
        cloud
            .add_service(QueryServiceServer::new(peers.clone()))
            .add_service(RegistryServiceServer::new(peers.clone()));
        let deps = Deps {
            orchestrator: serve(orchestrator.routes()),
            cloud_driver: serve(cloud.routes()),
            trigger: serve(
                Routes::new(EventServiceServer::new(peers.clone()))
                    .add_service(BuildServiceServer::new(Masters)),
            ),
            health: Health::new(),
            shutdown: shutdown.clone(),
            policy: Arc::new(crate::keeper::policy()),
            key: runtime::auth::Key::from([7; 32]),
            metrics: gateway::Shown(Arc::new([Arc::new(|| "executions 1\n".to_owned()) as _])),
        };
        let router = gateway::build(config, deps).take_http().unwrap();
        Self {
            peers,
            shutdown,
            router,
        }
    }

    /// What it serves.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    pub(crate) async fn open(&self, request: Request<Body>) -> http::Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        self.send_with(method, path, body, &[]).await
    }

    /// The same with headers.
    pub(crate) async fn send_with(
        &self,
        method: &str,
        path: &str,
        body: impl Into<Body>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let (parts, body) = self.open(request).await.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: body.collect().await.unwrap().to_bytes().to_vec(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Body::empty()).await
    }
}
