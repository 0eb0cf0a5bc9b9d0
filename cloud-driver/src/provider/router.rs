//! The performing side of a router: who is told what `rollout::router` describes,
//! and who answers with what was observed.
//!
//! The rollout machine decides; an implementation of [`Router`] performs and
//! observes, and nothing else. It never decides who gets work, and never answers
//! with what it was asked to do in place of what it saw. A new kind of router (a
//! Service of Kubernetes, a target group of AWS) is one file with one
//! implementation; the suite in `tests/it/conformance` holds it to the rules that
//! stand in `rollout::router`.

use async_trait::async_trait;
use rollout::router::{Applied, Desired};
use rollout::{InFlight, View};
use thiserror::Error;
use tokio::sync::watch;

/// Why a router could not be told or asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// Another writer has taken over: stop writing.
    #[error("fencing token {sent} is refused: {reason}")]
    Fenced {
        /// The token that was sent.
        sent: u64,
        /// What the refusal says.
        reason: String,
    },
    /// The configuration cannot be served as it is.
    #[error("the configuration is refused: {0}")]
    Refused(String),
    /// It does not answer, or not as it should; the same may be asked again.
    #[error("{0}")]
    Unavailable(String),
}

/// What a kind of router can tell and do. What it cannot is no fault of it: the
/// suite leaves those rules out and says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// Groups share the work by weight, and the share in effect is seen.
    pub weights: bool,
    /// Counts what is in flight.
    pub counts: bool,
    /// Carries upgraded connections.
    pub tunnels: bool,
    /// What it observes lives in a process of its own, which may be lost without
    /// the control side.
    pub data_plane: bool,
}

/// A router. Every method may be called again after any failure, by this process
/// or the next one, without harm.
#[async_trait]
pub trait Router: Send + Sync + std::fmt::Debug {
    /// What this kind can do.
    fn abilities(&self) -> Abilities;

    /// Makes the data plane do what is desired, as a whole. When it returns, that is
    /// in force (rule `whole`), and the latest view is one asked for afterwards. The
    /// same again changes nothing (rule `same`).
    ///
    /// # Errors
    /// When another writer sent a larger `fence`, when the configuration cannot be
    /// served, or when the data plane does not answer; what was in force stays.
    async fn apply(&self, desired: &Desired, fence: u64) -> Result<Applied, Error>;

    /// Asks the data plane now and makes the answer the latest. Its `revision` is 0:
    /// what a generation contains is known to who applied it.
    ///
    /// # Errors
    /// When it does not answer.
    async fn observe(&self) -> Result<View, Error>;

    /// The latest answer; none while the data plane does not answer.
    fn latest(&self) -> Option<View>;

    /// Changes whenever there is a later answer, or none any more.
    fn news(&self) -> watch::Receiver<u64>;

    /// Sends the instance something to do the way users do, so that it can be seen
    /// to have served; nothing where no user can reach it.
    ///
    /// # Errors
    /// When the users' way cannot be gone.
    async fn prove(&self, member: &str) -> Result<(), Error>;

    /// Ends what a draining instance still has, and says what that was.
    ///
    /// # Errors
    /// When the data plane does not answer, or the instance does not drain.
    async fn cut(&self, member: &str) -> Result<InFlight, Error>;
}
