//! What a rollout sees: the router's answer and what became of the processes.
//!
//! Answers may be missing, late or out of order; the machine sorts that out.

use std::collections::{BTreeMap, BTreeSet};

use crate::router::View;

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
