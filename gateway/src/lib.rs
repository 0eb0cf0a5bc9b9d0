//! The gateway: Gate's REST interface, live updates, the page.
//!
//! Owns the translation between HTTP and our services. It must never hold the
//! state of a deployment or talk to a cloud; its truth is what its peers answer
//! now. Where nobody has to authenticate ([`identity::Config::is_enabled`]), who
//! links it must bind it to loopback only.

mod access;
mod answer;
mod audit;
mod clients;
mod config;
mod edge;
mod environment;
mod error;
mod front;
mod health;
mod history;
pub mod identity;
mod listing;
mod live;
mod openapi;
mod project_clusters;
mod request;
mod rest;
mod routes;
pub mod tls;
mod trigger_subset;
mod ui;

use std::sync::Arc;

use authorization::Policy;
use runtime::admin::Metrics;
use runtime::auth::Key;
use runtime::client::Peer;
use runtime::health::Health;
use runtime::task::OnError;
use runtime::{Service, Shutdown};
use tokio::sync::Semaphore;

pub use config::Config;
pub use front::{serve, tls as acceptor};

use clients::Clients;
use identity::Identity;

/// Metrics to show.
#[derive(Clone, Default)]
pub struct Shown(pub Arc<[Metrics]>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shown({})", self.0.len())
    }
}

/// What the gateway needs of the process it runs in.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Serves executions and definitions.
    pub orchestrator: Peer,
    /// Serves what runs, and registries.
    pub cloud_driver: Peer,
    /// Takes events in and starts by hand.
    pub trigger: Peer,
    /// Keeps canary configs and runs canaries.
    pub canary_judge: Peer,
    /// The checks of everything else in this process; `/health` reports them too.
    pub health: Health,
    /// Ends live connections when it begins.
    pub shutdown: Shutdown,
    /// The operator's rules of who may do what; of use only where people authenticate.
    pub policy: Arc<Policy>,
    /// The metrics of everything in this process, shown at `/metrics` to who is logged in.
    pub metrics: Shown,
    /// What cookies are authenticated with; the same in every replica.
    pub key: Key,
}

/// What every handler may use.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    pub(crate) clients: Arc<Clients>,
    pub(crate) config: Arc<Config>,
    pub(crate) health: Arc<Health>,
    pub(crate) live: Arc<Semaphore>,
    pub(crate) hub: Arc<live::Hub>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) metrics: Shown,
    pub(crate) key: Key,
    pub(crate) directory: Arc<access::Directory>,
    pub(crate) shutdown: Shutdown,
}

/// The service: its HTTP routes are to be bound by whoever runs it.
pub fn build(config: Config, deps: Deps) -> Service {
    let gateway = Gateway {
        clients: Arc::new(Clients::new(
            deps.orchestrator,
            deps.cloud_driver,
            deps.trigger,
            deps.canary_judge,
        )),
        live: Arc::new(Semaphore::new(config.live_clients)),
        hub: Arc::new(live::Hub::new()),
        identity: Arc::new(Identity::new(
            config.authentication.clone(),
            deps.key.clone(),
        )),
        policy: deps.policy,
        metrics: deps.metrics,
        key: deps.key,
        directory: Arc::default(),
        config: Arc::new(config),
        health: Arc::new(deps.health),
        shutdown: deps.shutdown,
    };
    let router = rest::router(&gateway);
    let (identity, clients) = (Arc::clone(&gateway.identity), Arc::clone(&gateway.clients));
    Service::new("gateway")
        .http(edge::around(router, &gateway))
        .task("gateway-roles", OnError::Restart, move |shutdown| {
            identity::follow::follow(Arc::clone(&identity), Arc::clone(&clients), shutdown)
        })
}
