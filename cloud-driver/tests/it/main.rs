//! What cloud-driver does with real processes, sockets and registries.

#![allow(clippy::unwrap_used)] // a failed helper is a failed test

mod adoption;
mod bad_luck;
mod conformance;
mod crash;
mod deployments;
mod figures;
mod jobs;
mod permissions;
mod programs;
mod queue;
mod registry;
mod together;
mod traffic;
mod workers;
mod world;
