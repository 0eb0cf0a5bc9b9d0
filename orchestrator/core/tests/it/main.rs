//! The engine as a whole, over a queue in memory.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod expressions;
mod found;
mod golden;
mod graph;
mod hydrate;
mod leftover;
mod parent;
mod properties;
mod restart;
mod runner;
mod scenarios;
mod unknown;
mod waiting;
