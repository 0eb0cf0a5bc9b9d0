//! The life of the process: begin, serve, leave.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use balancer::handover::leaving_socket;
use balancer::{ADMIN_SOCKET, Endpoint, Observed, Role, State};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use super::admin;
use super::apply::Refused;
use super::journal::JournalError;
use super::listeners::{Listeners, Open, listen};
use super::plane::Plane;
use super::predecessor::found;
use super::succession::{SuccessionError, Taken, take};
use crate::arguments::Arguments;
use crate::fault::Fault;
use crate::proxy::worker::{self, Command};

/// How long requests in flight may take once the process was told to stop.
const STOP_LIMIT: Duration = Duration::from_secs(4);

/// Longest time a predecessor stays for requests that do not end.
const LEAVE_LIMIT: Duration = Duration::from_secs(3_600);

/// Descriptors beside those of connections.
const SPARE_FILES: u64 = 256;

/// Why the process cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    /// A file or thread.
    #[error("{what}: {source}")]
    Io {
        what: String,
        #[source]
        source: io::Error,
    },
    /// Another one runs here.
    #[error("another balancer runs in {0}; stop it, or take over from it with --handover")]
    Running(PathBuf),
    /// The running one does not hand over.
    #[error("the balancer that runs here does not hand over: {0}")]
    Succession(#[from] SuccessionError),
    /// The running one shows a certificate that this one cannot.
    #[error("a certificate that the running balancer shows cannot be used: {0}")]
    Certificate(String),
    /// Its own workers did not confirm.
    #[error(transparent)]
    Serve(#[from] Refused),
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> RunError {
    let what = what.into();
    move |source| RunError::Io { what, source }
}

/// Runs to the end.
///
/// # Errors
/// When it cannot begin.
pub(crate) fn run(arguments: &Arguments) -> Result<(), RunError> {
    let data = &arguments.data;
    std::fs::create_dir_all(data)
        .and_then(|()| std::env::set_current_dir(data))
        .map_err(io_error(data.display().to_string()))?;
    // From within, because the kernel takes no socket's path above 107 bytes.
    let folder = Path::new(".");
    let taken = if arguments.handover {
        take(folder)?
    } else {
        None
    };
    if taken.is_none() && std::os::unix::net::UnixStream::connect(folder.join(ADMIN_SOCKET)).is_ok()
    {
        return Err(RunError::Running(data.clone()));
    }
    let open = match &taken {
        Some(taken) if !Fault::ReusePort.is_on() => {
            sockets_of(taken, arguments).map_err(io_error("sockets taken over"))?
        }
        _ => {
            let open = arguments.listen.iter().map(|address| {
                let bound = listen(*address).and_then(|socket| Open::new(socket, true));
                bound.map_err(io_error(format!("cannot listen on {address}")))
            });
            open.collect::<Result<_, _>>()?
        }
    };
    let most = allow_files(arguments.most_connections);
    let workers = worker::start(arguments.workers, most).map_err(io_error("worker threads"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build_local(tokio::runtime::LocalOptions::default())
        .map_err(io_error("runtime"))?;
    let epoch = hex::encode(rand::random::<[u8; 8]>());
    let plane = Plane::new(epoch, folder.to_owned(), workers, Listeners::new(open));
    runtime.block_on(live(plane, taken, arguments))
}

/// Sockets of a predecessor; those that its configuration asked for go when that does not any more.
fn sockets_of(taken: &Taken, arguments: &Arguments) -> io::Result<Vec<Open>> {
    let sockets = (0..).zip(&taken.listeners).map(|(at, socket)| {
        let address = socket.local_addr()?;
        let configured = taken.offer.configured.contains(&at);
        let by_command_line = !configured || arguments.listen.contains(&address);
        Open::new(socket.try_clone()?, by_command_line)
    });
    sockets.collect()
}

/// Raises the limit of open files as far as it may; how many connections of clients it allows, each
/// needing one to an instance too.
fn allow_files(wanted: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // When it is not allowed, what there is has to do.
    let _kept = setrlimit(Resource::Nofile, raised);
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = usize::try_from(files.saturating_sub(SPARE_FILES) / 2).unwrap_or(usize::MAX);
    wanted.min(most.max(1))
}

async fn live(
    plane: Rc<Plane>,
    taken: Option<Taken>,
    arguments: &Arguments,
) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(io_error("SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(io_error("SIGINT"))?;
    let hangup = signal(SignalKind::hangup()).map_err(io_error("SIGHUP"))?;
    essential(plane.clone().follow_news());
    for pid in found(&plane.folder) {
        plane
            .inner
            .borrow_mut()
            .predecessors
            .add(&plane.folder, pid);
    }
    if let Some(taken) = &taken {
        let mut inner = plane.inner.borrow_mut();
        inner.predecessors.add(&plane.folder, taken.offer.state.pid);
    }
    plane
        .restore(taken.as_ref().map(|taken| &taken.offer.state))
        .await?;
    plane.accept_at(|_| true);
    // Connections are served from here on; the admin socket opens afterwards.
    plane.load_records().await;
    plane.open_admin(taken).await?;
    essential(plane.clone().follow_predecessors());
    essential(plane.clone().keep_records());
    essential(plane.clone().follow_listeners());
    essential(plane.clone().follow_hangups(hangup));
    if let Some(address) = arguments.metrics_listen {
        essential(plane.clone().be_scraped(address));
    }
    if let Some(endpoint) = arguments.otlp.clone() {
        essential(plane.clone().export(endpoint, arguments.otlp_interval));
    }
    let otlp = arguments.otlp.as_ref();
    tokio::select! {
        _ = terminate.recv() => plane.stop(otlp).await,
        _ = interrupt.recv() => plane.stop(otlp).await,
        () = plane.replaced.notified() => {
            let drain_timeout = Duration::from_millis(arguments.drain_timeout_ms);
            plane.leave(drain_timeout, otlp).await;
        }
    }
    Ok(())
}

/// Runs a task whose failure is the process's: whoever supervises it starts a whole one.
fn essential(task: impl Future<Output = ()> + 'static) {
    let task = tokio::task::spawn_local(task);
    tokio::task::spawn_local(async move {
        if task.await.is_err_and(|error| error.is_panic()) {
            eprintln!("control failed; the process ends");
            std::process::exit(70);
        }
    });
}

impl Plane {
    /// Serves what the journal says; from a predecessor it also learns what is healthy.
    async fn restore(self: &Rc<Self>, before: Option<&State>) -> Result<(), RunError> {
        let kept = match self.journal.load() {
            Ok(Some(kept)) => kept,
            Ok(None) => return self.restore_listeners(before).await,
            Err(error @ (JournalError::Damaged { .. } | JournalError::Io { .. })) => {
                eprintln!("nothing is served: {error}");
                self.inner.borrow_mut().fault = Some(error.to_string());
                return self.restore_listeners(before).await;
            }
        };
        self.inner.borrow_mut().fence = kept.fence;
        self.serve_here(kept.config, kept.generation, false).await?;
        self.restore_listeners(before).await?;
        let mut inner = self.inner.borrow_mut();
        for tracked in inner.tracked.values_mut() {
            tracked.trusted = tracked.role == Some(Role::Serve);
        }
        for instance in before.map(|state| &state.instances).into_iter().flatten() {
            let Some(tracked) = inner.tracked.get_mut(&instance.id) else {
                continue;
            };
            if tracked.role != instance.role {
                continue;
            }
            tracked.first_served = instance.first_served_generation;
            match instance.state {
                Observed::Serving | Observed::Ready => {
                    tracked.passed = instance.probes_passed;
                    tracked.healthy = true;
                }
                Observed::Suspended => {
                    tracked.trusted = false;
                    tracked.has_served = true;
                }
                Observed::Unknown | Observed::Warming => tracked.trusted = false,
                Observed::Draining | Observed::Drained => {}
            }
        }
        inner.look();
        Ok(())
    }

    /// Listens as the configuration in force says, as far as it can be done; nobody accepts yet.
    ///
    /// # Errors
    /// When a predecessor shows a certificate that cannot be read here: it had better go on.
    async fn restore_listeners(&self, before: Option<&State>) -> Result<(), RunError> {
        let faults = self.restore_certificates().await;
        let shown = before.map(|state| &state.listening).into_iter().flatten();
        let shown = shown.flat_map(|listening| &listening.certificates);
        for certificate in shown.filter(|shown| shown.not_after_ms.is_some()) {
            if let Some(why) = faults.get(&certificate.certificate) {
                return Err(RunError::Certificate(why.clone()));
            }
        }
        Ok(())
    }

    /// SIGHUP: certificates are read again.
    async fn follow_hangups(self: Rc<Self>, mut hangup: Signal) {
        while hangup.recv().await.is_some() {
            self.reload.notify_one();
            self.reopen_access_log();
        }
    }

    /// Opens the admin socket; before that, a predecessor is told to leave.
    async fn open_admin(self: &Rc<Self>, taken: Option<Taken>) -> Result<(), RunError> {
        let path = self.folder.join(ADMIN_SOCKET);
        let new = self.folder.join(format!("{ADMIN_SOCKET}.new"));
        let failed = |path: &Path| io_error(path.display().to_string());
        let listener = admin::bind(&new).map_err(failed(&new))?;
        if let Some(mut taken) = taken {
            let told = tokio::task::spawn_blocking(move || taken.confirm()).await;
            told.map_err(|e| SuccessionError::Words(e.to_string()))??;
        }
        std::fs::rename(&new, &path).map_err(failed(&path))?;
        essential(admin::serve(self.clone(), listener));
        Ok(())
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for worker in &self.workers {
            // A worker that has ended ends the process.
            let _ended = worker.commands.send(command());
        }
    }

    async fn wait_for_clients(&self, limit: Duration) -> bool {
        let end = tokio::time::Instant::now() + limit;
        while self.clients() > 0 {
            if tokio::time::Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// A successor serves: what is left here ends by itself, tunnels after a time by force.
    async fn leave(&self, drain_timeout: Duration, otlp: Option<&Endpoint>) {
        self.tell(|| Command::Leave { now: false });
        if !self.wait_for_clients(drain_timeout).await {
            self.tell(|| Command::EndTunnels);
            if !self.wait_for_clients(LEAVE_LIMIT).await {
                eprintln!(
                    "{} connections did not end; the process ends",
                    self.clients()
                );
            }
        }
        self.say_the_last(otlp).await;
        // Whoever asks afterwards finds nobody, which is the truth.
        let _absent = std::fs::remove_file(self.folder.join(leaving_socket(std::process::id())));
    }

    /// Nothing is counted any more: tells whoever is told.
    async fn say_the_last(&self, otlp: Option<&Endpoint>) {
        self.end_records().await;
        self.flush_access_log().await;
        if let Some(endpoint) = otlp {
            self.export_last(endpoint).await;
        }
    }

    /// The process was told to stop, and nobody takes over.
    async fn stop(&self, otlp: Option<&Endpoint>) {
        self.frozen.set(true);
        let mut waiting = Vec::new();
        for worker in &self.workers {
            let (confirm, confirmed) = oneshot::channel();
            if worker.commands.send(Command::Deafen(confirm)).is_ok() {
                waiting.push(confirmed);
            }
        }
        for confirmed in waiting {
            // A worker that is gone accepts nothing.
            let _gone = confirmed.await;
        }
        self.listeners.borrow_mut().clear();
        self.tell(|| Command::Leave { now: true });
        self.tell(|| Command::EndTunnels);
        if !self.wait_for_clients(STOP_LIMIT).await {
            eprintln!(
                "{} connections did not end; the process ends",
                self.clients()
            );
        }
        self.say_the_last(otlp).await;
        if !self.leaving.get() {
            // The next one removes it too.
            let _absent = std::fs::remove_file(self.folder.join(ADMIN_SOCKET));
        }
    }
}
