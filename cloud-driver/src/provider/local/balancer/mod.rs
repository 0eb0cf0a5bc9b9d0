//! Control of the load balancer, and what it says.
//!
//! Owns the way to its admin socket and the latest state, fed by its watch stream. It
//! must never restart the balancer because this process restarts, and never acts on
//! a state it did not ask for after the last configuration.

mod access_log;
mod admin;
mod details;
mod listeners;
mod port;
mod render;
mod supervise;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, StatusCode};
use rollout::router::{Applied, Desired, Probe};
use rollout::{InFlight, View};
use serde_json::Value;
use tokio::sync::{Mutex, watch};

pub(crate) use details::Details;
pub use listeners::Unheard;
pub use port::check_port;
pub(crate) use render::{UNROUTED, instance_of};

use super::observed::{InstanceState, Observed, epoch};
use super::shim::Shims;
use super::traffic::Traffic;
use super::{Error, now_ms};
use crate::config::Config;
use crate::provider::router::{self, Abilities, Router};
pub(crate) use admin::Admin;
use admin::Answer;

/// Times a configuration is written anew because another generation was in force.
const PUT_TRIES: u32 = 5;

/// Requests sent through the balancer for one proof, at the most.
const MAX_PROOFS: usize = 32;

/// The load balancer as a router.
#[derive(Debug)]
pub struct Control {
    config: Arc<Config>,
    shims: Shims,
    admin: Admin,
    folder: PathBuf,
    /// One write at a time.
    writing: Mutex<()>,
    sequence: AtomicU64,
    latest: RwLock<Latest>,
    news: Arc<watch::Sender<u64>>,
}

/// What is known of it.
#[derive(Debug, Default)]
struct Latest {
    observed: Option<Arc<Observed>>,
    /// What it was told last.
    desired: Arc<Desired>,
    /// What is said beside it.
    details: Arc<Details>,
    /// What it could not listen on then.
    unheard: Vec<Unheard>,
    /// Why its access log is not as configured.
    unlogged: Vec<String>,
}

impl Control {
    /// The balancer of a data folder; nothing is asked yet. `news` counts what is
    /// heard of it.
    pub fn new(config: Arc<Config>, shims: Shims, news: Arc<watch::Sender<u64>>) -> Self {
        let folder = config.data.join("balancer");
        Self {
            admin: Admin::new(&folder),
            config,
            shims,
            folder,
            writing: Mutex::new(()),
            sequence: AtomicU64::new(0),
            latest: RwLock::default(),
            news,
        }
    }

    /// The latest state; none while the balancer does not answer.
    pub fn observed(&self) -> Option<Arc<Observed>> {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        latest.observed.clone()
    }

    /// Says what load balancers are to do beyond what is desired; the next [`Router::apply`] tells it.
    pub(crate) fn say(&self, details: Details) {
        self.note(|latest| {
            latest.details = Arc::new(details);
            false
        });
    }

    fn details(&self) -> Arc<Details> {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        latest.details.clone()
    }

    fn note(&self, change: impl FnOnce(&mut Latest) -> bool) {
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut latest);
        drop(latest);
        if changed {
            self.news.send_modify(|n| *n += 1);
        }
    }

    /// The state as it is now, for people to see: [`Self::observed`] is that of the last event, and requests that come
    /// and go are none. That one is told where the answer fails or takes too long.
    pub async fn look(&self) -> Option<Arc<Observed>> {
        match tokio::time::timeout(Self::PATIENCE, self.state()).await {
            Ok(Ok(observed)) => Some(Arc::new(observed)),
            Ok(Err(_)) | Err(_) => self.observed(),
        }
    }

    /// Asks for the state.
    async fn state(&self) -> Result<Observed, Error> {
        // Numbered before it is asked: an answer never counts as newer than one
        // to a later question.
        let sequence = self.sequence.fetch_add(1, Ordering::SeqCst) + 1;
        let asked_ms = now_ms();
        let answer = self
            .admin
            .ask(Method::GET, "/v1/state", &[], Vec::new())
            .await?;
        if answer.status != StatusCode::OK {
            return Err(Error::Balancer(format!("its state is {}", answer.status)));
        }
        let state = read::<balancer::State>(&answer)?;
        Ok(Observed::of(state, sequence, asked_ms))
    }

    /// Asks for the state and makes it the latest.
    async fn refresh(&self) -> Result<Arc<Observed>, Error> {
        let observed = Arc::new(self.state().await?);
        self.note(|latest| {
            let older = latest
                .observed
                .as_ref()
                .is_some_and(|l| l.epoch == observed.epoch && l.sequence > observed.sequence);
            if !older {
                latest.observed = Some(observed.clone());
            }
            !older
        });
        Ok(observed)
    }

    /// Writes a configuration; the one in force then. Listeners and an access log that the balancer cannot
    /// have are left out: see [`Self::unheard`].
    async fn put(&self, desired: &Desired, fence: u64) -> Result<Applied, router::Error> {
        let details = self.details();
        let mut config = render::render(desired, &details);
        let mut unheard = details.unheard.clone();
        let is_there = |name: &str| desired.entrances.iter().any(|e| e.name == name);
        let log = details.access_log.iter();
        let mut unlogged: Vec<_> = log
            .flat_map(|log| access_log::absent(log, is_there))
            .collect();
        let mut generation = match self.observed() {
            Some(observed) => observed.generation,
            None => {
                let asked = self.refresh().await;
                asked.map_err(|e| unavailable(&e))?.generation
            }
        };
        for _ in 0..PUT_TRIES {
            let body = serde_json::to_vec(&config).map_err(|e| unavailable(&e))?;
            let headers = [
                ("if-match", format!("\"{generation}\"")),
                (balancer::FENCE_HEADER, fence.to_string()),
            ];
            let asked = self.admin.ask(Method::PUT, "/v1/config", &headers, body);
            let answer = asked.await.map_err(|e| unavailable(&e))?;
            let understood = |e: Error| unavailable(&e);
            match answer.status {
                StatusCode::OK => {
                    let applied: balancer::Applied = read(&answer).map_err(understood)?;
                    self.set_unheard(unheard, unlogged);
                    return Ok(Applied {
                        epoch: epoch(&applied.epoch),
                        generation: applied.generation,
                    });
                }
                StatusCode::UNPROCESSABLE_ENTITY => {
                    let faults: balancer::Faults = read(&answer).map_err(understood)?;
                    if let Some((rest, why)) = access_log::without(&config, &faults) {
                        config = rest;
                        unlogged.push(why);
                    } else if let Some((rest, more)) = listeners::without(&config, &faults) {
                        config = rest;
                        unheard.extend(more);
                    } else {
                        return Err(refusal(answer.status, &answer, fence));
                    }
                }
                StatusCode::PRECONDITION_FAILED => {
                    let applied: balancer::Applied = read(&answer).map_err(understood)?;
                    generation = applied.generation;
                }
                other => return Err(refusal(other, &answer, fence)),
            }
        }
        Err(router::Error::Unavailable(
            "somebody else writes the load balancer's configuration".to_owned(),
        ))
    }

    /// What the balancer could not listen on when the last configuration was applied.
    pub fn unheard(&self) -> Vec<Unheard> {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        latest.unheard.clone()
    }

    fn set_unheard(&self, new: Vec<Unheard>, unlogged: Vec<String>) {
        self.note(|latest| {
            for why in unlogged.iter().filter(|why| !latest.unlogged.contains(why)) {
                tracing::warn!(why, "the access log is not as configured");
            }
            latest.unlogged = unlogged;
            for one in new.iter().filter(|one| !latest.unheard.contains(one)) {
                tracing::warn!(
                    address = one.address,
                    why = one.why,
                    "a listener cannot be had"
                );
            }
            latest.unheard = new;
            false
        });
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

    /// How long who looks waits for the state.
    const PATIENCE: Duration = Duration::from_secs(1);

    /// How long to wait before asking again what did not answer.
    pub(crate) const PAUSE: Duration = Duration::from_millis(100);
}

#[async_trait]
impl Router for Control {
    fn abilities(&self) -> Abilities {
        Abilities {
            weights: true,
            counts: true,
            tunnels: true,
            data_plane: true,
        }
    }

    async fn apply(&self, desired: &Desired, fence: u64) -> Result<Applied, router::Error> {
        let _one = self.writing.lock().await;
        let applied = self.put(desired, fence).await?;
        tracing::debug!(generation = applied.generation, "generation applied");
        let told = Arc::new(desired.clone());
        self.note(|latest| {
            latest.desired = told;
            false
        });
        self.refresh().await.map_err(|e| unavailable(&e))?;
        Ok(applied)
    }

    async fn observe(&self) -> Result<View, router::Error> {
        let observed = self.refresh().await.map_err(|e| unavailable(&e))?;
        Ok(observed.view(0))
    }

    fn latest(&self) -> Option<View> {
        Some(self.observed()?.view(0))
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Sends requests the way users' requests go, as many at once as there are
    /// instances: each goes to who has the fewest, so one should reach the
    /// instance. Whether it did is seen in the state.
    async fn prove(&self, member: &str) -> Result<(), router::Error> {
        let (desired, details) = {
            let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
            (latest.desired.clone(), latest.details.clone())
        };
        let has = |group: &&rollout::router::Group| group.members.iter().any(|m| m.id == member);
        let Some(group) = desired.groups.iter().find(has) else {
            return Ok(());
        };
        let check = match &group.probe {
            Probe::Path(path) => Some(path.as_str()),
            Probe::Connection | Probe::Process => None,
        };
        let serving = self.observed().map_or(0, |o| {
            let states = o.instances.values().map(|s| s.state);
            states.filter(|s| *s == InstanceState::Serving).count()
        });
        for name in &group.entrances {
            let Some(entrance) = desired.entrances.iter().find(|e| e.name == *name) else {
                continue;
            };
            let path = proving_path(&entrance.path, check);
            // Of a pattern, any host below it.
            let host = entrance.host.as_deref().unwrap_or("localhost");
            let host = host.replacen('*', "any", 1);
            let headers = details.traffic.get(name);
            let headers = headers.map(Traffic::fitting_headers).unwrap_or_default();
            let port = self.config.balancer_port;
            let visits = (0..serving.clamp(2, MAX_PROOFS))
                .map(|_| admin::visit(port, &host, path, &headers));
            let visits = futures_util::future::try_join_all(visits).await;
            visits.map_err(|e| unavailable(&e))?;
        }
        self.refresh().await.map(drop).map_err(|e| unavailable(&e))
    }

    async fn cut(&self, member: &str) -> Result<InFlight, router::Error> {
        let mut ended = InFlight::default();
        let Some(observed) = self.observed() else {
            let text = "the load balancer does not answer".to_owned();
            return Err(router::Error::Unavailable(text));
        };
        for entry in observed.entries(member) {
            let path = format!("/v1/drain/{}/cut", entry.replace('@', "%40"));
            let asked = self
                .admin
                .ask(Method::POST, &path, &[], b"{}".to_vec())
                .await;
            let answer = asked.map_err(|e| unavailable(&e))?;
            match answer.status {
                StatusCode::OK => {
                    let cut: balancer::Cut = read(&answer).map_err(|e| unavailable(&e))?;
                    ended.requests += cut.requests;
                    ended.tunnels += cut.tunnels;
                }
                // It has drained and was forgotten meanwhile.
                StatusCode::NOT_FOUND => {}
                other => return Err(refusal(other, &answer, 0)),
            }
        }
        Ok(ended)
    }
}

fn unavailable(error: &dyn std::fmt::Display) -> router::Error {
    router::Error::Unavailable(error.to_string())
}

/// What an answer other than 200 means.
fn refusal(status: StatusCode, answer: &Answer, fence: u64) -> router::Error {
    let text = String::from_utf8_lossy(&answer.body);
    let text: String = text.chars().take(500).collect();
    match status {
        StatusCode::CONFLICT if answer.fenced => router::Error::Fenced {
            sent: fence,
            reason: text,
        },
        StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE => {
            router::Error::Refused(text)
        }
        other => router::Error::Unavailable(format!("the load balancer answers {other}: {text}")),
    }
}

/// What to ask for through a route: the health check's path where it lies below the route, since paths
/// reach an instance as they are.
fn proving_path<'a>(route: &'a str, check: Option<&'a str>) -> &'a str {
    check
        .filter(|check| check.starts_with(route))
        .unwrap_or(if route.is_empty() { "/" } else { route })
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
