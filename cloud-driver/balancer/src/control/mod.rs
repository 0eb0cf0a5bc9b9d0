//! The control side: what is asked of the balancer and what it observed.
//!
//! Owns the journal, the admin socket, probes and observed states, all on the main thread. It never
//! touches a request: workers are told plans and standings, and their counts are read.

pub(crate) mod admin;
mod apply;
mod certificates;
mod cut;
mod events;
mod follow_listeners;
mod journal;
mod listener_metrics;
pub(crate) mod listeners;
mod metrics;
mod peer;
pub(crate) mod plane;
pub(crate) mod predecessor;
mod probe;
mod record;
pub(crate) mod run;
pub(crate) mod succession;
mod tracked;
