//! The instances a rollout is about, and what it has asked of each so far.

use serde::{Deserialize, Serialize};

/// What the router is asked to do with an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Not configured.
    Absent,
    /// Probed, no requests.
    Warm,
    /// Gets requests.
    Serve,
    /// No new requests; those in flight end.
    Drain,
}

/// How an instance came into the rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// Was there before and is moved.
    Existing,
    /// Brought up by this rollout.
    New,
    /// Brought up by the inverse, from the old group's image.
    Restored,
    /// Counts as capacity, is never touched.
    Peer,
}

/// How far this rollout has taken an instance through its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// Nothing was started; not even a reservation.
    Planned,
    /// Reserved, and perhaps started.
    Started,
    /// Told to stop, perhaps exited.
    Stopping,
    /// Out of the router, reservation given back.
    Released,
}

/// One instance of the rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Instance id; never used for two instances.
    pub id: String,
    /// Server group.
    pub group: String,
    /// Host slot it occupies.
    pub slot: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Role before the rollout.
    pub initial: Role,
    /// Role asked for now.
    pub role: Role,
    /// Life as asked for.
    pub standing: Standing,
    /// Its process was seen to have ended without being told to.
    pub died: bool,
}

impl Member {
    pub(crate) fn existing(id: String, group: String, slot: String, role: Role) -> Self {
        Self {
            id,
            group,
            slot,
            origin: Origin::Existing,
            initial: role,
            role,
            standing: Standing::Started,
            died: false,
        }
    }

    pub(crate) fn fresh(id: String, group: String, slot: String, origin: Origin) -> Self {
        Self {
            id,
            group,
            slot,
            origin,
            initial: Role::Absent,
            role: Role::Absent,
            standing: Standing::Planned,
            died: false,
        }
    }

    /// Whether it may be given traffic again: started, not told to stop, not dead.
    pub fn usable(&self) -> bool {
        self.standing == Standing::Started && !self.died
    }

    /// Whether this rollout may have caused something for it.
    pub(crate) fn touched(&self) -> bool {
        self.standing != Standing::Planned
    }
}

/// Two instances that follow each other in one slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pair {
    /// Who leaves.
    pub old: String,
    /// Who comes.
    pub new: String,
    /// Who came back in place of `old`, if the inverse had to start it again.
    pub restored: Option<String>,
    /// Its turn has come; pairs keep the order of their turns.
    pub turn: Option<usize>,
}
