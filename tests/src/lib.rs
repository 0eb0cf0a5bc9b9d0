//! The harness of the end-to-end tests: it starts the built programs, real registries and real Redis
//! servers, and looks at them from outside.
//!
//! Owns starting, stopping and cleaning up of everything a test needs, and the outside counts the
//! tests judge by (processes, deliveries, requests). It must never link a service: what it knows, it
//! knows from sockets, from `/proc` and from what its own servers were sent. Its truth is there.

pub mod balancer;
pub mod census;
pub mod effects;
pub mod fixture;
pub mod gate;
pub mod havoc;
pub mod http;
pub mod image;
pub mod live;
pub mod load;
pub mod measure;
pub mod operated;
pub mod program;
pub mod prometheus;
pub mod redis;
pub mod registry;
pub mod replicas;
pub mod series;
pub mod sink;
pub mod stack;
pub mod stall;
pub mod wait;
pub mod world;

pub use gate::Gate;
pub use stack::{Backend, Setup, Stack};
pub use wait::eventually;
pub use world::World;
