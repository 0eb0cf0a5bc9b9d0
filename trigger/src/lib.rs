//! Events in, what they start and why not.

pub mod artifacts;
pub mod event;
pub mod matcher;
mod parameters;
mod pattern;
pub mod source;
