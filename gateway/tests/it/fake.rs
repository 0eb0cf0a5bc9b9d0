//! Fake peers with one application, one pipeline and one execution; they note
//! every call and can be told to fail.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use gateway::{Config, Deps};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use proto::canary_judge::v1::canary_service_server::CanaryServiceServer;
use proto::cloud_driver::v1::query_service_server::QueryServiceServer;
use proto::cloud_driver::v1::registry_service_server::RegistryServiceServer;
use proto::common::v1::Json;
use proto::orchestrator::v1 as orca;
use proto::orchestrator::v1::audit_service_server::AuditServiceServer;
use proto::orchestrator::v1::definition_service_server::DefinitionServiceServer;
use proto::orchestrator::v1::execution_service_server::ExecutionServiceServer;
use proto::status::Failure;
use proto::trigger::v1::build_service_server::BuildServiceServer;
use proto::trigger::v1::event_service_server::EventServiceServer;
use runtime::Shutdown;
use runtime::health::Health;
use serde_json::Value;
use tokio::sync::mpsc;
use tonic::service::Routes;
use tonic::{Response, Status};
use tower::ServiceExt;

mod canary_judge;
mod cloud_driver;
mod orchestrator;
mod trigger;

use crate::builds::Masters;
use crate::keeper::Kept;
use orchestrator::execution;

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
    /// What runs, unless it is the one group, and what it got.
    deployed: Option<(Vec<Value>, Value)>,
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

    /// Replaces what runs, and what was measured of it.
    pub(crate) fn deployed(&self, groups: Vec<Value>, traffic: Value) {
        self.0.lock().unwrap().deployed = Some((groups, traffic));
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
        // One line is JSON too.
        let known = ["application/json", "application/x-ndjson"];
        assert!(known.iter().any(|known| kind == known), "{kind:?}");
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
            canary_judge: serve(Routes::new(CanaryServiceServer::new(peers.clone()))),
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
