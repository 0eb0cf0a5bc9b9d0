//! The gateway: Gate's REST interface, live updates, the page.
//!
//! Owns the translation between HTTP and our services. It must never hold the
//! state of a deployment or talk to a cloud; its truth is what its peers answer
//! now. Nobody is authenticated yet: who links it must bind it to loopback only.

mod answer;
mod clients;
mod config;
mod edge;
mod environment;
mod error;
mod health;
mod listing;
mod live;
mod openapi;
mod project_clusters;
mod request;
mod rest;
mod routes;
mod trigger_subset;
mod ui;

use std::sync::Arc;

use runtime::client::Peer;
use runtime::health::Health;
use runtime::{Service, Shutdown};
use tokio::sync::Semaphore;

pub use config::Config;

use clients::Clients;

/// What the gateway needs of the process it runs in.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Serves executions and definitions.
    pub orchestrator: Peer,
    /// Serves what runs, and registries.
    pub cloud_driver: Peer,
    /// Takes events in and starts by hand.
    pub trigger: Peer,
    /// The checks of everything else in this process; `/health` reports them too.
    pub health: Health,
    /// Ends live connections when it begins.
    pub shutdown: Shutdown,
}

/// What every handler may use.
#[derive(Debug, Clone)]
pub(crate) struct Gateway {
    pub(crate) clients: Clients,
    pub(crate) config: Arc<Config>,
    pub(crate) health: Arc<Health>,
    pub(crate) live: Arc<Semaphore>,
    pub(crate) hub: Arc<live::Hub>,
    pub(crate) may_read: live::MayRead,
    pub(crate) shutdown: Shutdown,
}

/// The service: its HTTP routes are to be bound by whoever runs it.
pub fn build(config: Config, deps: Deps) -> Service {
    let hosts = config.hosts.clone();
    let gateway = Gateway {
        clients: Clients::new(deps.orchestrator, deps.cloud_driver, deps.trigger),
        live: Arc::new(Semaphore::new(config.live_clients)),
        hub: Arc::new(live::Hub::new()),
        may_read: live::MayRead::default(),
        config: Arc::new(config),
        health: Arc::new(deps.health),
        shutdown: deps.shutdown,
    };
    let router = rest::router(&gateway);
    Service::new("gateway").http(edge::around(router, hosts))
}
