//! Applications, pipelines and their executions: the engine's shell and its stages.
//!
//! The engine decides (`orchestrator-core`, pure); this crate loads, commits and
//! calls peers. It never calls a cloud itself. The truth is the store: whatever
//! a process knows beside it may be lost at any moment.

pub mod api;
pub mod archive;
pub mod audit;
mod command;
pub mod commit;
mod config;
mod consumers;
pub mod definition;
pub mod difference;
pub mod digest;
mod engine;
pub mod executions;
pub mod fields;
mod foreign;
mod ground;
mod hydrate;
mod ids;
pub mod large;
mod leases;
mod lookup;
mod metrics;
pub mod notification;
mod place;
pub mod provider;
pub mod record;
pub mod replay;
mod results;
pub mod services;
pub mod size;
pub mod stage;
mod start;
pub mod task;
mod template;
pub mod turn;
mod worker;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use authorization::Policy;
use proto::message::{EXECUTION_REQUESTS, OPERATION_FINISHED};
use proto::orchestrator::v1::audit_service_server::AuditServiceServer;
use proto::orchestrator::v1::definition_service_server::DefinitionServiceServer;
use proto::orchestrator::v1::execution_service_server::ExecutionServiceServer;
use runtime::Service;
use runtime::client::Peer;
use runtime::egress::Egress;
use runtime::task::OnError;
use tokio::sync::Semaphore;
use tonic::service::Routes;

pub use config::{Config, SpelVersion};
pub use engine::Engine;
pub use ground::{Ground, Now, system_clock};
pub use metrics::Metrics;
pub use start::Start;

use audit::Audit;
use definition::Definitions;
use services::{
    Access, Builds, CanaryJudge, CloudDriver, Doors, EgressHttp, GrpcBuilds, GrpcCanaryJudge,
    GrpcCloudDriver, Http, Open, OwnExecutions, Rules, Services,
};
use task::Pool;

/// How long what is under way may take to end, on shutdown.
const GRACE: Duration = Duration::from_secs(2);

/// What the service needs of the process it runs in.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where everything is kept.
    pub store: store::Shared,
    /// Performs operations and answers questions about what runs.
    pub cloud_driver: Peer,
    /// Reaches build servers.
    pub trigger: Peer,
    /// Judges canaries.
    pub canary_judge: Peer,
    /// Reaches the addresses that users choose.
    pub egress: Egress,
    /// The operator's rules; none where nobody has to authenticate.
    pub policy: Option<Arc<Policy>>,
}

/// The service. Some part of the process must run the store's outbox.
pub fn build(config: Config, deps: Deps) -> Service {
    let cloud_driver: Arc<dyn CloudDriver> = Arc::new(GrpcCloudDriver::new(deps.cloud_driver));
    let http: Arc<dyn Http> = Arc::new(EgressHttp(deps.egress));
    let peers = Outside {
        cloud_driver,
        http,
        builds: Arc::new(GrpcBuilds::new(deps.trigger)),
        canary_judge: Arc::new(GrpcCanaryJudge::new(deps.canary_judge)),
        policy: deps.policy,
    };
    assemble(config, deps.store, peers, Ground::system())
}

/// The peers that lie outside of this service.
pub struct Outside {
    /// cloud-driver.
    pub cloud_driver: Arc<dyn CloudDriver>,
    /// HTTP to users' addresses.
    pub http: Arc<dyn Http>,
    /// Build servers.
    pub builds: Arc<dyn Builds>,
    /// The canary judge.
    pub canary_judge: Arc<dyn CanaryJudge>,
    /// The operator's rules; none where nobody has to authenticate.
    pub policy: Option<Arc<Policy>>,
}

/// The service over other doors and other ground, for tests.
pub fn assemble(
    mut config: Config,
    store: store::Shared,
    outside: Outside,
    ground: Ground,
) -> Service {
    let Outside {
        cloud_driver,
        http,
        builds,
        canary_judge,
        policy,
    } = outside;
    // Opened once, for executions and definitions.
    let archive = config.archive.open();
    config.archive.objects = archive::Given(archive.clone());
    let definitions = Definitions::new(store.clone(), Arc::clone(&cloud_driver)).kept_in(archive);
    config.authorization.clone_from(&policy);
    let access: Arc<dyn Access> = match policy {
        Some(policy) => Arc::new(Rules::new(policy, definitions.clone())),
        None => Arc::new(Open),
    };
    let executions = Arc::new(OwnExecutions::default());
    let doors: Arc<dyn Services> = Arc::new(Doors {
        cloud_driver,
        http,
        definitions: Arc::new(definitions.clone()),
        executions: executions.clone(),
        builds,
        canary_judge,
        access,
        settings: settings(&config),
    });
    let audit = Audit::new(store.clone());
    let engine = Engine::new(store, doors, config, ground);
    executions.open(engine.clone());
    serve(engine, definitions, audit)
}

/// What the engine goes by, as the operator configured it.
pub fn settings(config: &Config) -> orchestrator_core::Settings {
    orchestrator_core::Settings {
        stages: config.stages(),
        longest_expression: config.longest_expression,
        ..orchestrator_core::Settings::new(config.page_url.clone())
    }
}

fn serve(engine: Engine, definitions: Definitions, audit: Audit) -> Service {
    let keeper = definitions.clone();
    let limit = proto::MAX_MESSAGE_BYTES;
    let executions = ExecutionServiceServer::new(api::ExecutionApi::new(engine.clone()))
        .max_decoding_message_size(limit)
        .max_encoding_message_size(limit);
    let authored = DefinitionServiceServer::new(api::DefinitionApi::new(
        definitions,
        Arc::clone(&engine.inner.services),
    ))
    .max_decoding_message_size(limit)
    .max_encoding_message_size(limit);
    let metrics = engine.metrics();
    let turns = Arc::new(Semaphore::new(engine.inner.config.places()));
    let check = engine.clone();
    let mut service = Service::new("orchestrator")
        .grpc(
            Routes::new(executions)
                .add_service(authored)
                .add_service(AuditServiceServer::new(audit)),
        )
        .metrics(Arc::new(move || metrics.text()))
        .check("orchestrator-store", move || {
            let engine = check.clone();
            async move {
                let now = engine.inner.store.now_ms().await;
                now.map(|_| ()).map_err(|error| error.to_string())
            }
        });
    let (e, places) = (engine.clone(), Arc::clone(&turns));
    service = service.task(
        "orchestrator-mailboxes",
        OnError::Restart,
        move |shutdown| {
            e.clone().consume(
                worker::MAILBOX,
                Arc::clone(&places),
                shutdown,
                Engine::mailbox,
            )
        },
    );
    for (name, pool) in [
        ("orchestrator-runs-definitions", Pool::Definitions),
        ("orchestrator-runs-cloud-driver", Pool::CloudDriver),
        ("orchestrator-runs-http", Pool::Http),
    ] {
        let Some(places) = engine.inner.pools.get(&pool).map(Arc::clone) else {
            continue;
        };
        let e = engine.clone();
        service = service.task(name, OnError::Restart, move |shutdown| {
            e.clone().consume(
                pool.queue(),
                Arc::clone(&places),
                shutdown,
                Engine::found_run,
            )
        });
    }
    let (e, places) = (engine.clone(), Arc::clone(&turns));
    service = service.task(
        "orchestrator-operations",
        OnError::Restart,
        move |shutdown| {
            let handle = Engine::operation_finished;
            e.clone()
                .consume(OPERATION_FINISHED, Arc::clone(&places), shutdown, handle)
        },
    );
    let (e, places) = (engine.clone(), Arc::clone(&turns));
    service = service.task("orchestrator-starts", OnError::Restart, move |shutdown| {
        e.clone().consume(
            EXECUTION_REQUESTS,
            Arc::clone(&places),
            shutdown,
            Engine::requested,
        )
    });
    let (e, places) = (engine.clone(), Arc::new(Semaphore::new(archive::AT_ONCE)));
    service = service.task(
        "orchestrator-retention",
        OnError::Restart,
        move |shutdown| {
            e.clone().consume(
                commit::RETENTION,
                Arc::clone(&places),
                shutdown,
                Engine::put_away,
            )
        },
    );
    let (e, places) = (engine.clone(), Arc::new(Semaphore::new(1)));
    service = service.task("orchestrator-expiry", OnError::Restart, move |shutdown| {
        e.clone().consume(
            archive::EXPIRY,
            Arc::clone(&places),
            shutdown,
            Engine::expire,
        )
    });
    let former = keeper.clone();
    service = service
        .task(
            "orchestrator-definitions",
            OnError::Restart,
            move |shutdown| keeper.clone().keep_the_rest(shutdown),
        )
        .task(
            "orchestrator-definitions-former",
            OnError::Restart,
            move |shutdown| former.clone().keep_former(shutdown),
        );
    let at_once = engine.inner.config.notifications.at_once.max(1);
    let (e, places) = (engine.clone(), Arc::new(Semaphore::new(at_once)));
    service = service.task(
        "orchestrator-notifications",
        OnError::Restart,
        move |shutdown| {
            e.clone().consume(
                notification::QUEUE,
                Arc::clone(&places),
                shutdown,
                Engine::notify,
            )
        },
    );
    let consumers = engine.inner.consumers.clone();
    service = service.task(
        "orchestrator-consumers",
        OnError::Restart,
        move |shutdown| consumers.clone().keep(shutdown),
    );
    let leases = engine.inner.leases.clone();
    service = service.task("orchestrator-leases", OnError::Restart, move |shutdown| {
        leases.clone().keep(shutdown)
    });
    service.task("orchestrator-drain", OnError::Log, move |shutdown| {
        let (engine, turns) = (engine.clone(), Arc::clone(&turns));
        async move {
            shutdown.begun().await;
            engine.drain(&turns, GRACE).await;
            Ok::<_, Infallible>(())
        }
    })
}
