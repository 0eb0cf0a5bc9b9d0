//! A running service over fake peers, with clients, in a runtime of its own that
//! can be killed at any moment.

use std::sync::Arc;
use std::time::{Duration, Instant};

use authorization::Policy;
use orchestrator::services::fake::Fake;
use orchestrator::services::{CloudDriver, Http};
use orchestrator::{Config, Ground, assemble, system_clock};
use proto::common::v1::Json;
use proto::orchestrator::v1::audit_service_client::AuditServiceClient;
use proto::orchestrator::v1::definition_service_client::DefinitionServiceClient;
use proto::orchestrator::v1::execution_service_client::ExecutionServiceClient;
use proto::orchestrator::v1::{
    CancelRequest, ExecutionAction, GetExecutionRequest, SavePipelineRequest, StartRequest,
    UpdateStageRequest, WatchRequest,
};
use proto::status::Failure;
use runtime::Shutdown;
use runtime::auth::AuthContext;
use runtime::client::Peer;
use runtime::config::Span;
use serde_json::{Value, json};
use servers::Redis;
use store::embedded::{Clock, Embedded};
use store::{Shards, Shared};
use tokio::runtime::Runtime;

/// Anything awaited is there within this time.
pub(crate) const SOON: Duration = Duration::from_secs(120);

struct System;

impl Clock for System {
    fn now_ms(&self) -> i64 {
        system_clock()()
    }
}

/// A store in memory on the system's clock.
pub(crate) fn memory() -> Shared {
    Arc::new(Embedded::in_memory(Arc::new(System), Shards::default()))
}

/// A store on Redis.
pub(crate) async fn on(redis: &Redis) -> Shared {
    let connected = store::redis::connect(&redis.url(), Shards::default()).await;
    connected.unwrap()
}

/// The service.
pub(crate) struct Rig {
    pub(crate) fake: Fake,
    pub(crate) store: Shared,
    pub(crate) audit: AuditServiceClient<Peer>,
    pub(crate) executions: ExecutionServiceClient<Peer>,
    pub(crate) definitions: DefinitionServiceClient<Peer>,
    metrics: Vec<runtime::admin::Metrics>,
    shutdown: Shutdown,
    running: Option<runtime::Running>,
    process: Option<Runtime>,
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Quick to notice a worker that fell silent.
pub(crate) fn quick() -> Config {
    Config {
        lease: Span(Duration::from_secs(1)),
        ..Config::default()
    }
}

impl Rig {
    pub(crate) async fn up() -> Self {
        Self::over(memory(), Fake::new(), quick()).await
    }

    pub(crate) async fn over(store: Shared, fake: Fake, config: Config) -> Self {
        let driver: Arc<dyn CloudDriver> = Arc::new(fake.clone());
        let http: Arc<dyn Http> = Arc::new(fake.clone());
        Self::with(store, fake, driver, http, config).await
    }

    pub(crate) async fn with(
        store: Shared,
        fake: Fake,
        driver: Arc<dyn CloudDriver>,
        http: Arc<dyn Http>,
        config: Config,
    ) -> Self {
        Self::build(store, fake, driver, http, config, None)
    }

    /// People have to authenticate, and these are the rules.
    pub(crate) async fn enforced(policy: Policy) -> Self {
        Self::enforced_with(policy, quick()).await
    }

    /// The same with other settings.
    pub(crate) async fn enforced_with(policy: Policy, config: Config) -> Self {
        let fake = Fake::new();
        let driver: Arc<dyn CloudDriver> = Arc::new(fake.clone());
        let http: Arc<dyn Http> = Arc::new(fake.clone());
        let policy = Some(Arc::new(policy));
        Self::build(memory(), fake, driver, http, config, policy)
    }

    fn build(
        store: Shared,
        fake: Fake,
        driver: Arc<dyn CloudDriver>,
        http: Arc<dyn Http>,
        config: Config,
        policy: Option<Arc<Policy>>,
    ) -> Self {
        let process = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let key = runtime::auth::Key::from([7; 32]);
        let (link, acceptor) = runtime::client::in_process(&key);
        let channel = link.of("test");
        let shutdown = Shutdown::new();
        let outside = orchestrator::Outside {
            cloud_driver: driver,
            http,
            builds: Arc::new(fake.clone()),
            canary_judge: Arc::new(fake.clone()),
            policy,
        };
        let mut service = assemble(config, store.clone(), outside, Ground::system());
        let routes = service.take_grpc().unwrap();
        let metrics = service.all_metrics().to_vec();
        let running = {
            let _inside = process.enter();
            let ending = shutdown.clone();
            tokio::spawn(acceptor.serve(routes, ending));
            service.start(&shutdown)
        };
        let limit = proto::MAX_MESSAGE_BYTES;
        Self {
            fake,
            store,
            executions: ExecutionServiceClient::new(channel.clone())
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit),
            audit: AuditServiceClient::new(channel.clone()),
            definitions: DefinitionServiceClient::new(channel)
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit),
            metrics,
            shutdown,
            running: Some(running),
            process: Some(process),
        }
    }

    /// The value of one of its metrics.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text: String = self.metrics.iter().map(|metrics| metrics()).collect();
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            .unwrap()
    }

    /// Ends it at once, whatever it is doing.
    pub(crate) fn kill(&mut self) {
        self.running = None;
        if let Some(process) = self.process.take() {
            process.shutdown_background();
        }
    }

    /// Ends it as a signal does.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.begin();
        if let Some(running) = self.running.take() {
            running.end(Duration::from_secs(10)).await;
        }
        self.kill();
    }

    pub(crate) async fn try_start(&self, body: &Value, event: &str) -> Result<String, Failure> {
        let request = StartRequest {
            kind: 0,
            body: Some(Json::of(body)),
            event_id: event.to_owned(),
        };
        let reply = self.executions.clone().start(as_user(request)).await;
        Ok(reply.map_err(Failure::from)?.into_inner().id)
    }

    pub(crate) async fn start(&self, body: &Value) -> String {
        self.try_start(body, "").await.unwrap()
    }

    /// Starts stages as an ad-hoc pipeline.
    pub(crate) async fn start_stages(&self, stages: Value) -> String {
        self.start(&pipeline("p", stages)).await
    }

    pub(crate) async fn get(&self, id: &str) -> Value {
        self.find(id).await.unwrap()
    }

    async fn find(&self, id: &str) -> Result<Value, tonic::Status> {
        let request = GetExecutionRequest {
            kind: 0,
            id: id.to_owned(),
        };
        let reply = self.executions.clone().get(request).await?;
        Ok(reply.into_inner().value("execution").unwrap())
    }

    /// Waits until an execution is there, and as wanted.
    pub(crate) async fn wait(
        &self,
        id: &str,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let watch = self.executions.clone().watch(WatchRequest::default()).await;
        let mut watch = watch.unwrap().into_inner();
        let begun = Instant::now();
        loop {
            let found = self.find(id).await;
            match found {
                Ok(execution) if wanted(&execution) => return execution,
                // A message may ask for it, which nobody has taken yet.
                Err(status) if status.code() != tonic::Code::NotFound => panic!("{status}"),
                Ok(_) | Err(_) => {}
            }
            assert!(begun.elapsed() < SOON, "not {what}: {found:#?}");
            // An event, or a change that makes none.
            let _ = tokio::time::timeout(Duration::from_millis(100), watch.message()).await;
        }
    }

    pub(crate) async fn end(&self, id: &str) -> Value {
        self.wait(id, "complete", |e| is_complete(&e["status"]))
            .await
    }

    pub(crate) async fn ends(&self, id: &str, status: &str) -> Value {
        let execution = self.end(id).await;
        assert_eq!(execution["status"], status, "{execution:#}");
        execution
    }

    pub(crate) async fn stage_is(&self, id: &str, ref_id: &str, status: &str) -> Value {
        let execution = self
            .wait(id, &format!("{ref_id} {status}"), |e| {
                stage(e, ref_id)["status"] == status
            })
            .await;
        stage(&execution, ref_id).clone()
    }

    pub(crate) async fn update_stage(
        &self,
        id: &str,
        stage: &Value,
        context: Value,
    ) -> Result<Value, Failure> {
        let request = UpdateStageRequest {
            kind: 0,
            execution_id: id.to_owned(),
            stage_id: stage["id"].as_str().unwrap().to_owned(),
            context: Some(Json::of(&context)),
        };
        let reply = self.executions.clone().update_stage(as_user(request)).await;
        Ok(reply
            .map_err(Failure::from)?
            .into_inner()
            .value("execution")
            .unwrap())
    }

    /// Answers a judgment as this user with these roles; without a name as nobody.
    pub(crate) async fn judge(
        &self,
        id: &str,
        stage: &Value,
        (user, roles): (&str, &[&str]),
        context: Value,
    ) -> Result<Value, Failure> {
        let request = UpdateStageRequest {
            kind: 0,
            execution_id: id.to_owned(),
            stage_id: stage["id"].as_str().unwrap().to_owned(),
            context: Some(Json::of(&context)),
        };
        let roles: Vec<String> = roles.iter().map(|r| (*r).to_owned()).collect();
        let auth = match user {
            "" => AuthContext::default(),
            user => AuthContext {
                user: user.to_owned(),
                roles,
                ..AuthContext::default()
            },
        };
        let mut client = self.executions.clone();
        let reply = client.update_stage(auth.request(request)).await;
        let reply = reply.map_err(Failure::from)?;
        Ok(reply.into_inner().value("execution").unwrap())
    }

    pub(crate) async fn restart(&self, id: &str, stage: &Value) -> Result<Value, Failure> {
        let request = UpdateStageRequest {
            kind: 0,
            execution_id: id.to_owned(),
            stage_id: stage["id"].as_str().unwrap().to_owned(),
            context: None,
        };
        let reply = self
            .executions
            .clone()
            .restart_stage(as_user(request))
            .await;
        Ok(reply
            .map_err(Failure::from)?
            .into_inner()
            .value("execution")
            .unwrap())
    }

    pub(crate) async fn cancel(&self, id: &str) -> Result<(), Failure> {
        let request = CancelRequest {
            kind: 0,
            id: id.to_owned(),
            reason: "enough".to_owned(),
            force: false,
        };
        self.executions
            .clone()
            .cancel(as_user(request))
            .await
            .map_err(Failure::from)?;
        Ok(())
    }

    pub(crate) fn action(id: &str) -> tonic::Request<ExecutionAction> {
        as_user(ExecutionAction {
            kind: 0,
            id: id.to_owned(),
        })
    }

    pub(crate) async fn save(&self, pipeline: &Value) -> Result<Value, Failure> {
        let request = SavePipelineRequest {
            pipeline: Some(Json::of(pipeline)),
            user: "ann".to_owned(),
            stale_check: false,
        };
        let reply = self.definitions.clone().save_pipeline(request).await;
        Ok(reply
            .map_err(Failure::from)?
            .into_inner()
            .value("pipeline")
            .unwrap())
    }
}

/// Waits until something holds.
pub(crate) async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < SOON, "not within {SOON:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A call that the edge established as ann's.
pub(crate) fn as_user<T>(message: T) -> tonic::Request<T> {
    AuthContext {
        user: "ann".to_owned(),
        ..AuthContext::default()
    }
    .request(message)
}

/// A pipeline of application `app`.
pub(crate) fn pipeline(name: &str, stages: Value) -> Value {
    json!({"application": "app", "name": name, "stages": stages, "triggers": []})
}

/// A stage with its own fields.
pub(crate) fn make(kind: &str, ref_id: &str, after: &[&str], fields: Value) -> Value {
    let mut stage = json!({
        "type": kind, "name": format!("{kind} {ref_id}"), "refId": ref_id,
        "requisiteStageRefIds": after,
    });
    if let (Value::Object(stage), Value::Object(fields)) = (&mut stage, fields) {
        stage.extend(fields);
    }
    stage
}

pub(crate) fn webhook(ref_id: &str, after: &[&str]) -> Value {
    let url = format!("http://hook.test/{ref_id}");
    make(
        "webhook",
        ref_id,
        after,
        json!({"url": url, "method": "POST", "payload": {"n": ref_id}}),
    )
}

pub(crate) fn is_complete(status: &Value) -> bool {
    status
        .as_str()
        .and_then(orchestrator_core::Status::parse)
        .is_some_and(|s| s.is_complete())
}

/// A stage by refId.
pub(crate) fn stage<'a>(execution: &'a Value, ref_id: &str) -> &'a Value {
    let stages = execution["stages"].as_array().unwrap();
    stages
        .iter()
        .find(|s| s["refId"] == ref_id)
        .unwrap_or(&Value::Null)
}
