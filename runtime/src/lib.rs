//! What every process of ours needs and nothing a deployment is about:
//! configuration, telemetry, health, shutdown, identity on the wire, gRPC
//! servers and channels (sockets or in-process), the one HTTP client for
//! addresses that users control, and paths into the JSON that comes from there.
//!
//! It never holds a domain word. A service is built as a value ([`Service`])
//! and run by whoever links it: one process for all of them or one each.

pub mod admin;
pub mod auth;
pub mod client;
pub mod config;
pub mod egress;
pub mod health;
pub mod in_process;
pub mod json_path;
pub mod relay;
pub mod retry;
pub mod server;
pub mod service;
pub mod shutdown;
pub mod task;
pub mod telemetry;
pub mod version;

pub use service::{Running, Service};
pub use shutdown::Shutdown;
