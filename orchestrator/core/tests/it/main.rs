//! The engine as a whole, over a queue in memory.

#![allow(clippy::unwrap_used)]

mod found;
mod properties;
mod runner;
mod scenarios;
