//! Which store is opened, and whether it may be: one that is empty beside an archive that is
//! not was lost, and to begin anew would be to forget what the archive still knows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use store::archive::{self, Objects};
use store::embedded::{Embedded, FileSettings};
use store::redis::{self, Redis, RedisSettings};
use store::{Info, Opening, Presence, Shards, Shared};

/// What stands for a store that was lost, besides definitions.
const KEPT: [&str; 2] = ["definitions", "executions"];

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// The embedded store's file.
    File(PathBuf),
    /// The address of a Redis.
    Redis(String),
}

/// An opened store.
pub(crate) enum Opened {
    File(Arc<Embedded>),
    Redis(Arc<Redis>),
}

impl Opened {
    /// For whoever uses it.
    pub(crate) fn shared(&self) -> Shared {
        match self {
            Self::File(store) => Arc::clone(store) as Shared,
            Self::Redis(store) => Arc::clone(store) as Shared,
        }
    }

    /// What was to be restored is there.
    pub(crate) async fn restored(&self) -> Result<(), store::Error> {
        match self {
            Self::File(store) => store.restored(),
            Self::Redis(store) => store.restored().await,
        }
    }
}

impl Place {
    /// The store that these options of the command line name.
    pub(crate) fn of(redis: Option<&String>, data: &Path) -> Self {
        match redis {
            Some(url) => Self::Redis(url.clone()),
            None => Self::File(data.join("store.redb")),
        }
    }

    /// What is there, and on a Redis what it promises; nothing is changed.
    pub(crate) async fn look(&self) -> Result<(Presence, Option<Info>), store::Error> {
        match self {
            Self::File(path) => Ok((Embedded::look(path)?, None)),
            Self::Redis(url) => {
                let settings = RedisSettings::new(url);
                let (presence, info) = redis::look(&settings, Shards::default()).await?;
                Ok((presence, Some(info)))
            }
        }
    }

    /// Opens it.
    pub(crate) async fn open(&self, opening: Opening) -> Result<Opened, store::Error> {
        let shards = Shards::default();
        Ok(match self {
            Self::File(path) => {
                let mut settings = FileSettings::new(path);
                settings.opening = opening;
                Opened::File(Arc::new(Embedded::open(settings, shards)?))
            }
            Self::Redis(url) => {
                let mut settings = RedisSettings::new(url);
                settings.opening = opening;
                Opened::Redis(Arc::new(Redis::open(settings, shards).await?))
            }
        })
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            // An address may hold a password.
            Self::Redis(_) => f.write_str("on this Redis"),
        }
    }
}

/// Opens the store of a control plane: the one that is there, or a new one if nothing is known to
/// have been lost or `accept_empty` says that it does not matter.
pub(crate) async fn open(
    place: &Place,
    archive: Option<archive::Shared>,
    accept_empty: bool,
) -> anyhow::Result<Opened> {
    let opening = match place.look().await?.0 {
        Presence::Whole => Opening::Find,
        Presence::Unfinished => bail!(
            "the store {place} is half filled: a `gennaker restore` has not ended; run it again"
        ),
        Presence::Absent => {
            if let (Some(archive), false) = (archive, accept_empty) {
                nothing_lost(place, archive.as_ref()).await?;
            }
            Opening::Make
        }
    };
    Ok(place.open(opening).await?)
}

async fn nothing_lost(place: &Place, archive: &dyn Objects) -> anyhow::Result<()> {
    let empty = is_empty(archive).await.with_context(|| {
        format!(
            "the store {place} is empty, and whether something was lost cannot be seen: make the archive readable, or \
             start with --accept-empty"
        )
    })?;
    if !empty {
        bail!(
            "the store {place} is empty, but the archive {} is not: run `gennaker restore` with the same --data and \
             --redis to bring back what it holds, or start with --accept-empty to begin anew",
            archive.place()
        );
    }
    Ok(())
}

/// Whether an archive holds nothing that stands for a store.
pub(crate) async fn is_empty(archive: &dyn Objects) -> Result<bool, store::Error> {
    for folder in KEPT {
        if !archive.list(folder).await?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}
