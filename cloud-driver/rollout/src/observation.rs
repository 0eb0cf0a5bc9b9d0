//! What a rollout sees: the router's answer and what became of the processes.
//!
//! Answers may be missing, late or out of order; the machine sorts that out.

use std::collections::{BTreeMap, BTreeSet};

/// State of an instance as the router observes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Configured, not probed yet.
    Unknown,
    /// Being probed, or probed well and not meant to serve.
    Warming,
    /// Gets requests.
    Serving,
    /// Meant to serve and unhealthy.
    Suspended,
    /// Gets no new requests; some are in flight.
    Draining,
    /// Nothing in flight and no connection left, latched.
    Drained,
    /// No longer configured, and drained.
    Gone,
}

/// Requests an instance is answering.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InFlight {
    /// Requests whose bodies have not both ended.
    pub requests: u64,
    /// Upgraded connections.
    pub tunnels: u64,
}

/// One instance in a [`View`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// State as observed.
    pub state: State,
    /// Enough probes in a row have passed, whatever its role.
    pub ready: bool,
    /// It answered a request well since it got the role `serve`.
    pub first_served: bool,
    /// What it is answering.
    pub in_flight: InFlight,
    /// Why it is not ready, as the router says it.
    pub reason: Option<String>,
}

/// One answer of the router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// New with each start of the router.
    pub epoch: u64,
    /// Configuration it serves.
    pub generation: u64,
    /// Orders the answers of one epoch.
    pub sequence: u64,
    /// The rollout's revision that this generation is known to contain; 0 when
    /// nobody knows.
    pub revision: u64,
    /// Instances by id.
    pub instances: BTreeMap<String, Seen>,
    /// Weights in effect, by group, in thousandths of all requests.
    pub weights: BTreeMap<String, u32>,
}

/// What is known of an instance's process. Missing from the map: nobody could say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Process {
    /// Never started.
    Absent,
    /// Runs; its port does not answer yet.
    Running,
    /// Runs, and its own socket listens on its port.
    Listening,
    /// Has ended, or was forbidden to start. The text says how.
    Exited(String),
}

/// Everything a step decides on.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    /// The driver's clock, milliseconds since the epoch.
    pub now_ms: u64,
    /// The router, if it answered.
    pub router: Option<View>,
    /// Processes by instance id.
    pub processes: BTreeMap<String, Process>,
    /// Groups whose image is on disk, verified.
    pub prepared: BTreeSet<String>,
    /// Groups whose image cannot be had, and why.
    pub unprepared: BTreeMap<String, String>,
}
