//! Tests of the rollout machine: a simulated world under faults, and tables.

#![allow(clippy::unwrap_used)] // In helpers of tests too.

mod deadlines;
mod random;
mod scenarios;
mod scene;
mod simulation;
mod world;
