//! Building the services in the order of their dependencies, and running them.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use runtime::auth::Key;
use runtime::client::Link;
use runtime::health::Health;
use runtime::task::OnError;
use runtime::{Running, Service, Shutdown, client};
use store::{Consumer, ConsumerSettings, Shared, outbox};

use super::config::Settings;
use crate::cli::Up;
use crate::ground::{self, Place};

/// Channels to the services of this process.
#[derive(Debug, Clone)]
pub(crate) struct Peers {
    pub(crate) orchestrator: Link,
    pub(crate) cloud_driver: Link,
    pub(crate) trigger: Link,
    pub(crate) canary_judge: Link,
}

/// Everything that runs.
pub(super) struct Control {
    pub(super) http: Router,
    pub(super) peers: Peers,
    services: Vec<Running>,
}

impl Control {
    /// Waits for the services' tasks.
    pub(super) async fn end(self, grace: Duration) {
        futures_util::future::join_all(self.services.into_iter().map(|s| s.end(grace))).await;
    }
}

/// Opens the store the command line names; says so if that must not be.
pub(crate) async fn store(options: &Up, settings: &Settings) -> anyhow::Result<Shared> {
    let place = Place::of(options.redis.as_ref(), &settings.data);
    let archive = settings.orchestrator.archive.open();
    let opened = ground::open(&place, archive, options.accept_empty).await?;
    let store = opened.shared();
    let info = store.info().await?;
    tracing::info!(
        backend = info.backend,
        durability = info.durability,
        "store"
    );
    for warning in info.warnings {
        tracing::warn!(warning, "store");
    }
    Ok(store)
}

/// What the services of this installation sign their calls with, kept in the data folder.
pub(crate) fn key(data: &Path) -> anyhow::Result<Key> {
    Ok(Key::of_file(&data.join("identity.key"), rand::random())?)
}

/// Builds and starts every service.
pub(super) fn start(
    settings: Settings,
    store: Shared,
    shutdown: &Shutdown,
) -> anyhow::Result<Control> {
    let enforced = settings.enforced();
    let key = key(&settings.data)?;
    let (cloud_driver, cloud_driver_end) = client::in_process(&key);
    let (orchestrator, orchestrator_end) = client::in_process(&key);
    let (trigger, trigger_end) = client::in_process(&key);
    let (canary_judge, canary_judge_end) = client::in_process(&key);
    let peers = Peers {
        orchestrator,
        cloud_driver,
        trigger,
        canary_judge,
    };
    let archive = settings.orchestrator.archive.open();
    let egress = runtime::egress::Egress::new(settings.egress)?;
    let built = [
        (
            cloud_driver::build(
                settings.cloud_driver,
                cloud_driver::Deps {
                    store: store.clone(),
                    images: None,
                    policy: enforced.clone(),
                },
            )
            .context("cloud-driver")?,
            cloud_driver_end,
        ),
        (
            orchestrator::build(
                settings.orchestrator,
                orchestrator::Deps {
                    store: store.clone(),
                    cloud_driver: peers.cloud_driver.of("orchestrator"),
                    trigger: peers.trigger.of("orchestrator"),
                    canary_judge: peers.canary_judge.of("orchestrator"),
                    egress,
                    policy: enforced.clone(),
                },
            ),
            orchestrator_end,
        ),
        (
            trigger::build(
                settings.trigger,
                trigger::Deps {
                    store: store.clone(),
                    orchestrator: peers.orchestrator.of("trigger"),
                    cloud_driver: peers.cloud_driver.of("trigger"),
                    policy: enforced.clone(),
                },
            ),
            trigger_end,
        ),
        (
            canary_judge::build(
                &settings.canary_judge,
                canary_judge::Deps {
                    store: store.clone(),
                    archive,
                    orchestrator: peers.orchestrator.of("canary-judge"),
                    cloud_driver: peers.cloud_driver.of("canary-judge"),
                    policy: enforced,
                    stores: None,
                },
            )
            .map_err(anyhow::Error::msg)?,
            canary_judge_end,
        ),
    ];
    let mut health = Health::new();
    let mut metrics = Vec::new();
    let mut services = Vec::new();
    for (mut service, acceptor) in built {
        health.extend(service.health());
        metrics.extend(service.all_metrics().iter().cloned());
        if let Some(routes) = service.take_grpc() {
            tokio::spawn(acceptor.serve(routes, shutdown.clone()));
        }
        services.push(service.start(shutdown));
    }
    let mut gateway = gateway::build(
        settings.gateway,
        gateway::Deps {
            orchestrator: peers.orchestrator.of("gateway"),
            cloud_driver: peers.cloud_driver.of("gateway"),
            trigger: peers.trigger.of("gateway"),
            canary_judge: peers.canary_judge.of("gateway"),
            health: health.clone(),
            shutdown: shutdown.clone(),
            policy: settings.policy,
            key,
            metrics: gateway::Shown(metrics.into()),
        },
    );
    let http = gateway.take_http().unwrap_or_default();
    services.push(gateway.start(shutdown));
    services.push(relay(store).start(shutdown));
    Ok(Control {
        http,
        peers,
        services,
    })
}

/// The relay of messages between shards.
pub(crate) fn relay(store: Shared) -> Service {
    Service::new("outbox").task("outbox-relay", OnError::Restart, move |shutdown| {
        let store = store.clone();
        async move {
            let settings = ConsumerSettings {
                queue: outbox::QUEUE.to_owned(),
                lease_ms: 3_000,
                // It is delivered until it is: the target is our own store.
                max_tries: u32::MAX,
            };
            let mut consumer = Consumer::new(store.clone(), settings);
            while let Some(next) = shutdown.or(consumer.next(16)).await {
                for delivery in next? {
                    outbox::relay(&store, &delivery).await?;
                }
            }
            Ok::<_, store::Error>(())
        }
    })
}
