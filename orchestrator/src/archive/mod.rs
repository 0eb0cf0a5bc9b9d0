//! Finished executions leave the store for an archive, and end when they were kept long enough.
//!
//! An execution is in one place at any moment: the object that holds it is durable first, then
//! one commit takes it out of the store and says that its row counts. What of the archive counts
//! is said by the store alone ([`store::archive`]).

mod catalogue;
mod config;
pub mod content;
pub mod definition;
mod expire;
mod forget;
mod mover;
pub mod row;

pub use catalogue::{Catalogued, catalogue};
pub use config::{Bucket, Config, Given};
pub(crate) use expire::{EXPIRY, GRACE_MS, expire_message};
pub(crate) use mover::AT_ONCE;
