//! One replica: `gennaker orchestrator` and so on, as the supervisor starts it.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use authorization::Policy;
use runtime::auth::Key;
use runtime::health::Health;
use runtime::{Running, Service, Shutdown, admin, relay, server, telemetry};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use store::Shared;
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::{Kind, READY, admin_socket, folder, socket};
use crate::cli::Replica;
use crate::up::{config, wire};

/// How long what is under way may take to end.
const GRACE: Duration = Duration::from_secs(5);
/// Runs one replica until a signal, or until its supervisor is no more.
pub(crate) fn run(kind: Kind, options: &Replica) -> anyhow::Result<ExitCode> {
    telemetry::init(&options.up.log, telemetry::Format::Text)?;
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let parent = getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if parent != Some(options.supervisor) {
        bail!("{} is started by gennaker up --processes", kind.name());
    }
    let data = options.up.data.canonicalize()?;
    let settings = config::read(&options.up, &data)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(serve(kind, options, settings, &data));
    runtime.shutdown_timeout(Duration::from_millis(200));
    outcome.map(|()| ExitCode::SUCCESS)
}

/// What the supervisor bound.
fn inherited() -> anyhow::Result<OwnedFd> {
    std::io::stdin()
        .as_fd()
        .try_clone_to_owned()
        .context("no listener was handed over as standard input")
}

fn ready() -> anyhow::Result<()> {
    use std::io::Write;
    let mut output = std::io::stdout().lock();
    writeln!(output, "{READY}")?;
    Ok(output.flush()?)
}

async fn serve(
    kind: Kind,
    options: &Replica,
    settings: config::Settings,
    data: &Path,
) -> anyhow::Result<()> {
    let shutdown = runtime::shutdown::on_signal();
    let key = wire::key(data)?;
    let admin = admin_socket(data, kind, options.replica);
    let peer = |to| relay::replicas(&socket(data, to), key.clone()).of(kind.name());
    if kind == Kind::Gateway {
        let deps = gateway::Deps {
            orchestrator: peer(Kind::Orchestrator),
            cloud_driver: peer(Kind::CloudDriver),
            trigger: peer(Kind::Trigger),
            canary_judge: peer(Kind::CanaryJudge),
            health: Health::new(),
            shutdown: shutdown.clone(),
            policy: settings.policy,
            key: key.clone(),
            metrics: gateway::Shown::default(),
        };
        let tls = gateway::acceptor(&settings.gateway).map_err(anyhow::Error::msg)?;
        let service = gateway::build(settings.gateway, deps);
        be_asked(&service, &admin, &shutdown);
        return face_users(service, tls, &shutdown).await;
    }
    let enforced = settings.enforced();
    let store = wire::store(&options.up, &settings).await?;
    let others = vec![wire::relay(store.clone())];
    let service = match kind {
        Kind::CloudDriver => {
            ready()?;
            let Some(lock) = alone(data, &shutdown).await? else {
                return Ok(());
            };
            let service = cloud_driver(settings.cloud_driver, store, enforced)?;
            be_asked(&service, &admin, &shutdown);
            let ended = answer(service, others, key, &shutdown).await;
            drop(lock);
            return ended;
        }
        Kind::Orchestrator => orchestrator::build(
            settings.orchestrator,
            orchestrator::Deps {
                store,
                cloud_driver: peer(Kind::CloudDriver),
                trigger: peer(Kind::Trigger),
                // It is in the orchestrator's process.
                canary_judge: peer(Kind::CanaryJudge),
                egress: runtime::egress::Egress::new(settings.egress)?,
                policy: enforced,
            },
        ),
        Kind::CanaryJudge => canary_judge::build(
            &settings.canary_judge,
            canary_judge::Deps {
                store,
                archive: settings.orchestrator.archive.open(),
                orchestrator: peer(Kind::Orchestrator),
                cloud_driver: peer(Kind::CloudDriver),
                policy: enforced,
                stores: None,
            },
        )
        .map_err(anyhow::Error::msg)?,
        Kind::Trigger | Kind::Gateway => trigger::build(
            settings.trigger,
            trigger::Deps {
                store,
                orchestrator: peer(Kind::Orchestrator),
                cloud_driver: peer(Kind::CloudDriver),
                policy: enforced,
            },
        ),
    };
    be_asked(&service, &admin, &shutdown);
    ready()?;
    answer(service, others, key, &shutdown).await
}

fn cloud_driver(
    config: cloud_driver::Config,
    store: Shared,
    policy: Option<Arc<Policy>>,
) -> anyhow::Result<Service> {
    let deps = cloud_driver::Deps {
        store,
        images: None,
        policy,
    };
    cloud_driver::build(config, deps).context("cloud-driver")
}

/// The right to act on this host's processes: a lock of the kernel's, which ends with
/// the process however it ends. Waits for it; none if the shutdown begins meanwhile.
async fn alone(data: &Path, shutdown: &Shutdown) -> anyhow::Result<Option<std::fs::File>> {
    let path = folder(data).join("cloud-driver.lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let waiting = tokio::task::spawn_blocking(move || {
        flock(&file, FlockOperation::LockExclusive).map(|()| file)
    });
    match shutdown.or(waiting).await {
        None => Ok(None),
        Some(locked) => Ok(Some(locked?.context("cannot lock the host's processes")?)),
    }
}

/// Answers what an operator asks this replica alone, until the shutdown begins. What replicas count is told by
/// each for itself: they accept from one queue, so nobody could choose one there. Who cannot be asked serves
/// all the same.
fn be_asked(service: &Service, path: &Path, shutdown: &Shutdown) {
    // The one before, which may still be ending, keeps its own.
    let replaced = match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => UnixListener::bind(path),
    };
    let listener = match replaced {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!("metrics cannot be served on {}: {error}", path.display());
            return;
        }
    };
    let routes = admin::router(service.health().clone(), service.all_metrics().to_vec());
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        let ended = async move { shutdown.begun().await };
        let served = axum::serve(listener, routes).with_graceful_shutdown(ended);
        if let Err(error) = served.await {
            tracing::warn!("metrics are not served any more: {error}");
        }
    });
}

/// Serves gRPC until the shutdown begins, then ends what is under way.
async fn answer(
    mut service: Service,
    others: Vec<Service>,
    key: Key,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let listener = std::os::unix::net::UnixListener::from(inherited()?);
    let listener = UnixListener::from_std(listener)?;
    let routes = service
        .take_grpc()
        .context("the service has no gRPC interface")?;
    let serving = tokio::spawn(server::inherited(listener, routes, key, shutdown.clone()));
    let mut running: Vec<Running> = vec![service.start(shutdown)];
    running.extend(others.into_iter().map(|other| other.start(shutdown)));
    shutdown.begun().await;
    let ends = running.into_iter().map(|r| r.end(GRACE));
    let (served, _) = tokio::join!(
        tokio::time::timeout(GRACE, serving),
        futures_util::future::join_all(ends),
    );
    match served {
        Ok(served) => Ok(served??),
        // Streams that somebody watches; they are begun anew elsewhere.
        Err(_) => Ok(()),
    }
}

/// Serves HTTP until the shutdown begins, and then what is under way.
async fn face_users(
    mut service: Service,
    tls: Option<TlsAcceptor>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let listener = std::net::TcpListener::from(inherited()?);
    let listener = TcpListener::from_std(listener)?;
    let http = service.take_http().unwrap_or_default();
    let running = service.start(shutdown);
    let served = tokio::spawn(gateway::serve(listener, http, tls, shutdown.clone()));
    ready()?;
    shutdown.begun().await;
    let (_late, ()) = tokio::join!(tokio::time::timeout(GRACE, served), running.end(GRACE),);
    Ok(())
}
