//! Real servers for tests: ports that nothing else is given, and a throwaway Redis.
//!
//! Owns how a server of a test is started, waited for and ended. It must never depend on a crate of
//! ours, or that crate's own tests could not use it. Its truth is the process it started.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails with the reason"
)]

pub mod port;
mod redis;

pub use redis::Redis;
