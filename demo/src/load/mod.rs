//! An open-loop load generator: requests leave at a constant rate, whatever the answers do.
//!
//! Owns the users' view of a service: what was started, what was answered, what failed and which
//! request that was. It never repeats a request. One case is not a failure: the client's own library
//! noticed that an idle connection was closed *before* anything was written; then the request leaves
//! on a new connection and is counted as `unsent` once. Its truth is what it read from its sockets.

mod connection;
mod kind;
mod shared;
mod socket;
mod tally;

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hyper::Uri;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use kind::{Kind, Mix};
pub use tally::{KindSummary, Summary};

use connection::{Answer, Connection, Target};
use shared::Shared;
use tally::Tally;

/// What to send, where, and how fast.
#[derive(Debug, Clone)]
pub struct Options {
    /// `http://address:port` or with a path in front of all paths.
    pub url: Uri,
    /// The `Host` header; the URL's authority when absent.
    pub host: Option<String>,
    /// The path of `get` and `new` requests.
    pub path: String,
    /// Requests per second, all kinds together.
    pub rate: u32,
    /// The share of each kind.
    pub mix: Mix,
    /// How long a `slow` answer takes.
    pub slow: Duration,
    /// How long an upload of 256 KiB takes.
    pub upload: Duration,
    /// How long one of 50 MiB takes.
    pub big: Duration,
    /// How long a stream of gRPC takes.
    pub stream: Duration,
    /// How long a conversation on a WebSocket takes.
    pub socket: Duration,
    /// A request without an end after this time has failed.
    pub timeout: Duration,
    /// Requests in flight above which none are started: those are counted as `overrun`.
    pub max_in_flight: usize,
}

/// Where the lines go.
pub struct Output {
    /// One JSON object per line: every failure when it happens, progress, and the summary.
    pub events: Box<dyn Write + Send>,
    /// One JSON object per request that ended: kind, number, start, end, version, status.
    pub record: Option<Box<dyn Write + Send>>,
    /// Write a `progress` line each time this has passed.
    pub progress: Option<Duration>,
}

struct Client {
    options: Options,
    target: Target,
    tally: Mutex<Tally>,
    idle: [Mutex<VecDeque<Connection>>; Kind::ALL.len()],
    /// The connection of each kind whose requests share one.
    shared: [tokio::sync::Mutex<Option<Shared>>; Kind::ALL.len()],
}

/// Sends requests until `stop` resolves, waits for those in flight (at most the time-out), and
/// returns what happened. The summary is also the last line of the events.
///
/// # Errors
/// The options cannot be used, or a line cannot be written.
pub async fn run(
    options: Options,
    output: Output,
    stop: impl Future<Output = ()>,
) -> Result<Summary> {
    ensure!(
        options.rate > 0,
        "rate is 0: use at least 1 request per second"
    );
    ensure!(
        options.mix.total() > 0,
        "mix has no kind: give at least one a share above 0"
    );
    let progress = output.progress;
    let client = Arc::new(Client {
        target: Target::new(&options)?,
        tally: Mutex::new(Tally::new(output)),
        idle: std::array::from_fn(|_| Mutex::new(VecDeque::new())),
        shared: Default::default(),
        options,
    });

    let mut senders = JoinSet::new();
    for kind in Kind::ALL {
        if let Some(interval) = client.options.mix.interval(kind, client.options.rate) {
            senders.spawn(send(Arc::clone(&client), kind, interval));
        }
    }
    let reports = async {
        match progress {
            Some(every) => {
                let mut ticks = tokio::time::interval(every);
                loop {
                    ticks.tick().await;
                    client.tally().progress();
                }
            }
            None => std::future::pending::<()>().await,
        }
    };
    tokio::select! {
        () = stop => {}
        () = reports => {}
    }
    client.tally().stopped();
    // Dropping a sender's JoinSet would cut its requests; each sender waits for its own instead.
    let deadline = Instant::now() + client.options.timeout + Duration::from_secs(1);
    while let Ok(Some(_)) = tokio::time::timeout_at(deadline, senders.join_next()).await {}
    client.tally().summary().context("cannot write the summary")
}

/// Starts the requests of one kind on time until the run is stopped, then waits for them.
async fn send(client: Arc<Client>, kind: Kind, interval: Duration) {
    let begin = Instant::now();
    let mut requests = JoinSet::new();
    let mut stopped = client.tally().stop_signal();
    for number in 0_u32.. {
        let due = begin + interval * number;
        tokio::select! {
            () = tokio::time::sleep_until(due) => {}
            _ = stopped.wait_for(|stopped| *stopped) => break,
        }
        if client
            .tally()
            .start(kind, due, client.options.max_in_flight)
        {
            requests.spawn(request(Arc::clone(&client), kind, u64::from(number)));
        }
        while requests.try_join_next().is_some() {}
    }
    while requests.join_next().await.is_some() {}
}

/// One request from start to end, in the tally exactly once.
async fn request(client: Arc<Client>, kind: Kind, number: u64) {
    let started = Instant::now();
    let timeout = client.options.timeout;
    let result = match tokio::time::timeout(timeout, exchange(&client, kind)).await {
        Ok(result) => result,
        Err(_) => Err(anyhow::anyhow!(
            "no end of the answer within {} s",
            timeout.as_secs()
        )),
    };
    client.tally().finish(kind, number, started, result);
}

async fn exchange(client: &Client, kind: Kind) -> Result<Answer> {
    match kind {
        Kind::Http2 | Kind::Grpc => return exchange_shared(client, kind).await,
        Kind::Socket => return client.target.converse().await,
        _ => {}
    }
    let mut connection = None;
    if kind.keeps_connection() {
        while let Some(idle) = client.idle(kind).pop_front() {
            if idle.is_usable() {
                connection = Some(idle);
                break;
            }
            client.tally().found_closed(kind);
        }
    }
    let mut connection = match connection {
        Some(connection) => connection,
        None => client.target.connect().await?,
    };
    let answer = match connection.exchange(client.target.request(kind)).await {
        Ok(answer) => answer,
        Err(connection::Error::Unsent) => {
            // The library gave the request back before writing a byte of it: nothing was tried.
            client.tally().unsent(kind);
            connection = client.target.connect().await?;
            connection.exchange(client.target.request(kind)).await?
        }
        Err(error) => return Err(error.into()),
    };
    if kind.keeps_connection() {
        client.idle(kind).push_back(connection);
    }
    client.target.check(kind, &answer)?;
    Ok(answer)
}

/// The same on a connection that others use too.
async fn exchange_shared(client: &Client, kind: Kind) -> Result<Answer> {
    let mut connection = client.shared(kind).await?;
    let answer = match connection.exchange(client.target.request(kind)).await {
        Ok(answer) => answer,
        Err(connection::Error::Unsent) => {
            // The other side left, and said that it had not come to this one.
            client.tally().unsent(kind);
            let mut connection = Shared::connect(&client.target.address).await?;
            connection.exchange(client.target.request(kind)).await?
        }
        Err(error) => return Err(error.into()),
    };
    client.target.check(kind, &answer)?;
    Ok(answer)
}

impl Client {
    async fn shared(&self, kind: Kind) -> Result<Shared> {
        let mut there = self.shared[kind.index()].lock().await;
        if let Some(connection) = there.as_ref().filter(|c| c.is_usable()) {
            return Ok(connection.clone());
        }
        if there.take().is_some() {
            self.tally().found_closed(kind);
        }
        let connection = Shared::connect(&self.target.address).await?;
        *there = Some(connection.clone());
        Ok(connection)
    }

    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self, kind: Kind) -> std::sync::MutexGuard<'_, VecDeque<Connection>> {
        self.idle[kind.index()]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
