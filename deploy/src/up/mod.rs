//! `gennaker up`: all services in one process, over one store.
//!
//! Services speak gRPC over in-process pipes; the only sockets are the gateway's
//! and the balancer's, on loopback unless people have to authenticate. Ctrl-C and SIGTERM end this process within
//! five seconds and leave balancer and instances serving.

pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod wire;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use cloud_driver::provider::local::balancer::check_port;
use runtime::telemetry;

use crate::cli::Up;
use crate::folder::{self, Holder};
use crate::processes;

/// What is left after this is dropped: queued work is durable and waits for the next start.
const GRACE: Duration = Duration::from_secs(4);

/// Memory per worker is what counts on a laptop; two serve far more than one needs.
const WORKERS: usize = 2;

/// Runs until a signal.
pub(crate) fn run(options: Up) -> anyhow::Result<ExitCode> {
    telemetry::init(&options.log, telemetry::Format::Text)?;
    let given = options.config.as_deref().map(std::path::absolute);
    let holder = Holder {
        processes: options.processes,
        config: given.transpose().context("--config")?,
        ..Holder::this(options.port, options.balancer_port)
    };
    let held = folder::hold(&options.data, &holder)?;
    let settings = match config::read(&options, &held.path) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("gennaker: {error:#}");
            // 64: the operator's input, before any port is bound.
            return Ok(ExitCode::from(64));
        }
    };
    if options.processes {
        // Read above to refuse what is faulty before anything runs; each replica reads it itself.
        let outcome = processes::run(&options, &settings);
        drop(held);
        return outcome;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let outcome = runtime.block_on(serve(options, settings));
    // What still runs has had its grace; it must not hold the process.
    runtime.shutdown_timeout(Duration::from_millis(200));
    drop(held);
    outcome.map(|()| ExitCode::SUCCESS)
}

/// What would be run with these options.
///
/// # Errors
/// When the configuration cannot be read, or asks for what cannot be.
pub(crate) fn settings(options: &Up) -> anyhow::Result<config::Settings> {
    // The demonstration's configuration is written by `up` alone.
    let options = Up {
        demo: false,
        ..options.clone()
    };
    config::read(&options, &options.data)
}

async fn serve(options: Up, settings: config::Settings) -> anyhow::Result<()> {
    let address = SocketAddr::from((options.bind, options.port));
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; choose another port with --port"))?;
    let port = options.balancer_port;
    check_port(&settings.data, port)
        .await
        .map_err(anyhow::Error::msg)?;
    let shutdown = runtime::shutdown::on_signal();
    let store = wire::store(&options, &settings).await?;
    let tls = gateway::acceptor(&settings.gateway).map_err(anyhow::Error::msg)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let running = wire::start(settings, store, &shutdown)?;
    tracing::info!(%address, balancer = options.balancer_port, "up");
    println!("page       {scheme}://{address}/ui/");
    println!("balancer   http://127.0.0.1:{}/", options.balancer_port);
    if options.demo {
        let (peers, ports) = (running.peers.clone(), (options.port, options.balancer_port));
        let ending = shutdown.clone();
        tokio::spawn(async move {
            if let Some(Err(error)) = ending.or(demo::set_up(peers, ports)).await {
                tracing::error!("the demonstration is not set up: {error:#}");
            }
        });
    }
    let http = running.http.clone();
    let served = tokio::spawn(gateway::serve(listener, http, tls, shutdown.clone()));
    shutdown.begun().await;
    let end = tokio::time::Instant::now() + GRACE;
    let _late = tokio::time::timeout_at(end, served).await;
    running
        .end(end.saturating_duration_since(tokio::time::Instant::now()))
        .await;
    Ok(())
}
