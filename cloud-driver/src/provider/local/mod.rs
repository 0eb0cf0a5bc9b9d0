//! The local provider: instances are processes of this machine, behind a load
//! balancer of our own.
//!
//! Owns ports, host slots, images on disk, shims and the balancer's one
//! configuration. It must never restart the balancer because it restarts
//! itself, and never starts a process that is not in the journal. Its truths:
//! the journal for what was decided, each shim for its process, the balancer
//! for health and traffic.

pub mod adopt;
pub mod balancer;
mod desired;
pub mod document;
pub mod image;
pub mod job;
pub mod journal;
mod launch;
pub mod observed;
pub mod port;
mod prepare;
pub mod routers;
pub(crate) mod run;
pub mod shim;
mod source;
pub mod stop;
pub mod traffic;
mod unix;
pub mod upgrade;
pub mod worker;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use thiserror::Error;

use crate::config::Config;
use crate::provider::router;
use journal::Journal;
use port::Ports;
use routers::Routers;
use shim::Shims;

/// What can go wrong here.
#[derive(Debug, Error)]
pub enum Error {
    /// Every port of the range is taken.
    #[error("no free port from {first} to {last}; widen local.first-port and local.last-port")]
    NoPort {
        /// First of the range.
        first: u16,
        /// Last of it.
        last: u16,
    },
    /// An image cannot be had or run.
    #[error("image {reference}: {reason}")]
    Image {
        /// As asked for.
        reference: String,
        /// Why.
        reason: String,
        /// Whether asking again may help.
        may_pass: bool,
    },
    /// A secret of the account cannot be read.
    #[error("variable {variable} of {owner}: {reason}")]
    Secret {
        /// The variable it is for.
        variable: String,
        /// Whose: `server group …`.
        owner: String,
        /// Why, without the secret.
        reason: String,
    },
    /// A shim cannot be started or does not answer as it should.
    #[error("instance {instance}: {reason}")]
    Shim {
        /// The instance.
        instance: String,
        /// Why.
        reason: String,
    },
    /// The load balancer cannot be told or asked.
    #[error("load balancer: {0}")]
    Balancer(String),
    /// A router did not do what it was told.
    #[error("router: {0}")]
    Router(#[from] router::Error),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// A program of ours is not where it should be.
    #[error("program {program} is not in {folder}; build or install it there")]
    Program {
        /// `balancer` or `instance`.
        program: &'static str,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A folder or file of ours cannot be used.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Journal(error.into())
    }
}

impl Error {
    /// Whether the same may succeed later by itself.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Image { may_pass, .. } => *may_pass,
            Self::NoPort { .. }
            | Self::Shim { .. }
            | Self::Balancer(_)
            | Self::Router(_)
            | Self::Journal(_)
            | Self::Io { .. } => true,
            Self::Secret { .. } | Self::Program { .. } => false,
        }
    }
}

/// An image whose files are on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpackedImage {
    /// With its digest: `registry/repository:tag@sha256:…`.
    pub reference: String,
    /// `sha256:…`
    pub digest: String,
    /// Its files, of which every instance gets a copy; none: the machine's own.
    pub rootfs: Option<PathBuf>,
    /// Its entrypoint.
    pub entrypoint: Vec<String>,
    /// Its default arguments.
    pub cmd: Vec<String>,
    /// Its variables.
    pub env: Vec<(String, String)>,
    /// Its working folder, inside.
    pub workdir: String,
    /// Numeric user and group it wants to run as.
    pub user: (u32, u32),
}

impl UnpackedImage {
    /// Program and arguments.
    ///
    /// # Errors
    /// When the image names none.
    pub fn command(&self) -> Result<Vec<String>, Error> {
        let command: Vec<String> = self.entrypoint.iter().chain(&self.cmd).cloned().collect();
        if command.is_empty() {
            return Err(Error::Image {
                reference: self.reference.clone(),
                reason: "it names neither entrypoint nor command; set one in the image".to_owned(),
                may_pass: false,
            });
        }
        Ok(command)
    }
}

/// Where images come from.
#[async_trait]
pub trait ImageSource: Send + Sync + std::fmt::Debug {
    /// Makes sure an image is on this machine, verified, and returns it. One
    /// named by digest that is there needs no registry.
    ///
    /// # Errors
    /// When it cannot be had.
    async fn ensure(&self, reference: &str) -> Result<UnpackedImage, Error>;

    /// Gives back the space of images that are not among these digests, as far as it
    /// seems wise. May take its time.
    fn prune(&self, _in_use: &BTreeSet<String>) {}
}

/// The provider.
#[derive(Debug)]
pub struct Local {
    config: Arc<Config>,
    journal: Journal,
    routers: Routers,
    shims: Shims,
    ports: Ports,
    images: Arc<dyn ImageSource>,
}

impl Local {
    /// The provider over its parts; nothing runs yet.
    pub fn new(
        config: Arc<Config>,
        store: store::Shared,
        images: Arc<dyn ImageSource>,
    ) -> Result<Self, Error> {
        let journal = Journal::new(store);
        let ports = Ports::new(config.local.first_port, config.local.last_port);
        let shims = Shims::open(&config)?;
        let routers = Routers::new(config.clone(), shims.clone());
        Ok(Self {
            config,
            journal,
            routers,
            shims,
            ports,
            images,
        })
    }

    /// The settings.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The documents.
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The routers: who gives instances their work.
    pub fn routers(&self) -> &Routers {
        &self.routers
    }

    /// The instances' shims.
    pub fn shims(&self) -> &Shims {
        &self.shims
    }

    /// The ports.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// The images.
    pub fn images(&self) -> &Arc<dyn ImageSource> {
        &self.images
    }
}

/// Milliseconds since the epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
