//! The control side: what is asked of the balancer and what it observed.
//!
//! Owns the journal, the admin socket, probes and observed states, all on the main thread. It never
//! touches a request: workers are told plans and standings, and their counts are read.

mod access;
pub(crate) mod admin;
mod apply;
mod archive;
mod bequest;
mod certificates;
mod cut;
mod events;
mod follow_listeners;
mod gates;
mod holds;
mod journal;
pub(crate) mod listeners;
pub(crate) mod metrics;
mod outlier;
mod peer;
mod plan;
pub(crate) mod plane;
pub(crate) mod predecessor;
mod probe;
mod record;
pub(crate) mod run;
mod scrape;
mod seconds;
pub(crate) mod succession;
mod tracked;
