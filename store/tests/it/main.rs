//! The contract on every backend, and what only one backend promises.

#![allow(clippy::unwrap_used)]

mod archive;
mod embedded;
mod emptied;
mod operators;
mod random;
mod redis;
mod redis_faults;
mod server;
mod writers;
