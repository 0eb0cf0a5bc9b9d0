//! Connections to one master, which stays where it is or is found by its sentinels.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, Pipeline, RedisError, RedisResult,
    ServerErrorKind, Value,
};
use tokio::sync::Mutex;

use super::address::{Address, Wait};

/// How long to wait for a connection.
pub(super) const CONNECT: Duration = Duration::from_secs(2);
/// Connections where commits wait for replicas: a wait holds up what comes behind it on its own.
const LANES: usize = 4;

/// Where the master is.
pub(super) enum Source {
    Fixed(Client),
    /// Asked for at every new connection.
    Sentinels(Vec<Client>, Address),
}

/// A connection, and how many there were before it.
type Lane = Mutex<(u64, Option<MultiplexedConnection>)>;

pub(super) struct Single {
    source: Source,
    timeout: Duration,
    lanes: Vec<Lane>,
    next: AtomicUsize,
    pub(super) wait: Option<Wait>,
}

fn failed(text: String) -> RedisError {
    RedisError::from((ErrorKind::Io, "unavailable", text))
}

impl Source {
    /// A client of whoever is master now.
    pub(super) async fn client(&self) -> RedisResult<Client> {
        let (sentinels, address) = match self {
            Self::Fixed(client) => return Ok(client.clone()),
            Self::Sentinels(sentinels, address) => (sentinels, address),
        };
        let name = address.master.as_deref().unwrap_or_default();
        let mut last = failed("there is no sentinel".to_owned());
        for sentinel in sentinels {
            match ask(sentinel, name).await {
                Ok(host) => return address.client(&host).map_err(failed),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    pub(super) fn is_watched(&self) -> bool {
        matches!(self, Self::Sentinels(..))
    }
}

/// Asks a sentinel where the master is.
async fn ask(sentinel: &Client, name: &str) -> RedisResult<String> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(CONNECT));
    let mut connection = sentinel
        .get_multiplexed_async_connection_with_config(&config)
        .await?;
    let mut question = redis::cmd("SENTINEL");
    question.arg("get-master-addr-by-name").arg(name);
    let place: Option<(String, String)> = question.query_async(&mut connection).await?;
    let place = place.ok_or_else(|| failed(format!("the sentinels know no master \"{name}\"")))?;
    Ok(match place.0.contains(':') {
        true => format!("[{}]:{}", place.0, place.1),
        false => format!("{}:{}", place.0, place.1),
    })
}

impl Single {
    pub(super) fn new(source: Source, timeout: Duration, wait: Option<Wait>) -> Self {
        let lanes = if wait.is_some() { LANES } else { 1 };
        Self {
            source,
            timeout,
            lanes: (0..lanes).map(|_| Lane::default()).collect(),
            next: AtomicUsize::new(0),
            wait,
        }
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    fn lane(&self) -> RedisResult<&Lane> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let lane = self.lanes.get(next % self.lanes.len().max(1));
        lane.ok_or_else(|| failed("there is no connection".to_owned()))
    }

    async fn connection(&self, lane: &Lane) -> RedisResult<(u64, MultiplexedConnection)> {
        let mut slot = lane.lock().await;
        if let (number, Some(connection)) = &*slot {
            return Ok((*number, connection.clone()));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(self.timeout));
        let client = self.source.client().await?;
        let mut connection = client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        if self.source.is_watched() {
            // Sentinels tell of a new master some time after the old one has become its replica.
            let role: Vec<Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
            let role = role
                .into_iter()
                .next()
                .map(redis::from_redis_value::<String>);
            if !matches!(&role, Some(Ok(role)) if role == "master") {
                return Err(failed("whom the sentinels name is no master".to_owned()));
            }
        }
        slot.0 += 1;
        slot.1 = Some(connection.clone());
        Ok((slot.0, connection))
    }

    /// Lets a connection go that broke, did not answer, or leads to a server that is no master any more.
    async fn note<T>(lane: &Lane, number: u64, answer: RedisResult<T>) -> RedisResult<T> {
        if let Err(error) = &answer
            && (error.is_io_error()
                || error.is_timeout()
                || error.is_unrecoverable_error()
                || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly))
        {
            let mut slot = lane.lock().await;
            if slot.0 == number {
                slot.1 = None;
            }
        }
        answer
    }

    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        let lane = self.lane()?;
        let (number, mut connection) = self.connection(lane).await?;
        let answer = connection
            .send_packed_command(command)
            .await
            .and_then(Value::extract_error);
        Self::note(lane, number, answer).await
    }

    pub(super) async fn send_all(&self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        let lane = self.lane()?;
        let (number, mut connection) = self.connection(lane).await?;
        let count = commands.len();
        let answer = connection
            .send_packed_commands(commands, 0, count)
            .await
            .and_then(errors_first);
        Self::note(lane, number, answer).await
    }

    /// Sends a command whose effect replicas must have. When they do not confirm in time its outcome is not known.
    pub(super) async fn send_and_wait(&self, command: Cmd, wait: Wait) -> RedisResult<Value> {
        let mut both = Pipeline::with_capacity(2);
        both.add_command(command)
            .cmd("WAIT")
            .arg(wait.replicas)
            .arg(wait.timeout_ms);
        let mut answers = self.send_all(&both).await?.into_iter();
        let (answer, confirmed) = (answers.next(), answers.next());
        let confirmed = confirmed.map(redis::from_redis_value::<u32>).transpose()?;
        match (answer, confirmed) {
            (Some(answer), Some(confirmed)) if confirmed >= wait.replicas => Ok(answer),
            (_, confirmed) => Err(failed(format!(
                "{} of {} replicas confirmed within {} ms",
                confirmed.unwrap_or(0),
                wait.replicas,
                wait.timeout_ms
            ))),
        }
    }
}

/// An error among answers instead of them.
pub(super) fn errors_first(answers: Vec<Value>) -> RedisResult<Vec<Value>> {
    answers.into_iter().map(Value::extract_error).collect()
}
