//! The demonstration server: a stand-in for somebody's service.
//!
//! Owns the listening socket and the connections. It binds loopback only, and on SIGTERM it stops
//! accepting, finishes every request that has begun and then exits, unless it was told to misbehave.
//! Its truth is its environment, read once at the start.

mod answer;
mod check;
mod echo;
mod settings;
mod socket;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use answer::Answers;
pub use check::check;
pub use settings::{OnSigterm, Settings};

/// How long an announcement may take.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs the server until it is told to end, and returns its exit code: 0 after a clean drain, the
/// configured one when the environment asks it to die.
pub async fn run(settings: Settings) -> Result<ExitCode> {
    println!("demo-server {} starting", settings.version);
    let mut sigterm = signal(SignalKind::terminate()).context("cannot watch for SIGTERM")?;
    let mut sigint = signal(SignalKind::interrupt()).context("cannot watch for SIGINT")?;
    announce(&settings).await;
    let serving = serve(&settings);
    tokio::pin!(serving);
    let death = async {
        match settings.exit_after {
            Some(after) => tokio::time::sleep(after).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(death);
    loop {
        tokio::select! {
            result = &mut serving => return result.map(|()| ExitCode::SUCCESS),
            () = &mut death => {
                println!("demo-server {} dies with code {} as configured", settings.version, settings.exit_code);
                return Ok(ExitCode::from(settings.exit_code));
            }
            _ = sigterm.recv() => match settings.on_sigterm {
                OnSigterm::Ignore => println!("demo-server {} ignores SIGTERM", settings.version),
                OnSigterm::Exit => {
                    println!("demo-server {} exits at once on SIGTERM", settings.version);
                    return Ok(ExitCode::SUCCESS);
                }
                OnSigterm::Drain => settings.drain(),
            },
            _ = sigint.recv() => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Tells the configured listener that a process has started. One that cannot be told does not keep
/// the server from starting.
async fn announce(settings: &Settings) {
    let Some(address) = &settings.announce else {
        return;
    };
    let told = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "POST /started?version={}&port={}&pid={} HTTP/1.1\r\nhost: {address}\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n",
            settings.version,
            settings.port,
            std::process::id()
        );
        stream.write_all(request.as_bytes()).await?;
        stream.read_to_end(&mut Vec::new()).await
    };
    match tokio::time::timeout(ANNOUNCE_TIMEOUT, told).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => eprintln!("demo-server: cannot announce itself to {address}: {error}"),
        Err(_) => eprintln!("demo-server: {address} does not answer the announcement"),
    }
}

/// Accepts connections until the settings' drain begins, then waits for those that are left.
async fn serve(settings: &Settings) -> Result<()> {
    let mut draining = settings.draining();
    tokio::select! {
        () = tokio::time::sleep(settings.start_delay) => {}
        _ = draining.wait_for(|draining| *draining) => return Ok(()),
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, settings.port));
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))?;
    let address = listener
        .local_addr()
        .context("the listening socket has no address")?;
    println!("demo-server {} listens on {address}", settings.version);

    // Conversations that left their connection; the last of them drops the last sender.
    let (talking, mut silent) = mpsc::channel(1);
    let answers = Arc::new(Answers::new(settings, talking)?);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&answers), settings.draining()));
                }
                // Out of file descriptors, or a client that left: the next accept may work.
                Err(error) => eprintln!("demo-server: accept failed: {error}"),
            },
            Some(_) = connections.join_next() => {}
            _ = draining.wait_for(|draining| *draining) => break,
        }
    }
    drop(listener);
    println!(
        "demo-server {} drains {} connections",
        settings.version,
        connections.len()
    );
    while connections.join_next().await.is_some() {}
    drop(answers);
    let _nobody = silent.recv().await;
    println!("demo-server {} has drained", settings.version);
    Ok(())
}

async fn connection(stream: TcpStream, answers: Arc<Answers>, mut draining: watch::Receiver<bool>) {
    if stream.set_nodelay(true).is_err() {
        return; // the peer is gone already
    }
    let closing = Arc::new(AtomicBool::new(false));
    let service = {
        let closing = Arc::clone(&closing);
        service_fn(move |request| {
            let answers = Arc::clone(&answers);
            let closing = closing.load(Ordering::Relaxed);
            async move { Ok::<_, Infallible>(answers.answer(request, closing).await) }
        })
    };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder.http2().timer(TokioTimer::new());
    let served = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(served);
    let ended = tokio::select! {
        result = &mut served => Some(result),
        _ = draining.wait_for(|draining| *draining) => None,
    };
    let result = match ended {
        Some(result) => result,
        None => {
            closing.store(true, Ordering::Relaxed);
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        // A client that goes away in the middle is its own business; it is only worth a line.
        eprintln!("demo-server: connection ended: {error}");
    }
}
