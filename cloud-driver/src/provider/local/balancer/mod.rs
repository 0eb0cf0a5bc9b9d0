//! Control of the load balancer, and what it says.
//!
//! Owns the one writer of its configuration (guarded by the store's named lease
//! and its generation) and the latest state, fed by its watch stream. It must
//! never restart the balancer because this process restarts, and never acts on
//! a state it did not ask for after the last configuration.

mod admin;
mod listeners;
mod observed;
mod port;
mod render;
mod supervise;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::Value;
use tokio::sync::{Mutex, watch};

pub use listeners::Unheard;
pub use observed::{InstanceState, Observed, Seen};
pub use port::check_port;
pub(crate) use render::listeners as listeners_of;

use super::Error;
use super::journal::Journal;
use super::shim::Shims;
use crate::config::Config;
use admin::{Admin, Answer};

/// Times a configuration is written anew because another generation was in force.
const PUT_TRIES: u32 = 5;

/// Requests sent through the balancer for one proof, at the most.
const MAX_PROOFS: usize = 32;

/// The configuration that is in force after a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Which process applied it.
    pub epoch: u64,
    /// Its generation.
    pub generation: u64,
}

/// The load balancer.
#[derive(Debug)]
pub struct Router {
    config: Arc<Config>,
    shims: Shims,
    admin: Admin,
    folder: PathBuf,
    /// One write at a time.
    writing: Mutex<()>,
    fence: AtomicU64,
    sequence: AtomicU64,
    state: watch::Sender<Option<Arc<Observed>>>,
    ready: watch::Sender<bool>,
    /// What it could not listen on when the last configuration was applied.
    unheard: std::sync::Mutex<Vec<Unheard>>,
}

impl Router {
    /// The balancer of a data folder; nothing is asked yet.
    pub fn new(config: Arc<Config>, shims: Shims) -> Self {
        let folder = config.data.join("balancer");
        Self {
            admin: Admin::new(&folder),
            config,
            shims,
            folder,
            writing: Mutex::new(()),
            fence: AtomicU64::new(0),
            sequence: AtomicU64::new(0),
            state: watch::Sender::new(None),
            ready: watch::Sender::new(false),
            unheard: std::sync::Mutex::default(),
        }
    }

    /// Changes with every new state.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<Observed>>> {
        self.state.subscribe()
    }

    /// The latest state; none while the balancer does not answer.
    pub fn observed(&self) -> Option<Arc<Observed>> {
        self.state.borrow().clone()
    }

    /// The latest state as the rollout machine takes it; `revision` says what an
    /// epoch and generation contain.
    pub fn view(&self, revision: impl Fn(u64, u64) -> u64) -> Option<rollout::View> {
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

    /// Whether it can be controlled.
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

    /// Resolves when the balancer answers and runs what the journal says.
    pub async fn ready(&self) {
        let mut ready = self.ready.subscribe();
        // The sender lives as long as this.
        let _ready = ready.wait_for(|ready| *ready).await;
    }

    /// Makes the balancer run what the journal says now. The same again changes
    /// nothing. When it returns, every worker has confirmed and the latest state
    /// is one that was asked for afterwards.
    ///
    /// # Errors
    /// When it does not answer, or refuses. Listeners that it cannot have are left out instead: see
    /// [`Self::unheard`].
    pub async fn apply(&self, journal: &Journal) -> Result<Applied, Error> {
        let _one = self.writing.lock().await;
        // Read within the lock: a later writer has the later journal.
        let everything = journal.everything().await?;
        let mut config = render::render(&self.config, &everything);
        let (_, mut unheard) = render::listeners(&self.config, &everything);
        let mut generation = match self.observed() {
            Some(observed) => observed.generation,
            None => self.refresh().await?.generation,
        };
        for _ in 0..PUT_TRIES {
            let fence = self.fence.load(Ordering::SeqCst);
            let body = serde_json::to_vec(&config).map_err(|e| Error::Balancer(e.to_string()))?;
            let headers = [
                ("if-match", format!("\"{generation}\"")),
                (balancer::FENCE_HEADER, fence.to_string()),
            ];
            let answer = self
                .admin
                .ask(Method::PUT, "/v1/config", &headers, body)
                .await?;
            match answer.status {
                StatusCode::OK => {
                    let applied: balancer::Applied = read(&answer)?;
                    let applied = Applied {
                        epoch: observed::epoch(&applied.epoch),
                        generation: applied.generation,
                    };
                    tracing::debug!(generation = applied.generation, "generation applied");
                    self.refresh().await?;
                    self.set_unheard(unheard);
                    return Ok(applied);
                }
                StatusCode::UNPROCESSABLE_ENTITY => {
                    let faults = read::<balancer::Faults>(&answer)?;
                    let Some((rest, more)) = listeners::without(&config, &faults) else {
                        return Err(refused(&answer));
                    };
                    config = rest;
                    unheard.extend(more);
                }
                StatusCode::PRECONDITION_FAILED => {
                    generation = read::<balancer::Applied>(&answer)?.generation;
                }
                _ => return Err(refused(&answer)),
            }
        }
        Err(Error::Balancer(
            "somebody else writes its configuration".to_owned(),
        ))
    }

    /// What the balancer could not listen on when the last configuration was applied.
    pub fn unheard(&self) -> Vec<Unheard> {
        let unheard = self.unheard.lock();
        unheard.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_unheard(&self, new: Vec<Unheard>) {
        let mut unheard = self.unheard.lock().unwrap_or_else(PoisonError::into_inner);
        for one in new.iter().filter(|one| !unheard.contains(one)) {
            tracing::warn!(
                address = one.address,
                why = one.why,
                "a listener cannot be had"
            );
        }
        *unheard = new;
    }

    /// Asks for the state and makes it the latest.
    async fn refresh(&self) -> Result<Arc<Observed>, Error> {
        // Numbered before it is asked: an answer never counts as newer than one
        // to a later question.
        let sequence = self.sequence.fetch_add(1, Ordering::SeqCst) + 1;
        let answer = self
            .admin
            .ask(Method::GET, "/v1/state", &[], Vec::new())
            .await?;
        if answer.status != StatusCode::OK {
            return Err(Error::Balancer(format!("its state is {}", answer.status)));
        }
        let observed = Arc::new(Observed::of(read::<balancer::State>(&answer)?, sequence));
        self.state.send_if_modified(|latest| {
            let older = latest
                .as_ref()
                .is_some_and(|l| l.epoch == observed.epoch && l.sequence > sequence);
            if !older {
                *latest = Some(observed.clone());
            }
            !older
        });
        Ok(observed)
    }

    /// Sends requests the way users' requests go, as many at once as there are
    /// instances: each goes to who has the fewest, so one should reach the
    /// instance. Whether it did is seen in the state.
    ///
    /// # Errors
    /// When the balancer cannot be connected to.
    pub async fn prove(&self, journal: &Journal, instance: &str) -> Result<(), Error> {
        let everything = journal.everything().await?;
        let Some(instance) = everything.instances.iter().find(|i| i.id == instance) else {
            return Ok(());
        };
        let group = everything.group(&instance.account, &instance.region, &instance.group);
        let Some(group) = group else {
            return Ok(());
        };
        let body = render::render(&self.config, &everything);
        for name in &group.load_balancers {
            let route = body.routes.iter().find(|r| r.load_balancer == *name);
            let Some(route) = route else { continue };
            let path = proving_path(&route.path, group.health.path.as_deref());
            let host = route.host.as_deref().unwrap_or("localhost");
            let visits = self.serving().len().clamp(2, MAX_PROOFS);
            let visits = (0..visits).map(|_| admin::visit(self.config.balancer_port, host, path));
            futures_util::future::try_join_all(visits).await?;
        }
        self.refresh().await.map(drop)
    }

    /// Ends what a draining instance still has.
    ///
    /// # Errors
    /// When the balancer does not answer.
    pub async fn cut(&self, instance: &str) -> Result<(), Error> {
        let Some(observed) = self.observed() else {
            return Ok(());
        };
        for entry in observed.entries(instance) {
            let entry = entry.replace('@', "%40");
            let path = format!("/v1/drain/{entry}/cut");
            self.admin
                .ask(Method::POST, &path, &[], b"{}".to_vec())
                .await?;
        }
        Ok(())
    }

    /// What was measured over the last seconds, as the balancer tells it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn history(&self, seconds: u32) -> Result<Value, Error> {
        let path = format!("/v1/history?seconds={seconds}");
        let answer = self.admin.ask(Method::GET, &path, &[], Vec::new()).await?;
        read(&answer)
    }

    /// How long to wait before asking again what did not answer.
    const PAUSE: Duration = Duration::from_millis(100);
}

/// What to ask for through a route: the health check's path where it lies below the route, since paths
/// reach an instance as they are.
fn proving_path<'a>(route: &'a str, check: Option<&'a str>) -> &'a str {
    check
        .filter(|check| check.starts_with(route))
        .unwrap_or(if route.is_empty() { "/" } else { route })
}

fn refused(answer: &Answer) -> Error {
    let text = String::from_utf8_lossy(&answer.body);
    Error::Balancer(format!(
        "refuses the configuration with {}: {}",
        answer.status,
        text.chars().take(500).collect::<String>()
    ))
}

fn read<T: serde::de::DeserializeOwned>(answer: &Answer) -> Result<T, Error> {
    serde_json::from_slice(&answer.body)
        .map_err(|e| Error::Balancer(format!("its answer is not understood: {e}")))
}

#[cfg(test)]
mod tests {
    use super::proving_path;

    #[test]
    fn a_proof_asks_for_what_the_instance_knows() {
        for (route, check, path) in [
            ("/", Some("/health"), "/health"),
            ("/staging", Some("/staging/health"), "/staging/health"),
            ("/staging", Some("/health"), "/staging"),
            ("/staging", None, "/staging"),
            ("", None, "/"),
        ] {
            assert_eq!(proving_path(route, check), path);
        }
    }
}
