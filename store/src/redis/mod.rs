//! Redis and Valkey, one server or a cluster: every commit is one script on one
//! hash tag and one round trip.
//!
//! The truth is on the server, in the layout of `names` and `scripts/shared.lua`;
//! this module keeps nothing but how far each shard was seen, to notice that a
//! server lost its last commits. It never treats a lost answer as a failure: a
//! commit is repeated under its id until there is an answer.

mod address;
mod core;
mod durability;
mod fault;
mod link;
mod names;
mod news;
mod reply;
mod request;
mod scripts;
mod single;
mod store;
mod track;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use self::address::Address;
use self::core::Core;
use self::link::Link;
use self::names::Names;
use crate::error::Error;
use crate::shard::Shards;

/// Number of the layout; a store with another one is refused.
const FORMAT: u64 = 1;

/// Where the servers are and how patient to be.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis://[user:password@]host:port[/database]`, several separated by commas;
    /// one node is enough to find a cluster's others. `rediss` for TLS; `redis-sentinel://host:port,…/MASTER`.
    /// Options behind `?`: `password-file`, `sentinel-password-file`, `ca`, `certificate`, `key` (files), `wait`
    /// (replicas that must have a commit before it counts) and `wait-ms`.
    pub url: String,
    /// What all keys begin with; default `gn`.
    pub prefix: String,
    /// How long one command may take; default 10 s. Its outcome is then unknown.
    pub timeout: Duration,
    /// How long a command is repeated while the server is away; default 30 s.
    pub patience: Duration,
}

impl RedisSettings {
    /// The defaults for an address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "gn".to_owned(),
            timeout: Duration::from_secs(10),
            patience: Duration::from_secs(30),
        }
    }
}

/// A store that several processes share.
pub struct Redis {
    core: Arc<Core>,
    news: JoinHandle<()>,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis")
            .field("cluster", &self.core.link.is_cluster())
            .finish_non_exhaustive()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.news.abort();
    }
}

impl Redis {
    /// Connects, and checks that the store there is ours and keeps what it is given.
    ///
    /// # Errors
    /// When no server answers, the server is too old or evicts keys, or the store
    /// was made with another number of shards.
    pub async fn open(settings: RedisSettings, shards: Shards) -> Result<Self, Error> {
        let open_error = |reason: String| Error::Open {
            place: address::shown(&settings.url),
            reason,
        };
        let address = Address::parse(&settings.url).map_err(open_error)?;
        let link = Link::open(&address, settings.timeout)
            .await
            .map_err(|error| open_error(error.to_string()))?;
        let durability = durability::ask(&link)
            .await
            .map_err(|error| open_error(error.to_string()))?;
        if let Some(refusal) = durability.refusal {
            return Err(open_error(refusal));
        }
        let names = Names::new(&settings.prefix);
        let core = Core::new(link, names, shards, settings.patience);
        layout(&core, shards).await.map_err(|error| match error {
            Error::Damaged(reason) => open_error(reason),
            other => other,
        })?;
        let core = Arc::new(core);
        let news = tokio::spawn(news::listen(core.clone()));
        Ok(Self { core, news })
    }
}

/// Opens the store at an address with the default settings.
///
/// # Errors
/// As [`Redis::open`].
pub async fn connect(url: &str, shards: Shards) -> Result<crate::Shared, Error> {
    Ok(Arc::new(
        Redis::open(RedisSettings::new(url), shards).await?,
    ))
}

/// Writes or compares what the store was made with.
async fn layout(core: &Core, shards: Shards) -> Result<(), Error> {
    let key = core.names.layout();
    for (name, wanted) in [("format", FORMAT), ("shards", u64::from(shards.count()))] {
        let mut set = ::redis::cmd("HSETNX");
        set.arg(&key).arg(name).arg(wanted);
        core.send(&set).await?;
        let mut get = ::redis::cmd("HGET");
        get.arg(&key).arg(name);
        let there = reply::number(core.send(&get).await?)?;
        if there != wanted {
            return Err(Error::Damaged(format!(
                "it was made with {name} {there}, not {wanted}"
            )));
        }
    }
    Ok(())
}
