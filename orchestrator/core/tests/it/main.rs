//! The engine as a whole, over a queue in memory.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod found;
mod golden;
mod properties;
mod restart;
mod runner;
mod scenarios;
