//! One multiplexed connection for commands, to one server or to a cluster.
//!
//! It never decides what an error means; a broken connection is made anew by the
//! next command.

use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection, PubSub};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::{AsyncConnectionConfig, Client, Cmd, Pipeline, RedisError, RedisResult, Value};
use tokio::sync::Mutex;

use super::fault::{Fault, classify};
use super::request::Request;
use super::scripts::Script;

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// The connection for commands.
pub(super) enum Link {
    Single(Box<Single>),
    Cluster(Box<Cluster>),
}

pub(super) struct Single {
    client: Client,
    timeout: Duration,
    /// The connection and how many there were before it.
    connection: Mutex<(u64, Option<MultiplexedConnection>)>,
}

pub(super) struct Cluster {
    seeds: Vec<Client>,
    connection: ClusterConnection,
}

impl Link {
    /// Connects to the first seed that answers, and asks it what it is.
    pub(super) async fn open(seeds: Vec<Client>, timeout: Duration) -> RedisResult<Self> {
        let mut last = RedisError::from((redis::ErrorKind::InvalidClientConfig, "no address"));
        for client in &seeds {
            let single = Single {
                client: client.clone(),
                timeout,
                connection: Mutex::default(),
            };
            let mut info = redis::cmd("INFO");
            info.arg("cluster");
            let told = match single.send(&info).await {
                Ok(told) => redis::from_redis_value::<String>(told).unwrap_or_default(),
                Err(error) => {
                    last = error;
                    continue;
                }
            };
            if !told.contains("cluster_enabled:1") {
                return Ok(Self::Single(Box::new(single)));
            }
            let infos = seeds.iter().map(|seed| seed.get_connection_info().clone());
            let cluster = ClusterClient::builder(infos)
                .response_timeout(timeout)
                .connection_timeout(CONNECT)
                .retries(3)
                .build()?;
            let connection = cluster.get_async_connection().await?;
            return Ok(Self::Cluster(Box::new(Cluster { seeds, connection })));
        }
        Err(last)
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Sends one command.
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Single(single) => single.send(command).await,
            Self::Cluster(cluster) => {
                let mut connection = cluster.connection.clone();
                connection
                    .req_packed_command(command)
                    .await?
                    .extract_error()
            }
        }
    }

    /// Sends several commands on keys of one shard.
    pub(super) async fn send_all(&self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        let count = commands.len();
        match self {
            Self::Single(single) => single.send_all(commands).await,
            Self::Cluster(cluster) => {
                let mut connection = cluster.connection.clone();
                let answers = connection.req_packed_commands(commands, 0, count).await?;
                errors_first(answers)
            }
        }
    }

    /// Calls a script; a server that does not know it gets its text.
    pub(super) async fn call(&self, script: &Script, request: &Request) -> RedisResult<Value> {
        let command = |name: &str, what: &str| {
            let mut command = redis::cmd(name);
            command.arg(what).arg(request.keys.len());
            for key in &request.keys {
                command.arg(key);
            }
            for argument in &request.arguments {
                command.arg(&argument[..]);
            }
            command
        };
        match self.send(&command("EVALSHA", &script.hash)).await {
            Err(error) if classify(&error) == Fault::NoScript => {
                self.send(&command("EVAL", &script.code)).await
            }
            answered => answered,
        }
    }

    /// Sends a command to every master; their answers.
    pub(super) async fn everywhere(&self, command: &Cmd) -> RedisResult<Vec<Value>> {
        match self {
            Self::Single(single) => Ok(vec![single.send(command).await?]),
            Self::Cluster(cluster) => {
                let routing = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                let answers = cluster
                    .connection
                    .clone()
                    .route_command(command.clone(), routing)
                    .await?;
                Ok(match answers {
                    Value::Map(pairs) => pairs.into_iter().map(|(_, value)| value).collect(),
                    Value::Array(values) => values,
                    other => vec![other],
                })
            }
        }
    }

    /// A connection that only listens. A published message reaches every node of a
    /// cluster, so any that answers will do.
    pub(super) async fn listen(&self) -> RedisResult<PubSub> {
        let seeds = match self {
            Self::Single(single) => std::slice::from_ref(&single.client),
            Self::Cluster(cluster) => &cluster.seeds,
        };
        let mut last = RedisError::from((redis::ErrorKind::InvalidClientConfig, "no address"));
        for client in seeds {
            match tokio::time::timeout(CONNECT, client.get_async_pubsub()).await {
                Ok(Ok(listening)) => return Ok(listening),
                Ok(Err(error)) => last = error,
                Err(_) => last = std::io::Error::from(std::io::ErrorKind::TimedOut).into(),
            }
        }
        Err(last)
    }
}

/// An error among answers instead of them.
fn errors_first(answers: Vec<Value>) -> RedisResult<Vec<Value>> {
    answers.into_iter().map(Value::extract_error).collect()
}

impl Single {
    async fn connection(&self) -> RedisResult<(u64, MultiplexedConnection)> {
        let mut slot = self.connection.lock().await;
        if let (number, Some(connection)) = &*slot {
            return Ok((*number, connection.clone()));
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(self.timeout));
        let connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        slot.0 += 1;
        slot.1 = Some(connection.clone());
        Ok((slot.0, connection))
    }

    /// Lets a connection go that broke or did not answer.
    async fn note<T>(&self, number: u64, answer: RedisResult<T>) -> RedisResult<T> {
        if let Err(error) = &answer
            && (error.is_io_error() || error.is_timeout() || error.is_unrecoverable_error())
        {
            let mut slot = self.connection.lock().await;
            if slot.0 == number {
                slot.1 = None;
            }
        }
        answer
    }

    async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        let (number, mut connection) = self.connection().await?;
        let answer = connection
            .send_packed_command(command)
            .await
            .and_then(Value::extract_error);
        self.note(number, answer).await
    }

    async fn send_all(&self, commands: &Pipeline) -> RedisResult<Vec<Value>> {
        let (number, mut connection) = self.connection().await?;
        let count = commands.len();
        let answer = connection
            .send_packed_commands(commands, 0, count)
            .await
            .and_then(errors_first);
        self.note(number, answer).await
    }
}
