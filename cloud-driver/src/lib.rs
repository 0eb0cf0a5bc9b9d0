//! cloud-driver: accounts, operations, rollouts, the read model and images.
//!
//! Performs what a stage asks for, once per effect id, and shows what runs. It
//! never decides what to deploy. Its truths are the store (what was asked and
//! decided), the processes and the load balancer (what is).

pub mod account;
pub mod api;
pub mod config;
pub mod operation;
pub mod provider;
pub mod registry;
pub mod view;

use std::sync::Arc;
use std::time::Duration;

use authorization::Policy;
use proto::MAX_MESSAGE_BYTES;
use proto::cloud_driver::v1::operation_service_server::OperationServiceServer;
use proto::cloud_driver::v1::query_service_server::QueryServiceServer;
use runtime::Service;
use runtime::task::OnError;
use thiserror::Error;
use tonic::service::Routes;

pub use config::Config;
use operation::ledger::Ledger;
use operation::worker::Worker;
use provider::local::image::{Images, Limits};
use provider::local::{ImageSource, Local};

/// What the service needs of its surroundings.
#[derive(Debug, Clone)]
pub struct Deps {
    /// The store all services share.
    pub store: store::Shared,
    /// Where images come from; none: the configured registries.
    pub images: Option<Arc<dyn ImageSource>>,
    /// The operator's rules; none where nobody has to authenticate.
    pub policy: Option<Arc<Policy>>,
}

/// Why the service cannot be built.
#[derive(Debug, Error)]
pub enum Error {
    /// A setting does not fit.
    #[error("{0}")]
    Config(String),
    /// A registry account does not fit.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The folder of images cannot be used.
    #[error(transparent)]
    Images(#[from] provider::local::image::Error),
    /// The local provider cannot be set up.
    #[error(transparent)]
    Local(#[from] provider::local::Error),
}

/// Builds the service. Nothing runs before its tasks are started.
///
/// # Errors
/// When the configuration does not fit or a folder cannot be used.
pub fn build(mut config: Config, deps: Deps) -> Result<Service, Error> {
    config.check().map_err(Error::Config)?;
    // Shims and balancer work from the root folder.
    config.data = std::path::absolute(&config.data)
        .map_err(|e| Error::Config(format!("data folder {}: {e}", config.data.display())))?;
    let registries = registry::Registries::new(config.registries.clone())?;
    let images: Arc<dyn ImageSource> = match deps.images {
        Some(images) => images,
        None => Arc::new(Images::open(
            &config.data.join("images"),
            registries.clone(),
            Limits::default(),
        )?),
    };
    let config = Arc::new(config);
    let local = Arc::new(Local::new(config.clone(), deps.store.clone(), images)?);
    let ledger = Ledger::new(deps.store, local.journal().shard());
    let operations = api::Operations::new(
        config.clone(),
        ledger.clone(),
        local.journal().clone(),
        deps.policy,
    );
    let queries = api::Queries::new(config.clone(), local.clone(), ledger.clone());
    let routes = Routes::new(
        OperationServiceServer::new(operations).max_decoding_message_size(MAX_MESSAGE_BYTES),
    )
    .add_service(QueryServiceServer::new(queries))
    .add_service(registry::Api::new(registries).into_server());
    let worker = Worker {
        config,
        local: local.clone(),
        ledger: ledger.clone(),
        queue: operation::ledger::QUEUE,
    };
    let jobs = Worker {
        queue: operation::ledger::JOBS,
        ..worker.clone()
    };
    let (checked, supervised) = (local.clone(), local);
    let service = Service::new("cloud-driver")
        .grpc(routes)
        .check("balancer", move || {
            let local = checked.clone();
            async move { local.routers().check() }
        })
        .task("balancer-control", OnError::Restart, move |shutdown| {
            let (local, ledger) = (supervised.clone(), ledger.clone());
            async move { provider::local::adopt::supervise(local, ledger, shutdown).await }
        });
    let service = [("operations", worker), ("jobs", jobs)].into_iter().fold(
        service,
        |service, (name, worker)| {
            service.task(name, OnError::Restart, move |shutdown| {
                let worker = worker.clone();
                async move {
                    // Operations act on a world that has been adopted.
                    let ready = worker.local.routers().ready();
                    if shutdown.or(ready).await.is_none() {
                        return Ok(());
                    }
                    worker.run(shutdown).await
                }
            })
        },
    );
    Ok(service)
}

/// How long `build`'s tasks may take to end.
pub const GRACE: Duration = Duration::from_secs(4);
