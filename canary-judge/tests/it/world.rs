//! The service as others see it: over gRPC, on a store of any kind, with an orchestrator that keeps objects and metric
//! stores that follow a script.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use canary_judge::query::Question;
use canary_judge::source::{Source, SourceError};
use canary_judge::stores::Stores;
use canary_judge::{Config, Deps};
use judge::MetricSet;
use proto::canary_judge::v1::canary_service_client::CanaryServiceClient;
use proto::canary_judge::v1::{Plan, RunKey, StartRunRequest};
use proto::common::v1::Json;
use proto::status::{Failure, Kind};
use runtime::auth::{AuthContext, Key};
use runtime::client::{Peer, in_process};
use runtime::{Running, Shutdown};
use serde_json::{Map, Value, json};
use store::Shared;
use tonic::service::Routes;
use tonic::{Request, Status};

use crate::keeper::Keeper;

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// Values follow from the time alone; the experiment is bad from a moment on.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) bad_from: AtomicI64,
    pub(crate) asked: AtomicU64,
    /// How long an answer takes, by scope.
    pub(crate) slow: Mutex<BTreeMap<String, Duration>>,
}

#[async_trait]
impl Source for Script {
    fn kind(&self) -> &'static str {
        "script"
    }
    fn text(&self, question: &Question) -> Result<String, SourceError> {
        Ok(format!("{} of {}", question.metric, question.scope.scope))
    }
    async fn fetch(&self, question: &Question) -> Result<Vec<MetricSet>, SourceError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let scope = &question.scope;
        let slow = self.slow.lock().unwrap().get(&scope.scope).copied();
        tokio::time::sleep(slow.unwrap_or_default()).await;
        let step_ms = i64::try_from(scope.step_s).unwrap() * 1_000;
        let times = (0..).map(|n| scope.start_ms + n * step_ms);
        let timestamps: Vec<i64> = times.take_while(|at| *at < scope.end_ms).collect();
        let bad_from = self.bad_from.load(Ordering::SeqCst);
        let value = |at: &i64| {
            let noise = (at / 1_000 * 7_919 + i64::from(scope.scope == "new") * 31) % 97;
            let bad = scope.scope == "new" && *at >= bad_from;
            let level = if bad { 300.0 } else { 100.0 };
            level + f64::from(i32::try_from(noise).unwrap()) / 10.0
        };
        Ok(vec![MetricSet {
            name: question.metric.clone(),
            start_ms: scope.start_ms,
            end_ms: scope.end_ms,
            step_ms,
            values: timestamps.iter().map(value).collect(),
            timestamps,
            ..MetricSet::default()
        }])
    }
    async fn metrics(&self, filter: &str) -> Result<Vec<String>, SourceError> {
        let all = ["errors", "latency"].into_iter();
        Ok(all
            .filter(|m| m.contains(filter))
            .map(str::to_owned)
            .collect())
    }
}

/// A scope that no run is told of.
pub(crate) const SECRET: &str = "secret";

#[derive(Debug)]
struct Only(Arc<Script>);

impl Stores for Only {
    fn store(&self, account: &str, kind: &str) -> Result<Arc<dyn Source>, Failure> {
        if kind != "script" {
            let message = format!("Unable to resolve canary scope factory for '{kind}'.");
            return Err(Failure::field("query.type", message));
        }
        self.any(account)
    }
    fn any(&self, _: &str) -> Result<Arc<dyn Source>, Failure> {
        Ok(Arc::<Script>::clone(&self.0))
    }
    fn may_tell(&self, application: &str, _: (&str, &str), subject: &str) -> Result<(), Failure> {
        let denied = || Failure::new(Kind::Denied, format!("{subject} is not of {application}"));
        (subject != SECRET).then_some(()).ok_or_else(denied)
    }
    fn list(&self, _: &AuthContext) -> Vec<Value> {
        vec![json!({"name": "script", "type": "script"})]
    }
}

/// The service with its peers.
pub(crate) struct World {
    pub(crate) client: CanaryServiceClient<Peer>,
    pub(crate) script: Arc<Script>,
    pub(crate) keeper: Keeper,
    store: Shared,
    shutdown: Shutdown,
    running: Option<Running>,
}

fn serve(routes: Routes, shutdown: &Shutdown) -> Peer {
    let (link, acceptor) = in_process(&Key::from([7; 32]));
    tokio::spawn(acceptor.serve(routes, shutdown.clone()));
    link.of("test")
}

impl World {
    /// On this store, with scripted metric stores.
    pub(crate) fn on(store: Shared) -> Self {
        Self::set(store, &Config::default())
    }

    /// The same with settings.
    pub(crate) fn set(store: Shared, config: &Config) -> Self {
        let script = Arc::new(Script {
            bad_from: AtomicI64::new(i64::MAX),
            asked: AtomicU64::new(0),
            slow: Mutex::default(),
        });
        let stores: Arc<dyn Stores> = Arc::new(Only(Arc::clone(&script)));
        Self::with(store, script, config, Some(stores))
    }

    /// On this store, with the metric stores of these settings.
    pub(crate) fn configured(store: Shared, config: &Config) -> Self {
        let script = Arc::new(Script {
            bad_from: AtomicI64::new(i64::MAX),
            asked: AtomicU64::new(0),
            slow: Mutex::default(),
        });
        Self::with(store, script, config, None)
    }

    fn with(
        store: Shared,
        script: Arc<Script>,
        config: &Config,
        stores: Option<Arc<dyn Stores>>,
    ) -> Self {
        let shutdown = Shutdown::new();
        let keeper = Keeper::default();
        let orchestrator = serve(keeper.routes(), &shutdown);
        let deps = Deps {
            store: store.clone(),
            archive: None,
            cloud_driver: orchestrator.clone(),
            orchestrator,
            policy: None,
            stores,
        };
        let mut service = canary_judge::build(config, deps).unwrap();
        let peer = serve(service.take_grpc().unwrap(), &shutdown);
        let running = Some(service.start(&shutdown));
        let client = CanaryServiceClient::new(peer).max_decoding_message_size(64 << 20);
        Self {
            client,
            script,
            keeper,
            store,
            shutdown,
            running,
        }
    }

    /// Another process takes over; this one ends at once.
    pub(crate) async fn replaced(mut self) -> Self {
        self.shutdown.begin();
        if let Some(running) = self.running.take() {
            running.end(Duration::ZERO).await;
        }
        let next = Self::on(self.store.clone());
        let bad_from = self.script.bad_from.load(Ordering::SeqCst);
        next.script.bad_from.store(bad_from, Ordering::SeqCst);
        next
    }

    pub(crate) async fn start(&self, start: StartRunRequest) -> Result<String, Status> {
        let key = self.client.clone().start_run(start).await?;
        Ok(key.into_inner().id)
    }

    pub(crate) async fn run(&self, id: &str) -> Value {
        let key = RunKey { id: id.to_owned() };
        let told = self.client.clone().get_run(key).await.unwrap();
        told.into_inner().value("run").unwrap()
    }

    /// The run when it has ended.
    pub(crate) async fn ended(&self, id: &str) -> Value {
        let end = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let run = self.run(id).await;
            if run["complete"] == true {
                return run;
            }
            assert!(tokio::time::Instant::now() < end, "{run}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// A call by somebody.
pub(crate) fn by<T>(user: &str, message: T) -> Request<T> {
    let context = AuthContext {
        user: user.to_owned(),
        ..AuthContext::default()
    };
    context.request(message)
}

/// A canary config over one scripted metric.
pub(crate) fn config(judge: &str) -> Value {
    json!({
        "name": "c", "applications": ["shop"], "judge": {"name": judge, "judgeConfigurations": {}},
        "metrics": [{"name": "m", "scopeName": "default", "groups": ["all"], "query": {"type": "script"},
                     "analysisConfigurations": {"canary": {"direction": "increase", "critical": true}}}],
        "templates": {}, "classifier": {"groupWeights": {"all": 100}},
    })
}

pub(crate) fn request(step: u64, experiment: &str) -> Value {
    let scope = |name: &str| json!({"scope": name, "location": "here", "step": step});
    json!({"scopes": {"default": {"controlScope": scope("old"), "experimentScope": scope(experiment)}},
           "thresholds": {"pass": 95, "marginal": 75}})
}

/// A run of so many minutes that began so many minutes ago.
pub(crate) fn planned(judge: &str, minutes: u64, ago: i64) -> StartRunRequest {
    StartRunRequest {
        application: "shop".to_owned(),
        config: Some(Json::of(&config(judge))),
        request: Some(Json::of(&request(10, "new"))),
        plan: Some(Plan {
            start_ms: now_ms() - ago * 60_000,
            lifetime_ms: minutes * 60_000,
            interval_ms: 60_000,
            ..Plan::default()
        }),
        ..StartRunRequest::default()
    }
}

/// Fields of a document, however deep: what somebody has to write.
pub(crate) fn fields(value: &Value) -> usize {
    let of = |fields: &Map<String, Value>| fields.values().map(fields_of).sum();
    match value {
        Value::Object(map) => of(map),
        Value::Array(list) => list.iter().map(fields).sum(),
        _ => 1,
    }
}

fn fields_of(value: &Value) -> usize {
    fields(value)
}
