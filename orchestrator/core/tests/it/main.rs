//! The engine as a whole, over a queue in memory.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod expressions;
mod found;
mod golden;
mod properties;
mod runner;
mod scenarios;
