//! A worker: one thread with one runtime, a clone of the listening socket, and connections of its
//! own, so that everything of a request happens on one thread.

use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Instant;

use slab::Slab;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

mod accept;

use accept::Closing;

use super::body::Guard;
use super::client::{Client, SWEEP};
use super::listener::Listener;
use super::meter::{Meter, Totals};
use super::pipe::Pipe;
use super::plan::Plan;
use super::sticky::Mark;
use super::table::{Balancer, Group, Table, Upstream};
use super::tls::MOST_HANDSHAKES;
use crate::fault::Fault;

/// What a worker is told.
pub(crate) enum Command {
    /// Serve this from now on, and confirm.
    Apply(Arc<Plan>, oneshot::Sender<()>),
    /// An instance came in: who waits for one may look again.
    Wake,
    /// Serve this connection; another worker has too many.
    Take(StdStream, SocketAddr, Place, Arc<Listener>),
    /// Accept from these sockets.
    Accept(Vec<(StdListener, Arc<Listener>)>),
    /// Accept what waits at this address, then close its socket, and confirm.
    Close(SocketAddr, oneshot::Sender<()>),
    /// Stop accepting, and confirm.
    Deafen(oneshot::Sender<()>),
    /// End what an instance still has, and confirm.
    Cut(String, oneshot::Sender<()>),
    /// End all tunnels.
    EndTunnels,
    /// End connections after what they are answering; now: also those that might ask again.
    Leave { now: bool },
}

/// What is known of a worker from outside; alone on its cache lines, for it writes them with each
/// connection.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Load {
    clients: AtomicUsize,
    tunnels: AtomicUsize,
    accepts: AtomicBool,
}

impl Load {
    /// Connections of clients, tunnels included.
    pub(crate) fn clients(&self) -> usize {
        self.clients.load(Ordering::SeqCst) + self.tunnels.load(Ordering::SeqCst)
    }
}

/// A connection of a client, counted from the moment it was accepted.
#[derive(Debug)]
pub(crate) struct Place(Arc<Load>);

impl Place {
    fn new(load: &Arc<Load>) -> Self {
        load.clients.fetch_add(1, Ordering::SeqCst);
        Self(load.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The handle of a worker.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) load: Arc<Load>,
    pub(crate) totals: Arc<Totals>,
    pub(crate) nobody: Arc<Meter>,
}

/// A worker.
#[derive(Debug)]
pub(crate) struct Worker {
    index: usize,
    table: RefCell<Rc<Table>>,
    clients: RefCell<Slab<Rc<Client>>>,
    /// Connections of clients that ended in the second that passes, and in the one before.
    ended: (Cell<usize>, Cell<usize>),
    most_clients: usize,
    handles: Vec<Handle>,
    leaving_since_s: Cell<Option<u64>>,
    deaf: Notify,
    /// How often it was told to stop accepting.
    deafenings: Cell<u64>,
    /// Listeners that it still has, and that one of them went.
    accepting: Cell<usize>,
    deafened: Notify,
    /// How each of them is told to close.
    closings: RefCell<HashMap<SocketAddr, Rc<Closing>>>,
    end_tunnels: Notify,
    tunnels_ended: Cell<bool>,
    second: Cell<u64>,
    turn: Cell<usize>,
    began: Instant,
    pub(crate) budget: Budget,
    pub(crate) totals: Arc<Totals>,
    pub(crate) nobody: Arc<Meter>,
    /// Places for handshakes.
    pub(crate) handshakes: Semaphore,
}

/// Starts workers; each of them ends with the process.
///
/// # Errors
/// When a thread or its runtime cannot be made.
pub(crate) fn start(count: usize, most_clients: usize) -> std::io::Result<Vec<Handle>> {
    let mut handles = Vec::new();
    let mut receivers = Vec::new();
    for _ in 0..count {
        let (commands, receiver) = mpsc::unbounded_channel();
        handles.push(Handle {
            commands,
            load: Arc::default(),
            totals: Arc::default(),
            nobody: Arc::default(),
        });
        receivers.push(receiver);
    }
    for (index, commands) in receivers.into_iter().enumerate() {
        let (handles, most_clients) = (handles.clone(), most_clients.div_ceil(count));
        std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                let run =
                    std::panic::AssertUnwindSafe(|| run(index, handles, most_clients, commands));
                if !matches!(std::panic::catch_unwind(run), Ok(Ok(()))) {
                    // Without one of its workers the process would lose a share of all connections.
                    eprintln!("worker {index} failed; the process ends");
                    std::process::exit(70);
                }
            })?;
    }
    Ok(handles)
}

fn run(
    index: usize,
    handles: Vec<Handle>,
    most_clients: usize,
    commands: mpsc::UnboundedReceiver<Command>,
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    let worker = Rc::new(Worker {
        index,
        table: RefCell::default(),
        clients: RefCell::default(),
        ended: Default::default(),
        most_clients,
        leaving_since_s: Cell::new(None),
        deaf: Notify::new(),
        deafenings: Cell::new(0),
        accepting: Cell::new(0),
        deafened: Notify::new(),
        closings: RefCell::default(),
        end_tunnels: Notify::new(),
        tunnels_ended: Cell::new(false),
        second: Cell::new(0),
        turn: Cell::new(index),
        began: Instant::now(),
        budget: Budget::default(),
        totals: handles[index].totals.clone(),
        nobody: handles[index].nobody.clone(),
        handshakes: Semaphore::new(if Fault::OneHandshake.is_on() {
            1
        } else {
            MOST_HANDSHAKES
        }),
        handles,
    });
    runtime.block_on(worker.obey(commands));
    Ok(())
}

impl Worker {
    async fn obey(self: Rc<Self>, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.perform(command),
                    None => return,
                },
                _ = sweep.tick() => self.sweep(),
            }
        }
    }

    fn perform(self: &Rc<Self>, command: Command) {
        match command {
            Command::Apply(plan, confirm) => {
                let table = Rc::new(Table::new(&plan, self.index, &self.table.borrow()));
                let before = self.table.replace(table);
                before.sweep(Instant::now());
                // Also those whose load balancer is gone.
                before.tell_waiting();
                self.table().tell_waiting();
                // Nobody waits any more when the process ends meanwhile.
                let _ = confirm.send(());
            }
            Command::Wake => self.table().tell_waiting(),
            Command::Take(stream, peer, place, at) => match TcpStream::from_std(stream) {
                Ok(stream) => self.serve(stream, peer, place, &at),
                Err(error) => eprintln!("connection of {peer} was lost: {error}"),
            },
            Command::Accept(listeners) => {
                for (listener, at) in listeners {
                    match TcpListener::from_std(listener) {
                        Ok(listener) => self.accept(listener, at),
                        Err(error) => eprintln!("cannot accept connections: {error}"),
                    }
                }
            }
            Command::Close(address, confirm) => {
                // Without it here, there is nothing to wait for: the sender is dropped.
                if let Some(closing) = self.closings.borrow_mut().remove(&address) {
                    closing.confirm.replace(Some(confirm));
                    closing.told.notify_one();
                }
            }
            Command::Deafen(confirm) => {
                self.load().accepts.store(false, Ordering::SeqCst);
                self.deafenings.set(self.deafenings.get() + 1);
                self.deaf.notify_waiters();
                let worker = self.clone();
                self.spawn(async move {
                    // As long as one of the listeners is there, the system lets clients in.
                    while worker.accepting.get() > 0 {
                        worker.deafened.notified().await;
                    }
                    let _ = confirm.send(());
                });
            }
            Command::Cut(id, confirm) => {
                if let Some(upstream) = self.table().upstream(&id) {
                    upstream.cuts.set(upstream.cuts.get().wrapping_add(1));
                    upstream.cut.notify_waiters();
                }
                self.wake_clients();
                let _ = confirm.send(());
            }
            Command::EndTunnels => {
                self.tunnels_ended.set(true);
                self.end_tunnels.notify_waiters();
            }
            Command::Leave { now } => {
                self.leaving_since_s
                    .set(Some(self.began.elapsed().as_secs()));
                for (_, client) in &*self.clients.borrow() {
                    // HTTP/2 has a word for it that no request gets lost behind.
                    if now || client.is_shared() || Fault::CloseIdle.is_on() {
                        client.end();
                    }
                }
            }
        }
    }

    fn wake_clients(&self) {
        for (_, client) in &*self.clients.borrow() {
            client.wake();
        }
    }

    fn sweep(&self) {
        self.second.set(self.began.elapsed().as_secs());
        self.budget.roll(self.second.get());
        self.ended.1.set(self.ended.0.take());
        self.table().sweep(Instant::now());
        for (_, client) in &*self.clients.borrow() {
            client.sweep(self.second.get(), self.leaving_since_s.get());
        }
    }

    /// Runs a task on this worker.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        // It ends by itself; nobody waits for it.
        drop(tokio::task::spawn_local(task));
    }

    /// Drives a connection whose answer has ended before its request's body.
    pub(crate) fn spawn_rest(&self, mut pipe: Pipe, guard: Rc<Guard>, cuts: u32) {
        self.spawn(async move {
            let upstream = guard.upstream();
            let cut = upstream.cut.notified();
            if upstream.cuts.get() != cuts {
                return;
            }
            let rest = poll_fn(|cx| {
                pipe.drive(cx);
                if pipe.has_ended() || pipe.is_ready() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            });
            tokio::select! {
                () = rest => {}
                () = cut => {}
                _ = guard.broken() => {}
            }
        });
    }

    /// Enters a client's connection into the list, until what is returned is dropped.
    pub(crate) fn register(self: &Rc<Self>, client: Rc<Client>, place: Place) -> Registered {
        let number = self.clients.borrow_mut().insert(client);
        Registered {
            worker: self.clone(),
            number,
            _place: place,
        }
    }

    /// Counts a tunnel until what is returned is dropped.
    pub(crate) fn tunnel(&self) -> Tunnel<'_> {
        self.load().tunnels.fetch_add(1, Ordering::SeqCst);
        Tunnel(self.load())
    }

    /// Whether all tunnels are to end.
    pub(crate) fn must_tunnels_end(&self) -> bool {
        self.tunnels_ended.get()
    }

    /// Resolves when all tunnels are to end.
    pub(crate) async fn tunnels_end(&self) {
        self.end_tunnels.notified().await;
    }

    fn load(&self) -> &Arc<Load> {
        &self.handles[self.index].load
    }

    /// What is served.
    pub(crate) fn table(&self) -> Ref<'_, Rc<Table>> {
        self.table.borrow()
    }

    /// Whether the process leaves.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving_since_s.get().is_some()
    }

    /// Seconds since the worker began, known within a second.
    pub(crate) fn now_s(&self) -> u64 {
        self.second.get()
    }

    /// Chooses an instance and counts the request there.
    pub(crate) fn choose(
        &self,
        balancer: &Balancer,
        tried: &[Rc<Upstream>],
        mark: Option<Mark>,
    ) -> Option<(Rc<Group>, Guard)> {
        self.turn.set(self.turn.get().wrapping_add(1));
        let mut tried = std::borrow::Cow::Borrowed(tried);
        // Whoever begins to drain between choice and count is left out of the next choice.
        for _ in 0..=super::target::FAILURES {
            let (group, upstream) = balancer.choose(&tried, mark, self.turn.get())?;
            match Guard::enter(&upstream) {
                Some(guard) => return Some((group, guard)),
                None => tried.to_mut().push(upstream),
            }
        }
        None
    }
}

/// A client's connection in the list.
#[derive(Debug)]
pub(crate) struct Registered {
    worker: Rc<Worker>,
    number: usize,
    _place: Place,
}

impl Registered {
    /// Enters another client in its place: the same connection, by another name.
    pub(crate) fn replace(&self, client: Rc<Client>) {
        self.worker.clients.borrow_mut()[self.number] = client;
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.worker.clients.borrow_mut().remove(self.number);
        let ended = &self.worker.ended.0;
        ended.set(ended.get() + 1);
    }
}

/// A counted tunnel.
pub(crate) struct Tunnel<'a>(&'a Load);

impl Drop for Tunnel<'_> {
    fn drop(&mut self) {
        self.0.tunnels.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Limits repeats to a share of the requests, so that they cannot become a storm.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    since_s: Cell<u64>,
    /// Requests of this window and of the one before.
    requests: Cell<u64>,
    before: Cell<u64>,
    repeats: Cell<u64>,
}

impl Budget {
    const WINDOW_S: u64 = 10;
    const LEAST: u64 = 10;
    const PERCENT: u64 = 20;

    /// A request came.
    pub(crate) fn request(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    /// Begins the next window when this one is over.
    fn roll(&self, now_s: u64) {
        if now_s.saturating_sub(self.since_s.get()) >= Self::WINDOW_S {
            self.since_s.set(now_s);
            self.before.set(self.requests.replace(0));
            self.repeats.set(0);
        }
    }

    fn take(&self) -> bool {
        let requests = self.requests.get().max(self.before.get());
        let fits = self.repeats.get() < (requests * Self::PERCENT / 100).max(Self::LEAST);
        if fits {
            self.repeats.set(self.repeats.get() + 1);
        }
        fits
    }

    /// Whether one more may be repeated; counts it.
    pub(crate) fn may_repeat(&self, worker: &Worker) -> bool {
        let fits = self.take();
        if !fits {
            worker.totals.over_budget.add(1);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_a_fifth_of_the_requests_and_at_least_ten() {
        let budget = Budget::default();
        assert_eq!((0..100).filter(|_| budget.take()).count(), 10);
        for _ in 0..1_000 {
            budget.request();
        }
        assert_eq!((0..1_000).filter(|_| budget.take()).count(), 190);
        budget.roll(10);
        assert_eq!(
            (0..1_000).filter(|_| budget.take()).count(),
            200,
            "of the window before"
        );
        budget.roll(20);
        assert_eq!((0..1_000).filter(|_| budget.take()).count(), 10);
    }
}
