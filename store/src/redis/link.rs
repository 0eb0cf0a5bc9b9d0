//! Multiplexed connections for commands, to one server or to a cluster.
//!
//! It never decides what an error means; a broken connection is made anew by the
//! next command.

use std::time::Duration;

use redis::aio::{ConnectionLike, PubSub};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::{Client, Cmd, ErrorKind, Pipeline, RedisError, RedisResult, Value};

use super::address::{Address, Wait};
use super::fault::{Fault, classify};
use super::request::Request;
use super::scripts::Script;
use super::single::{CONNECT, Single, Source, errors_first};

/// The connection for commands.
pub(super) enum Link {
    Single(Box<Single>),
    Cluster(Box<Cluster>),
}

pub(super) struct Cluster {
    seeds: Vec<Client>,
    connection: ClusterConnection,
}

impl Link {
    /// Connects to the first server that answers, and asks it what it is.
    ///
    /// # Errors
    /// When none answers, a file cannot be read, or replicas of a cluster are to be waited for.
    pub(super) async fn open(address: &Address, timeout: Duration) -> RedisResult<Self> {
        let wrong =
            |text: String| RedisError::from((ErrorKind::InvalidClientConfig, "address", text));
        let seeds = address.clients().map_err(wrong)?;
        if address.master.is_some() {
            let source = Source::Sentinels(seeds, address.clone());
            let single = Single::new(source, timeout, address.wait);
            single.send(&redis::cmd("PING")).await?;
            return Ok(Self::Single(Box::new(single)));
        }
        let mut last = RedisError::from((ErrorKind::InvalidClientConfig, "no address"));
        for client in &seeds {
            let single = Single::new(Source::Fixed(client.clone()), timeout, address.wait);
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
            if address.wait.is_some() {
                let text =
                    "wait is for one master and its replicas, and this is a cluster; leave it out";
                return Err(wrong(text.to_owned()));
            }
            let infos = seeds.iter().map(|seed| seed.get_connection_info().clone());
            let mut cluster = ClusterClient::builder(infos)
                .response_timeout(timeout)
                .connection_timeout(CONNECT)
                .retries(3);
            if let Some(certificates) = address.certificates().map_err(wrong)? {
                cluster = cluster.certs(certificates);
            }
            let connection = cluster.build()?.get_async_connection().await?;
            return Ok(Self::Cluster(Box::new(Cluster { seeds, connection })));
        }
        Err(last)
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }

    /// Whether sentinels say where the master is.
    pub(super) fn is_watched(&self) -> bool {
        matches!(self, Self::Single(single) if single.source().is_watched())
    }

    /// Which replicas confirm commits.
    pub(super) fn wait(&self) -> Option<Wait> {
        match self {
            Self::Single(single) => single.wait,
            Self::Cluster(_) => None,
        }
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
        match self.done(script, command("EVALSHA", &script.hash)).await {
            Err(error) if classify(&error) == Fault::NoScript => {
                self.done(script, command("EVAL", &script.code)).await
            }
            answered => answered,
        }
    }

    /// Sends the call of a script; one that counts only when replicas have it waits for them.
    async fn done(&self, script: &Script, command: Cmd) -> RedisResult<Value> {
        match self {
            Self::Single(single) => match single.wait.filter(|_| script.counts) {
                Some(wait) => single.send_and_wait(command, wait).await,
                None => single.send(&command).await,
            },
            Self::Cluster(_) => self.send(&command).await,
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
            Self::Single(single) => vec![single.source().client().await?],
            Self::Cluster(cluster) => cluster.seeds.clone(),
        };
        let mut last = RedisError::from((ErrorKind::InvalidClientConfig, "no address"));
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
