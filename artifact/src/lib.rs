//! Artifacts: their shape, which expected ones they are, and what stands in for those
//! that did not come.
//!
//! Knows neither executions nor transport; callers bring what was received and what
//! the last execution had. The truth about the rules is Spinnaker's
//! (`kork: ExpectedArtifact`, `orca: ArtifactUtils`).

#![deny(
    clippy::wildcard_enum_match_arm,
    clippy::float_cmp,
    clippy::cast_possible_truncation
)]

mod matching;
mod resolve;
mod shape;
mod start;

pub use matching::{Miss, fits, misses};
pub use resolve::{Bound, Finding, Near, Source, Unresolved, resolve};
pub use shape::{artifact, artifacts, distinct, expected, name, names};
pub use start::{
    at_start, considered, expected_ids, needs_prior, received, received_one, report, wanted_ids,
};
