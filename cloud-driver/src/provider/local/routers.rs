//! The routers of this machine, and the one writer of what they are told.
//!
//! Owns the lease that makes this process the writer, and the order journal → what
//! is desired → router. A rollout sees one router: the answers are joined. Never
//! acts on a journal that was read before another write.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rollout::router::{Applied, Desired, Group, Supply};
use rollout::{InFlight, View};
use runtime::Shutdown;
use tokio::sync::{Mutex, watch};

use super::Error;
use super::balancer::{Control, Details};
use super::desired::desired;
use super::journal::Journal;
use super::observed::{InstanceState, Observed, join_epochs};
use super::shim::Shims;
use super::worker::Workers;
use crate::config::Config;
use crate::provider::router::Router;

/// The store's lease that makes this process the one writer.
const LEASE: &str = "balancer/local";

/// How long it lasts without being renewed.
const LEASE_MS: u64 = 30_000;

/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(10);

/// All of them.
#[derive(Debug)]
pub struct Routers {
    config: Arc<Config>,
    balancer: Control,
    workers: Workers,
    /// One write at a time.
    writing: Mutex<()>,
    fence: AtomicU64,
    news: Arc<watch::Sender<u64>>,
    ready: watch::Sender<bool>,
}

impl Routers {
    /// The routers of a data folder; nothing is asked yet.
    pub fn new(config: Arc<Config>, shims: Shims) -> Self {
        let news = Arc::default();
        Self {
            balancer: Control::new(config.clone(), shims.clone(), Arc::clone(&news)),
            workers: Workers::new(&config, shims, Arc::clone(&news)),
            config,
            writing: Mutex::new(()),
            fence: AtomicU64::new(0),
            news,
            ready: watch::Sender::new(false),
        }
    }

    /// The load balancer.
    pub fn balancer(&self) -> &Control {
        &self.balancer
    }

    /// Changes with every new answer of any of them.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// The latest answers together; none while one does not answer.
    pub fn observed(&self) -> Option<Arc<Observed>> {
        let balancer = self.balancer.observed()?;
        Some(Arc::new(balancer.joined(&self.workers.observed())))
    }

    /// The same as it is now, for people to see; none while the load balancer does not answer.
    pub async fn look(&self) -> Option<Arc<Observed>> {
        let balancer = self.balancer.look().await?;
        Some(Arc::new(balancer.joined(&self.workers.observed())))
    }

    /// What was observed as the rollout machine takes it; `revision` says what an epoch and
    /// generation contain.
    pub fn view(&self, revision: impl Fn(u64, u64) -> u64) -> Option<View> {
        let observed = self.observed()?;
        Some(observed.view(revision(observed.epoch, observed.generation)))
    }

    /// Instances that were last seen serving.
    pub fn serving(&self) -> BTreeSet<String> {
        let observed = self.observed();
        let instances = observed.iter().flat_map(|o| &o.instances);
        instances
            .filter(|(_, s)| s.state == InstanceState::Serving)
            .map(|(id, _)| id.clone())
            .collect()
    }

    /// Whether they can be controlled.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self) -> Result<(), String> {
        if self.observed().is_some() && *self.ready.borrow() {
            Ok(())
        } else {
            Err("the load balancer does not answer yet".to_owned())
        }
    }

    /// Resolves when they answer and run what the journal says.
    pub async fn ready(&self) {
        let mut ready = self.ready.subscribe();
        // The sender lives as long as this.
        let _ready = ready.wait_for(|ready| *ready).await;
    }

    /// Makes them run what the journal says now. The same again changes nothing.
    /// When it returns, that is in force and the latest answers are to questions
    /// asked afterwards.
    ///
    /// # Errors
    /// When one does not answer, or refuses.
    pub async fn apply(&self, journal: &Journal) -> Result<Applied, Error> {
        let _one = self.writing.lock().await;
        // Read within the lock: a later writer has the later journal.
        let everything = journal.everything().await?;
        let (sent, taken) = split(desired(&self.config, &everything));
        self.balancer.say(Details::of(&self.config, &everything));
        let fence = self.fence.load(Ordering::SeqCst);
        let balancer = self.balancer.apply(&sent, fence).await?;
        let workers = self.workers.apply(&taken, fence).await?;
        Ok(Applied {
            epoch: join_epochs(balancer.epoch, workers.epoch),
            generation: balancer.generation + workers.generation,
        })
    }

    /// Asks all of them now and makes the answers the latest.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn observe(&self) -> Result<(), Error> {
        self.workers.observe().await?;
        self.balancer.observe().await?;
        Ok(())
    }

    /// Sends the instance something to do, the way users do.
    ///
    /// # Errors
    /// When that way cannot be gone.
    pub async fn prove(&self, instance: &str) -> Result<(), Error> {
        Ok(self.of(instance).prove(instance).await?)
    }

    /// Ends what a draining instance still has, and says what that was.
    ///
    /// # Errors
    /// When its router does not answer.
    pub async fn cut(&self, instance: &str) -> Result<InFlight, Error> {
        Ok(self.of(instance).cut(instance).await?)
    }

    /// Who gives this instance its work.
    fn of(&self, instance: &str) -> &dyn Router {
        if self.workers.has(instance) {
            &self.workers
        } else {
            &self.balancer
        }
    }

    /// Makes sure that the routers run, that this process may write their
    /// configuration, and that they run what the journal says.
    ///
    /// # Errors
    /// When one cannot be started or does not take the configuration.
    pub async fn begin(&self, journal: &Journal) -> Result<(), Error> {
        self.balancer.start().await?;
        self.balancer.tell_pending().await;
        self.balancer.clear_former().await;
        while !self.renew(journal).await? {
            tracing::warn!("another control plane writes the load balancer's configuration");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        self.balancer.observe().await?;
        self.apply(journal).await?;
        Ok(())
    }

    /// Lets operations begin.
    pub fn open(&self) {
        self.ready.send_replace(true);
    }

    /// Follows the routers until the shutdown begins; starts the balancer again should
    /// it be gone with its supervisor.
    ///
    /// # Errors
    /// When the balancer cannot be started.
    pub async fn follow(&self, journal: &Journal, shutdown: &Shutdown) -> Result<(), Error> {
        tokio::select! {
            ended = self.follow_balancer(journal, shutdown) => ended,
            // Never by itself.
            () = self.workers.follow() => Ok(()),
        }
    }

    async fn follow_balancer(&self, journal: &Journal, shutdown: &Shutdown) -> Result<(), Error> {
        loop {
            let Some(ended) = shutdown.or(self.listen_and_renew(journal)).await else {
                return Ok(());
            };
            let Err(error) = ended else { continue };
            tracing::warn!(%error, "load balancer is not heard");
            self.balancer.silence();
            if !shutdown.sleep(Control::PAUSE).await {
                return Ok(());
            }
            self.balancer.start().await?;
            // It may have started without its journal.
            if let Err(error) = self.apply(journal).await {
                tracing::warn!(%error, "load balancer was not told its configuration");
            }
        }
    }

    async fn listen_and_renew(&self, journal: &Journal) -> Result<(), Error> {
        let listening = self.balancer.listen();
        tokio::pin!(listening);
        loop {
            match tokio::time::timeout(RENEW, &mut listening).await {
                Ok(ended) => return ended,
                Err(_) => match self.renew(journal).await {
                    Ok(true) => {}
                    Ok(false) => tracing::error!("the lease on the load balancer was lost"),
                    Err(error) => tracing::warn!(%error, "the lease was not renewed"),
                },
            }
        }
    }

    async fn renew(&self, journal: &Journal) -> Result<bool, Error> {
        // The folder is this process's alone while it runs, so whoever comes
        // next on it is the same holder and need not wait for the lease to end.
        let holder = format!("cloud-driver@{}", self.config.data.display());
        let lease = journal
            .store()
            .take(journal.shard(), LEASE, &holder, LEASE_MS)
            .await?;
        if let Some(lease) = &lease {
            self.fence.store(lease.token, Ordering::SeqCst);
        }
        Ok(lease.is_some())
    }
}

/// What the balancer is told, and what workers are.
fn split(desired: Desired) -> (Desired, Desired) {
    let sent = |group: &Group| group.supply == Supply::Sent;
    let (sent, taken) = desired.groups.into_iter().partition(sent);
    let workers = Desired {
        entrances: Vec::new(),
        groups: taken,
    };
    let balancer = Desired {
        groups: sent,
        ..desired
    };
    (balancer, workers)
}
