//! One program, a module per story. Run it with `--test-threads=1`: the tests measure and kill.

#![allow(clippy::unwrap_used)] // a failed helper is a failed test

mod architecture;
mod bad_input;
mod bad_luck;
mod balancer_upgrade;
mod canary;
mod chaos;
mod conventions;
mod demo;
mod differences;
mod environments;
mod exactly_once;
mod execution_log;
mod faults;
mod figures;
mod first_pipeline;
mod harness;
mod identity;
mod image_push;
mod jobs;
mod kill;
mod operators;
mod processes;
mod promote;
mod replicas;
mod repository;
mod restore;
mod skew;
mod soak;
mod spin;
mod strategies;
mod up_down;
mod zero_failed_requests;
