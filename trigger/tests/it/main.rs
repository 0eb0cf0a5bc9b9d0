//! The service over a store in memory and fake peers: intake, polling, manual starts.

#![allow(clippy::unwrap_used)] // a failed helper is a failed test

mod breaker;
mod intake;
mod jenkins;
mod manual;
mod peers;
mod poll;
mod trial;
mod types;
mod world;
