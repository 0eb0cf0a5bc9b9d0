//! A running service with fake peers that can be changed, and what came out of it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proto::cloud_driver::v1::registry_service_server::RegistryServiceServer;
use proto::message::{EXECUTION_REQUESTS, ExecutionRequested};
use proto::orchestrator::v1::definition_service_server::DefinitionServiceServer;
use proto::orchestrator::v1::execution_service_server::ExecutionServiceServer;
use proto::status::Failure;
use proto::trigger::v1::event_service_client::EventServiceClient;
use proto::trigger::v1::{DecisionsRequest, Header, ReceiveReply, ReceiveRequest};
use runtime::client::Peer;
use runtime::{Running, Shutdown};
use serde_json::{Value, json};
use store::embedded::{Clock, Embedded};
use store::{Batch, Consumer, ConsumerSettings, Shards, Then};
use tonic::Response;
use tonic::service::Routes;

use crate::peers::Peers;
pub(crate) use crate::peers::State;

const SOON: Duration = Duration::from_secs(20);

struct Now;

impl Clock for Now {
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        i64::try_from(since.as_millis()).unwrap()
    }
}

/// A store in memory that goes by the real time.
pub(crate) fn memory() -> store::Shared {
    Arc::new(Embedded::in_memory(Arc::new(Now), Shards::default()))
}

/// The running service.
pub(crate) struct World {
    pub(crate) store: store::Shared,
    pub(crate) channel: Peer,
    pub(crate) events: EventServiceClient<Peer>,
    peers: Peers,
    shutdown: Shutdown,
    running: Option<Running>,
}

impl World {
    /// A service with the given configuration, over a store that may have a past.
    pub(crate) fn start(store: store::Shared, config: trigger::Config, state: State) -> Self {
        let policy = state.policy.clone();
        let peers = Peers(Arc::new(Mutex::new(state)));
        let shutdown = Shutdown::new();
        let serve = |routes: Routes| {
            let key = runtime::auth::Key::from([7; 32]);
            let (link, acceptor) = runtime::client::in_process(&key);
            tokio::spawn(acceptor.serve(routes, shutdown.clone()));
            link.of("trigger")
        };
        let mut orchestrator = Routes::builder();
        orchestrator
            .add_service(DefinitionServiceServer::new(peers.clone()))
            .add_service(ExecutionServiceServer::new(peers.clone()));
        let deps = trigger::Deps {
            store: store.clone(),
            orchestrator: serve(orchestrator.routes()),
            cloud_driver: serve(Routes::new(RegistryServiceServer::new(peers.clone()))),
            policy,
        };
        let mut service = trigger::build(config, deps);
        let channel = serve(service.take_grpc().unwrap());
        let events = EventServiceClient::new(channel.clone());
        tokio::spawn(relay(store.clone(), shutdown.clone()));
        let running = Some(service.start(&shutdown));
        Self {
            store,
            channel,
            events,
            peers,
            shutdown,
            running,
        }
    }

    /// One with a pipeline that waits for pushes to `a`, polling every 20 ms.
    pub(crate) fn up() -> Self {
        Self::start(memory(), fast(), with_pipeline())
    }

    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.peers.0.lock().unwrap()
    }

    /// Ends the service, as a restart does; the store stays.
    pub(crate) async fn end(mut self) -> store::Shared {
        self.shutdown.begin();
        if let Some(running) = self.running.take() {
            running.end(SOON).await;
        }
        self.store.clone()
    }

    /// Sends a notification of one push.
    pub(crate) async fn notify(
        &self,
        repository: &str,
        tag: &str,
        digest: &str,
    ) -> Result<ReceiveReply, Failure> {
        let event = json!({"action": "push",
                           "target": {"repository": repository, "tag": tag, "digest": digest}});
        self.receive("docker", "r", &json!({"events": [event]}), &[])
            .await
    }

    pub(crate) async fn receive(
        &self,
        kind: &str,
        source: &str,
        body: &Value,
        headers: &[(&str, &str)],
    ) -> Result<ReceiveReply, Failure> {
        let request = ReceiveRequest {
            r#type: kind.into(),
            source: source.into(),
            headers: headers
                .iter()
                .map(|(name, value)| Header {
                    name: (*name).into(),
                    value: (*value).into(),
                })
                .collect(),
            body: body.to_string().into_bytes(),
        };
        let reply = self.events.clone().receive(request).await;
        reply.map(Response::into_inner).map_err(Failure::from)
    }

    pub(crate) async fn decisions(&self, pipeline_id: &str) -> Vec<Value> {
        let request = DecisionsRequest {
            pipeline_id: pipeline_id.into(),
        };
        let reply = self.events.clone().list_decisions(request).await.unwrap();
        let decisions = reply.into_inner().decisions;
        decisions
            .iter()
            .map(|d| d.value("decision").unwrap())
            .collect()
    }

    /// The same, once there are `count` of them.
    pub(crate) async fn decided(&self, pipeline_id: &str, count: usize) -> Vec<Value> {
        let begun = std::time::Instant::now();
        loop {
            let found = self.decisions(pipeline_id).await;
            if found.len() >= count {
                return found;
            }
            assert!(begun.elapsed() < SOON, "{found:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn requested(&self, shard: store::Shard, message: &store::Message) -> ExecutionRequested {
        let body = store::blob::resolve_message(self.store.as_ref(), shard, message.body.clone());
        serde_json::from_slice(&body.await.unwrap()).unwrap()
    }

    /// The starts that are in the orchestrator's queue now.
    pub(crate) async fn starts_so_far(&self) -> Vec<ExecutionRequested> {
        let settings = ConsumerSettings {
            queue: EXECUTION_REQUESTS.into(),
            // What was leased when the patience below ended comes again soon.
            lease_ms: 5_000,
            max_tries: 10,
        };
        let mut consumer = Consumer::new(self.store.clone(), settings);
        let mut found = Vec::new();
        while let Ok(next) =
            tokio::time::timeout(Duration::from_millis(50), consumer.next(64)).await
        {
            for delivery in next.unwrap() {
                for message in &delivery.messages {
                    found.push(self.requested(delivery.lease.shard, message).await);
                }
                let id = format!("consumed:{}", delivery.lease.address.subject);
                let done =
                    Batch::new(delivery.lease.shard, id).acknowledge(&delivery, Then::Release);
                self.store.commit(done).await.unwrap().unwrap();
            }
        }
        found
    }

    /// The starts that reached the orchestrator's queue, once there are `count` of them.
    pub(crate) async fn starts(&self, count: usize) -> Vec<ExecutionRequested> {
        let settings = ConsumerSettings {
            queue: EXECUTION_REQUESTS.into(),
            lease_ms: 60_000,
            max_tries: 10,
        };
        let mut consumer = Consumer::new(self.store.clone(), settings);
        let mut found = Vec::new();
        while found.len() < count {
            let next = tokio::time::timeout(SOON, consumer.next(16)).await;
            for delivery in next.expect("a start in time").unwrap() {
                for message in &delivery.messages {
                    found.push(self.requested(delivery.lease.shard, message).await);
                }
                let id = format!("consumed:{}", delivery.lease.address.subject);
                let done =
                    Batch::new(delivery.lease.shard, id).acknowledge(&delivery, Then::Release);
                self.store.commit(done).await.unwrap().unwrap();
            }
        }
        assert_eq!(found.len(), count, "{found:#?}");
        found
    }

    /// Waits until another two polls have begun, so that one was made as a whole.
    pub(crate) async fn polled(&self) {
        let before = self.state().listings;
        let repositories = {
            let state = self.state();
            state.images.len().max(state.configured.len()).max(1)
        };
        eventually("polls", || {
            self.state().listings > before + 2 * repositories
        })
        .await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

async fn relay(store: store::Shared, shutdown: Shutdown) {
    let settings = ConsumerSettings {
        queue: store::outbox::QUEUE.into(),
        // A relay that ends with its world may hold a message: not for long.
        lease_ms: 500,
        max_tries: 100,
    };
    let mut consumer = Consumer::new(store.clone(), settings);
    while let Some(Ok(deliveries)) = shutdown.or(consumer.next(16)).await {
        for delivery in deliveries {
            store::outbox::relay(&store, &delivery).await.unwrap();
        }
    }
}

/// Waits until a condition holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, wait)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

pub(crate) fn fast() -> trigger::Config {
    trigger::Config {
        poll_interval: runtime::config::Span(Duration::from_millis(20)),
        burst_limit: 0,
        ..trigger::Config::default()
    }
}

/// Polling so rare that no test sees it.
pub(crate) fn slow() -> trigger::Config {
    trigger::Config {
        poll_interval: runtime::config::Span(Duration::from_secs(3_600)),
        burst_limit: 0,
        ..trigger::Config::default()
    }
}

pub(crate) fn docker(repository: &str) -> Value {
    json!({"type": "docker", "id": format!("t-{repository}"), "enabled": true,
           "account": "r", "repository": repository})
}

pub(crate) fn pipeline(id: &str, application: &str, triggers: &[Value]) -> Value {
    json!({"id": id, "application": application, "name": format!("name of {id}"),
           "triggers": triggers})
}

pub(crate) fn with_pipeline() -> State {
    State {
        pipelines: vec![pipeline("p", "shop", &[docker("a")])],
        ..State::default()
    }
}

/// A pipeline as the service shows it: only who asks for secrets sees them.
pub(crate) fn shown(pipeline: &Value, with_secrets: bool) -> Value {
    let mut pipeline = pipeline.clone();
    let triggers = pipeline["triggers"].as_array_mut();
    for trigger in triggers.into_iter().flatten().filter(|_| !with_secrets) {
        if trigger.get("secret").is_some() {
            trigger["secret"] = "********".into();
        }
    }
    pipeline
}
