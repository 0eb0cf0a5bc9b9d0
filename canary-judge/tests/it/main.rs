//! The canary judge's component tests: metric stores, real ones where Debian has them; runs over gRPC on real stores,
//! configs, the way to a first verdict.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails with the reason"
)]

mod contract;
mod faults;
mod first_verdict;
mod keeper;
mod process;
mod refused;
mod remote;
mod servers;
mod service;
mod stub;
mod subject;
mod vendors;
mod waiting;
mod world;
