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
mod layout;
mod link;
mod names;
mod news;
mod reply;
mod request;
mod scripts;
mod settling;
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
use crate::Info;
use crate::error::Error;
use crate::presence::{Opening, Presence};
use crate::shard::Shards;

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
    /// What to do where there is no store; default: make one.
    pub opening: Opening,
}

impl RedisSettings {
    /// The defaults for an address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            prefix: "gn".to_owned(),
            timeout: Duration::from_secs(10),
            patience: Duration::from_secs(30),
            opening: Opening::default(),
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
    /// When no server answers, the server is too old or evicts keys, the store was made with
    /// another number of shards, or is not what [`RedisSettings::opening`] takes.
    pub async fn open(settings: RedisSettings, shards: Shards) -> Result<Self, Error> {
        let mut core = reach(&settings, shards).await?;
        let durability = durability::ask(&core.link).await?;
        if let Some(refusal) = &durability.refusal {
            return Err(open_error(&settings, refusal.clone()));
        }
        if let Some(left) = durability.unsettled()
            && layout::look(&core, shards)
                .await
                .is_ok_and(|there| there == Presence::Whole)
        {
            // It may have lost commits that those who knew it remember. They are to notice before anybody who
            // does not takes the lost steps again.
            tokio::time::sleep(left).await;
        }
        let id = layout::open(&core, shards, settings.opening).await;
        core.names.belong(id.map_err(|e| as_open(&settings, e))?);
        let core = Arc::new(core);
        let news = tokio::spawn(news::listen(core.clone()));
        Ok(Self { core, news })
    }

    /// Says that what was to be restored is there ([`Opening::Restore`]).
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn restored(&self) -> Result<(), Error> {
        layout::restored(&self.core).await
    }
}

fn open_error(settings: &RedisSettings, reason: String) -> Error {
    Error::Open {
        place: address::shown(&settings.url),
        reason,
    }
}

/// What is wrong with what is there, with the place.
fn as_open(settings: &RedisSettings, error: Error) -> Error {
    match error {
        Error::Damaged(reason) => open_error(settings, reason),
        other => other,
    }
}

async fn reach(settings: &RedisSettings, shards: Shards) -> Result<Core, Error> {
    let fault = |reason: String| open_error(settings, reason);
    let address = Address::parse(&settings.url).map_err(fault)?;
    let link = Link::open(&address, settings.timeout).await;
    let link = link.map_err(|error| fault(error.to_string()))?;
    let names = Names::new(&settings.prefix);
    Ok(Core::new(link, names, shards, settings.patience))
}

/// What is at an address, and what the server there promises; nothing is changed.
///
/// # Errors
/// When no server answers, or the store was made with another number of shards.
pub async fn look(settings: &RedisSettings, shards: Shards) -> Result<(Presence, Info), Error> {
    let core = reach(settings, shards).await?;
    let presence = layout::look(&core, shards).await;
    let info = durability::info(&core.link).await?;
    Ok((presence.map_err(|e| as_open(settings, e))?, info))
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
