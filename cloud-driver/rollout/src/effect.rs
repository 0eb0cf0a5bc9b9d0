//! What a step asks for: lines for the journal, then effects on the outside.

use serde::{Deserialize, Serialize};

use crate::member::Role;
use crate::outcome::Outcome;
use crate::router::InFlight;
use crate::settings::OnDrainTimeout;

/// A fact to commit together with the rollout's state, before any effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Journal {
    /// Take the slot and a port for the instance.
    Reserve {
        /// Instance id.
        member: String,
        /// Its server group.
        group: String,
        /// Its slot.
        slot: String,
    },
    /// The role the router shall give it.
    Role {
        /// Instance id.
        member: String,
        /// The role.
        role: Role,
    },
    /// It was told to stop: it must never be started from now on.
    Stop {
        /// Instance id.
        member: String,
    },
    /// Give slot and port back.
    Release {
        /// Instance id.
        member: String,
    },
    /// The group's share of its load balancers' requests.
    Weight {
        /// Server group.
        group: String,
        /// The share, relative to the other groups'.
        weight: u32,
    },
}

/// Something to cause outside. Each may be asked for again until an
/// observation shows it done; performing it twice must be harmless.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Put the group's image on disk and verify it.
    Prepare {
        /// Server group.
        group: String,
    },
    /// Start the instance's process, once for its id.
    Spawn {
        /// Instance id.
        member: String,
    },
    /// Make the router serve the roles and weights of the journal.
    Configure {
        /// Revision that answers carry once this is applied.
        revision: u64,
    },
    /// Ask the router anew: its latest answer is too old to decide by.
    Observe,
    /// Send the instance one request through the router's own path.
    Prove {
        /// Instance id.
        member: String,
    },
    /// End what the instance still has in flight.
    Cut {
        /// Instance id.
        member: String,
    },
    /// SIGTERM, and after the grace period SIGKILL to the group.
    Stop {
        /// Instance id.
        member: String,
        /// The grace period.
        grace_ms: u64,
    },
}

/// What an instance still had in flight when its time to drain was over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    /// Instance id.
    pub member: String,
    /// What it had.
    pub in_flight: InFlight,
    /// How long was waited.
    pub waited_ms: u64,
    /// What becomes of it; upgraded connections alone are always cut.
    pub then: OnDrainTimeout,
}

/// The result of one step.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Step {
    /// The state differs from before: commit it with `journal` first.
    pub changed: bool,
    /// To commit with the state.
    pub journal: Vec<Journal>,
    /// To perform after the commit, in order.
    pub effects: Vec<Effect>,
    /// To tell people, with the commit.
    pub overdue: Vec<Overdue>,
    /// Step again at this time even if nothing is observed.
    pub wake_at_ms: Option<u64>,
    /// It has ended.
    pub outcome: Option<Outcome>,
}
