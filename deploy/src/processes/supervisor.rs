//! The supervisor: binds, starts, restarts, ends.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use cloud_driver::provider::local::balancer::check_port;
use runtime::relay;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::slot::{Order, Slot};
use super::{Kind, admin_socket, folder, restart, socket};
use crate::cli::Up;
use crate::up::config::Settings;
use crate::up::wire::Peers;
use crate::up::{demo, wire};

/// Orders to all slots, in the order they were started in.
struct Slots {
    all: Vec<(String, mpsc::Sender<Order>, JoinHandle<anyhow::Result<()>>)>,
}

impl Slots {
    /// One after the other: the next begins when the one before is replaced.
    async fn restart(&self) -> anyhow::Result<()> {
        for (name, orders, _) in &self.all {
            let (done, answer) = oneshot::channel();
            orders
                .send(Order::Restart(done))
                .await
                .context("the replica's place is gone")?;
            answer
                .await
                .context("the replica's place is gone")?
                .with_context(|| format!("{name} is not replaced; its former process goes on"))?;
        }
        Ok(())
    }

    /// All at once; their order does not matter, since nothing is accepted any more.
    async fn stop(self) {
        for (_, orders, _) in &self.all {
            let _ = orders.send(Order::Stop).await;
        }
        for (name, _, task) in self.all {
            match task.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!("{name}: {error:#}"),
                Err(error) => tracing::error!("{name}: {error}"),
            }
        }
    }
}

/// Runs until SIGTERM or SIGINT; SIGHUP replaces every process, one after the other.
pub(crate) fn run(options: &Up, settings: &Settings) -> anyhow::Result<ExitCode> {
    if options.redis.is_none() {
        eprintln!(
            "gennaker: --processes needs --redis URL: the embedded store belongs to one process"
        );
        return Ok(ExitCode::from(64));
    }
    // Children end with the thread that started them, so there is one.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(supervise(options, settings))?;
    Ok(ExitCode::SUCCESS)
}

async fn supervise(options: &Up, settings: &Settings) -> anyhow::Result<()> {
    let data = settings.data.as_path();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let address = SocketAddr::from((options.bind, options.port));
    let gateway = TcpListener::bind(address)
        .with_context(|| format!("cannot listen on {address}; choose another port with --port"))?;
    gateway.set_nonblocking(true)?;
    check_port(data, options.balancer_port)
        .await
        .map_err(anyhow::Error::msg)?;
    std::fs::create_dir_all(folder(data))?;
    // Made here, if it is new: a replica that begins later must not take one that was emptied for new.
    match wire::store(options, settings).await {
        Ok(_) => {}
        // Replicas try until it answers.
        Err(error) if error.is::<store::Error>() && !options.accept_empty => {
            tracing::warn!("the store cannot be opened now: {error:#}");
        }
        Err(refused) => return Err(refused),
    }
    // Those behind `up`; each replica reads them itself.
    let arguments = std::env::args_os().skip(2);
    let arguments: Vec<OsString> = arguments.filter(|a| a != "--accept-empty").collect();
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut slots = Slots { all: Vec::new() };
    let mut waiting = Vec::new();
    for kind in Kind::ALL {
        let listener = match kind {
            Kind::Gateway => OwnedFd::from(gateway.try_clone()?),
            _ => OwnedFd::from(bind(&socket(data, kind))?),
        };
        for number in 0..options.replicas.max(1) {
            let slot = Slot {
                kind,
                number,
                program: program.clone(),
                arguments: arguments.clone(),
                listener: listener.try_clone()?,
            };
            let name = slot.to_string();
            let (orders, ordered) = mpsc::channel(4);
            let (told, ready) = oneshot::channel();
            slots
                .all
                .push((name.clone(), orders, tokio::spawn(slot.keep(told, ordered))));
            waiting.push((name, ready));
        }
    }
    let mut begun = Box::pin(async {
        for (name, ready) in waiting {
            ready
                .await
                .with_context(|| format!("{name} was not started"))?;
        }
        anyhow::Ok(())
    });
    let mut is_up = false;
    loop {
        let signalled = tokio::select! {
            up = &mut begun, if !is_up => {
                is_up = true;
                up?;
                println!("page       http://{address}/ui/");
                println!("balancer   http://127.0.0.1:{}/", options.balancer_port);
                if options.demo {
                    tokio::spawn(set_up(options.clone(), data.to_owned()));
                }
                continue;
            }
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hangup.recv() => {
                tracing::info!("every process is replaced");
                // A signal to end must not wait for that.
                let ended = tokio::select! {
                    _ = terminate.recv() => Some("SIGTERM"),
                    _ = interrupt.recv() => Some("SIGINT"),
                    replaced = slots.restart() => {
                        restart::note(data, replaced.as_ref().err())?;
                        match replaced {
                            Ok(()) => tracing::info!("every process was replaced"),
                            Err(error) => tracing::error!("{error:#}"),
                        }
                        None
                    }
                };
                match ended {
                    None => continue,
                    Some(signalled) => signalled,
                }
            }
        };
        tracing::info!(signal = signalled, "ending");
        break;
    }
    drop(begun);
    slots.stop().await;
    for kind in Kind::ALL {
        let _ = std::fs::remove_file(socket(data, kind));
        for number in 0..options.replicas.max(1) {
            let _ = std::fs::remove_file(admin_socket(data, kind, number));
        }
    }
    Ok(())
}

/// The demonstration, by way of the replicas.
async fn set_up(options: Up, data: PathBuf) {
    let key = match wire::key(&data) {
        Ok(key) => key,
        Err(error) => {
            tracing::error!("the demonstration is not set up: {error:#}");
            return;
        }
    };
    let peer = |kind| relay::replicas(&socket(&data, kind), key.clone());
    let peers = Peers {
        orchestrator: peer(Kind::Orchestrator),
        cloud_driver: peer(Kind::CloudDriver),
        trigger: peer(Kind::Trigger),
        canary_judge: peer(Kind::CanaryJudge),
    };
    let ports = (options.port, options.balancer_port);
    if let Err(error) = demo::set_up(peers, ports).await {
        tracing::error!("the demonstration is not set up: {error:#}");
    }
}

/// A unix socket of ours; one that a dead supervisor left is replaced.
fn bind(path: &Path) -> anyhow::Result<UnixListener> {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        bail!("cannot replace {}: {error}", path.display());
    }
    let listener = UnixListener::bind(path).with_context(|| {
        format!(
            "cannot listen on {}; choose a shorter --data if it is too long",
            path.display()
        )
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
