//! Events in, what they start and why not.
//!
//! Owns incoming events, the decisions about triggers and the cursors of
//! polling. It must never run a stage or keep a registry's credentials: it asks
//! cloud-driver for tags and digests. The truth about pipelines is the
//! orchestrator's and is read anew for every event.

mod access;
mod api;
mod breaker;
mod completed;
mod config;
mod constraint;
mod cron;
mod cursor;
mod decisions;
pub mod event;
mod intake;
mod jenkins;
pub mod matcher;
mod metrics;
mod parameters;
mod pattern;
mod peers;
mod poll;
pub mod proof;
pub mod refusal;
pub mod restore;
pub mod source;
mod trial;
mod worker;

use std::sync::Arc;

use authorization::Policy;
use proto::message::PIPELINE_COMPLETED;
use runtime::Service;
use runtime::client::Peer;
use runtime::task::OnError;
use tonic::service::Routes;

pub use config::Config;

use intake::Intake;
use metrics::Metrics;
use peers::Peers;

/// What the service needs of the process it runs in.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where events, decisions and cursors are kept.
    pub store: store::Shared,
    /// Serves definitions and executions.
    pub orchestrator: Peer,
    /// Serves registries.
    pub cloud_driver: Peer,
    /// The rules of who may do what, where people have to authenticate.
    pub policy: Option<Arc<Policy>>,
}

/// The service. Starts leave it as messages that cross shards: some part of the
/// process must run the store's outbox.
pub fn build(config: Config, deps: Deps) -> Service {
    let metrics = Arc::new(Metrics::default());
    let intake = Arc::new(Intake::new(
        deps.store,
        Peers::new(deps.orchestrator, deps.cloud_driver),
        Arc::new(config),
        Arc::clone(&metrics),
        access::Access(deps.policy),
    ));
    let again = || Arc::clone(&intake);
    let (events, polls, begin, check) = (again(), again(), again(), again());
    let (schedules, begin_schedules, ended) = (again(), again(), again());
    let (builds, begin_builds, served) = (again(), again(), again());
    Service::new("trigger")
        .grpc(
            Routes::new(api::Api::new(Arc::clone(&intake)).into_server())
                .add_service(jenkins::Builds::new(served).into_server()),
        )
        .metrics(Arc::new(move || metrics.text()))
        .check("trigger-store", move || {
            let intake = Arc::clone(&check);
            async move {
                let now = intake.store.now_ms().await;
                now.map(|_| ()).map_err(|e| e.to_string())
            }
        })
        .task("trigger-events", OnError::Restart, move |shutdown| {
            let intake = Arc::clone(&events);
            async move {
                let handle = |delivery| {
                    let intake = Arc::clone(&intake);
                    async move { intake.handle(&delivery).await }
                };
                worker::run(intake.store.clone(), intake::QUEUE, shutdown, handle).await
            }
        })
        .task("trigger-polls", OnError::Restart, move |shutdown| {
            let intake = Arc::clone(&polls);
            async move {
                let handle = |delivery| {
                    let intake = Arc::clone(&intake);
                    async move { poll::handle(&intake, &delivery).await }
                };
                worker::run(intake.store.clone(), poll::QUEUE, shutdown, handle).await
            }
        })
        .task("trigger-jenkins", OnError::Restart, move |shutdown| {
            let intake = Arc::clone(&builds);
            async move {
                let handle = |delivery| {
                    let intake = Arc::clone(&intake);
                    async move { jenkins::handle(&intake, &delivery).await }
                };
                worker::run(intake.store.clone(), jenkins::QUEUE, shutdown, handle).await
            }
        })
        .task("trigger-jenkins-start", OnError::Restart, move |shutdown| {
            jenkins::begin(begin_builds.as_ref().clone(), shutdown)
        })
        .task("trigger-cron", OnError::Restart, move |shutdown| {
            let intake = Arc::clone(&schedules);
            async move {
                let handle = |delivery| {
                    let intake = Arc::clone(&intake);
                    async move { cron::handle(&intake, &delivery).await }
                };
                worker::run(intake.store.clone(), cron::QUEUE, shutdown, handle).await
            }
        })
        .task("trigger-cron-start", OnError::Restart, move |shutdown| {
            cron::begin(begin_schedules.as_ref().clone(), shutdown)
        })
        .task("trigger-completed", OnError::Restart, move |shutdown| {
            let intake = Arc::clone(&ended);
            async move {
                let handle = |delivery| {
                    let intake = Arc::clone(&intake);
                    async move { completed::handle(&intake, &delivery).await }
                };
                worker::run(intake.store.clone(), PIPELINE_COMPLETED, shutdown, handle).await
            }
        })
        .task("trigger-poll-start", OnError::Restart, move |shutdown| {
            poll::begin(begin.as_ref().clone(), shutdown)
        })
}
