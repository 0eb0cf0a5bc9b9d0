//! The service against fake peers, on stores in memory and on Redis.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails with the reason"
)]

mod access;
mod api;
mod archive;
mod bench;
mod cause;
mod commit;
mod definitions;
mod judgment;
mod notification;
mod objects;
mod quarantine;
mod rate;
mod recovery;
mod redis;
mod rig;
mod samples;
mod secrets;
mod senders;
mod simulation;
mod sink;
mod stages;
mod strategies;
mod templates;
mod verbs;
mod webhook;
