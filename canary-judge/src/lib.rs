//! The canary judge: canary configs, metric stores, canary runs. Who judges is the crate `judge`.
//!
//! Owns runs, with what they were judged on; a canary config's rules, while the document is the orchestrator's like
//! all that people author. It must never move traffic: it says what a canary is worth, and others act. The truth about
//! a metric is its store's, asked anew for every judgement.

pub mod account;
mod api;
mod config;
mod configs;
mod failure;
mod ids;
pub mod query;
mod remote;
mod request;
mod run;
mod short;
pub mod source;
pub mod stores;
mod template;
mod worker;

use std::sync::Arc;

use authorization::Policy;
use runtime::Service;
use runtime::client::Peer;
use runtime::task::OnError;
use store::Shared;
use tonic::service::Routes;

pub use config::Config;

use configs::Configs;
use run::Runs;
use source::CloudDriver;
use stores::{Configured, Stores};

/// What the service needs of the process it runs in.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where runs are kept, and their messages.
    pub store: Shared,
    /// Where runs that have ended go; none: nowhere.
    pub archive: Option<store::archive::Shared>,
    /// Keeps canary configs.
    pub orchestrator: Peer,
    /// Tells what the balancer measured.
    pub cloud_driver: Peer,
    /// The rules of who may do what, where people have to authenticate.
    pub policy: Option<Arc<Policy>>,
    /// Metric stores in place of those of the configuration, for tests.
    pub stores: Option<Arc<dyn Stores>>,
}

/// The service.
///
/// # Errors
/// When an account cannot be used.
pub fn build(config: &Config, deps: Deps) -> Result<Service, String> {
    let stores = match deps.stores {
        Some(stores) => stores,
        None => {
            let history = Arc::new(CloudDriver::new(deps.cloud_driver));
            Arc::new(Configured::new(&config.accounts, history, deps.policy)?)
        }
    };
    let runs = Runs {
        store: deps.store,
        archive: deps.archive,
        remote: config.remote()?.map(Arc::new),
        stores,
        retention: config.run_retention.0,
    };
    let api = api::Api::new(runs.clone(), Configs::new(deps.orchestrator));
    let (check, at_once) = (runs.clone(), config.judgements_at_once);
    let service = Service::new("canary-judge")
        .grpc(Routes::new(api.into_server()))
        .check("canary-judge-store", move || {
            let store = check.store.clone();
            async move {
                let now = store.now_ms().await;
                now.map(|_| ()).map_err(|error| error.to_string())
            }
        })
        .task("canary-runs", OnError::Restart, move |shutdown| {
            worker::run(runs.clone(), at_once, shutdown)
        });
    Ok(service)
}
