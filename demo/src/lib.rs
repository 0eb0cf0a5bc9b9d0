//! What the demonstration and the tests deploy, and how they look at it from outside.
//!
//! Owns three programs: `demo-server`, a small web server whose behaviour (version, latency, errors,
//! start delay, reaction to SIGTERM) is set by its environment; `demo-image`, which writes that server
//! and one content file as an OCI image layout; `load`, an open-loop load generator that never
//! repeats a request and names each one that failed; a worker that takes jobs from a queue, and a
//! Jenkins to try triggers out with. It must never link a crate of the product: it stands in for
//! somebody else's service and somebody else's users. Its truth is what the sockets say.

#[cfg(feature = "tools")]
pub mod image;
#[cfg(feature = "tools")]
pub mod jenkins;
#[cfg(feature = "tools")]
pub mod load;
pub mod server;
pub mod trickle;
pub mod worker;
