//! The service against fake peers, on stores in memory and on Redis.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails with the reason"
)]

mod access;
mod api;
mod archive;
mod artifacts;
mod bench;
mod canary;
mod cause;
mod children;
mod commit;
mod configured;
mod corpus;
mod custom;
mod definitions;
mod evaluation;
mod fanin;
mod flow;
mod foreign;
mod golden;
mod hydrate;
mod instances;
mod judgment;
mod large;
mod lasting;
mod limits;
mod monitored;
mod never_ran;
mod notification;
mod objects;
mod others;
mod quarantine;
mod rate;
mod recovery;
mod replay;
mod restore;
mod rig;
mod samples;
mod secrets;
mod senders;
mod simulation;
mod sink;
mod stages;
mod strategies;
mod templates;
mod unbuilt;
mod verbs;
mod webhook;
mod windows;

/// The product's own: the simulators play two fifths more seeds a second with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
